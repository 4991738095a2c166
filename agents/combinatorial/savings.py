"""Vehicle routes: savings and sweep, and the exchanges that improve either.

Savings (Clarke and Wright, Operations Research 12, 1964, parallel form): every customer starts with a vehicle of its own; the ends of two
routes are joined in order of the saving d(0,i) + d(0,j) - d(i,j) while the load allows it. Sweep (Gillett and Miller, Operations Research 22,
1974): customers by their angle at the depot fill one vehicle after another; the best of several first customers and both directions.

Improvement exchanges a stretch of one route with a stretch of another, either perhaps empty and perhaps turned round (CROSS exchange: Taillard
et al., Transportation Science 31, 1997): relocation, swap, and 2-opt* (all of a route's end) are its cases. Within a route: 2-opt and Or-opt.
Only exchanges that bring a customer beside one of its k nearest are looked at. Distances [n, n] are symmetric, the depot is node 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agents.combinatorial.local_search import neighbours
from agents.combinatorial.planner import Plan, Planner, Seen, joined
from arena.errors import ArenaError
from domains.combinatorial.compiled import put, turn

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Nodes = NDArray[np.int32]

K = 20  # nearest customers looked at
STRETCH = 3  # most customers of an exchanged stretch that is not a route's whole end
STARTS = 32  # most first customers of a sweep
EPSILON = 1e-9  # relative to the mean distance from the depot: a smaller gain is rounding


# ---- what one calls ---------------------------------------------------------------------------------------------------


def routes_length(matrix: Floats, routes: Sequence[Integers]) -> float:
    """The way of all vehicles, from the depot and back."""
    return sum(float(matrix[[0, *route], [*route, 0]].sum()) for route in routes)


def savings_routes(matrix: Floats, demand: Integers, capacity: int) -> list[Integers]:
    """Routes by the parallel savings rule; ties by smaller ids. demand [n], each at most `capacity`."""
    n = len(matrix)
    first, second = np.triu_indices(n - 1, 1)
    saving = matrix[0, first + 1] + matrix[0, second + 1] - matrix[first + 1, second + 1]
    useful = np.flatnonzero(saving > 0)
    order = useful[np.argsort(-saving[useful], kind="stable")]
    beside = _merge(first[order] + 1, second[order] + 1, np.ascontiguousarray(demand, np.int64), int(capacity))
    routes, seen = [], np.zeros(n, bool)
    for start in range(1, n):
        if seen[start] or beside[start].min() > 0:
            continue
        route, here = [start], start
        seen[start] = True
        while ahead := [node for node in beside[here].tolist() if node > 0 and not seen[node]]:
            here = ahead[0]
            seen[here] = True
            route.append(here)
        routes.append(np.array(route, np.int64))
    return routes


def sweep_routes(coords: Floats, matrix: Floats, demand: Integers, capacity: int) -> list[Integers]:
    """The shortest of up to 2 x STARTS sweeps by angle, each route ordered by 2-opt and Or-opt."""
    x, y = (coords[1:] - coords[0]).T
    around = 1 + np.argsort(np.arctan2(y, x), kind="stable")
    starts = np.unique(np.linspace(0, len(around), STARTS, endpoint=False).astype(np.int64))
    best: list[Integers] = []
    for turned in (around, around[::-1]):
        for start in starts.tolist():
            found = improve_routes(matrix, demand, capacity, _filled(np.roll(turned, -start), demand, capacity), across=False)
            if not best or routes_length(matrix, found) < routes_length(matrix, best):
                best = found
    return best


def improve_routes(matrix: Floats, demand: Integers, capacity: int, routes: Sequence[Integers], k: int = K, across: bool = True) -> list[Integers]:
    """Routes where no exchange helps any more; never longer. across: also between routes."""
    width = (max(map(len, routes)) if not across else len(matrix) - 1) + 2
    rows = np.zeros((len(routes), width), np.int32)
    sizes = np.array([len(route) for route in routes], np.int64)
    for row, route in zip(rows, routes, strict=True):
        row[1 : len(route) + 1] = route
    if len(matrix) > 2:
        near = neighbours(np.ascontiguousarray(matrix[1:, 1:]), k) + np.int32(1)
        _improve(np.ascontiguousarray(matrix, np.float64), near, np.ascontiguousarray(demand, np.int64), int(capacity), rows, sizes, across)
    return [row[1 : size + 1].astype(np.int64) for row, size in zip(rows, sizes, strict=True) if size]


def _filled(order: Integers, demand: Integers, capacity: int) -> list[Integers]:
    """Customers in this order, a new vehicle whenever the next does not fit."""
    routes: list[list[int]] = [[]]
    left = capacity
    for node in order.tolist():
        if demand[node] > left:
            routes.append([])
            left = capacity
        routes[-1].append(node)
        left -= int(demand[node])
    return [np.array(route, np.int64) for route in routes if route]


# ---- agents -----------------------------------------------------------------------------------------------------------


class _Router(Planner):
    """Routes built by a rule and, if wished, improved. k: nearest customers looked at"""

    problems = ("cvrp",)

    def __init__(self, improve: bool = True, k: int = K) -> None:
        if k < 1:
            raise ArenaError("agent.parameters", f"k = {k}", "an exchange brings a customer beside one of its k nearest: at least 1")
        self.improve, self.k = improve, k

    def routes(self, seen: Seen, row: int, matrix: Floats) -> list[Integers]:
        raise NotImplementedError

    def plan(self, seen: Seen) -> Plan:
        found = []
        for row in range(len(seen)):
            matrix = seen.distances(row)
            routes = self.routes(seen, row, matrix)
            if self.improve:
                routes = improve_routes(matrix, seen.demand[row], int(seen.capacity[row]), routes, self.k)
            found.append(joined(routes))
        order, via = zip(*found, strict=True)
        return np.stack(order), np.stack(via)


class Savings(_Router):
    """Clarke and Wright's savings, then exchanges within and between routes. improve: False leaves them out"""

    def routes(self, seen: Seen, row: int, matrix: Floats) -> list[Integers]:
        return savings_routes(matrix, seen.demand[row], int(seen.capacity[row]))


