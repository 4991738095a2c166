"""Vehicle routing: slack induction by string removals, SISR (Christiaens and Vanden Berghe, Transportation Science 54, 2020).

Each step removes short stretches of a few neighbouring routes and inserts their customers again where they cost least, now and then overlooking
a place; simulated annealing decides whether to go on from there. The constants are the paper's (sections 5.1 to 5.3) but for the temperatures,
which are given in mean distances from the depot, so that the search is the same whatever the unit of length.

Distances [n, n] float64, symmetric or not, the depot is node 0; demands integers. All luck comes from explicit seeds.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from domains.combinatorial.compiled import put, uniform

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

REMOVED = 10.0  # customers removed in a step, on average
STRING = 10.0  # most customers of one stretch
SPLIT, DEPTH = 0.5, 0.01  # how often a stretch leaves out some customers in its middle, and one more of them
BLINK = 0.01  # how often a place is overlooked
HOT, COLD = 0.2, 0.002  # temperatures at the start and at the end, in mean distances from the depot: the paper's 100 and 1 on a grid of 1000
ORDERS = np.array([4.0, 8.0, 10.0, 11.0]) / 11.0  # of insertion: random, by demand, far from the depot first, near it first; cumulated


def ruin_and_recreate(matrix: Floats, demand: Integers, capacity: int, iterations: int, seed: int) -> list[Integers]:
    """Routes that serve all customers 1..n-1: greedy insertion alone (iterations = 0), or the best of the search. demand [n], each <= `capacity`."""
    dist, load = np.ascontiguousarray(matrix, np.float64), np.ascontiguousarray(demand, np.int64)
    if len(dist) < 2:
        return []
    near = np.argsort(dist[1:, 1:], axis=1, kind="stable") + 1
    after = _search(dist, near, load, int(capacity), iterations, np.uint64(seed % 2**64))
    routes = []
    for head in range(len(dist), len(after)):
        route, node = [], int(after[head])
        while node != head:
            route.append(node)
            node = int(after[node])
        if route:
            routes.append(np.array(route, np.int64))
    return routes


# ---- compiled ---------------------------------------------------------------------------------------------------------
#
# Routes are rings: `after` and `before` of a customer, and of the head of each route (nodes n, n + 1, ...), which stands for the depot.


@njit(cache=True)
def _search(dist: Floats, near: Integers, demand: Integers, capacity: int, iterations: int, seed: np.uint64) -> Integers:
    """`after` of the best routes found."""
    n = len(dist)
    luck = np.array([seed], np.uint64)
    after, before, route = np.arange(2 * n), np.arange(2 * n), np.full(n, -1)
    load, size = np.zeros(n, np.int64), np.zeros(n, np.int64)
    out, touched, place, string = np.arange(1, n), np.full(n, -1), np.arange(n), np.zeros(n, np.int64)
    keys = np.zeros(n)
    blink = np.array([_gap(luck)])
    cost = _insert(dist, demand, capacity, out, n - 1, after, before, route, load, size, place, keys, luck, blink)
    best, least = after.copy(), cost
    kept = (after.copy(), before.copy(), route.copy(), load.copy(), size.copy())
    mean = dist[0].sum() / (n - 1)
    heat, cooling = HOT * mean, (COLD / HOT) ** (1.0 / max(1, iterations))
    for done in range(iterations):
        count, saved = _remove(dist, near, demand, after, before, route, load, size, out, touched, string, done, luck)
        found = cost - saved + _insert(dist, demand, capacity, out, count, after, before, route, load, size, place, keys, luck, blink)
        if found < cost - heat * np.log(1.0 - uniform(luck)):
            cost = found
            _keep(kept, (after, before, route, load, size))
            if cost < least - 1e-12 * mean:
                least = cost
                put(best, 0, after)
        else:
            _keep((after, before, route, load, size), kept)
        heat *= cooling
    return best


@njit(cache=True)
def _keep(there, routes) -> None:  # type: ignore[no-untyped-def]
    """Copy after, before, route, load and size."""
    for k in range(5):
        put(there[k], 0, routes[k])


@njit(cache=True)
def _remove(dist, near, demand, after, before, route, load, size, out, touched, string, step, luck):  # type: ignore[no-untyped-def]
    """Take strings out of routes near a customer: how many customers (in `out`), and how much shorter the routes became."""
    n = len(dist)
    served, routes = n - 1, 0
    for r in range(n):
        routes += size[r] > 0
    longest = min(STRING, served / routes)
    most = 4.0 * REMOVED / (1.0 + longest) - 1.0
    strings = int(1.0 + uniform(luck) * most)
    centre = 1 + int(uniform(luck) * served)
    count, saved, cut = 0, 0.0, 0
    for position in range(served):
        c = near[centre - 1, position]
        r = route[c]
        if r < 0 or touched[r] == step:
            continue
        touched[r] = step
        cut += 1
        m = size[r]
        length = int(1.0 + uniform(luck) * min(longest, float(m)))
        node, at = after[n + r], 0
        for i in range(m):
            string[i] = node
            if node == c:
                at = i
            node = after[node]
        spared = 0
        if length > 1 and length < m and uniform(luck) < SPLIT:
            spared = 1
            while length + spared < m and uniform(luck) < DEPTH:
                spared += 1
        whole = length + spared
        low, high = max(0, at - whole + 1), min(at, m - whole)
        first = low + int(uniform(luck) * (high - low + 1))
        skip = first + 1 + int(uniform(luck) * (length - 1)) if spared else m
        for i in range(first, first + whole):
            node = string[i]
            if skip <= i < skip + spared:
                continue
            a, b = before[node], after[node]
            x, y = (a if a < n else 0), (b if b < n else 0)
            saved += dist[x, node] + dist[node, y] - dist[x, y]
            after[a], before[b] = b, a
            route[node] = -1
            load[r] -= demand[node]
            size[r] -= 1
            out[count] = node
            count += 1
        if cut == strings:
            break
    return count, saved


@njit(cache=True)
def _insert(dist, demand, capacity, out, count, after, before, route, load, size, place, keys, luck, blink):  # type: ignore[no-untyped-def]
    """Put the first `count` customers of `out` into their cheapest places: how much longer the routes became. place: scratch, routes in use."""
    n, longer = len(dist), 0.0
    draw = uniform(luck)
    for i in range(count):
        c = out[i]
        if draw < ORDERS[0]:
            keys[i] = uniform(luck)
        elif draw < ORDERS[1]:
            keys[i] = -demand[c]
        elif draw < ORDERS[2]:
            keys[i] = -dist[0, c]
        else:
            keys[i] = dist[0, c]
    for i in range(1, count):  # few: sorted by insertion
        c, key, j = out[i], keys[i], i
        while j > 0 and keys[j - 1] > key:
            out[j], keys[j] = out[j - 1], keys[j - 1]
            j -= 1
        out[j], keys[j] = c, key
    used, free = 0, -1
    for r in range(n):
        if size[r] > 0:
            place[used] = r
            used += 1
        elif free < 0:
            free = r
    skip = blink[0]
    for i in range(count):
        c = out[i]
        there, back = dist[:, c], dist[c]
        least, at = np.inf, -1
        for k in range(used):
            r = place[k]
            if load[r] + demand[c] > capacity:
                continue
            a, x = n + r, 0
            while True:
                b = after[a]
                y = b if b < n else 0
                if skip == 0:
                    skip = _gap(luck)
                else:
                    skip -= 1
                    extra = there[x] + back[y] - dist[x, y]
                    if extra < least:
                        least, at = extra, a
                if b >= n:
                    break
                a = x = b
        if at < 0:
            at, least = n + free, dist[0, c] + dist[c, 0]
            place[used] = free
            used += 1
            free += 1
            while free < n and size[free] > 0:
                free += 1
        b = after[at]
        after[at], before[c], after[c], before[b] = c, at, b, c
        r = at - n if at >= n else route[at]
        route[c] = r
        load[r] += demand[c]
        size[r] += 1
        longer += least
    blink[0] = skip
    return longer


@njit(cache=True)
def _gap(luck: NDArray[np.uint64]) -> int:
    """Places looked at before the next one that is overlooked."""
    return int(np.log(1.0 - uniform(luck)) / np.log(1.0 - BLINK))
