"""The bounds against a linear-programming solver, against brute force and against the sums known for the real rows."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from arena.errors import ArenaError
from domains.bidding.bounds import cpa_bound, integer_bound, lp_bound, penalised_bound
from domains.bidding.generator import generate

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))


@st.composite
def purchases(draw: st.DrawFn, most: int = 9) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Values (zeros and ties among them), prices (zeros among them), a budget and a cost limit, of one scenario."""
    n = draw(st.integers(1, most))
    value = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(1e-4, 1.0), min_size=n, max_size=n))
    price = draw(st.lists(st.integers(0, 30), min_size=n, max_size=n))
    return np.array(value), np.array(price), draw(st.integers(0, 120)), draw(st.floats(1.0, 200.0))


def solve(value: np.ndarray, price: np.ndarray, budget: float, cost_limit: float | None = None) -> float:
    """The same linear programme by HiGHS."""
    rows, sides = [price], [budget]
    if cost_limit is not None:
        rows, sides = [price, price - cost_limit * value], [budget, 0.0]
    result = linprog(-value, A_ub=np.array(rows, float), b_ub=sides, bounds=(0, 1), method="highs")
    assert result.status == 0
    return float(-result.fun)


def single(bound, value, price, budget, *more):  # noqa: ANN001, ANN201
    out = bound(value[None], price[None], np.array([budget]), *(np.array([x]) for x in more))
    return [float(x[0]) for x in out] if isinstance(out, tuple) else float(out[0])


@settings(max_examples=60)
@given(purchases())
def test_lp_bound_is_the_linear_programme(case: tuple[np.ndarray, np.ndarray, int, float]) -> None:
    value, price, budget, _ = case
    assert single(lp_bound, value, price, budget) == pytest.approx(solve(value, price, budget), abs=1e-9)


@settings(max_examples=60)
@given(purchases())
def test_cpa_bound_is_the_linear_programme_and_kappa_its_rule(case: tuple[np.ndarray, np.ndarray, int, float]) -> None:
    value, price, budget, limit = case
    bound, kappa = single(cpa_bound, value, price, budget, limit)
    assert bound == pytest.approx(solve(value, price, budget, limit), abs=1e-7)
    ratio = np.divide(price, value, out=np.full(len(value), np.inf), where=value > 0)
    below, up_to = value[ratio < kappa * (1 - 1e-12)].sum(), value[ratio <= kappa * (1 + 1e-12)].sum()
    assert below - 1e-9 <= bound <= up_to + 1e-9 or bound == 0


@settings(max_examples=60)
@given(purchases())
def test_integer_bound_is_the_best_subset(case: tuple[np.ndarray, np.ndarray, int, float]) -> None:
    value, price, budget, _ = case
    subsets = np.array(list(itertools.product((0, 1), repeat=len(value))))
    best = (subsets @ value)[subsets @ price <= budget].max()
    found = single(integer_bound, value, price, budget)
    assert found == pytest.approx(best, abs=1e-12)
    relaxed = single(lp_bound, value, price, budget)
    assert found - 1e-12 <= relaxed <= found + value.max() + 1e-12


@settings(max_examples=60)
@given(purchases(6), st.integers(0, 2**32 - 1))
def test_penalised_bound_is_never_exceeded_and_is_reached(case: tuple[np.ndarray, np.ndarray, int, float], seed: int) -> None:
    value, price, budget, limit = case
    bound = single(penalised_bound, value, price, budget, limit)

    def score(worth: np.ndarray, spend: np.ndarray) -> np.ndarray:
        held = np.divide(limit * worth, spend, out=np.full(np.shape(worth), np.inf), where=spend > 0)
        return worth * np.minimum(1, held**2)

    shares = np.random.default_rng(seed).random((2000, len(value))).round(1) * np.random.default_rng(seed + 1).integers(0, 2, (2000, len(value)))
    shares = np.concatenate([shares, list(itertools.product((0.0, 1.0), repeat=len(value)))])
    spend = shares @ price
    assert (score(shares @ value, spend)[spend <= budget] <= bound + 1e-9).all()

    spends = np.linspace(0, min(budget, price.sum()), 4001)  # the best value at each spend, hence the best score up to the grid
    order = np.argsort(-np.divide(value, price, out=np.full(len(value), np.inf), where=price > 0), kind="stable")
    frontier = np.interp(spends, np.concatenate(([0], price[order].cumsum())), np.concatenate(([0], value[order].cumsum())))
    frontier[0] = value[price == 0].sum()
    assert bound == pytest.approx(score(frontier, spends).max(), rel=0.02, abs=1e-9)


def test_penalised_score_may_be_best_beyond_the_cost_limit() -> None:
    value, price = np.array([1.0, 10.0]), np.array([10, 120])
    # limit 10: the first auction alone scores 1; both score 11 * (110 / 130)^2 = 7.88, more than at the limit itself.
    assert single(penalised_bound, value, price, 1000, 10.0) == pytest.approx(11 * (110 / 130) ** 2)
    assert single(cpa_bound, value, price, 1000, 10.0)[0] == pytest.approx(1.0)


