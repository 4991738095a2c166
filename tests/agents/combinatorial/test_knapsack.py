"""Knapsacks: dynamic programming, branch and bound and OR-Tools agree; force over all subsets; the hard classes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.algorithms.python import knapsack_solver

from agents.combinatorial import knapsack as module
from agents.combinatorial.knapsack import DynamicProgramming, branch_and_bound
from agents.combinatorial.planner import read
from arena.errors import ArenaError
from domains.combinatorial.exact import knapsack
from domains.combinatorial.kernel import Combinatorial
from domains.combinatorial.scenarios import drawn, drawn_hard, instances

ITEMS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=10)


@settings(max_examples=60)
@given(items=ITEMS, capacity=st.integers(0, 100))
def test_few_items_are_packed_as_by_force(items, capacity):
    value, weight = np.array(items, np.int64).T
    subsets = itertools.product((0, 1), repeat=len(items))
    best = max(np.dot(chosen, value) for chosen in subsets if np.dot(chosen, weight) <= capacity)
    found, chosen, proven = branch_and_bound(value, weight, capacity, 10**6)
    assert found == best == value[chosen].sum() and weight[chosen].sum() <= capacity and proven
    assert sorted(set(chosen.tolist())) == chosen.tolist()
    assert knapsack(value, weight, capacity)[0] == best


def ortools(value, weight, capacity):
    """The most value, as OR-Tools' own branch and bound has it."""
    solver = knapsack_solver.KnapsackSolver(knapsack_solver.SolverType.KNAPSACK_MULTIDIMENSION_BRANCH_AND_BOUND_SOLVER, "knapsack")
    solver.init(value.tolist(), [weight.tolist()], [capacity])
    return solver.solve()


def test_uniform_items_are_solved_and_proven():
    arrays = drawn("kp", 100, range(5))
    for value, weight, capacity in zip(arrays["prize"], arrays["demand"], arrays["capacity"].tolist(), strict=True):
        found, _, proven = branch_and_bound(value, weight, capacity, 10**6)
        assert proven and found == ortools(value, weight, capacity) == knapsack(value, weight, capacity)[0]


@pytest.mark.parametrize("index", [50, 150, 250])
def test_of_hard_classes_the_tree_is_cut_and_the_packing_still_good(index):
    arrays = drawn_hard(200, [index], [index])
    value, weight, capacity = arrays["prize"][0], arrays["demand"][0], int(arrays["capacity"][0])
    exact = knapsack(value, weight, capacity)[0]
    found, chosen, proven = branch_and_bound(value, weight, capacity, 20_000)
    assert proven == (index == 250)  # subset sum is easy: the bound is soon met
    assert 0.99 * exact <= found <= exact and weight[chosen].sum() <= capacity and value[chosen].sum() == found
    fewer, _, _ = branch_and_bound(value, weight, capacity, 1)
    assert fewer <= found


def test_a_table_too_large_is_refused_and_says_what_to_do(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    scenario = instances(prize=np.array([[5, 4]]), demand=np.array([[3, 3]]), capacity=np.array([6]), best=1.0)
    domain = Combinatorial("kp", 2)
    seen = read("kp", domain.observe(scenario, domain.reset(scenario)), np.zeros(1, np.int64), np.ones(1, bool))
    with pytest.raises(ArenaError, match="GiB") as caught:
        DynamicProgramming().plan(seen)
    assert caught.value.code == "agent.memory" and "branch and bound" in caught.value.hint
