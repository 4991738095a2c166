"""Standings: a headline, its interval and 2000 bootstrap draws that all agents of a task share.

The scenarios drawn depend on the task digest alone, so whatever is computed from the draws of two agents (a difference, a rank, an
overall mean) is automatically paired, and no agent's numbers change when another one joins.
Axes: R runs (in the order of their seeds), n scenarios, C clusters of scenarios that share their luck, B = 2000 draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arena.errors import ArenaError
from arena.scoring.summary import cvar10, iqm, t_interval, trimmed_interval

Floats = NDArray[np.float64]
Headline = Literal["mean", "iqm"]

DRAWS = 2000
BLOCK = 64  # draws handled at a time
KEEP = 20_000  # up to this many clusters the counts of a task (2 bytes each) stay in memory for the next agent
FEW = 32  # below this many independent clusters percentile intervals are too narrow (coverage .87 at 10, .93 at 32)


@dataclass(frozen=True, eq=False, slots=True)
class Standing:
    """One board line. `iqm`, `mean`, `cvar10` and `sd` are None where the score exists only for the whole set."""

    headline: float
    lo: float  # 95 % interval of the headline
    hi: float
    mean: float | None
    iqm: float | None
    cvar10: float | None  # mean of the worst tenth of the scenarios
    sd: float | None  # over scenarios, of the scores averaged over runs
    n: int  # scenarios
    runs: int
    draws: NDArray[np.float32]  # [2000] the headline in every bootstrap draw
    few: bool  # fewer than 32 independent scenarios: the interval is a t interval


def standing(scores: Floats, *, task_digest: str, clusters: ArrayLike | None = None, headline: Headline = "mean") -> Standing:
    """The standing of one agent from scores [R, n]. `clusters` [n] labels the scenarios that are resampled together (default: each alone).

    The statistic is the mean over runs of the per-run statistic; its draws resample scenarios and runs.
    Raises `score.shape` and `score.nonfinite`.
    """
    scores = _checked(scores)
    runs, n = scores.shape
    cluster, count = _clusters(clusters, n)
    per_run = _mean_draws(scores.T, cluster, count, task_digest) if headline == "mean" else _iqm_draws(scores, cluster, count, task_digest)
    draws = _over_runs(per_run, task_digest).astype(np.float32)
    mean, middle = float(scores.mean()), float(iqm(scores).mean())
    few = count < FEW
    lo, hi = interval(draws)
    if few and count > 1:
        if headline == "mean":
            lo, hi = t_interval(scores, cluster)
        elif runs == 1 and count == n:  # the formula knows neither clusters nor runs; the draws know both
            lo, hi = trimmed_interval(scores[0])
    return Standing(
        headline=mean if headline == "mean" else middle,
        lo=lo,
        hi=hi,
        mean=mean,
        iqm=middle,
        cvar10=float(cvar10(scores).mean()),
        sd=float(scores.mean(axis=0).std(ddof=1)) if n > 1 else None,
        n=n,
        runs=runs,
        draws=draws,
        few=few,
    )


def standing_of_means(
    metrics: Floats,
    played: NDArray[np.bool_],
    groups: ArrayLike,
    function: Callable[[Floats], Floats],
    floor: float,
    *,
    task_digest: str,
    clusters: ArrayLike | None = None,
) -> Standing:
    """The standing where a score exists only for the whole set: a function f of the group means of the metrics.

    metrics [R, n, K], played [R, n] (False: failed, its metrics are ignored), groups [n] -> G sorted labels. f maps [..., G, K] -> [...];
    it is evaluated on the means and on every draw. A group without a played scenario is a row of NaN, which f must leave out.
    With a failure share q the score is (1 - q) max(f, floor) + q floor.
    Raises `score.shape`, `kernel.nonfinite`, and `score.of_means` where f does not return one finite number per set of means.
    """
    metrics, played = np.asarray(metrics, dtype=float), np.asarray(played, dtype=bool)
    if metrics.ndim != 3 or played.shape != metrics.shape[:2] or 0 in metrics.shape or len(np.asarray(groups)) != metrics.shape[1]:
        raise ArenaError(
            "score.shape",
            f"metrics {metrics.shape}, played {played.shape}, groups {np.shape(groups)}",
            "expected [run, scenario, metric], [run, scenario], [scenario]",
        )
    if not np.isfinite(metrics[played]).all():
        raise ArenaError("kernel.nonfinite", "a metric of a played scenario is NaN or infinite", "this is a bug of the domain, not a score")
    runs, n, _ = metrics.shape
    cluster, count = _clusters(clusters, n)
    labels, group = np.unique(np.asarray(groups), return_inverse=True)

    g, k = len(labels), metrics.shape[2]
    cells = np.zeros((count, runs, g * k + g + 1))  # per cluster and run: sums [G, K], played scenarios [G], scenarios
    for r in range(runs):
        sums = np.zeros((count, g, k))
        np.add.at(sums, (cluster, group), np.where(played[r, :, None], metrics[r], 0.0))
        cells[:, r, : g * k] = sums.reshape(count, g * k)
        np.add.at(cells[:, r, g * k : -1], (cluster, group), played[r].astype(float))
        np.add.at(cells[:, r, -1], cluster, 1.0)

    def evaluate(totals: Floats) -> Floats:  # [B, R, G K + G + 1] -> [B, R]
        flat = totals.reshape(-1, totals.shape[-1])
        numbers = flat[:, g * k : -1]
        with np.errstate(invalid="ignore"):
            means = flat[:, : g * k].reshape(-1, g, k) / numbers[:, :, None]
        return _blend(function, means, numbers.sum(axis=1) / flat[:, -1], floor).reshape(totals.shape[:2])

    drawn = np.concatenate([block @ cells.reshape(count, -1) for block in count_blocks(task_digest, count)])
    draws = _over_runs(evaluate(drawn.reshape(DRAWS, *cells.shape[1:])), task_digest).astype(np.float32)
    headline = float(evaluate(cells.sum(axis=0)[None]).mean())
    lo, hi = interval(draws)
    return Standing(headline, lo, hi, mean=None, iqm=None, cvar10=None, sd=None, n=n, runs=runs, draws=draws, few=count < FEW)


def mean_draws(values: Floats, *, task_digest: str, clusters: ArrayLike | None = None) -> Floats:
    """Draws of the means of several quantities at once, pooled over runs: values [R, n, M] -> [2000, M]."""
    runs, n, m = values.shape
    cluster, count = _clusters(clusters, n)
    columns = values.transpose(1, 0, 2).reshape(n, runs * m)
    per_run = _mean_draws(columns, cluster, count, task_digest).reshape(DRAWS, runs, m)
    return _over_runs(per_run, task_digest)


def interval(draws: ArrayLike) -> tuple[float, float]:
    """95 % percentile interval of draws. Not BCa, which is NaN on constant scores (an exact solver)."""
    lo, hi = np.percentile(np.asarray(draws, dtype=float), [2.5, 97.5])
    return float(lo), float(hi)


def stream(task_digest: str, offset: int = 0) -> np.random.Generator:
    """The task's own random numbers: 0 draws clusters, 1 draws runs, 2 flips signs."""
    return np.random.Generator(np.random.Philox(key=int(task_digest[:16], 16) + offset))


