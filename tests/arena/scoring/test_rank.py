"""Ranks that leave open what is open, and the performance profile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arena.scoring import performance_profile, ranks, standing

TASK = "5eed" + "0" * 60


def board(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lines = [standing(row[None], task_digest=TASK) for row in table]
    return np.array([line.headline for line in lines]), np.stack([line.draws for line in lines])


def test_clear_differences_are_ranked_and_ties_share_the_better_rank() -> None:
    luck = np.random.default_rng(0).normal(0, 0.3, 200)
    result = ranks(*board(np.stack([luck + 0.2, luck, luck + 0.5, luck])))
    assert result.shown.tolist() == [2, 3, 1, 3]
    assert result.labels() == ["2", "3", "1", "3"]


def test_paired_luck_decides_what_independent_intervals_leave_open() -> None:
    rng = np.random.default_rng(1)
    luck = rng.normal(0, 0.3, 200)
    table = np.stack([luck, luck + 0.03 + rng.normal(0, 0.02, 200)])
    headline, draws = board(table)
    assert np.percentile(draws[0], 97.5) > np.percentile(draws[1], 2.5)  # the two intervals overlap widely
    assert ranks(headline, draws).shown.tolist() == [2, 1]


def test_shown_rank_is_one_plus_those_ahead_by_1_96_standard_errors() -> None:
    rng = np.random.default_rng(2)
    headline, draws = board(rng.normal(0, 0.3, (12, 100)) + np.linspace(0, 0.2, 12)[:, None])
    expected = [1 + sum(headline[j] - headline[i] > 1.96 * np.std(draws[j].astype(float) - draws[i], ddof=1) for j in range(12)) for i in range(12)]
    assert ranks(headline, draws).shown.tolist() == expected
    assert len(set(expected)) > 2


def test_rank_ranges_are_quantiles_over_joint_draws() -> None:
    rng = np.random.default_rng(3)
    headline, draws = board(np.round(rng.normal(0, 0.3, (9, 50)), 1))
    draws[4] = draws[3]
    result = ranks(headline, draws)
    positions = stats.rankdata(-draws.astype(float), method="min", axis=0)
    np.testing.assert_array_equal(result.best, np.quantile(positions, 0.025, axis=1, method="lower"))
    np.testing.assert_array_equal(result.worst, np.quantile(positions, 0.975, axis=1, method="higher"))
    assert all(label == f"{b}-{w}" for label, b, w in zip(result.labels(), result.best, result.worst, strict=True) if b != w)


def test_rounding_noise_ranks_nobody() -> None:
    draws = np.ones((2, 2000), dtype=np.float32)
    assert ranks([1.0, 1.0 + 2e-16], draws).shown.tolist() == [1, 1]


def test_small_boards() -> None:
    assert ranks([], np.empty((0, 2000), dtype=np.float32)).shown.tolist() == []
    assert ranks([0.3], np.full((1, 2000), 0.3, dtype=np.float32)).labels() == ["1"]


@given(agents=st.integers(1, 8), seed=st.integers(0, 999))
@settings(max_examples=30)
def test_the_order_of_agents_never_matters(agents: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    headline, draws = board(rng.normal(0, 0.3, (agents, 40)) + rng.normal(0, 0.1, (agents, 1)))
    turn = rng.permutation(agents)
    straight, turned = ranks(headline, draws), ranks(headline[turn], draws[turn])
    for field in ("shown", "best", "worst"):
        np.testing.assert_array_equal(getattr(straight, field)[turn], getattr(turned, field))
    assert straight.shown.min() == 1 and (straight.best <= straight.worst).all() and straight.worst.max() <= agents


def test_the_best_of_20_equal_agents_looks_better_and_the_ranks_do_not_believe_it() -> None:
    rng = np.random.default_rng(4)
    lead, shared = [], []
    for _ in range(30):
        headline, draws = board(rng.normal(0.5, 0.3, (20, 200)))
        lead.append(headline.max() - 0.5)
        shared.append((ranks(headline, draws).shown == 1).sum())
    assert np.mean(lead) == pytest.approx(0.040, abs=0.007)
    assert np.median(shared) >= 12


def test_the_profile_counts_scenarios_strictly_above_tau() -> None:
    x = np.array([[-1.0, -0.5, 0.3, 1.2, 1.3]])
    profile = performance_profile(x, task_digest=TASK)
    assert profile.tau.shape == (101,) and profile.tau[0] == -0.5 and profile.tau[-1] == 1.2
    assert profile.fraction[0] == pytest.approx(3 / 5)  # -0.5 is not above -0.5
    assert profile.fraction[-1] == pytest.approx(1 / 5)
    np.testing.assert_allclose(profile.fraction, [(x > tau).mean() for tau in profile.tau])


def test_the_band_of_the_profile_comes_from_the_draws() -> None:
    x = np.random.default_rng(5).normal(0.4, 0.3, (2, 150))
    profile = performance_profile(x, task_digest=TASK)
    for k in (10, 50, 80):
        line = standing((x > profile.tau[k]).astype(float), task_digest=TASK)
        assert (profile.lo[k], profile.fraction[k], profile.hi[k]) == pytest.approx((line.lo, line.headline, line.hi), abs=1e-6)
    assert (np.diff(profile.fraction) <= 0).all()
