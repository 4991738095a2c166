"""The overall board: equal weights, clipped tasks, nothing imputed, and the order that a mean of raw metrics turns round."""

from __future__ import annotations

import numpy as np
import pytest

from arena.scoring import Standing, anchored, standing, suite_standing

SUITE = {"roads": ["roads/a", "roads/b"], "rivers": ["rivers/a"]}


def line(task: str, level: float, n: int = 100, runs: int = 1) -> Standing:
    digest = f"{sum(map(ord, task)):064x}"[::-1]
    return standing(np.random.default_rng(len(task)).normal(level, 0.1, (runs, n)), task_digest=digest)


def test_domains_weigh_equally_whatever_their_number_of_tasks() -> None:
    lines = {"roads/a": line("roads/a", 0.2, runs=3), "roads/b": line("roads/b", 0.4), "rivers/a": line("rivers/a", 0.9, n=50)}
    result = suite_standing(lines, SUITE)
    roads = (lines["roads/a"].headline + lines["roads/b"].headline) / 2
    assert result.domains["roads"].headline == pytest.approx(roads)
    assert result.overall.headline == pytest.approx((roads + lines["rivers/a"].headline) / 2)
    expected = (lines["roads/a"].draws / 4 + lines["roads/b"].draws / 4) + lines["rivers/a"].draws / 2
    np.testing.assert_allclose(result.overall.draws, expected, rtol=1e-6)
    assert (result.overall.lo, result.overall.hi) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])), rel=1e-6)
    assert (result.overall.n, result.overall.runs, result.overall.few) == (250, 1, False)
    assert result.overall.iqm is None


def test_each_task_and_each_draw_is_clipped_first() -> None:
    lines = {"roads/a": line("roads/a", 5.0), "roads/b": line("roads/b", -5.0), "rivers/a": line("rivers/a", 1.2)}
    result = suite_standing(lines, SUITE)
    assert result.domains["roads"].headline == pytest.approx((1.2 - 1.0) / 2)
    assert result.domains["roads"].lo == pytest.approx(0.1) == result.domains["roads"].hi
    assert result.domains["rivers"].draws.max() == pytest.approx(1.2) and result.domains["rivers"].draws.min() < 1.2


def test_nothing_is_imputed() -> None:
    lines = {"roads/a": line("roads/a", 0.9), "rivers/a": line("rivers/a", 0.5)}
    result = suite_standing(lines, SUITE)
    assert set(result.domains) == {"rivers"} and result.overall is None
    assert suite_standing({}, SUITE).overall is None and suite_standing({}, {}).overall is None


def test_few_scenarios_anywhere_are_few_overall() -> None:
    lines = {task: line(task, 0.5, n) for task, n in {"roads/a": 100, "roads/b": 10, "rivers/a": 100}.items()}
    assert suite_standing(lines, SUITE).overall.few


def test_raw_metrics_would_turn_the_order_round() -> None:
    raw = {"a": np.array([1000.0, 0.2, 5.0]), "b": np.array([1100.0, 0.1, 4.0])}
    ref0, ref1 = np.array([500.0, 0.0, 0.0]), np.array([1500.0, 0.4, 10.0])
    assert (raw["a"].mean(), raw["b"].mean()) == pytest.approx((335, 368), abs=0.5)
    scores = {agent: anchored(values, ref0, ref1, +1) for agent, values in raw.items()}
    suite = {f"domain-{k}": [f"domain-{k}/task"] for k in range(3)}

    def overall(agent: str) -> float:
        lines = {f"domain-{k}/task": standing(np.full((1, 40), s), task_digest=f"{k:064x}") for k, s in enumerate(scores[agent])}
        return suite_standing(lines, suite).overall.headline

    assert (overall("a"), overall("b")) == pytest.approx((0.500, 0.417), abs=5e-4)