def count_blocks(task_digest: str, clusters: int) -> Iterator[Floats]:
    """How often each cluster is in each draw: [64, C] at a time, [2000, C] in all. Equal to one big call of `integers(0, C, (2000, C))`."""
    if clusters <= KEEP:
        counts = _counts(task_digest, clusters)
        yield from (counts[start : start + BLOCK].astype(float) for start in range(0, DRAWS, BLOCK))
    else:
        yield from (block.astype(float) for block in _drawn_counts(task_digest, clusters))


@lru_cache(maxsize=4)
def _counts(task_digest: str, clusters: int) -> NDArray[np.int16]:
    return np.concatenate([block.astype(np.int16) for block in _drawn_counts(task_digest, clusters)])  # no count exceeds C <= 20,000


def _drawn_counts(task_digest: str, clusters: int) -> Iterator[NDArray[np.intp]]:
    rng = stream(task_digest)
    for start in range(0, DRAWS, BLOCK):
        rows = min(BLOCK, DRAWS - start)
        index = rng.integers(0, clusters, (rows, clusters)) + clusters * np.arange(rows)[:, None]
        yield np.bincount(index.ravel(), minlength=rows * clusters).reshape(rows, clusters)


def _mean_draws(columns: Floats, cluster: NDArray[np.intp], count: int, task_digest: str) -> Floats:
    """Means over the pooled scenarios of the drawn clusters: columns [n, M] -> [2000, M]."""
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, cluster, columns)
    sizes = np.bincount(cluster, minlength=count).astype(float)
    return np.concatenate([block @ sums / (block @ sizes)[:, None] for block in count_blocks(task_digest, count)])


