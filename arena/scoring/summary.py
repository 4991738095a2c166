"""Statistics of one vector of scores, and the intervals that need no resampling.

`scipy.stats` has them all, but to import it takes longer than most runs last: it is the tests' judge, and the few lines stand here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]


def iqm(scores: ArrayLike) -> Floats:
    """Interquartile mean over the last axis: floor(n/4) values cut from each end (Agarwal et al. 2021). NaN in, NaN out."""
    values = np.asarray(scores, dtype=float)
    n = values.shape[-1]
    middle = np.partition(values, (n // 4, n - n // 4 - 1), axis=-1)[..., n // 4 : n - n // 4].mean(axis=-1)
    return np.asarray(np.where(np.isnan(values).any(axis=-1), np.nan, middle))


def cvar10(scores: ArrayLike) -> Floats:
    """Mean of the worst ceil(n/10) scores over the last axis (conditional value at risk)."""
    values = np.sort(np.asarray(scores, dtype=float), axis=-1)
    worst = -(-values.shape[-1] // 10)
    return np.asarray(values[..., :worst].mean(axis=-1))


def wilson(count: int, n: int) -> tuple[float, float]:
    """95 % interval of a rate, count of n (Wilson 1927): right for the rare failures where the normal interval is empty."""
    z2, rate = ndtri(0.975) ** 2, count / n
    middle, half = rate + z2 / (2 * n), np.sqrt(z2 * (rate * (1 - rate) + z2 / (4 * n)) / n)
    low = 0.0 if count == 0 else (middle - half) / (1 + z2 / n)  # the two ends are exact
    high = 1.0 if count == n else (middle + half) / (1 + z2 / n)
    return float(low), float(high)


def t_interval(scores: Floats, cluster: NDArray[np.intp]) -> tuple[float, float]:
    """95 % t interval of the mean of scores [R, n] (run, scenario) over independent clusters [n] labelled 0..C-1, C >= 2.

    The variance of the mean is that of a ratio estimator over clusters (Cochran 1977, eq. 2.39) plus, for R > 1, that of the run means;
    degrees of freedom by Satterthwaite (1946). With one run and no clusters: the textbook t interval.
    """
    runs, n = scores.shape
    clusters = int(cluster.max()) + 1
    mean = scores.mean()
    residual = np.bincount(cluster, weights=scores.mean(axis=0) - mean)
    of_scenarios = clusters / (clusters - 1) * np.sum(residual**2) / n**2
    of_runs = scores.mean(axis=1).var(ddof=1) / runs if runs > 1 else 0.0
    if of_scenarios + of_runs == 0.0:
        return float(mean), float(mean)
    freedom = (of_scenarios + of_runs) ** 2 / (of_scenarios**2 / (clusters - 1) + of_runs**2 / max(runs - 1, 1))
    half = stdtrit(freedom, 0.975) * np.sqrt(of_scenarios + of_runs)
    return float(mean - half), float(mean + half)


def trimmed_interval(scores: Floats) -> tuple[float, float]:
    """95 % interval of the IQM of one vector [n] from its winsorised variance (Tukey and McLaughlin 1963)."""
    n, cut = len(scores), len(scores) // 4
    ordered = np.sort(scores)
    mean = ordered[cut : n - cut].mean()
    winsorised = np.clip(ordered, ordered[cut], ordered[n - cut - 1])
    half = stdtrit(n - 2 * cut - 1, 0.975) * winsorised.std(ddof=1) / (0.5 * np.sqrt(n))
    return float(mean - half), float(mean + half)