class Sweep(_Router):
    """Gillett and Miller's sweep, then exchanges within and between routes. improve: False leaves out those between routes"""

    wants_points = True

    def routes(self, seen: Seen, row: int, matrix: Floats) -> list[Integers]:
        return sweep_routes(seen.coords[row], matrix, seen.demand[row], int(seen.capacity[row]))


# ---- compiled ---------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _merge(first: Integers, second: Integers, demand: Integers, capacity: int) -> Integers:
    """beside [n, 2]: the customers next to each on its route, 0 for the depot; pairs in the order in which they are tried."""
    n = len(demand)
    beside, route, load = np.zeros((n, 2), np.int64), np.arange(n), demand.copy()
    other = np.arange(n)  # of a route's end: the other end
    for t in range(len(first)):
        i, j = first[t], second[t]
        if beside[i].min() > 0 or beside[j].min() > 0 or other[i] == j:
            continue
        a, b = _root(route, i), _root(route, j)
        if load[a] + load[b] > capacity:
            continue
        beside[i, 1 if beside[i, 0] else 0] = j
        beside[j, 1 if beside[j, 0] else 0] = i
        route[b] = a
        load[a] += load[b]
        far_i, far_j = other[i], other[j]
        other[far_i], other[far_j] = far_j, far_i
    return beside


@njit(cache=True)
def _root(route: Integers, i: int) -> int:
    while route[i] != i:
        route[i] = route[route[i]]
        i = route[i]
    return i


@njit(cache=True)
def _improve(dist: Floats, near: Nodes, demand: Integers, capacity: int, rows: Nodes, sizes: Integers, across: bool) -> None:
    """Exchanges, in place, until no customer of the queue has one. near [n - 1, k]: of customers 1..n-1."""
    n = len(dist)
    where, at, load = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(rows.shape, np.int64)
    queue, queued, head, count = np.zeros(n, np.int64), np.zeros(n, np.bool_), 0, 0
    for r in range(len(rows)):
        _number(rows, sizes, demand, where, at, load, r)
        for p in range(1, sizes[r] + 1):
            queue[count], queued[rows[r, p]] = rows[r, p], True
            count += 1
    epsilon = EPSILON * dist[0].mean()
    while count > 0:
        u = queue[head]
        head, count = (head + 1) % n, count - 1
        queued[u] = False
        for v in near[u - 1]:
            a, b = where[u], where[v]
            row, i = rows[a], at[u]
            if dist[u, v] >= max(dist[row[i - 1], u], dist[u, row[i + 1]]) - epsilon:
                break
            if a == b:
                changed = _within(dist, row, sizes[a], i, at[v], epsilon)
            else:
                changed = across and _between(dist, rows, sizes, load, a, i, b, at[v], capacity, epsilon)
            if changed:
                for r in (a, b):
                    _number(rows, sizes, demand, where, at, load, r)
                    for p in range(1, sizes[r] + 1):
                        node = rows[r, p]
                        if not queued[node]:
                            queue[(head + count) % n], queued[node] = node, True
                            count += 1
                break


@njit(cache=True)
def _number(rows, sizes, demand, where, at, load, r) -> None:  # type: ignore[no-untyped-def]
    """Where the customers of route r stand, and the load up to each."""
    for p in range(1, sizes[r] + 1):
        node = rows[r, p]
        where[node], at[node], load[r, p] = r, p, load[r, p - 1] + demand[node]


