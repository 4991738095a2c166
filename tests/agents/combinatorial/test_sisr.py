"""SISR: routes that serve everyone within the capacity, the optimum of few customers, better the longer it runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.combinatorial.savings import improve_routes, routes_length, savings_routes
from agents.combinatorial.sisr import Sisr
from arena.errors import ArenaError
from domains.combinatorial.exact import vehicle_routing
from domains.combinatorial.ruin import ruin_and_recreate
from domains.combinatorial.scenarios import drawn

SEEDS = st.integers(0, 2**32 - 1)


def euclidean(points):
    return np.sqrt(((points[:, None] - points) ** 2).sum(-1))


@settings(max_examples=60)
@given(n=st.integers(1, 30), seed=SEEDS, iterations=st.sampled_from([0, 1, 50]), grid=st.booleans(), asymmetric=st.booleans())
def test_everyone_is_served_once_within_the_capacity(n, seed, iterations, grid, asymmetric):
    rng = np.random.default_rng(seed)
    matrix = euclidean(rng.integers(0, 4, (n, 2)) / 4 if grid else rng.random((n, 2)))
    if asymmetric:
        matrix = matrix * rng.uniform(0.5, 1.5, matrix.shape)
    demand = np.append(0, rng.integers(0, 10, n - 1))
    capacity = int(rng.integers(9, 40))
    routes = ruin_and_recreate(matrix, demand, capacity, iterations, seed)
    assert sorted(int(node) for route in routes for node in route) == list(range(1, n))
    assert all(len(route) and demand[route].sum() <= capacity for route in routes)
    again = ruin_and_recreate(matrix, demand, capacity, iterations, seed)
    assert [route.tolist() for route in routes] == [route.tolist() for route in again]


@settings(max_examples=25)
@given(n=st.integers(2, 10), seed=SEEDS)
def test_few_customers_are_solved_to_the_optimum(n, seed):
    rng = np.random.default_rng(seed)
    matrix, demand = euclidean(rng.random((n, 2))), np.append(0, rng.integers(1, 10, n - 1))
    routes = ruin_and_recreate(matrix, demand, 20, 3000, seed)
    assert routes_length(matrix, routes) == pytest.approx(vehicle_routing(matrix, demand, 20)[0], rel=1e-9)


def test_longer_searches_find_shorter_routes_whatever_the_unit_of_length():
    """Ten instances of 100: far below savings with exchanges, and the same routes in another unit."""
    arrays = drawn("cvrp", 100, range(10))
    total = {iterations: 0.0 for iterations in (1000, 30_000)}
    ours = 0.0
    for coords, demand, capacity in zip(arrays["coords"], arrays["demand"], arrays["capacity"].tolist(), strict=True):
        matrix = euclidean(coords)
        for iterations in total:
            total[iterations] += routes_length(matrix, ruin_and_recreate(matrix, demand, capacity, iterations, 0))
        ours += routes_length(matrix, improve_routes(matrix, demand, capacity, savings_routes(matrix, demand, capacity)))
    assert total[30_000] < 0.985 * total[1000] and total[30_000] < 0.985 * ours
    one, scaled = (ruin_and_recreate(unit * matrix, demand, capacity, 1000, 0) for unit in (1, 1024))  # powers of 2 round alike
    assert [route.tolist() for route in one] == [route.tolist() for route in scaled]


def test_a_negative_effort_is_refused():
    with pytest.raises(ArenaError, match="iterations = -1"):
        Sisr(-1)
