"""Routes: feasible and never longer, the savings rule against plain Python, an optimum by force, the figures of the shared sets."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.combinatorial.savings import improve_routes, routes_length, savings_routes, sweep_routes
from domains.combinatorial.exact import vehicle_routing

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial" / "synthetic"
SEEDS = st.integers(0, 2**32 - 1)


def euclidean(points):
    return np.sqrt(((points[:, None] - points) ** 2).sum(-1))


def instance(n, seed, grid=False):
    """Points, distances, demands (some 0) and a capacity that any customer fits in."""
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, (n, 2)).astype(float) if grid else rng.random((n, 2))
    demand = np.append(0, rng.integers(0, 10, n - 1))
    return points, euclidean(points), demand, int(rng.integers(9, 45))


def feasible(routes, demand, capacity):
    return sorted(np.concatenate(routes).tolist()) == list(range(1, len(demand))) and all(demand[route].sum() <= capacity for route in routes)


@settings(max_examples=40)
@given(n=st.integers(2, 40), seed=SEEDS, grid=st.booleans())
def test_routes_are_feasible_and_improvement_never_lengthens_them(n, seed, grid):
    points, matrix, demand, capacity = instance(n, seed, grid)
    singles = [np.array([customer]) for customer in range(1, n)]
    for start in (savings_routes(matrix, demand, capacity), sweep_routes(points, matrix, demand, capacity), singles):
        given_ = [route.copy() for route in start]
        found = improve_routes(matrix, demand, capacity, start)
        inside = improve_routes(matrix, demand, capacity, start, across=False)
        assert all(feasible(routes, demand, capacity) for routes in (start, found, inside))
        assert max(routes_length(matrix, found), routes_length(matrix, inside)) <= routes_length(matrix, start) + 1e-9
        assert sorted(map(sorted, inside)) == sorted(map(sorted, start))  # customers keep their vehicle
        assert all(np.array_equal(a, b) for a, b in zip(start, given_, strict=True))
    assert routes_length(matrix, savings_routes(matrix, demand, capacity)) <= routes_length(matrix, singles) + 1e-9


def plain_savings(matrix, demand, capacity):
    """The rule, on lists of customers."""
    n = len(matrix)
    routes = {customer: [customer] for customer in range(1, n)}
    pairs = sorted(itertools.combinations(range(1, n), 2), key=lambda pair: -(matrix[0, pair[0]] + matrix[0, pair[1]] - matrix[pair]))
    for i, j in pairs:
        a, b = routes[i], routes[j]
        if matrix[0, i] + matrix[0, j] - matrix[i, j] <= 0 or a is b or demand[a + b].sum() > capacity:
            continue
        if i in (a[0], a[-1]) and j in (b[0], b[-1]):
            joined = (a if a[-1] == i else a[::-1]) + (b if b[0] == j else b[::-1])
            routes |= dict.fromkeys(joined, joined)
    return list({id(route): route for route in routes.values()}.values())


@settings(max_examples=60)
@given(n=st.integers(2, 25), seed=SEEDS)
def test_the_savings_rule_reads_as_in_plain_python(n, seed):
    _, matrix, demand, capacity = instance(n, seed)
    found, plain = savings_routes(matrix, demand, capacity), plain_savings(matrix, demand, capacity)
    assert sorted(min(route.tolist(), route[::-1].tolist()) for route in found) == sorted(min(route, route[::-1]) for route in plain)


@settings(max_examples=25)
@given(n=st.integers(4, 9), seed=SEEDS)
def test_nothing_beats_the_optimum_and_no_simple_exchange_is_left(n, seed):
    points, matrix, demand, capacity = instance(n, seed)
    found = improve_routes(matrix, demand, capacity, savings_routes(matrix, demand, capacity), k=n)
    length = routes_length(matrix, found)
    assert length >= vehicle_routing(matrix, demand, capacity)[0] - 1e-9
    for a, b in itertools.permutations(range(len(found)), 2):  # relocate one customer; swap two
        for i in range(len(found[a])):
            for j in range(len(found[b]) + 1):
                moved = [np.delete(found[a], i), np.insert(found[b], j, found[a][i])]
                rest = [route for r, route in enumerate(found) if r not in (a, b)]
                if demand[moved[1]].sum() <= capacity:
                    assert routes_length(matrix, [*moved, *rest]) >= length - 1e-8
            for j in range(len(found[b])):
                one, two = found[a].copy(), found[b].copy()
                one[i], two[j] = found[b][j], found[a][i]
                if max(demand[one].sum(), demand[two].sum()) <= capacity:
                    rest = [route for r, route in enumerate(found) if r not in (a, b)]
                    assert routes_length(matrix, [one, two, *rest]) >= length - 1e-8


def test_a_sweep_goes_round_the_depot():
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    points = np.concatenate(([[0.0, 0.0]], np.stack((np.cos(angles), np.sin(angles)), 1)))
    routes = sweep_routes(points, euclidean(points), np.append(0, np.ones(8, np.int64)), 4)
    assert sorted(map(len, routes)) == [4, 4]
    assert routes_length(euclidean(points), routes) == pytest.approx(4 + 6 * 2 * np.sin(np.pi / 8))


@pytest.mark.skipif(not DATA.exists(), reason=f"no solved instances: {DATA} is absent (set ARENA_DATA)")
@pytest.mark.parametrize(("n", "rows", "alone", "improved"), [(200, 24, 0.074, 0.055), (500, 8, 0.068, 0.055), (1000, 2, 0.110, 0.09)])
def test_figures_of_the_shared_sets(n, rows, alone, improved):
    """Parallel savings alone: 7.4, 6.8 and 11.0 % above the stored solutions (first 64, 16 and 4)."""
    with np.load(DATA / f"cvrp{n}_0-63.npz", allow_pickle=False) as shared:
        points, demands, capacities, stored = (shared[name][:rows] for name in ("coords", "demand", "capacity", "length"))
    gaps = []
    for coords, demand, capacity, best in zip(points.astype(float), demands.astype(np.int64), capacities, stored, strict=True):
        matrix = euclidean(coords)
        routes = savings_routes(matrix, demand, int(capacity))
        better = improve_routes(matrix, demand, int(capacity), routes)
        assert feasible(better, demand, capacity)
        gaps.append((routes_length(matrix, routes) / best - 1, routes_length(matrix, better) / best - 1))
    found = np.mean(gaps, 0)
    assert found[0] == pytest.approx(alone, abs=0.012) and found[1] < improved


def test_routes_of_tiny_instances_come_near_the_optimum():
    ratios = []
    for seed in range(6):
        _, matrix, demand, capacity = instance(12, seed)
        found = improve_routes(matrix, demand, capacity, savings_routes(matrix, demand, capacity))
        ratios.append(routes_length(matrix, found) / vehicle_routing(matrix, demand, capacity)[0])
    assert 1 - 1e-9 <= min(ratios) and np.mean(ratios) <= 1.03
