"""Order among agents of one task, with what is not decided left open; and the performance profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arena.scoring.bootstrap import mean_draws

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

NOISE = 1e-9  # headlines of identical scores may differ by rounding, with a standard error of exactly 0
TAUS = np.linspace(-0.5, 1.2, 101)


@dataclass(frozen=True, eq=False, slots=True)
class Ranks:
    """For A agents: the rank shown, 1 + the number clearly ahead, and the 95 % range of the rank over joint draws."""

    shown: Ints  # [A]
    best: Ints  # [A]
    worst: Ints  # [A]

    def labels(self) -> list[str]:
        """The ranges as printed: "1-3", or "2" where the draws agree."""
        return [str(b) if b == w else f"{b}-{w}" for b, w in zip(self.best, self.worst, strict=True)]


def ranks(headlines: Sequence[float] | Floats, draws: NDArray[np.float32]) -> Ranks:
    """Ranks from headlines [A] and their joint draws [A, 2000]. An agent is ahead by more than 1.96 standard errors of the difference,
    which come from the covariance matrix of the draws (percentiles of all pairs would take 10 s for 500 agents)."""
    value, drawn = np.asarray(headlines, dtype=float), np.asarray(draws, dtype=float)
    if not len(value):
        return Ranks(*(np.empty(0, dtype=np.intp) for _ in range(3)))
    covariance = np.cov(drawn).reshape(len(value), len(value))
    variance = np.diag(covariance)
    se = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 0.0))
    ahead = value[None, :] - value[:, None] > 1.96 * se + NOISE  # [i, j]: j is ahead of i
    position = np.sort(_positions(drawn.T), axis=0)
    last = len(position) - 1
    return Ranks(1 + ahead.sum(axis=1), position[int(np.floor(0.025 * last))], position[int(np.ceil(0.975 * last))])


@dataclass(frozen=True, eq=False, slots=True)
class Profile:
    """Performance profile (Agarwal et al. 2021, eq. 2): the fraction of scenarios whose score exceeds tau, with a pointwise 95 % band."""

    tau: Floats  # [101] from -0.5 to 1.2
    fraction: Floats  # [101]
    lo: Floats
    hi: Floats


def performance_profile(scores: Floats, *, task_digest: str, clusters: ArrayLike | None = None) -> Profile:
    """The profile of scores [R, n], runs pooled, with the band from the task's draws. Strictly above tau: a failure at the floor never counts."""
    above = (np.asarray(scores, dtype=float)[:, :, None] > TAUS).astype(float)
    lo, hi = np.percentile(mean_draws(above, task_digest=task_digest, clusters=clusters), [2.5, 97.5], axis=0)
    return Profile(TAUS, above.mean(axis=(0, 1)), lo, hi)


def _positions(drawn: Floats) -> Ints:
    """Rank of each agent in each draw [B, A] -> [B, A], best = 1, ties share the better rank."""
    order = np.argsort(-drawn, axis=1)
    ranked = np.take_along_axis(drawn, order, axis=1)
    place = np.arange(drawn.shape[1])
    fresh = np.concatenate([np.ones((len(drawn), 1), dtype=bool), ranked[:, 1:] != ranked[:, :-1]], axis=1)
    first = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
    position = np.empty_like(order)
    np.put_along_axis(position, order, first + 1, axis=1)
    return position