def _iqm_draws(scores: Floats, cluster: NDArray[np.intp], count: int, task_digest: str) -> Floats:
    """IQM of the pooled scenarios of the drawn clusters: scores [R, n] -> [2000, R].

    Scores are sorted once; a draw is then a vector of multiplicities along the sorted scores, of which floor(total/4) are cut at each end.
    """
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    blocks = []
    for block in count_blocks(task_digest, count):
        column = np.empty((len(block), len(scores)))
        for r in range(len(scores)):
            upto = np.cumsum(block[:, cluster[order[r]]], axis=1)
            total = upto[:, -1:]
            cut = np.floor(total / 4)
            kept = np.diff(np.clip(upto, cut, total - cut), axis=1, prepend=cut)
            column[:, r] = kept @ ranked[r] / (total - 2 * cut)[:, 0]
        blocks.append(column)
    return np.concatenate(blocks)


def _over_runs(per_run: Floats, task_digest: str) -> Floats:
    """Resample the runs too: per_run [2000, R, ...] -> [2000, ...], draw b being the mean over the runs r in J[b]."""
    runs = per_run.shape[1]
    chosen = stream(task_digest, 1).integers(0, runs, (DRAWS, runs))
    return np.asarray(per_run[np.arange(DRAWS)[:, None], chosen].mean(axis=1))


def _blend(function: Callable[[Floats], Floats], means: Floats, rate: Floats, floor: float) -> Floats:
    """(1 - q) max(f, floor) + q floor for means [B, G, K] and the rate 1 - q [B]. Equal means are evaluated once (one instance: all draws)."""
    rows = np.ascontiguousarray(means.reshape(len(means), -1))
    _, first, inverse = np.unique(rows.view(f"V{rows.itemsize * rows.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    some = rate[first] > 0
    f = np.full(len(first), floor, dtype=float)
    if some.any():
        answer = np.asarray(function(means[first[some]]), dtype=float)
        if answer.shape != (int(some.sum()),) or not np.isfinite(answer).all():
            raise ArenaError(
                "score.of_means",
                f"the whole-set function returned shape {answer.shape} for {int(some.sum())} sets of means, or a value that is not finite",
                "it must map [..., group, metric] to [...] and leave out groups without a played scenario (rows of NaN)",
            )
        f[some] = np.maximum(answer, floor)
    return np.asarray(rate * f[inverse] + (1.0 - rate) * floor)


def _clusters(clusters: ArrayLike | None, n: int) -> tuple[NDArray[np.intp], int]:
    if clusters is None:
        return np.arange(n), n
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise ArenaError("score.shape", f"clusters have shape {labels.shape}, there are {n} scenarios", "one cluster label per scenario")
    unique, cluster = np.unique(labels, return_inverse=True)
    return cluster, len(unique)


def _checked(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ArenaError("score.shape", f"scores have shape {values.shape}", "expected [run, scenario]; a single run is scores[None]")
    if not np.isfinite(values).all():
        where = np.flatnonzero(~np.isfinite(values).all(axis=0)).tolist()
        raise ArenaError(
            "score.nonfinite", f"scores of scenarios {where[:8]} are not finite", "failed scenarios score the floor, never NaN", indices=where
        )
    return values
