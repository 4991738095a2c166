"""The payoff matrix of cross-play: mean scores of the row agents against the column agents. A match that the column agent failed is void: it
says nothing of the row agent and is left out (NaN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arena.errors import ArenaError
from arena.scoring.bootstrap import FEW, mean_draws
from arena.scoring.summary import t_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Payoff:
    """A cell of the matrix, or the mean over cells, with its 95 % interval and bootstrap draws [2000] (NaN: all matches of the draw are void)."""

    mean: float
    lo: float
    hi: float
    draws: Floats


def payoffs(scores: Floats, *, task_digest: str, clusters: ArrayLike | None = None) -> list[Payoff | None]:
    """The means over the matches of P pairs from scores [P, R, n] (pair, run, scenario), NaN where void; None where all are.

    Intervals and draws are those of `standing`, scenarios that share their luck and runs being resampled: percentiles, or a t interval below 32
    independent scenarios (unless some match is void). Raises `score.shape`.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 3 or 0 in scores.shape:
        raise ArenaError("score.shape", f"scores have shape {scores.shape}", "expected [pair, run, scenario]")
    played = np.isfinite(scores)
    some = np.flatnonzero(played.any(axis=(1, 2)))
    found: list[Payoff | None] = [None] * len(scores)
    if not len(some):
        return found
    scores, played = scores[some], played[some]
    sums = mean_draws(np.where(played, scores, 0.0).transpose(1, 2, 0), task_digest=task_digest, clusters=clusters).T
    if not played.all():
        with np.errstate(invalid="ignore"):
            sums /= mean_draws(played.transpose(1, 2, 0).astype(float), task_digest=task_digest, clusters=clusters).T
    lo, hi = _ends(sums, scores, clusters)
    for k, p in enumerate(some):
        found[p] = Payoff(float(scores[k][played[k]].mean()), float(lo[k]), float(hi[k]), sums[k])
    return found


def mean_payoff(cells: Sequence[Payoff], scores: Sequence[Floats], clusters: ArrayLike | None = None) -> Payoff:
    """The mean over cells of a row, each counting the same, from the cells and the scores [R, n] behind each of them."""
    if len({len(runs) for runs in scores}) > 1:  # runs that are not alike cannot be averaged one by one
        scores = [runs.mean(axis=0, keepdims=True) for runs in scores]
    mean, draws = float(np.mean([cell.mean for cell in cells])), np.mean([cell.draws for cell in cells], axis=0)
    lo, hi = _ends(draws[None], np.mean(scores, axis=0)[None], clusters)
    return Payoff(mean, float(lo[0]), float(hi[0]), draws)


def _ends(draws: Floats, scores: Floats, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
    """Intervals of P means from their draws [P, 2000] and the scores [P, R, n] behind them."""
    lo, hi = (np.percentile if np.isfinite(draws).all() else np.nanpercentile)(draws, [2.5, 97.5], axis=1)
    labels = np.arange(scores.shape[2]) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if 1 < labels.max() + 1 < FEW:
        for p in np.flatnonzero(np.isfinite(scores).all(axis=(1, 2))):
            lo[p], hi[p] = t_interval(scores[p], labels)
    return lo, hi
