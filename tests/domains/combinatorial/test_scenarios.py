"""The generators: circulated sets, published distributions, and every row a function of its own seed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.errors import ArenaError
from arena.seeds import scenario_seeds
from domains.combinatorial.scenarios import (
    ATSP_UNIT,
    CAPACITY,
    GENERATORS,
    HARD,
    drawn,
    drawn_hard,
    instances,
    known,
)

SHARED = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial" / "synthetic"
SIZES = {"tsp": 20, "atsp": 20, "cvrp": 20, "op": 20, "kp": 50}


@pytest.mark.parametrize("n", [200, 500, 1000])
def test_the_seed_777_sets_are_the_files_in_circulation(n: int) -> None:
    path = SHARED / f"tsp{n}_seed777_0-63.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    with np.load(path, allow_pickle=False) as file:
        assert np.array_equal(known(n)[:64], file["coords"])


def test_the_seed_1234_set() -> None:
    assert known(100).shape == (10_000, 100, 2)
    assert np.array_equal(known(100)[0], np.random.RandomState(1234).uniform(size=(1, 100, 2))[0]), "instances are drawn one after the other"


@pytest.mark.parametrize("problem", SIZES)
@given(rows=st.lists(st.integers(0, 2**128 - 1), min_size=1, max_size=5, unique=True))
@settings(max_examples=10)
def test_a_row_is_a_function_of_its_seed_whatever_the_batch(problem: str, rows: list[int]) -> None:
    whole = drawn(problem, SIZES[problem], rows)
    for i, seed in enumerate(rows):
        alone = drawn(problem, SIZES[problem], [seed])
        assert all(np.array_equal(whole[name][i], alone[name][0]) for name in whole)


def test_vehicle_routing_as_published() -> None:
    found = drawn("cvrp", 100, scenario_seeds("t", "train", range(200)))
    assert found["coords"].shape == (200, 101, 2) and found["demand"].shape == (200, 101)
    customers = found["demand"][:, 1:]
    assert not found["demand"][:, 0].any() and set(np.unique(customers)) == set(range(1, 10)) and abs(customers.mean() - 5) < 0.05
    assert set(found["capacity"]) == {50} and [CAPACITY[n] for n in (20, 50, 100, 200, 500, 1000)] == [30, 40, 50, 80, 100, 250]
    assert 0 <= found["coords"].min() and found["coords"].max() < 1 and abs(found["coords"].mean() - 0.5) < 0.01


def test_asymmetric_matrices_hold_integers_and_the_triangle_inequality() -> None:
    matrix = drawn("atsp", 50, scenario_seeds("t", "train", range(4)))["matrix"]
    whole = np.rint(matrix * ATSP_UNIT).astype(np.int64)
    assert np.array_equal(whole / ATSP_UNIT, matrix) and not np.diagonal(whole, axis1=1, axis2=2).any()
    assert (whole[:, :, None, :] <= whole[:, :, :, None] + whole[:, None, :, :]).all()
    assert not np.array_equal(whole, whole.transpose(0, 2, 1))


def test_prizes_grow_with_the_distance_to_the_depot() -> None:
    found = drawn("op", 100, scenario_seeds("t", "train", range(50)))
    far = np.linalg.norm(found["coords"] - found["coords"][:, :1], axis=-1)
    expected = 1 + np.floor(99 * (far / far.max(1, keepdims=True)))
    expected[:, 0] = 0
    assert np.abs(found["prize"] - expected).max() <= 1 and (found["prize"] != expected).mean() < 1e-3, "hypot and norm may differ in the last bit"
    assert set(found["budget"]) == {4.0} and set(found["prize"].max(1)) == {100}
    assert drawn("op", 20, [1])["budget"] == 2.0 and drawn("op", 50, [1])["budget"] == 3.0


def test_uniform_knapsacks() -> None:
    found = drawn("kp", 200, scenario_seeds("t", "train", range(200)))
    for series in (found["prize"], found["demand"]):
        assert series.min() == 1 and series.max() == 998 and abs(series.mean() - 499.5) < 5
    assert set(found["capacity"]) == {25_000}


def test_hard_knapsacks_are_pisingers() -> None:
    seeds = scenario_seeds("t", "test", range(300))
    found = drawn_hard(200, seeds, range(300))
    value, weight = found["prize"], found["demand"]
    assert (value[:100] == weight[:100] + 100).all() and weight[:100].max() <= 1000
    assert (weight[100:200] == value[100:200] + 100).all() and value[100:200].max() <= 1000
    assert (value[200:] == weight[200:]).all() and len(HARD) == 3
    h = np.arange(300) % 100 + 1
    assert np.array_equal(found["capacity"], h * weight.sum(1) // 101)
    again = drawn_hard(200, [seeds[250]], [250])
    assert np.array_equal(again["prize"][0], value[250]) and again["capacity"][0] == found["capacity"][250]


def test_the_record_has_width_0_where_a_problem_lacks_something() -> None:
    for problem, n in SIZES.items():
        record = instances(**drawn(problem, n, [1, 2, 3]))
        assert len(record) == 3 and record.coords.dtype == torch.float64 and record.demand.dtype == torch.int64
        assert record.best.isnan().all() and (record.size == n + (problem in ("cvrp", "op"))).all()
        assert (record.coords.shape[1] == 0) == (problem in ("atsp", "kp")) and (record.matrix.shape[1] == 0) == (problem != "atsp")
        assert (record.demand.shape[1] == 0) == (problem not in ("cvrp", "kp")) and (record.prize.shape[1] == 0) == (problem not in ("op", "kp"))
        assert record.budget.isinf().all() == (problem != "op")
    assert set(GENERATORS) == set(SIZES)


def test_nothing_asked_for_is_said() -> None:
    with pytest.raises(ArenaError, match="no scenario"):
        drawn("tsp", 20, [])
