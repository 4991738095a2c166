"""Insertion: a tour grown by putting one node after another where it costs least (Rosenkrantz, Stearns and Lewis, SIAM J. Computing 6, 1977).

Distances [n, n] float64 need not be symmetric. Random insertion takes the nodes in random order; farthest insertion next the node farthest
from the tour so far.

With vehicles every customer goes into the cheapest place of any route that can still carry it, and begins a route of its own where none can.
There the order is everything: where the triangle inequality holds a new route never pays while another has room, so that in random order
the vehicles fill up one after another, each with customers from everywhere (CVRP1000: 239 % above the best known; nearest neighbour: 30 %).
What is published as random insertion (58 % there: Luo et al., "Boosting Neural Combinatorial Optimization for Large-Scale Vehicle Routing
Problems", ICLR 2025, whose code is that of GLOP, AAAI 2024) is not random but takes the customers by their angle at the depot. Here they come in
the order of a random insertion tour (route first, cluster second: Beasley, Omega 11, 1983), which needs no coordinates: 28 % there.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agents.combinatorial.planner import Plan, Planner, Seen, joined

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def shuffled(n: int, seed: int) -> Integers:
    """The nodes 1..n-1 in random order, from an explicit seed."""
    return 1 + np.random.Generator(np.random.Philox(seed)).permutation(n - 1).astype(np.int64)


def random_insertion(matrix: Floats, seed: int) -> Integers:
    """A tour [n] from node 0: the others in random order, each where it costs least."""
    return _insert(np.ascontiguousarray(matrix, np.float64), shuffled(len(matrix), seed))


def farthest_insertion(matrix: Floats) -> Integers:
    """A tour [n] from node 0: always the node whose way from the nearest node of the tour is longest; ties to the smallest id."""
    return _insert_farthest(np.ascontiguousarray(matrix, np.float64))


def route_insertion(matrix: Floats, demand: Integers, capacity: int, order: Integers) -> list[Integers]:
    """Routes from depot 0 that serve all customers, inserted in the order `order` [n-1]. demand [n], each at most `capacity`."""
    after, first = _insert_routes(np.ascontiguousarray(matrix, np.float64), np.ascontiguousarray(demand, np.int64), int(capacity), order)
    routes = []
    for node in first:
        route = []
        while node:
            route.append(node)
            node = after[node]
        routes.append(np.array(route, np.int64))
    return routes


# ---- agents -----------------------------------------------------------------------------------------------------------


class FarthestInsertion(Planner):
    """Farthest insertion from node 0."""

    problems = ("tsp", "atsp")

    def plan(self, seen: Seen) -> Plan:
        return np.stack([farthest_insertion(seen.distances(row))[1:] for row in range(len(seen))]), None


class RandomInsertion(Planner):
    """Random insertion; for cvrp into the cheapest place of any route with room, in the order of a random insertion tour."""

    problems = ("tsp", "atsp", "cvrp")

    def plan(self, seen: Seen) -> Plan:
        found = []
        for row, seed in enumerate(seen.seeds.tolist()):
            matrix = seen.distances(row)
            tour = random_insertion(matrix, seed)[1:]
            found.append((tour, None) if seen.problem != "cvrp" else joined(route_insertion(matrix, seen.demand[row], int(seen.capacity[row]), tour)))
        order, via = zip(*found, strict=True)
        return np.stack(order), np.stack(via) if seen.problem == "cvrp" else None


# ---- compiled ---------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _place(dist: Floats, after: Integers, node: int) -> None:
    """Insert `node` into the cyclic list `after` from node 0, at the first of its cheapest places."""
    best, here, least = 0, 0, np.inf
    while True:
        there = after[here]
        cost = dist[here, node] + dist[node, there] - dist[here, there]
        if cost < least:
            best, least = here, cost
        here = there
        if here == 0:
            break
    after[node] = after[best]
    after[best] = node


@njit(cache=True)
def _trace(after: Integers) -> Integers:
    tour = np.zeros(len(after), np.int64)
    for t in range(1, len(after)):
        tour[t] = after[tour[t - 1]]
    return tour


@njit(cache=True)
def _insert(dist: Floats, order: Integers) -> Integers:
    after = np.zeros(len(dist), np.int64)
    after[order[0]] = 0
    after[0] = order[0]
    for node in order[1:]:
        _place(dist, after, node)
    return _trace(after)


@njit(cache=True)
def _insert_farthest(dist: Floats) -> Integers:
    n = len(dist)
    after, away = np.zeros(n, np.int64), dist[0].copy()
    away[0] = -1.0
    for size in range(1, n):
        node = np.argmax(away)
        if size == 1:
            after[0], after[node] = node, 0
        else:
            _place(dist, after, node)
        away[node] = -1.0
        for j in range(n):
            if away[j] > dist[node, j]:
                away[j] = dist[node, j]
    return _trace(after)


@njit(cache=True)
def _insert_routes(dist: Floats, demand: Integers, capacity: int, order: Integers) -> tuple[Integers, Integers]:
    """after [n]: the next customer of the same route, 0 behind the last; first [routes]."""
    n = len(dist)
    after, first, load, routes = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64), 0
    for node in order:
        least, best_route, best_place = dist[0, node] + dist[node, 0], routes, 0
        for route in range(routes):
            if load[route] + demand[node] > capacity:
                continue
            here, there = 0, first[route]
            while True:
                cost = dist[here, node] + dist[node, there] - dist[here, there]
                if cost < least:
                    least, best_route, best_place = cost, route, here
                if there == 0:
                    break
                here, there = there, after[there]
        load[best_route] += demand[node]
        if best_place == 0:
            after[node], first[best_route] = first[best_route], node
        else:
            after[node], after[best_place] = after[best_place], node
        routes += best_route == routes
    return after, first[:routes]