def test_free_auctions_come_first_and_worthless_ones_last() -> None:
    value, price = np.array([0.0, 0.2, 0.0, 0.5, 0.4]), np.array([0, 0, 7, 5, 4])
    assert single(lp_bound, value, price, 0) == pytest.approx(0.2)
    assert single(lp_bound, value, price, 3) == pytest.approx(0.2 + 0.3)
    assert single(lp_bound, value, price, 6) == pytest.approx(0.2 + 0.6)
    assert single(lp_bound, value, price, 10_000) == pytest.approx(1.1)
    assert single(integer_bound, value, price, 6) == pytest.approx(0.7)


def test_auctions_nobody_can_win_change_nothing() -> None:
    theta, price, _ = generate("2997", [1, 2, 3], 200)
    budget, limit = np.array([0, 900, 10**6]), np.full(3, 3e4)
    padded = np.pad(theta, ((0, 0), (0, 50))), np.pad(price, ((0, 0), (0, 50)), constant_values=301)
    for bound in (lp_bound, integer_bound):
        np.testing.assert_array_equal(bound(*padded, budget.clip(0, 20_000)), bound(theta, price, budget.clip(0, 20_000)))
    np.testing.assert_array_equal(penalised_bound(*padded, budget, limit), penalised_bound(theta, price, budget, limit))
    for found, expected in zip(cpa_bound(*padded, budget, limit), cpa_bound(theta, price, budget, limit), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_rows_do_not_depend_on_their_batch() -> None:
    theta, price, _ = generate("1458", range(20), 300)
    budget, limit = np.arange(20) * 150, np.linspace(1e4, 2e5, 20)
    together = lp_bound(theta, price, budget), *cpa_bound(theta, price, budget, limit), penalised_bound(theta, price, budget, limit)
    for row in range(20):
        one = slice(row, row + 1)
        alone = theta[one], price[one], budget[one]
        apart = lp_bound(*alone), *cpa_bound(*alone, limit[one]), penalised_bound(*alone, limit[one])
        assert [float(x[0]) for x in apart] == [float(x[row]) for x in together]


def test_a_loose_limit_leaves_the_budget_bound_and_a_loose_budget_everything() -> None:
    theta, price, _ = generate("3476", range(8), 1000)
    budget = np.full(8, 5000)
    np.testing.assert_array_equal(cpa_bound(theta, price, budget, np.full(8, 1e12))[0], lp_bound(theta, price, budget))
    np.testing.assert_allclose(penalised_bound(theta, price, budget, np.full(8, 1e12)), lp_bound(theta, price, budget))
    np.testing.assert_allclose(lp_bound(theta, price, price.sum(1)), theta.sum(1))


def test_integrality_gap_is_below_one_auction() -> None:
    theta, price, _ = generate("2997", range(8), 100)
    budget = np.full(8, 787)
    whole, relaxed = integer_bound(theta, price, budget), lp_bound(theta, price, budget)
    assert (whole <= relaxed + 1e-12).all() and (relaxed - whole < theta.max(1)).all() and (whole < relaxed).any()


@pytest.mark.parametrize(
    ("value", "price", "budget"),
    [
        ([[0.1, 0.2]], [[1, -2]], [5]),
        ([[0.1, np.nan]], [[1, 2]], [5]),
        ([[0.1, -0.2]], [[1, 2]], [5]),
        ([[0.1, 0.2]], [[1, 2]], [-1]),
        ([[0.1, 0.2]], [[1, 2, 3]], [5]),
        ([[0.1, 0.2]], [[1, 2]], [5, 6]),
    ],
)
def test_bad_input_is_refused(value: list, price: list, budget: list) -> None:
    with pytest.raises(ArenaError, match="the bound was given"):
        lp_bound(np.array(value), np.array(price), np.array(budget))


def test_a_cost_limit_of_zero_is_refused() -> None:
    with pytest.raises(ArenaError, match="must be above 0"):
        cpa_bound(np.ones((1, 2)), np.ones((1, 2), int), np.array([1]), np.array([0.0]))


def test_sums_on_the_real_rows() -> None:
    path = DATA / "bidding" / "rtbcontrol-1458" / "test.txt"
    if not path.is_file():
        pytest.skip("no rtbcontrol rows below ARENA_DATA")
    rows = np.loadtxt(path)
    theta, price = rows[:, 2].reshape(100, 1000), rows[:, 1].astype(np.int64).reshape(100, 1000)
    scarce, ample = (lp_bound(theta, price, np.full(100, budget)) for budget in (2015, 8063))
    assert (round(scarce.sum(), 6), round(ample.sum(), 6)) == (41.62984, 46.669442)
    np.testing.assert_allclose(scarce[:3], [0.03852347, 0.04031239, 0.56978489], atol=5e-9)


def test_the_standard_task_is_bounded_in_half_a_second() -> None:
    theta, price, _ = generate("1458", range(1920), 1000)
    budget = np.full(1920, 2152)

    def seconds() -> float:
        start = process_time()
        lp_bound(theta, price, budget)
        return process_time() - start

    assert min(seconds() for _ in range(3)) < 0.5