@njit(cache=True)
def _within(dist, row, size, i, j, epsilon) -> bool:  # type: ignore[no-untyped-def]
    """The first improving move that brings the customers at i and j of one route together, made: 2-opt, or Or-opt of a stretch that ends at i."""
    u, v = row[i], row[j]
    for step in (1, -1):
        x, y = row[i + step], row[j + step]
        if dist[u, v] + dist[x, y] - dist[u, x] - dist[v, y] < -epsilon:
            low, high = (min(i, j) + 1, max(i, j)) if step == 1 else (min(i, j), max(i, j) - 1)
            turn(row, low, high)
            return True
    for way in (1, -1):  # the stretch runs from i to the right, to the left
        for length in range(1, STRETCH + 1):
            far = i + way * (length - 1)
            low, high = min(i, far), max(i, far)
            if low < 1 or high > size or low <= j <= high:
                break
            before, after, end = row[low - 1], row[high + 1], row[far]
            removed = dist[before, row[low]] + dist[row[high], after] - dist[before, after]
            for side in (1, -1):  # between j and its right, left
                if low <= j + side <= high:
                    continue
                x = row[j + side]
                if dist[u, v] + dist[end, x] - dist[v, x] - removed < -epsilon:
                    piece = row[low : high + 1].copy()
                    if (way == 1) != (side == 1):  # i is to come first exactly where it goes to the right of j
                        turn(piece, 0, length - 1)
                    left = j if side == 1 else j - 1
                    if left > high:
                        put(row, low, row[high + 1 : left + 1].copy())
                        put(row, left - length + 1, piece)
                    else:
                        put(row, left + 1 + length, row[left + 1 : low].copy())
                        put(row, left + 1, piece)
                    return True
    return False


@njit(cache=True)
def _between(dist, rows, sizes, load, a, i, b, j, capacity, epsilon) -> bool:  # type: ignore[no-untyped-def]
    """The first improving exchange that brings customer i of route a beside customer j of route b, made.

    The stretch of a ends at i, that of b begins beside j; u comes to the right (side 1) or to the left of v.
    """
    m, k = sizes[a], sizes[b]
    for side in (1, -1):
        for turned in (False, True):
            right = (side == 1) != turned  # the stretch of a runs from i to the right
            room = m - i + 1 if right else i
            for s in range(1, STRETCH + 2):
                length = s if s <= STRETCH else room
                if length > room or (s > STRETCH and room <= STRETCH):
                    continue
                first = i if right else i - length + 1
                space = k - j if side == 1 else j - 1
                for t in range(STRETCH + 2):
                    size = t if t <= STRETCH else space
                    if size > space or (t > STRETCH and space <= STRETCH):
                        continue
                    start = j + 1 if side == 1 else j - size
                    given = load[a, first + length - 1] - load[a, first - 1]
                    taken = load[b, start + size - 1] - load[b, start - 1]
                    if load[a, m] - given + taken > capacity or load[b, k] - taken + given > capacity:
                        continue
                    for back in range(2 if size > 1 else 1):
                        if _delta(dist, rows[a], first, length, rows[b], start, size, turned, back == 1) < -epsilon:
                            _cross(rows[a], m, first, length, rows[b], k, start, size, turned, back == 1)
                            sizes[a], sizes[b] = m - length + size, k - size + length
                            return True
    return False


@njit(cache=True)
def _delta(dist, one, p, x, two, q, y, turned, back) -> float:  # type: ignore[no-untyped-def]
    """How much longer: the x > 0 customers from p of `one` and the y >= 0 from q of `two` change places, perhaps turned round."""
    first, last = one[p], one[p + x - 1]
    lead, tail = (last, first) if turned else (first, last)
    l1, r1, l2, r2 = one[p - 1], one[p + x], two[q - 1], two[q + y]
    delta = dist[l2, lead] + dist[tail, r2] - dist[l1, first] - dist[last, r1]
    if y == 0:
        return delta + dist[l1, r1] - dist[l2, r2]
    first, last = two[q], two[q + y - 1]
    lead, tail = (last, first) if back else (first, last)
    return delta + dist[l1, lead] + dist[tail, r1] - dist[l2, first] - dist[last, r2]


@njit(cache=True)
def _cross(one, m, p, x, two, k, q, y, turned, back) -> None:  # type: ignore[no-untyped-def]
    """The exchange of `_delta`, made; m, k: customers of the routes. Rows end with the depot."""
    given, taken = one[p : p + x].copy(), two[q : q + y].copy()
    if turned:
        turn(given, 0, x - 1)
    if back:
        turn(taken, 0, y - 1)
    rest_one, rest_two = one[p + x : m + 2].copy(), two[q + y : k + 2].copy()
    put(one, p, taken)
    put(one, p + y, rest_one)
    put(two, q, given)
    put(two, q + x, rest_two)
