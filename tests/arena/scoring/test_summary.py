"""IQM, tail mean and closed-form intervals against frozen numbers, SciPy and rliable."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from arena.scoring import cvar10, iqm, wilson
from arena.scoring.summary import t_interval, trimmed_interval


@pytest.mark.parametrize(("n", "expected"), [(4, 6.5), (5, 9.6667), (7, 18.0), (8, 21.5), (10, 33.1667), (11, 40.0)])
def test_iqm_of_squares(n: int, expected: float) -> None:
    squares = np.arange(1.0, n + 1) ** 2
    assert iqm(squares) == pytest.approx(expected, abs=5e-5)
    assert iqm(squares[::-1]) == iqm(squares)


def test_iqm_keeps_nan() -> None:
    assert np.isnan(iqm([1.0, 2.0, 3.0, np.nan, 5.0]))


def test_iqm_agrees_with_rliable() -> None:
    metrics = pytest.importorskip("rliable.metrics")
    rng = np.random.default_rng(3)
    for n in (4, 5, 7, 30, 101):
        scores = rng.gamma(2.0, 1.0, (1, n))
        assert iqm(scores)[0] == pytest.approx(metrics.aggregate_iqm(scores))


def test_iqm_forgives_a_fifth_of_blackouts_and_the_mean_does_not() -> None:
    scores = np.array([1.0] * 80 + [-1.0] * 20)
    assert iqm(scores) == 1.0
    assert scores.mean() == pytest.approx(0.6)
    assert cvar10(scores) == -1.0


def test_iqm_of_normal_data_varies_1_19_times_as_much_as_the_mean() -> None:
    sample = np.random.default_rng(4).normal(size=(6000, 200))
    assert iqm(sample).var() / sample.mean(axis=1).var() == pytest.approx(1.19, abs=0.05)


@pytest.mark.parametrize(("n", "worst"), [(1, 1), (9, 1), (10, 1), (11, 2), (30, 3), (70, 7), (100, 10), (101, 11)])
def test_cvar10_is_the_mean_of_the_worst_tenth(n: int, worst: int) -> None:
    scores = np.random.default_rng(n).permutation(n).astype(float)
    assert cvar10(scores) == pytest.approx((worst - 1) / 2)


def test_wilson() -> None:
    assert wilson(3, 100) == pytest.approx((0.0103, 0.0845), abs=5e-5)
    assert wilson(0, 100) == pytest.approx((0.0, 0.0370), abs=5e-5)


def test_scipy_finds_the_same() -> None:
    rng = np.random.default_rng(6)
    for n in range(4, 40):
        x = rng.gamma(2.0, 1.0, n)
        assert iqm(x) == stats.trim_mean(x, 0.25)
        assert trimmed_interval(x) == pytest.approx(stats.mstats.trimmed_mean_ci(x, limits=(0.25, 0.25)))
        for count in range(n + 1):
            expected = stats.binomtest(count, n).proportion_ci(0.95, method="wilson")
            assert wilson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-14)


def test_t_interval_of_one_run_is_the_textbook_one() -> None:
    x = np.random.default_rng(5).gamma(2.0, 1.0, 11)
    expected = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert t_interval(x[None], np.arange(11)) == pytest.approx((expected.low, expected.high))
    assert t_interval(np.ones((3, 11)), np.arange(11)) == (1.0, 1.0)


def test_t_interval_of_equal_clusters_is_that_of_their_means() -> None:
    x = np.random.default_rng(6).normal(size=(8, 5)) + np.random.default_rng(7).normal(size=(8, 1))
    expected = stats.ttest_1samp(x.mean(axis=1), 0.0).confidence_interval(0.95)
    assert t_interval(x.reshape(1, -1), np.repeat(np.arange(8), 5)) == pytest.approx((expected.low, expected.high))


def test_t_interval_covers_runs_that_differ() -> None:
    """Two-way layout without interaction: the interval must cover about as often as it says, and one that ignores the runs must not."""
    rng = np.random.default_rng(8)
    hit = naive = 0
    for _ in range(500):
        scores = rng.normal(0, 0.5, (4, 1)) + rng.normal(0, 0.5, (1, 12))
        lo, hi = t_interval(scores, np.arange(12))
        hit += lo <= 0 <= hi
        lo, hi = t_interval(scores.mean(axis=0)[None], np.arange(12))
        naive += lo <= 0 <= hi
    assert hit / 500 > 0.91
    assert naive / 500 < 0.85


def test_trimmed_interval_is_centred_on_the_iqm() -> None:
    x = np.random.default_rng(9).gamma(2.0, 1.0, 23)
    lo, hi = trimmed_interval(x)
    assert (lo + hi) / 2 == pytest.approx(float(iqm(x)))
    middle = np.sort(x)[5:18]
    winsorised = np.concatenate([np.repeat(middle[0], 5), middle, np.repeat(middle[-1], 5)])
    se = winsorised.std(ddof=1) / (0.5 * np.sqrt(23))  # SciPy divides by the nominal half, a little more careful than the 13 of 23 kept
    assert hi - lo == pytest.approx(2 * stats.t.ppf(0.975, 12) * se)
