"""Paired comparison: sign-flip test against SciPy, Holm against statsmodels, and verdicts that claim no more than they know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arena.errors import ArenaError
from arena.scoring import Entrant, compare, compare_with_all, standing
from arena.scoring.compare import sign_flip

TASK = "c0ffee" + "0" * 58


def entrant(name: str, x: np.ndarray, task: str = TASK, **kwargs) -> Entrant:
    x = np.atleast_2d(x)
    return Entrant(name, task, standing(x, task_digest=task, **kwargs), x.mean(axis=0))


def pair(n: int, gain: float, noise: float, seed: int = 0) -> tuple[Entrant, Entrant]:
    rng = np.random.default_rng(seed)
    base = rng.normal(0.5, 0.3, n)
    return entrant("mine", base + gain + rng.normal(0, noise, n)), entrant("theirs", base)


def test_the_difference_is_paired() -> None:
    a, b = pair(200, 0.05, 0.02)
    c = compare(a, b)
    gap = a.scores - b.scores
    assert c.difference == pytest.approx(gap.mean())
    alone = standing(gap[None], task_digest=TASK)  # the draws of the difference are the draws of the per-scenario differences
    assert (c.lo, c.hi) == pytest.approx((alone.lo, alone.hi), abs=1e-6)
    assert c.hi - c.lo < 0.2 * (a.standing.hi - a.standing.lo)
    assert c.verdict.startswith("mine is ahead of theirs by 0.0") and "n = 200" in c.verdict
    back = compare(b, a)
    assert (back.difference, back.lo, back.hi) == pytest.approx((-c.difference, -c.hi, -c.lo))
    assert back.p == c.p and back.improvement == pytest.approx(1 - c.improvement)
    assert back.verdict.startswith("mine is ahead of theirs")


@pytest.mark.parametrize("n", [2, 5, 9, 12])
def test_sign_flips_are_exact_up_to_twelve(n: int) -> None:
    rng = np.random.default_rng(n)
    for d in (rng.normal(0.3, 1, n), np.round(rng.normal(0.3, 1, n)), np.zeros(n)):
        expected = stats.permutation_test((d,), np.mean, permutation_type="samples", vectorized=True, n_resamples=9999).pvalue
        assert sign_flip(d[None], rng)[0] == pytest.approx(expected)


@pytest.mark.parametrize("gain", [0.0, 0.1, 0.25])
def test_sign_flips_of_many_scenarios_agree_with_scipy(gain: float) -> None:
    d = np.random.default_rng(7).normal(gain, 1, 100)
    expected = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", vectorized=True, n_resamples=9999, rng=np.random.default_rng(8)
    ).pvalue
    measured = sign_flip(np.stack([d, -d]), np.random.default_rng(9))
    assert measured[0] == measured[1] == pytest.approx(expected, abs=4 * np.sqrt(2 * 0.25 / 9999))


def test_sign_flips_reject_as_often_as_they_say() -> None:
    p = sign_flip(np.random.default_rng(10).standard_t(3, (800, 60)), np.random.default_rng(11))
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.025)
    assert p.min() >= 1e-4  # the observed pattern counts: never 0
    assert sign_flip(np.array([[0.4]]), np.random.default_rng(0)).tolist() == [1.0]  # one scenario proves nothing


def test_clusters_flip_together() -> None:
    """Ten copies of one instance are one piece of evidence."""
    rng = np.random.default_rng(12)
    gap = np.repeat(rng.normal(0.4, 1, 10), 10)
    cluster = np.repeat(np.arange(10), 10)
    a, b = entrant("a", gap, clusters=cluster), entrant("b", np.zeros(100), clusters=cluster)
    honest = compare(a, b, clusters=cluster).p
    assert honest == pytest.approx(stats.permutation_test((gap[::10],), np.mean, permutation_type="samples", vectorized=True).pvalue)
    assert compare(a, b).p < honest / 3


def test_probability_of_improvement_counts_ties_half() -> None:
    a, b = entrant("a", np.array([1.0, 2.0, 3.0, 4.0])), entrant("b", np.array([0.0, 2.0, 3.5, 3.0]))
    assert compare(a, b).improvement == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    third = entrant("c", np.full((3, 4), 0.1))  # the mean of three times 0.1 is not 0.1
    assert compare(third, entrant("d", np.full(4, 0.1))).improvement == 0.5


def test_probability_of_improvement_agrees_with_rliable() -> None:
    metrics = pytest.importorskip("rliable.metrics")
    a, b = pair(40, 0.02, 0.1)
    assert compare(a, b).improvement == pytest.approx(metrics.probability_of_improvement(a.scores[None], b.scores[None]))


def test_different_tasks_are_not_compared() -> None:
    a, b = entrant("a", np.ones(5)), entrant("b", np.ones(5), task="beef" + "0" * 60)
    with pytest.raises(ArenaError) as error:
        compare(a, b)
    assert error.value.code == "compare.different_tasks" and "beef" in error.value.message


def test_whole_set_scores_have_a_difference_but_no_test() -> None:
    a, b = pair(100, 0.2, 0.1)
    c = compare(Entrant("a", TASK, a.standing, None), b)
    assert c.p is None and c.improvement is None and c.lo > 0
    assert "ahead" in c.verdict
    assert compare_with_all(Entrant("a", TASK, a.standing, None), [b])[0].p_holm is None


def test_verdicts() -> None:
    assert compare(*pair(500, 0.0, 0.02)).verdict.startswith("mine and theirs are equivalent within +-0.01")
    assert compare(*pair(500, 0.005, 0.01)).verdict.endswith("but by less than the 0.01 that matters.")
    assert compare(*pair(500, 0.005, 0.01), delta=0.001).verdict.startswith("mine is ahead")
    undecided = compare(*pair(50, 0.0, 0.5))
    assert undecided.p > 0.05 and undecided.verdict.startswith("Undecided between mine and theirs: these scenarios do not separate them")


def test_few_scenarios_need_the_test_too_and_never_prove_equivalence() -> None:
    gap = np.array([0.1, 0.2, 0.15, 0.12])
    a, b = entrant("a", gap), entrant("b", np.zeros(4))
    c = compare(a, b)
    assert c.lo > 0 and c.p == pytest.approx(2 / 16)
    assert c.verdict.startswith("Undecided between a and b: few scenarios")
    assert compare(b, b).verdict.startswith("Undecided")
    assert "ahead" in compare(entrant("a", np.linspace(0.1, 0.2, 8)), entrant("b", np.zeros(8))).verdict


@given(n=st.sampled_from([6, 40, 100]), gain=st.floats(-0.05, 0.05), noise=st.floats(0, 0.3), seed=st.integers(0, 50))
@settings(max_examples=40)
def test_no_verdict_calls_what_is_not_significant_equal(n: int, gain: float, noise: float, seed: int) -> None:
    c = compare(*pair(n, gain, noise, seed))
    assert "equal" not in c.verdict and "same" not in c.verdict
    if c.lo < -c.delta or c.hi > c.delta:
        assert "equivalent" not in c.verdict
    if c.lo <= 0 <= c.hi:
        assert "ahead" not in c.verdict


def test_one_against_all_is_adjusted_by_holm() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(13)
    base = rng.normal(0.5, 0.3, 100)
    mine = entrant("mine", base)
    others = [entrant(f"other-{i}", base + rng.normal(0.02 * i, 0.3, 100)) for i in range(6)]
    lines = compare_with_all(mine, others)
    p = np.array([c.p for c in lines])
    np.testing.assert_allclose([c.p_holm for c in lines], multitest.multipletests(p, method="holm")[1])
    order = np.argsort(p)
    by_hand = np.minimum(np.maximum.accumulate(p[order] * np.arange(6, 0, -1)), 1)
    np.testing.assert_allclose(np.array([c.p_holm for c in lines])[order], by_hand)
    np.testing.assert_allclose(p, [compare(mine, other).p for other in others])  # no p value depends on who else is compared
    for c in lines:
        assert ("ahead" in c.verdict) == (c.p_holm < 0.05 and (c.lo > 0 or c.hi < 0))


def test_the_winner_of_many_is_not_taken_for_better() -> None:
    rng = np.random.default_rng(14)
    claims = alone = 0
    for _ in range(15):
        mine = entrant("mine", rng.normal(0.5, 0.3, 60))
        lines = compare_with_all(mine, [entrant(str(i), rng.normal(0.5, 0.3, 60)) for i in range(20)])
        claims += any("ahead" in c.verdict for c in lines)
        alone += any(c.p < 0.05 for c in lines)
    assert alone >= 6 and claims <= 3
