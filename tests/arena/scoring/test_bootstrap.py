"""Shared draws: exactly the stated stream, the same for everybody, in blocks or whole; intervals that cover."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arena.errors import ArenaError
from arena.scoring import bootstrap, iqm, standing, standing_of_means
from arena.scoring.bootstrap import count_blocks, mean_draws

TASK = "27edd5497e48a293750749399a10333aae187927cecaf38c5ac50f54bbaa13b7"
KEY = 0x27EDD5497E48A293


def index(key: int, top: int, width: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=key)).integers(0, top, (2000, width))


def scores(n: int, runs: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 0.2, (runs, n)) - 0.2


def test_draws_of_the_mean_follow_the_stated_stream() -> None:
    x = scores(100)
    line = standing(x, task_digest=TASK)
    expected = x[0][index(KEY, 100, 100)].mean(axis=1)
    assert line.draws.dtype == np.float32 and line.draws.shape == (2000,)
    np.testing.assert_allclose(line.draws, expected, rtol=1e-6)
    assert (line.lo, line.hi) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])), rel=1e-6)
    assert line.headline == line.mean == pytest.approx(x.mean())
    assert (line.n, line.runs, line.few) == (100, 1, False)
    assert line.sd == pytest.approx(x.std(ddof=1))
    assert line.cvar10 == pytest.approx(np.sort(x[0])[:10].mean())


def test_draws_of_the_iqm_are_trimmed_means_of_the_drawn_scenarios() -> None:
    x = np.round(scores(37), 1)  # with ties
    line = standing(x, task_digest=TASK, headline="iqm")
    np.testing.assert_allclose(line.draws, stats.trim_mean(x[0][index(KEY, 37, 37)], 0.25, axis=1), rtol=1e-5, atol=1e-7)
    assert line.headline == line.iqm == pytest.approx(float(iqm(x[0])))
    assert line.mean == pytest.approx(x.mean())


@pytest.mark.parametrize("headline", ["mean", "iqm"])
def test_runs_and_clusters_of_unequal_size_are_resampled_whole(headline: str) -> None:
    clusters = np.array(["b", "a", "b", "c", "c", "c", "d", "a"] * 5 + list("efghijkl"))
    x = scores(len(clusters), runs=3)
    labels = sorted(set(clusters))
    members = [np.flatnonzero(clusters == label) for label in labels]
    drawn, runs = index(KEY, len(labels), len(labels)), index(KEY + 1, 3, 3)
    expected = []
    for b in range(200):
        pooled = np.concatenate([members[c] for c in drawn[b]])
        per_run = x[:, pooled].mean(axis=1) if headline == "mean" else stats.trim_mean(x[:, pooled], 0.25, axis=1)
        expected.append(per_run[runs[b]].mean())
    line = standing(x, task_digest=TASK, clusters=clusters, headline=headline)
    np.testing.assert_allclose(line.draws[:200], expected, rtol=1e-5)
    assert line.headline == pytest.approx(x.mean() if headline == "mean" else np.mean([iqm(row) for row in x]))
    assert line.few and line.runs == 3  # 12 clusters, however many scenarios


def test_a_cluster_is_one_piece_of_luck() -> None:
    """The same 100 instances under ten weights each are 100 independent scenarios, not 1000."""
    instance = np.random.default_rng(1).normal(0, 0.3, 100)
    repeated = np.repeat(instance, 10)[None]
    honest = standing(repeated, task_digest=TASK, clusters=np.repeat(np.arange(100), 10))
    alone = standing(instance[None], task_digest=TASK)
    np.testing.assert_allclose(honest.draws, alone.draws, rtol=1e-5, atol=1e-7)
    careless = standing(repeated, task_digest=TASK)
    assert careless.hi - careless.lo < 0.4 * (honest.hi - honest.lo)


@pytest.mark.parametrize("clusters", [1, 2, 63, 101, 1000])
def test_blocks_come_from_the_same_stream_as_one_big_call(clusters: int) -> None:
    counts = np.concatenate(list(count_blocks(TASK, clusters)))
    drawn = index(KEY, clusters, clusters)
    np.testing.assert_array_equal(counts, np.stack([np.bincount(row, minlength=clusters) for row in drawn]))


@given(n=st.integers(1, 90), runs=st.integers(1, 3), seed=st.integers(0, 99), headline=st.sampled_from(["mean", "iqm"]))
@settings(max_examples=25)
def test_draw_blocks_that_are_not_kept_give_the_same_bits(n: int, runs: int, seed: int, headline: str) -> None:
    x = scores(n, runs, seed)
    kept = standing(x, task_digest=TASK, headline=headline)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "KEEP", 0)
        streamed = standing(x, task_digest=TASK, headline=headline)
        patch.setattr(bootstrap, "BLOCK", 2000)
        whole = standing(x, task_digest=TASK, headline=headline)
    np.testing.assert_array_equal(kept.draws, streamed.draws)
    np.testing.assert_allclose(whole.draws, kept.draws, rtol=3e-7, atol=1e-7)  # one unit of float32: the sum may run in another order
    assert (kept.lo, kept.hi) == (streamed.lo, streamed.hi)


@given(n=st.integers(2, 60), others=st.lists(st.integers(0, 10**6), max_size=5), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_no_agents_numbers_depend_on_other_agents(n: int, others: list[int], seed: int) -> None:
    bootstrap._counts.cache_clear()
    alone = standing(scores(n, 2, seed), task_digest=TASK)
    for other in others:
        standing(scores(n, 1 + other % 3, other), task_digest=TASK)
        standing(scores(n, 1, other), task_digest=f"{other:064x}")
    again = standing(scores(n, 2, seed), task_digest=TASK)
    assert alone.draws.tobytes() == again.draws.tobytes()
    assert (alone.headline, alone.lo, alone.hi) == (again.headline, again.lo, again.hi)


def test_another_task_has_other_draws() -> None:
    assert not np.array_equal(standing(scores(50), task_digest=TASK).draws, standing(scores(50), task_digest="1" * 64).draws)


def test_an_exact_solver_has_a_point_interval_where_bca_has_none() -> None:
    line = standing(np.ones((1, 100)), task_digest=TASK)
    assert (line.lo, line.headline, line.hi) == (1.0, 1.0, 1.0)
    with np.errstate(all="ignore"), pytest.warns(stats.DegenerateDataWarning):
        bca = stats.bootstrap((np.ones(100),), np.mean, method="BCa", n_resamples=100).confidence_interval
    assert np.isnan(bca.low) and np.isnan(bca.high)


def test_few_scenarios_get_a_t_interval() -> None:
    x = scores(31)
    line = standing(x, task_digest=TASK)
    expected = stats.ttest_1samp(x[0], 0.0).confidence_interval(0.95)
    assert line.few and (line.lo, line.hi) == pytest.approx((expected.low, expected.high))
    middle = standing(x, task_digest=TASK, headline="iqm")
    expected = stats.mstats.trimmed_mean_ci(x[0], limits=(0.25, 0.25))
    assert middle.few and (middle.lo, middle.hi) == pytest.approx(tuple(expected))
    assert not standing(scores(32), task_digest=TASK).few
    single = standing(np.array([[0.3]]), task_digest=TASK)
    assert single.few and single.sd is None and (single.lo, single.hi) == pytest.approx((0.3, 0.3))


def coverage(n: int, trials: int) -> tuple[float, float]:
    """Share of trials whose percentile and whose t interval hold the true mean 2 of gamma(2) scores."""
    rng = np.random.default_rng(20)
    hits = np.zeros(2)
    for _ in range(trials):
        x = rng.gamma(2.0, 1.0, (1, n))
        lo, hi = bootstrap.interval(standing(x, task_digest=rng.bytes(32).hex()).draws)
        t_lo, t_hi = bootstrap.t_interval(x, np.arange(n))
        hits += [lo <= 2.0 <= hi, t_lo <= 2.0 <= t_hi]
    return tuple(hits / trials)


@pytest.mark.parametrize(("n", "percentile", "t"), [(10, 0.871, 0.927), (100, 0.944, 0.947)])
def test_coverage(n: int, percentile: float, t: float) -> None:
    measured = coverage(n, 600)
    assert measured == pytest.approx((percentile, t), abs=0.03)
    if n == 10:
        assert measured[1] - measured[0] > 0.03  # why few scenarios get a t interval


@pytest.mark.slow
@pytest.mark.parametrize(("n", "percentile", "t"), [(10, 0.871, 0.927), (32, 0.925, 0.935), (100, 0.944, 0.947)])
def test_coverage_in_full(n: int, percentile: float, t: float) -> None:
    assert coverage(n, 3000) == pytest.approx((percentile, t), abs=0.018)


def penalised(means: np.ndarray) -> np.ndarray:
    """A CMDP score: return minus a frozen penalty on the cost above 1; groups without a played scenario left out."""
    pooled = np.nanmean(means, axis=-2)
    return pooled[..., 0] - 2.0 * np.maximum(pooled[..., 1] - 1.0, 0.0)


def test_whole_set_scores_are_functions_of_the_group_means() -> None:
    rng = np.random.default_rng(2)
    metrics = rng.normal([0.6, 1.0], 0.2, (2, 120, 2))
    played = rng.random((2, 120)) > 0.1
    groups = np.arange(120) % 3
    metrics[~played] = np.nan
    line = standing_of_means(metrics, played, groups, penalised, -1.0, task_digest=TASK)

    def direct(r: int, rows: np.ndarray) -> float:
        means = np.stack([np.nanmean(metrics[r, rows[groups[rows] == g]], axis=0) for g in range(3)])
        share = played[r, rows].mean()
        return share * max(float(penalised(means)), -1.0) + (1 - share) * -1.0

    assert line.headline == pytest.approx(np.mean([direct(r, np.arange(120)) for r in (0, 1)]))
    drawn, runs = index(KEY, 120, 120), index(KEY + 1, 2, 2)
    expected = [np.mean([direct(r, drawn[b]) for r in runs[b]]) for b in range(100)]
    np.testing.assert_allclose(line.draws[:100], expected, rtol=1e-5)
    assert line.lo < line.headline < line.hi
    assert (line.mean, line.iqm, line.cvar10, line.sd) == (None, None, None, None)
    assert (line.n, line.runs, line.few) == (120, 2, False)


def test_at_the_limit_the_expected_constraint_has_no_cliff() -> None:
    """An agent exactly at its limit: per scenario half of the scenarios would be infeasible; in expectation the score is the return."""
    rng = np.random.default_rng(3)
    cost = rng.normal(1.0, 0.1, 400)
    metrics = np.stack([np.full(400, 0.6), cost - cost.mean() + 1.0], axis=-1)[None]
    line = standing_of_means(metrics, np.ones((1, 400), dtype=bool), np.zeros(400), penalised, -1.0, task_digest=TASK)
    assert line.headline == pytest.approx(0.6, abs=1e-9)
    assert line.lo > 0.55


def test_failures_pull_a_whole_set_score_to_the_floor() -> None:
    metrics = np.ones((1, 50, 1))
    played = np.arange(50)[None] >= 10
    line = standing_of_means(metrics, played, np.zeros(50), lambda m: m[..., 0, 0], -1.0, task_digest=TASK)
    assert line.headline == pytest.approx(0.8 * 1.0 + 0.2 * -1.0)
    nothing = standing_of_means(metrics, np.zeros((1, 50), dtype=bool), np.zeros(50), lambda m: m[..., 0, 0], -1.0, task_digest=TASK)
    assert (nothing.lo, nothing.headline, nothing.hi) == (-1.0, -1.0, -1.0)
    bad = standing_of_means(metrics - 9, played, np.zeros(50), lambda m: m[..., 0, 0], -1.0, task_digest=TASK)
    assert bad.headline == -1.0


def test_equal_draws_are_evaluated_once() -> None:
    """One instance under 11 weights is one cluster: all draws are alike, so a costly hypervolume is computed once for all of them."""
    rows = []

    def f(means: np.ndarray) -> np.ndarray:
        rows.append(len(means))
        return means.sum(axis=(-1, -2)) / 100

    metrics = np.random.default_rng(4).random((1, 11, 2))
    line = standing_of_means(metrics, np.ones((1, 11), dtype=bool), np.arange(11), f, -1.0, task_digest=TASK, clusters=np.zeros(11))
    assert sum(rows) == 2
    assert line.lo == line.hi == pytest.approx(line.headline)


def test_a_function_that_trips_over_an_empty_group_is_told_so() -> None:
    metrics, groups = np.ones((1, 40, 1)), np.arange(40) // 20
    played = np.arange(40)[None] < 20
    with pytest.raises(ArenaError) as error:
        standing_of_means(metrics, played, groups, lambda m: m.mean(axis=(-1, -2)), -1.0, task_digest=TASK)
    assert error.value.code == "score.of_means"
    line = standing_of_means(metrics, played, groups, lambda m: np.nanmean(m, axis=(-1, -2)), -1.0, task_digest=TASK)
    assert line.headline == pytest.approx(0.0)


def test_means_of_several_quantities_at_once() -> None:
    x = np.random.default_rng(5).random((2, 40, 3))
    drawn = mean_draws(x, task_digest=TASK)
    for m in range(3):
        np.testing.assert_allclose(drawn[:, m], standing(x[:, :, m], task_digest=TASK).draws, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "code"),
    [
        (np.zeros(5), "score.shape"),
        (np.zeros((0, 5)), "score.shape"),
        (np.zeros((2, 0)), "score.shape"),
        (np.array([[1.0, np.nan]]), "score.nonfinite"),
    ],
)
def test_wrong_axes_and_nan_are_refused(x: np.ndarray, code: str) -> None:
    with pytest.raises(ArenaError) as error:
        standing(x, task_digest=TASK)
    assert error.value.code == code


def test_wrong_shapes_of_whole_sets_and_clusters_are_refused() -> None:
    good = (np.ones((1, 4, 2)), np.ones((1, 4), dtype=bool), np.zeros(4))
    for bad in [(good[0][0], good[1], good[2]), (good[0], good[1].T, good[2]), (good[0], good[1], np.zeros(3))]:
        with pytest.raises(ArenaError, match="metrics"):
            standing_of_means(*bad, penalised, -1.0, task_digest=TASK)
    with pytest.raises(ArenaError, match="clusters"):
        standing(np.ones((1, 4)), task_digest=TASK, clusters=[0, 1])
    with pytest.raises(ArenaError) as error:
        standing_of_means(good[0] * np.inf, *good[1:], penalised, -1.0, task_digest=TASK)
    assert error.value.code == "kernel.nonfinite"


def test_importing_the_package_stays_light() -> None:
    code = "import sys, arena.scoring; print([m for m in ('statsmodels', 'torch', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
