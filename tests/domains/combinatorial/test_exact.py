"""The exact solvers against brute force over permutations and subsets, against each other and against other people's solvers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, linear_sum_assignment, milp

from arena.errors import ArenaError
from domains.combinatorial.checker import evaluate
from domains.combinatorial.distances import tolerance
from domains.combinatorial.exact import assignment, asymmetric, held_karp, knapsack, orienteering, vehicle_routing
from domains.combinatorial.scenarios import atsp, cvrp, generator, instances, kp_hard, op

Array = NDArray[np.int64]


@st.composite
def integer_distances(draw: st.DrawFn, most: int, symmetric: bool = False, least: int = 1) -> Array:
    """[n, n] small integers, zeros and ties among them; the triangle inequality need not hold."""
    n = draw(st.integers(least, most))
    matrix = np.array(draw(st.lists(st.integers(0, 20), min_size=n * n, max_size=n * n)), np.int64).reshape(n, n)
    np.fill_diagonal(matrix, 0)
    return np.maximum(matrix, matrix.T) if symmetric else matrix


def closed(dist: Array, order: Array) -> int:
    nodes = [0, *order, 0]
    return sum(dist[a, b] for a, b in itertools.pairwise(nodes))


def routed(dist: Array, demand: Array, capacity: int, order: Array, via: NDArray[np.bool_]) -> int:
    """The length of the routes, which must each fit."""
    routes = np.split(np.asarray(order), np.nonzero(via)[0])
    assert all(demand[route].sum() <= capacity for route in routes)
    return sum(closed(dist, route) for route in routes)


# ---- brute force --------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(integer_distances(7))
def test_held_karp_is_the_shortest_of_all_permutations(dist: Array) -> None:
    cost, order = held_karp(dist)
    assert sorted(order) == list(range(1, len(dist)))
    assert cost == closed(dist, order) == min(closed(dist, p) for p in itertools.permutations(range(1, len(dist))))


@settings(max_examples=60)
@given(integer_distances(6), st.integers(0, 80), st.data())
def test_orienteering_is_the_richest_of_all_ordered_subsets(dist: Array, budget: int, data: st.DataObject) -> None:
    n = len(dist)
    prize = np.array(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    value, order = orienteering(dist, prize, float(budget))
    tours = [p for k in range(n) for p in itertools.permutations(range(1, n), k)]

    def allowed(tour: tuple[int, ...]) -> bool:  # the kernel's rule: home within the budget from every node on the way
        return all(closed(dist, tour[:k]) <= budget for k in range(1, len(tour) + 1))

    most = max(int(prize[list(tour)].sum() + prize[0]) for tour in tours if allowed(tour))
    assert value == most == prize[order].sum() + prize[0]
    assert allowed(tuple(order)) and len(set(order)) == len(order) and 0 not in order
    lengths = [closed(dist, tour) for tour in tours if allowed(tour) and prize[list(tour)].sum() + prize[0] == most]
    assert closed(dist, order) == min(lengths)


@settings(max_examples=30)
@given(integer_distances(6, least=2), st.integers(5, 20), st.data())
def test_vehicle_routing_is_the_cheapest_of_all_orders_and_cuts(dist: Array, capacity: int, data: st.DataObject) -> None:
    n = len(dist)
    demand = np.array([0, *data.draw(st.lists(st.integers(0, 5), min_size=n - 1, max_size=n - 1))])
    cost, order, via = vehicle_routing(dist, demand, capacity)
    assert sorted(order) == list(range(1, n)) and not via[0]
    assert cost == routed(dist, demand, capacity, order, via)
    best = np.inf
    for nodes in itertools.permutations(range(1, n)):  # and of each order the best cuts
        upto = [0.0] + [np.inf] * len(nodes)
        for end in range(1, len(nodes) + 1):
            for start in range(end):
                part = nodes[start:end]
                if demand[list(part)].sum() <= capacity:
                    upto[end] = min(upto[end], upto[start] + closed(dist, part))
        best = min(best, upto[-1])
    assert cost == best


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8), st.integers(0, 120))
def test_knapsack_is_the_best_of_all_subsets(pairs: list[tuple[int, int]], capacity: int) -> None:
    value, weight = np.array(pairs).T
    most, items = knapsack(value, weight, capacity)
    subsets = [np.array(subset, bool) for subset in itertools.product((0, 1), repeat=len(pairs))]
    assert most == max(value[subset].sum() for subset in subsets if weight[subset].sum() <= capacity)
    assert value[items].sum() == most and weight[items].sum() <= capacity and len(set(items)) == len(items)


@settings(max_examples=30)
@given(integer_distances(7, least=3), st.randoms(use_true_random=False))
def test_asymmetric_proves_the_shortest_from_any_tour(dist: Array, random: object) -> None:
    start = list(range(1, len(dist)))
    random.shuffle(start)  # type: ignore[attr-defined]
    cost, order, proven = asymmetric(dist, np.array(start))
    assert proven and cost == closed(dist, order) == held_karp(dist)[0]
    assert sorted(order) == list(range(1, len(dist)))


@settings(max_examples=60)
@given(integer_distances(8, least=2))
def test_reduced_costs_bound_every_tour_that_holds_an_arc(dist: Array) -> None:
    bound, reduced = assignment(dist)
    barred = dist + np.eye(len(dist), dtype=np.int64) * 10_000
    rows, columns = linear_sum_assignment(barred)
    assert bound == barred[rows, columns].sum() and (reduced >= 0).all() and (reduced[rows, columns] == 0).all()
    for tour in itertools.islice(itertools.permutations(range(1, len(dist))), 200):
        nodes = [0, *tour, 0]
        assert closed(dist, tour) == bound + sum(reduced[a, b] for a, b in itertools.pairwise(nodes))


# ---- against each other, at full size -------------------------------------------------------------------------------------


def test_one_vehicle_for_all_is_a_travelling_salesman_and_a_long_budget_collects_all() -> None:
    made = cvrp(generator(7), 20)
    dist = np.hypot(*(made["coords"][:, None] - made["coords"]).transpose(2, 0, 1))
    cost, order = held_karp(dist)
    routes, served, via = vehicle_routing(dist, made["demand"], int(made["demand"].sum()))
    assert routes == pytest.approx(cost, rel=1e-12) and not via.any() and sorted(served) == sorted(order)
    prize = np.arange(21)
    assert orienteering(dist, prize, cost)[0] == prize.sum()
    value, short = orienteering(dist, prize, cost - 1e-6)
    assert value == prize.sum() - 1  # only the cheapest must go
    assert closed(dist, short) <= cost - 1e-6 + tolerance(cost)


def test_the_checker_agrees_on_generated_instances_of_twenty() -> None:
    made = cvrp(generator(3), 20)
    scenario = instances(**{name: array[None] for name, array in made.items()})
    dist = np.hypot(*(made["coords"][:, None] - made["coords"]).transpose(2, 0, 1))
    cost, order, via = vehicle_routing(dist, made["demand"], int(made["capacity"]))
    found = evaluate("cvrp", scenario, torch.from_numpy(order)[None], torch.from_numpy(via)[None])
    assert bool(found.feasible) and float(found.cost) == pytest.approx(cost, rel=1e-12)
    made = op(generator(3), 20)
    scenario = instances(**{name: array[None] for name, array in made.items()})
    dist = np.hypot(*(made["coords"][:, None] - made["coords"]).transpose(2, 0, 1))
    value, order = orienteering(dist, made["prize"], float(made["budget"]))
    judged = evaluate("op", scenario, torch.from_numpy(order)[None])
    assert bool(judged.feasible) and float(judged.cost) == value


def test_asymmetric_tours_of_twenty_agree_with_held_karp() -> None:
    for seed in range(3):
        matrix = np.rint(atsp(generator(seed), 20)["matrix"] * 1e6).astype(np.int64)
        cost, order, proven = asymmetric(matrix, np.arange(1, 20))
        assert proven and cost == closed(matrix, order) == held_karp(matrix)[0]


# ---- against other people's solvers ---------------------------------------------------------------------------------------


def test_asymmetric_tours_of_sixty_meet_a_mixed_integer_program() -> None:
    matrix = np.rint(atsp(generator(5), 60)["matrix"] * 1e6).astype(np.int64)
    cost, order, proven = asymmetric(matrix, np.arange(1, 60))
    assert proven and cost == closed(matrix, order)
    assert cost == _by_subtours(matrix)


def _by_subtours(matrix: Array) -> int:
    """The shortest tour by an integer program in which subtours are forbidden as they come up."""
    n = len(matrix)
    arcs = np.ones((n, n)) - np.eye(n)
    out = np.kron(np.eye(n), np.ones(n))
    into = np.kron(np.ones(n), np.eye(n))
    rows, high = [*out, *into], [1.0] * 2 * n
    while True:
        found = milp(matrix.ravel(), integrality=np.ones(n * n), bounds=(0, arcs.ravel()), constraints=LinearConstraint(np.array(rows), 1.0, high))
        after = found.x.reshape(n, n).argmax(1)
        left, cycles = set(range(n)), []
        while left:
            node, cycle = left.pop(), []
            while not cycle or node != cycle[0]:
                cycle.append(node)
                node = int(after[node])
            left -= set(cycle)
            cycles.append(cycle)
        if len(cycles) == 1:
            return round(found.fun)
        for cycle in cycles:
            inside = np.isin(np.arange(n), cycle)
            rows.append((inside[:, None] & ~inside).ravel().astype(float))
            high.append(np.inf)


@pytest.mark.parametrize("kind", range(3))
def test_hard_knapsacks_agree_with_branch_and_bound(kind: int) -> None:
    solvers = pytest.importorskip("ortools.algorithms.python.knapsack_solver", reason="OR-Tools is not installed")
    made = kp_hard(generator(kind), 200, kind, 37)
    value, items = knapsack(made["prize"], made["demand"], int(made["capacity"]))
    solver = solvers.KnapsackSolver(solvers.SolverType.KNAPSACK_DYNAMIC_PROGRAMMING_SOLVER, "oracle")
    solver.init(made["prize"].tolist(), [made["demand"].tolist()], [int(made["capacity"])])
    assert value == solver.solve() == made["prize"][items].sum()


# ---- what is refused ------------------------------------------------------------------------------------------------------


def test_what_no_solver_can_do_is_refused() -> None:
    with pytest.raises(ArenaError, match="22 nodes"):
        held_karp(np.ones((22, 22)))
    with pytest.raises(ArenaError, match="negative"):
        held_karp([[0, -1], [1, 0]])
    with pytest.raises(ArenaError, match="shape"):
        held_karp(np.zeros((2, 3)))
    with pytest.raises(ArenaError, match="customer 1 wants 9"):
        vehicle_routing(np.ones((2, 2)), np.array([0, 9]), 8)
    with pytest.raises(ArenaError, match="3 entries for 2 nodes"):
        orienteering(np.ones((2, 2)), np.array([0, 1, 2]), 1.0)
    with pytest.raises(ArenaError, match="float64"):
        knapsack(np.array([1.5]), np.array([1]), 1)
    with pytest.raises(ArenaError, match="capacity of -1"):
        knapsack(np.array([1]), np.array([1]), -1)
    with pytest.raises(ArenaError, match="an order of 1 nodes"):
        asymmetric(np.ones((3, 3)), np.array([1]))
