"""Exact optima of small instances by dynamic programming, of knapsacks by capacity, and of asymmetric tours by proof.

Tours: Held and Karp, J. SIAM 10 (1962): the shortest way through a set of nodes to each end in it, set by set. The same table cut at a length
gives orienteering; cut at a load it prices every route of vehicle routing, and a second recursion over the sets of customers served joins
routes, the next always holding the first customer still unserved (so no two orders of the same routes are looked at).

Nodes are 0..n-1 with the start or depot at 0; sets are bit masks of nodes 1..n-1. At most 20 nodes beside node 0: the table then takes
168 MB. Orders are returned as the kernel holds them: the nodes in turn, without node 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from arena.errors import ArenaError
from domains.combinatorial.distances import tolerance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MOST = 20  # nodes beside node 0


# ---- tours, orienteering, vehicle routing -------------------------------------------------------------------------------


def held_karp(dist: ArrayLike) -> tuple[float, Integers]:
    """Length and order [n-1] of the shortest closed tour; dist [n, n] need not be symmetric. About 0.1 s at n = 20."""
    lengths = _distances(dist)
    if len(lengths) == 1:
        return 0.0, np.zeros(0, np.int64)
    sets = np.arange(1 << (len(lengths) - 1), dtype=np.int32)
    reach = _reach(lengths, sets, len(sets), np.inf)
    closed = reach[-1] + lengths[1:, 0]
    end = int(closed.argmin())
    return float(closed[end]), _trace(lengths, sets, reach, len(sets) - 1, end)


def orienteering(dist: ArrayLike, prize: ArrayLike, budget: float) -> tuple[int, Integers]:
    """Most prize (node 0's included) of a closed tour from node 0 no longer than the budget, and its order; of equal ones the shortest.

    dist [n, n], prize [n] integers >= 0. As in the kernel, the way home must fit from every node on the way.
    """
    lengths, prizes = _distances(dist), _integers(prize, "prize")
    _same(len(lengths), prizes)
    sets = np.arange(1 << (len(lengths) - 1), dtype=np.int32)
    if len(sets) == 1:
        return int(prizes[0]), np.zeros(0, np.int64)
    reach = _reach(lengths, sets, len(sets), budget + tolerance(budget))
    best, end = _richest(lengths, reach, prizes)
    order = _trace(lengths, sets, reach, best, end) if best else np.zeros(0, np.int64)
    return int(prizes[0] + prizes[order].sum()), order


def vehicle_routing(dist: ArrayLike, demand: ArrayLike, capacity: int) -> tuple[float, Integers, NDArray[np.bool_]]:
    """Length, order [n-1] and via [n-1] (True where the vehicle comes through the depot) of the shortest routes that serve all customers.

    dist [n, n]; demand [n] integers >= 0, that of the depot ignored. Each route's demand is at most `capacity`; any number of routes.
    """
    lengths, demands = _distances(dist), _integers(demand, "demand")
    _same(len(lengths), demands)
    if len(lengths) == 1:
        return 0.0, np.zeros(0, np.int64), np.zeros(0, np.bool_)
    if demands[1:].max() > capacity:
        node = int(demands[1:].argmax()) + 1
        raise ArenaError("exact.demand", f"customer {node} wants {demands[node]}, a vehicle carries {capacity}", "no route can serve it")
    sets, count = _loads(demands[1:], capacity)
    reach = _reach(lengths, sets, count, np.inf)
    route = np.full(len(sets), np.inf)
    route[sets >= 0] = (reach + lengths[1:, 0]).min(1)
    route[0] = np.inf
    cost, chosen = _join(route)
    orders = []
    for members in chosen:
        ends = reach[sets[members]] + lengths[1:, 0]
        orders.append(_trace(lengths, sets, reach, members, int(ends.argmin())))
    via = np.concatenate([np.arange(len(order)) == 0 for order in orders])
    via[0] = False  # the first route begins at the depot anyway
    return cost, np.concatenate(orders), via


def _distances(dist: ArrayLike) -> Floats:
    lengths = np.ascontiguousarray(dist, np.float64)
    if lengths.ndim != 2 or lengths.shape[0] != lengths.shape[1] or not lengths.size:
        raise ArenaError("exact.shape", f"distances of shape {lengths.shape}", "expected [n, n]")
    if len(lengths) > MOST + 1:
        raise ArenaError("exact.size", f"{len(lengths)} nodes", f"sets of nodes are enumerated: at most {MOST} beside the start or depot")
    if not (np.isfinite(lengths).all() and (lengths >= 0).all()):
        raise ArenaError("exact.range", "distances that are negative or no number", "all must be finite and >= 0")
    return lengths


def _integers(values: ArrayLike, name: str) -> Integers:
    found = np.asarray(values)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer) or (found < 0).any():
        raise ArenaError("exact.range", f"{name} of shape {found.shape} and type {found.dtype}", "expected integers >= 0 in a vector")
    return np.ascontiguousarray(found, np.int64)


def _same(n: int, *vectors: Integers) -> None:
    for vector in vectors:
        if len(vector) != n:
            raise ArenaError("exact.shape", f"{len(vector)} entries for {n} nodes", "expected one per node, the depot's first")


@njit(cache=True)
def _reach(dist: Floats, sets: NDArray[np.int32], rows: int, limit: float) -> Floats:
    """[rows, m] the shortest way from node 0 through all of a set to an end in it; inf where it and the way home exceed `limit`.

    sets [2^m]: row of a set, -1 where it is left out (then so must be every set that contains it). Columns are nodes less 1.
    """
    m = len(dist) - 1
    reach = np.full((rows, m), np.inf)
    member = np.empty(m, np.int64)
    for whole in range(1, 1 << m):
        row = sets[whole]
        if row < 0:
            continue
        size = 0
        for j in range(m):
            if whole >> j & 1:
                member[size] = j
                size += 1
        for a in range(size):
            end = member[a]
            if size == 1:
                length = dist[0, end + 1]
            else:
                before = sets[whole ^ (1 << end)]
                length = np.inf
                for b in range(size):
                    if b != a:
                        length = min(length, reach[before, member[b]] + dist[member[b] + 1, end + 1])
            if length + dist[end + 1, 0] <= limit:
                reach[row, end] = length
    return reach


@njit(cache=True)
def _trace(dist: Floats, sets: NDArray[np.int32], reach: Floats, whole: int, end: int) -> Integers:
    """The order of the way through the set `whole` to `end`, read back from the table: the sums are those that made it, so equality is exact."""
    m = len(dist) - 1
    order = np.empty(m, np.int64)
    at = m
    while True:
        at -= 1
        order[at] = end + 1
        before = whole ^ (1 << end)
        if before == 0:
            return order[at:].copy()
        length = reach[sets[whole], end]
        for k in range(m):
            if before >> k & 1 and reach[sets[before], k] + dist[k + 1, end + 1] == length:
                whole, end = before, k
                break


@njit(cache=True)
def _richest(dist: Floats, reach: Floats, prize: Integers) -> tuple[int, int]:
    """(set, end) of the most prize within reach, of equal ones the shortest tour; (0, 0) for staying at node 0."""
    m = len(dist) - 1
    value = np.zeros(1 << m, np.int64)
    most, shortest, best, at = 0, 0.0, 0, 0
    for whole in range(1, 1 << m):
        low = 0
        while not whole >> low & 1:
            low += 1
        value[whole] = value[whole ^ (1 << low)] + prize[low + 1]
        if value[whole] >= most:
            for end in range(m):
                tour = reach[whole, end] + dist[end + 1, 0]
                if tour < (np.inf if value[whole] > most else shortest):
                    most, shortest, best, at = value[whole], tour, whole, end
    return best, at


@njit(cache=True)
def _loads(demand: Integers, capacity: int) -> tuple[NDArray[np.int32], int]:
    """[2^m] a row for each set of customers one vehicle can carry, -1 for the others; and how many rows."""
    m = len(demand)
    sets, load = np.full(1 << m, -1, np.int32), np.zeros(1 << m, np.int64)
    count = 1
    sets[0] = 0
    for whole in range(1, 1 << m):
        low = 0
        while not whole >> low & 1:
            low += 1
        load[whole] = load[whole ^ (1 << low)] + demand[low]
        if load[whole] <= capacity:
            sets[whole] = count
            count += 1
    return sets, count


@njit(cache=True)
def _join(route: Floats) -> tuple[float, list[int]]:
    """The cheapest routes that together hold every customer once: their cost, and their sets. route [2^m]: cost of each, inf where too heavy."""
    full = len(route) - 1
    cost, last = np.full(full + 1, np.inf), np.zeros(full + 1, np.int64)
    cost[0] = 0.0
    for served in range(full):
        if cost[served] == np.inf:
            continue
        unserved = full ^ served
        first = unserved & -unserved
        rest = unserved ^ first
        more = rest
        while True:  # every subset of the rest, in falling order
            total = cost[served] + route[first | more]
            if total < cost[served | first | more]:
                cost[served | first | more], last[served | first | more] = total, first | more
            if more == 0:
                break
            more = (more - 1) & rest
    chosen, served = [last[full]], full ^ last[full]
    while served:
        chosen.append(last[served])
        served ^= last[served]
    return cost[full], chosen[::-1]


# ---- knapsack -----------------------------------------------------------------------------------------------------------


def knapsack(value: ArrayLike, weight: ArrayLike, capacity: int) -> tuple[int, Integers]:
    """The most value that fits and its items in ascending order; value, weight [n] integers >= 0. Time n x capacity, memory as many bytes."""
    values, weights = _integers(value, "value"), _integers(weight, "weight")
    _same(len(values), weights)
    if capacity < 0:
        raise ArenaError("exact.range", f"a capacity of {capacity}", "it must be at least 0")
    return _pack(values, weights, min(int(capacity), int(weights.sum())))


@njit(cache=True)
def _pack(value: Integers, weight: Integers, capacity: int) -> tuple[int, Integers]:
    most, taken = np.zeros(capacity + 1, np.int64), np.zeros((len(value), capacity + 1), np.bool_)
    for i in range(len(value)):
        for room in range(capacity, weight[i] - 1, -1):
            with_it = most[room - weight[i]] + value[i]
            if with_it > most[room]:
                most[room], taken[i, room] = with_it, True
    items, room = np.zeros(len(value), np.bool_), capacity
    for i in range(len(value) - 1, -1, -1):
        if taken[i, room]:
            items[i] = True
            room -= weight[i]
    return most[capacity], np.nonzero(items)[0]


# ---- asymmetric tours of a hundred nodes --------------------------------------------------------------------------------


def asymmetric(matrix: ArrayLike, order: ArrayLike, effort: float = 60.0) -> tuple[int, Integers, bool]:
    """Cost, order [n-1] and whether it is proven shortest, from a good tour `order` [n-1]; matrix [n, n] integers >= 0.

    A shorter tour can hold no arc whose reduced cost in the assignment problem reaches the gap between that problem and the tour
    (Carpaneto, Dell'Amico and Toth, ACM TOMS 21, 1995); over the arcs that are left CP-SAT looks for one. `effort`: its deterministic
    seconds, not the clock's: the same result on every machine. Needs OR-Tools.
    """
    from ortools.sat.python import cp_model

    costs, found = np.ascontiguousarray(matrix, np.int64), np.asarray(order, np.int64)
    n = len(costs)
    if costs.shape != (n, n) or (costs < 0).any() or not np.array_equal(np.sort(found), np.arange(1, n)):
        raise ArenaError("exact.shape", f"a matrix of shape {costs.shape} and an order of {len(found)} nodes", "expected [n, n] >= 0 and 1..n-1")
    tour = np.concatenate(([0], found, [0]))
    upper = int(costs[tour[:-1], tour[1:]].sum())
    bound, reduced = assignment(costs)
    tails, heads = np.nonzero((reduced < upper - bound) & ~np.eye(n, dtype=bool))
    if bound >= upper:
        return upper, found, True
    model = cp_model.CpModel()
    arcs = [(int(i), int(j), model.new_bool_var("")) for i, j in zip(tails, heads, strict=True)]
    model.add_circuit(arcs)
    length = sum(int(costs[i, j]) * chosen for i, j, chosen in arcs)
    model.add(length <= upper - 1)
    model.minimize(length)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers, solver.parameters.random_seed, solver.parameters.max_deterministic_time = 1, 0, effort
    status = solver.solve(model)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        after = {i: j for i, j, chosen in arcs if solver.boolean_value(chosen)}
        tour = [0]
        while after[tour[-1]]:
            tour.append(after[tour[-1]])
        found, upper = np.array(tour[1:], np.int64), round(solver.objective_value)
    return upper, found, status in (cp_model.OPTIMAL, cp_model.INFEASIBLE)


def assignment(costs: Integers) -> tuple[int, Integers]:
    """Value of the assignment problem without the diagonal, a bound on every tour, and its reduced costs [n, n] >= 0, exact in integers.

    The potentials follow from the assignment: shortest ways in the graph where it is turned round (no cycle there is negative).
    """
    n = len(costs)
    barred = costs + np.eye(n, dtype=np.int64) * (int(costs.max()) * n + 1)
    rows, assigned = linear_sum_assignment(barred)
    own = barred[rows, assigned]
    column = np.zeros(n, np.int64)
    for _ in range(n):
        lower = np.minimum(column, (column[assigned][:, None] + barred - own[:, None]).min(0))
        if np.array_equal(lower, column):
            break
        column = lower
    row = own - column[assigned]
    return int(own.sum()), barred - row[:, None] - column
