"""Solvers of others: their answers against exact optima, integers that keep what they stand for, errors where they cannot serve."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.combinatorial.solvers import Lkh
from arena.errors import ArenaError
from arena.task import Task
from domains.combinatorial import solvers
from domains.combinatorial.exact import held_karp, orienteering, vehicle_routing
from domains.combinatorial.kernel import Combinatorial
from domains.combinatorial.solvers import LKH_MOST, UNIT, in_integers, lkh_tour, pyvrp_orienteering, pyvrp_routes, pyvrp_tour

SEEDS = st.integers(0, 2**32 - 1)


def euclidean(points):
    return np.sqrt(((points[:, None] - points) ** 2).sum(-1))


def length(matrix, order):
    return matrix[np.append(0, order), np.append(order, 0)].sum()


@settings(max_examples=20)
@given(n=st.integers(2, 9), seed=SEEDS, whole=st.booleans())
def test_lkh_and_pyvrp_find_the_optimum_of_few_nodes(n, seed, whole):
    rng = np.random.default_rng(seed)
    matrix = euclidean(rng.random((n, 2)))
    matrix = np.floor(1000 * matrix + 0.5) if whole else matrix
    best = held_karp(matrix)[0]
    assert length(matrix, lkh_tour(matrix)) == pytest.approx(best, abs=1e-5)
    assert length(matrix, pyvrp_tour(matrix, 100)) == pytest.approx(best, abs=1e-5)
    one_way = rng.integers(1, 1000, (n, n)).astype(float)
    assert length(one_way, lkh_tour(one_way)) == held_karp(one_way)[0]


@settings(max_examples=15)
@given(n=st.integers(2, 8), seed=SEEDS)
def test_pyvrp_finds_the_optimum_of_few_customers(n, seed):
    rng = np.random.default_rng(seed)
    matrix, demand, capacity = euclidean(rng.random((n, 2))), np.append(0, rng.integers(1, 10, n - 1)), int(rng.integers(9, 20))
    routes = pyvrp_routes(matrix, demand, capacity, 300, seed % 1000)
    assert sorted(np.concatenate(routes).tolist()) == list(range(1, n)) and all(demand[route].sum() <= capacity for route in routes)
    assert sum(length(matrix, route) for route in routes) == pytest.approx(vehicle_routing(matrix, demand, capacity)[0], rel=1e-5)
    prize, budget = np.append(0, rng.integers(1, 100, n - 1)), float(rng.uniform(0.5, 2.0))
    order = pyvrp_orienteering(matrix, prize, budget, 300)
    assert length(matrix, order) <= budget + 1e-9 and prize[order].sum() == orienteering(matrix, prize, budget)[0]


def test_effort_and_seed_alone_make_the_result():
    rng = np.random.default_rng(0)
    matrix, demand = euclidean(rng.random((40, 2))), np.append(0, rng.integers(1, 10, 39))
    one, again = (pyvrp_routes(matrix, demand, 30, 30, seed=5) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert np.array_equal(lkh_tour(matrix), lkh_tour(matrix))


@settings(max_examples=50)
@given(n=st.integers(2, 8), seed=SEEDS, scale=st.sampled_from([1.0, 1e3, 1e6, 1e9]))
def test_integers_stay_within_their_range_and_near_what_they_stand_for(n, seed, scale):
    matrix = scale * euclidean(np.random.default_rng(seed).random((n, 2)))
    for up in (False, True):
        lengths, unit = in_integers(matrix, LKH_MOST, up)
        assert lengths.dtype == np.int64 and lengths.max() <= LKH_MOST + 1 and unit <= UNIT
        assert np.abs(lengths / unit - matrix).max() <= (1.0 if up else 0.5) / unit * (1 + 1e-6)
        assert not up or (lengths / unit >= matrix - 1e-5 / unit - 1e-15 * scale).all()
    whole = np.floor(matrix / scale * 1000)
    assert np.array_equal(in_integers(whole, LKH_MOST)[0], whole) and in_integers(whole, LKH_MOST)[1] == 1.0


def test_the_diagonal_is_ignored():
    matrix = np.array([[9999999.0, 2, 3], [2, 100000000, 4], [3, 4, 0]])
    assert in_integers(matrix, LKH_MOST)[0].tolist() == [[0, 2, 3], [2, 0, 4], [3, 4, 0]]


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_distances_that_are_none_are_refused(bad):
    with pytest.raises(ArenaError, match="negative or no number") as caught:
        lkh_tour(np.array([[0.0, bad, 1], [1, 0, 1], [1, 1, 0]]))
    assert caught.value.code == "solver.range"


def test_whole_distances_beyond_the_range_are_refused():
    with pytest.raises(ArenaError, match="20000000") as caught:
        lkh_tour(np.array([[0.0, 2e7, 1], [1, 0, 1], [1, 1, 0]]))
    assert caught.value.code == "solver.range"


def test_what_pyvrp_cannot_serve_ends_in_an_error_and_not_in_a_loop(monkeypatch):
    monkeypatch.setattr(solvers, "AGAIN", 2)
    with pytest.raises(ArenaError, match="in 10 iterations") as caught:
        pyvrp_routes(1.0 - np.eye(3), np.array([0, 5, 50]), 9, 5)
    assert caught.value.code == "solver.infeasible"


def test_without_elkai_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "elkai", None)
    task = Task("combinatorial/toy-v1", Combinatorial("tsp", 5), "tiny", 1, {}, lambda task: {})
    for call in (lambda: lkh_tour(1.0 - np.eye(5)), lambda: Lkh().check(task.view)):
        with pytest.raises(ArenaError, match="LKH is not installed") as caught:
            call()
        assert caught.value.code == "agent.missing" and "[lkh]" in caught.value.hint and "non-commercial" in caught.value.hint
