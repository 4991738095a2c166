"""Tours made shorter: 2-opt with Or-opt, directed 3-opt where distances are asymmetric, and both iterated from local kicks.

2-opt reverses a stretch of the tour (Croes, Operations Research 6, 1958), Or-opt moves up to three nodes elsewhere, either way round (Or 1976).
Candidates are the k nearest nodes, partial gains must stay positive (Lin and Kernighan 1973), and only nodes whose surroundings changed are
looked at again (don't-look bits: Bentley, ORSA J. Computing 4, 1992). Where directions matter nothing may be reversed: there two neighbouring
stretches change places, the one 3-opt move that keeps every direction. Iterated local search (Lourenco, Martin and Stutzle 2003) kicks a
short piece of the tour by a double bridge, repairs it, and keeps the new tour unless it is longer than the best by more than a threshold
that falls to zero (record-to-record travel: Dueck, J. Computational Physics 104, 1993).

A tour is a permutation of 0..n-1; distances are [n, n] float64 with any diagonal. All luck comes from explicit seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agents.combinatorial.construct import random_insertion
from agents.combinatorial.planner import Plan, Planner, Seen
from arena.errors import ArenaError
from domains.combinatorial.compiled import below, put

Floats = NDArray[np.float64]
Tour = NDArray[np.int64]
Nodes = NDArray[np.int32]

K = 10  # candidates per node
SEGMENT = 3  # most nodes Or-opt moves at once
KICK = 50  # most nodes in each of the three stretches of a kick
SLACK = 0.5  # the threshold at the start, in mean edges of the tour
EPSILON = 1e-9  # in mean edges: a smaller gain is rounding


# ---- what one calls ---------------------------------------------------------------------------------------------------


def neighbours(matrix: Floats, k: int = K) -> Nodes:
    """[n, min(k, n - 1)] int32: of each row the nearest others, nearest first."""
    far = np.array(matrix, np.float64)
    np.fill_diagonal(far, np.inf)
    k = min(k, len(far) - 1)
    near = np.argpartition(far, k - 1, axis=1)[:, :k]
    near.sort(axis=1)
    order = np.argsort(np.take_along_axis(far, near, 1), axis=1, kind="stable")
    return np.take_along_axis(near, order, 1).astype(np.int32)


def tour_length(matrix: Floats, tour: Tour) -> float:
    """The closed way along the tour."""
    return float(matrix[tour, np.roll(tour, -1)].sum())


def nearest_neighbour(matrix: Floats) -> Tour:
    """From node 0 always to the nearest node that is left; ties to the smallest id."""
    return _nearest(np.ascontiguousarray(matrix, np.float64))


def improve_tour(matrix: Floats, tour: Tour, iterations: int, seed: int, k: int = K) -> Tour:
    """The best tour found by local search from `tour` (iterations = 0) or by iterated local search: so many kicks, each repaired.

    Begins at the node that `tour` begins at, and is never longer. Any integer `seed`; a pure function of its arguments.
    """
    start = np.ascontiguousarray(tour, np.int64)
    lengths = np.ascontiguousarray(matrix, np.float64)
    if len(start) < 8:  # kicks need room
        return min((np.array([start[0], *rest]) for rest in permutations(start[1:])), key=lambda other: tour_length(lengths, other))
    symmetric = bool(np.array_equal(lengths, lengths.T))
    found = _iterate(lengths, neighbours(lengths, k), symmetric, start.astype(np.int32), iterations, np.uint64(seed % 2**64))
    found = np.roll(found, -int(np.flatnonzero(found == start[0])[0])).astype(np.int64)
    return found if tour_length(lengths, found) < tour_length(lengths, start) else start


def solve_tours(coords: Floats, iterations: int, seeds: Sequence[int]) -> Tour:
    """[B, n] tours of Euclidean instances [B, n, 2], beginning at node 0: nearest neighbour, then `improve_tour`; one seed per row."""
    found = np.empty(coords.shape[:2], np.int64)
    for row, (points, seed) in enumerate(zip(np.asarray(coords, np.float64), seeds, strict=True)):
        matrix = np.sqrt(((points[:, None] - points) ** 2).sum(-1))
        found[row] = improve_tour(matrix, nearest_neighbour(matrix), iterations, int(seed))
    return found


# ---- the search -------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _nearest(dist: Floats) -> Tour:
    n = len(dist)
    tour, free = np.zeros(n, np.int64), np.ones(n, np.bool_)
    free[0] = False
    for t in range(1, n):
        here, best = tour[t - 1], -1
        for j in range(n):
            if free[j] and (best < 0 or dist[here, j] < dist[here, best]):
                best = j
        tour[t] = best
        free[best] = False
    return tour


@njit(cache=True)
def _iterate(dist: Floats, near: Nodes, symmetric: bool, tour: Nodes, iterations: int, seed: np.uint64) -> Nodes:
    """The best tour of `iterations` kicks and repairs; with none of local search alone."""
    n = len(tour)
    pos = np.empty(n, np.int32)
    length = 0.0
    for i in range(n):
        pos[tour[i]] = i
        length += dist[tour[i], tour[(i + 1) % n]]
    queue, queued, ends, luck = tour.copy(), np.ones(n, np.bool_), np.array([0, n]), np.array([seed], np.uint64)
    epsilon = EPSILON * length / n
    length -= _repair(dist, near, symmetric, tour, pos, queue, queued, ends, epsilon)
    slack = SLACK * length / n
    best, best_length = tour.copy(), length
    kept, kept_pos = tour.copy(), pos.copy()
    for done in range(iterations):
        after = length + _kick(dist, tour, pos, queue, queued, ends, luck)
        after -= _repair(dist, near, symmetric, tour, pos, queue, queued, ends, epsilon)
        if after < best_length - epsilon:
            put(best, 0, tour)
            best_length = after
        if after <= best_length + slack * (1.0 - done / iterations):
            put(kept, 0, tour)
            put(kept_pos, 0, pos)
            length = after
        else:
            put(tour, 0, kept)
            put(pos, 0, kept_pos)
    return best


@njit(cache=True)
def _repair(dist, near, symmetric, tour, pos, queue, queued, ends, epsilon) -> float:  # type: ignore[no-untyped-def]
    """Moves until no queued node has a better one; how much shorter the tour became."""
    n, total = len(tour), 0.0
    while ends[1] > 0:
        a = queue[ends[0]]
        ends[0] = (ends[0] + 1) % n
        ends[1] -= 1
        queued[a] = False
        gain = 1.0
        while gain > 0.0:
            if symmetric:
                gain = _two_opt(dist, near, tour, pos, a, queue, queued, ends, epsilon)
                if gain == 0.0:
                    gain = _or_opt(dist, near, tour, pos, a, queue, queued, ends, epsilon)
            else:
                gain = _three_opt(dist, near, tour, pos, a, queue, queued, ends, epsilon)
            total += gain
    return total


@njit(cache=True)
def _push(queue, queued, ends, node) -> None:  # type: ignore[no-untyped-def]
    if not queued[node]:
        queued[node] = True
        queue[(ends[0] + ends[1]) % len(queue)] = node
        ends[1] += 1


@njit(cache=True)
def _two_opt(dist, near, tour, pos, a, queue, queued, ends, epsilon) -> float:  # type: ignore[no-untyped-def]
    """The first improving 2-opt move that gives `a` a nearer neighbour, made; its gain, or 0."""
    n, i = len(tour), pos[a]
    for step in (1, n - 1):  # to the successor, to the predecessor
        b = tour[(i + step) % n]
        for c in near[a]:
            part = dist[a, b] - dist[a, c]
            if part <= epsilon:
                break
            j = pos[c]
            d = tour[(j + step) % n]
            gain = part + dist[c, d] - dist[b, d]
            if gain > epsilon:
                if step == 1:
                    _reverse(tour, pos, (i + 1) % n, j)
                else:
                    _reverse(tour, pos, i, (j + step) % n)
                for node in (a, b, c, d):
                    _push(queue, queued, ends, node)
                return gain
    return 0.0


@njit(cache=True)
def _or_opt(dist, near, tour, pos, a, queue, queued, ends, epsilon) -> float:  # type: ignore[no-untyped-def]
    """The first improving move of a stretch a..e of up to three nodes, whose end `a` leaves b for the nearer c; its gain, or 0."""
    n, i = len(tour), pos[a]
    for step in (1, n - 1):  # the stretch runs away from b: backward, forward
        b = tour[(i + step) % n]
        for size in range(1, min(SEGMENT, n - 3) + 1):
            first = (i - size + 1 + n) % n if step == 1 else i
            e = tour[first] if step == 1 else tour[(i + size - 1) % n]
            q = tour[(first - 1 + n) % n] if step == 1 else tour[(i + size) % n]
            removed = dist[a, b] + dist[e, q] - dist[b, q]
            for c in near[a]:
                if dist[a, b] - dist[a, c] <= epsilon:
                    break
                j = pos[c]
                if (j - first + n) % n < size:
                    continue
                for side in (1, n - 1):
                    h = (j + side) % n
                    x = tour[h]
                    if (h - first + n) % n < size:
                        continue
                    gain = removed + dist[c, x] - dist[a, c] - dist[e, x]
                    if gain > epsilon:
                        left = j if side == 1 else h
                        turned = (tour[first] == a) != (side == 1)
                        _shift(tour, pos, first, size, (left - first - size + 1 + n) % n, turned)
                        for node in (a, b, c, e, q, x):
                            _push(queue, queued, ends, node)
                        return gain
    return 0.0


@njit(cache=True)
def _three_opt(dist, near, tour, pos, a, queue, queued, ends, epsilon) -> float:  # type: ignore[no-untyped-def]
    """The first improving exchange of stretches b..c and d..e behind `a`, none of them reversed: a d..e b..c f; its gain, or 0."""
    n, i = len(tour), pos[a]
    b = tour[(i + 1) % n]
    for d in near[a]:
        part = dist[a, b] - dist[a, d]
        if part <= epsilon:
            break
        j = pos[d]
        c = tour[(j - 1 + n) % n]
        part += dist[c, d]
        for f in near[c]:
            if part - dist[c, f] <= epsilon:
                break
            length = (pos[f] - j + n) % n  # of d..e
            if length == 0 or length > (i - j + n) % n:
                continue
            e = tour[(pos[f] - 1 + n) % n]
            gain = part - dist[c, f] + dist[e, f] - dist[e, b]
            if gain > epsilon:
                _exchange(tour, pos, (i + 1) % n, (j - i - 1 + n) % n, length)
                for node in (a, b, c, d, e, f):
                    _push(queue, queued, ends, node)
                return gain
    return 0.0


@njit(cache=True)
def _kick(dist, tour, pos, queue, queued, ends, luck) -> float:  # type: ignore[no-untyped-def]
    """A double bridge of three short neighbouring stretches, B C D to D C B, at a random place; how much longer the tour became."""
    n = len(tour)
    most = min(KICK, (n - 2) // 3)
    start, sizes = below(luck, n), (1 + below(luck, most), 1 + below(luck, most), 1 + below(luck, most))
    whole = sizes[0] + sizes[1] + sizes[2]
    piece = np.empty(whole, np.int32)
    for t in range(whole):
        piece[t] = tour[(start + 1 + t) % n]
    x, y = sizes[0], sizes[0] + sizes[1]
    before, after = tour[start], tour[(start + 1 + whole) % n]
    delta = dist[before, piece[y]] + dist[piece[whole - 1], piece[x]] + dist[piece[y - 1], piece[0]] + dist[piece[x - 1], after]
    delta -= dist[before, piece[0]] + dist[piece[x - 1], piece[x]] + dist[piece[y - 1], piece[y]] + dist[piece[whole - 1], after]
    at = start + 1
    for low, high in ((y, whole), (x, y), (0, x)):
        for t in range(low, high):
            tour[at % n] = piece[t]
            pos[piece[t]] = at % n
            at += 1
        _push(queue, queued, ends, piece[low])
        _push(queue, queued, ends, piece[high - 1])
    _push(queue, queued, ends, before)
    _push(queue, queued, ends, after)
    return delta


# ---- on the array -----------------------------------------------------------------------------------------------------


@njit(cache=True)
def _reverse(tour, pos, i, j) -> None:  # type: ignore[no-untyped-def]
    """Turn round the stretch of positions i..j (cyclic), or all the rest where that is shorter: the same tour."""
    n = len(tour)
    size = (j - i + n) % n + 1
    if 2 * size > n:
        i, j, size = (j + 1) % n, (i - 1 + n) % n, n - size
    for _ in range(size // 2):
        a, b = tour[i], tour[j]
        tour[i], tour[j] = b, a
        pos[b], pos[a] = i, j
        i = i + 1 if i + 1 < n else 0
        j = j - 1 if j > 0 else n - 1


@njit(cache=True)
def _shift(tour, pos, first, size, ahead, turned) -> None:  # type: ignore[no-untyped-def]
    """Move the `size` nodes from position `first` past the `ahead` nodes behind them, perhaps turned round; whichever way is shorter."""
    n = len(tour)
    piece = np.empty(size, np.int32)
    for t in range(size):
        piece[t] = tour[(first + t) % n]
    rest = n - size - ahead
    if ahead <= rest:
        for t in range(ahead):
            node = tour[(first + size + t) % n]
            tour[(first + t) % n] = node
            pos[node] = (first + t) % n
        first += ahead
    else:
        for t in range(rest):
            node = tour[(first - 1 - t + n) % n]
            tour[(first + size - 1 - t + n) % n] = node
            pos[node] = (first + size - 1 - t + n) % n
        first += n - rest
    for t in range(size):
        node = piece[size - 1 - t] if turned else piece[t]
        tour[(first + t) % n] = node
        pos[node] = (first + t) % n


@njit(cache=True)
def _exchange(tour, pos, first, x, y) -> None:  # type: ignore[no-untyped-def]
    """Exchange the x nodes from position `first` with the y nodes behind them, or either with the rest: cyclically all the same."""
    n = len(tour)
    z = n - x - y
    if x >= y and x >= z:
        first, x, y = first + x, y, z
    elif y >= x and y >= z:
        first, x, y = first + x + y, z, x
    piece = np.empty(x + y, np.int32)
    for t in range(x + y):
        piece[t] = tour[(first + t) % n]
    for t in range(x + y):
        node = piece[x + t] if t < y else piece[t - y]
        tour[(first + t) % n] = node
        pos[node] = (first + t) % n


# ---- agents -----------------------------------------------------------------------------------------------------------


class LocalSearch(Planner):
    """2-opt and Or-opt with neighbour lists and don't-look bits; where distances are asymmetric, 3-opt without reversal.

    start: `nearest` (neighbour) or `insertion` (random); k: candidates per node
    """

    problems = ("tsp", "atsp")

    def __init__(self, start: Literal["nearest", "insertion"] = "nearest", k: int = K) -> None:
        if start not in ("nearest", "insertion"):
            raise ArenaError("agent.parameters", f"start={start!r}", "start from 'nearest' or 'insertion'")
        if k < 1:
            raise ArenaError("agent.parameters", f"k={k}", "at least one candidate per node")
        self.start, self.k, self.iterations = start, k, 0

    def plan(self, seen: Seen) -> Plan:
        tours = []
        for row, seed in enumerate(seen.seeds.tolist()):
            dist = seen.distances(row)
            start = nearest_neighbour(dist) if self.start == "nearest" else random_insertion(dist, seed)
            tours.append(improve_tour(dist, start, self.iterations, seed, self.k)[1:])
        return np.stack(tours), None


class IteratedSearch(LocalSearch):
    """Iterated local search: `iterations` local kicks, each repaired by the moves of LocalSearch."""

    def __init__(self, iterations: int = 1000, k: int = K) -> None:
        super().__init__("nearest", k)
        if iterations < 0:
            raise ArenaError("agent.parameters", f"iterations={iterations}", "0 or more")
        self.iterations = iterations
