"""Orienteering: a tour grown by prize per detour, and an iterated search that takes it apart and grows it again.

Insertion takes the node of most prize per added length into its cheapest place while the tour stays within the budget (as Golden, Levy and
Vohra, Naval Research Logistics 34, 1987). The search drops a random stretch, shortens what is left by 2-opt and Or-opt, inserts again with
noise on the prizes, exchanges nodes of the tour for better ones outside it, and goes on from there unless the result is worth less than the
best by more than a threshold that falls to zero (ruin and recreate: Schrimpf et al., J. Computational Physics 159, 2000). Of equal prizes the
shorter tour is better: it has room.

Distances [n, n] float64 symmetric, the depot is node 0, prizes integers. All luck comes from explicit seeds.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from domains.combinatorial.compiled import put, turn, uniform
from domains.combinatorial.distances import tolerance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NOISE = 3.0  # prizes per detour are multiplied by e^z, |z| at most this
SLACK = 0.02  # the threshold at the start, as a share of the best prize
DROP, FEW = 0.35, 6.0  # most of the tour dropped at once: this share, or so many nodes


def collect(matrix: Floats, prize: Integers, budget: float, iterations: int, seed: int) -> Integers:
    """The order (node 0 left out) of a tour within the budget: by insertion alone (iterations = 0) or the best of the iterated search."""
    dist, limit = np.ascontiguousarray(matrix, np.float64), float(budget) + 0.5 * tolerance(float(budget))
    near = np.flatnonzero(dist[0] + dist[:, 0] <= limit)
    near = np.append(0, near[near > 0])  # the others can never be reached
    part = np.ascontiguousarray(dist[np.ix_(near, near)])
    return near[_search(part, np.ascontiguousarray(prize[near], np.int64), limit, iterations, np.uint64(seed % 2**64))]


# ---- compiled ---------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _search(dist: Floats, prize: Integers, limit: float, iterations: int, seed: np.uint64) -> Integers:
    """The best tour behind node 0. A tour is tour[0..size-1], a closed way that begins at node 0."""
    n = len(dist)
    tour, inside, luck, factor = np.zeros(n, np.int64), np.zeros(n, np.bool_), np.array([seed], np.uint64), np.ones(n)
    inside[0] = True
    place, cost = np.zeros(n, np.int64), np.zeros(n)
    size = np.int64(1)  # a literal would be compiled for on its own
    size = _grow(dist, prize, factor, limit, tour, size, inside, place, cost)
    _shorten(dist, tour, size)
    size = _grow(dist, prize, factor, limit, tour, size, inside, place, cost)
    best, best_size, best_prize, best_length = tour.copy(), size, prize[tour[:size]].sum(), _length(dist, tour, size)
    kept, kept_size = tour.copy(), size
    for done in range(iterations):
        put(tour, 0, kept)
        size = kept_size
        if size > 1:
            drop = 1 + int(uniform(luck) * min(size - 1.0, max(FEW, DROP * size)))
            first = 1 + int(uniform(luck) * (size - drop))
            put(tour, first, tour[first + drop : size].copy())
            size -= drop
        inside[:] = False
        inside[tour[:size]] = True
        spread = NOISE * uniform(luck)
        for j in range(n):
            factor[j] = np.exp(spread * (2.0 * uniform(luck) - 1.0))
        _shorten(dist, tour, size)
        size = _grow(dist, prize, factor, limit, tour, size, inside, place, cost)
        factor[:] = 1.0
        _shorten(dist, tour, size)
        size = _grow(dist, prize, factor, limit, tour, size, inside, place, cost)
        while _swap(dist, prize, limit, tour, size, inside, place, cost):
            _shorten(dist, tour, size)
            size = _grow(dist, prize, factor, limit, tour, size, inside, place, cost)
        worth, length = prize[tour[:size]].sum(), _length(dist, tour, size)
        if worth > best_prize or (worth == best_prize and length < best_length):
            put(best, 0, tour)
            best_size, best_prize, best_length = size, worth, length
        if worth >= best_prize * (1.0 - SLACK * (1.0 - done / iterations)):
            put(kept, 0, tour)
            kept_size = size
    return best[1:best_size]


@njit(cache=True)
def _length(dist: Floats, tour: Integers, size: int) -> float:
    total = dist[tour[size - 1], tour[0]]
    for i in range(size - 1):
        total += dist[tour[i], tour[i + 1]]
    return total


@njit(cache=True)
def _grow(dist, prize, factor, limit, tour, size, inside, place, cost) -> int:  # type: ignore[no-untyped-def]
    """Insert while something fits; the new size. place, cost: scratch, the cheapest place of each node (behind tour[place]) and its detour."""
    n, length = len(dist), _length(dist, tour, size)
    for j in range(n):
        if not inside[j]:
            _cheapest(dist, tour, size, j, place, cost)
    while True:
        chosen, most = -1, -1.0
        for j in range(n):
            if not inside[j] and length + cost[j] <= limit:
                worth = factor[j] * prize[j] / max(cost[j], 1e-12)
                if worth > most:
                    chosen, most = j, worth
        if chosen < 0:
            return size
        at = place[chosen]
        for i in range(size, at + 1, -1):
            tour[i] = tour[i - 1]
        tour[at + 1] = chosen
        inside[chosen] = True
        size += 1
        length += cost[chosen]
        before, after = tour[at], tour[(at + 2) % size]
        for j in range(n):
            if inside[j]:
                continue
            if place[j] == at:  # its place is gone
                _cheapest(dist, tour, size, j, place, cost)
                continue
            place[j] += place[j] > at
            first = dist[before, j] + dist[j, chosen] - dist[before, chosen]
            second = dist[chosen, j] + dist[j, after] - dist[chosen, after]
            if first < cost[j]:
                place[j], cost[j] = at, first
            if second < cost[j]:
                place[j], cost[j] = at + 1, second


@njit(cache=True)
def _cheapest(dist, tour, size, j, place, cost) -> None:  # type: ignore[no-untyped-def]
    cost[j] = np.inf
    for i in range(size):
        a, b = tour[i], tour[i + 1 if i + 1 < size else 0]
        detour = dist[a, j] + dist[j, b] - dist[a, b]
        if detour < cost[j]:
            place[j], cost[j] = i, detour


@njit(cache=True)
def _swap(dist, prize, limit, tour, size, inside, place, cost) -> bool:  # type: ignore[no-untyped-def]
    """The exchange of a node of the tour for one outside that gains most prize and still fits, made; place and cost as `_grow` leaves them."""
    n, length, most, chosen, out = len(dist), _length(dist, tour, size), 0, -1, -1
    for i in range(1, size):
        node, before, after = tour[i], tour[i - 1], tour[i + 1 if i + 1 < size else 0]
        around = dist[before, node] + dist[node, after]
        for j in range(n):
            if inside[j] or prize[j] - prize[node] <= most:
                continue
            added = dist[before, j] + dist[j, after] - around
            if place[j] != i - 1 and place[j] != i:
                added = min(added, cost[j] + dist[before, after] - around)
            if length + added <= limit:
                most, chosen, out = prize[j] - prize[node], j, i
    if chosen < 0:
        return False
    node, before, after = tour[out], tour[out - 1], tour[out + 1 if out + 1 < size else 0]
    at = place[chosen]
    inside[node], inside[chosen] = False, True
    if at == out - 1 or at == out or dist[before, chosen] + dist[chosen, after] <= cost[chosen] + dist[before, after]:
        tour[out] = chosen
    elif at < out:
        put(tour, at + 2, tour[at + 1 : out].copy())
        tour[at + 1] = chosen
    else:
        put(tour, out, tour[out + 1 : at + 1].copy())
        tour[at] = chosen
    return True


@njit(cache=True)
def _shorten(dist, tour, size) -> None:  # type: ignore[no-untyped-def]
    """2-opt and Or-opt of up to three nodes until neither helps, first improvement; node 0 stays first."""
    better, epsilon = size > 3, 1e-10 * _length(dist, tour, size) / size
    while better:
        better = False
        for i in range(size - 2):  # turn round i+1..j
            a, b = tour[i], tour[i + 1]
            for j in range(i + 2, size):
                c, d = tour[j], tour[j + 1 if j + 1 < size else 0]
                if dist[a, c] + dist[b, d] - dist[a, b] - dist[c, d] < -epsilon:
                    turn(tour, i + 1, j)
                    b = tour[i + 1]
                    better = True
        for length in range(1, 4):
            for i in range(1, size - length + 1):  # move i..i+length-1 between j and j+1
                first, last = tour[i], tour[i + length - 1]
                before, after = tour[i - 1], tour[i + length if i + length < size else 0]
                removed = dist[before, first] + dist[last, after] - dist[before, after]
                for j in range(size):
                    if i - 1 <= j < i + length:
                        continue
                    c, d = tour[j], tour[j + 1 if j + 1 < size else 0]
                    straight, turned = dist[c, first] + dist[last, d], dist[c, last] + dist[first, d]
                    if min(straight, turned) - dist[c, d] - removed < -epsilon:
                        piece = tour[i : i + length].copy()
                        if turned < straight:
                            turn(piece, 0, length - 1)
                        if j < i:
                            put(tour, j + 1 + length, tour[j + 1 : i].copy())
                            put(tour, j + 1, piece)
                        else:
                            put(tour, i, tour[i + length : j + 1].copy())
                            put(tour, j + 1 - length, piece)
                        better = True
                        break
