"""Two agents on the same scenarios: the paired difference, how sure it is, and one sentence that claims no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arena.errors import ArenaError
from arena.scoring.bootstrap import Standing, interval, stream

Floats = NDArray[np.float64]

EXACT = 12  # up to this many flips all sign patterns are tried
FLIPS = 9999
SAME = 1e-12  # scores closer than this are ties: the mean over runs rounds


@dataclass(frozen=True, eq=False, slots=True)
class Entrant:
    """What a comparison needs of an agent: its standing on a task and its scores [n], averaged over runs (None for whole-set scores)."""

    name: str
    task_digest: str
    standing: Standing
    scores: Floats | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The paired difference of headlines a - b with its 95 % interval."""

    a: str
    b: str
    difference: float
    lo: float
    hi: float
    p: float | None  # two-sided sign-flip test on the per-scenario scores
    p_holm: float | None  # the same, adjusted for all comparisons made together
    improvement: float | None  # P(a > b) + P(tie) / 2 over scenarios
    n: int
    few: bool
    delta: float  # smallest difference of interest

    @property
    def verdict(self) -> str:
        """One sentence. A difference needs an interval without 0, and with few scenarios or many comparisons p < 0.05 as well.

        Equivalence needs the whole interval within +-delta; a difference that is not significant is undecided, which is all one knows then.
        """
        p = self.p_holm if self.p_holm is not None else self.p if self.few else None
        found = (self.lo > 0 or self.hi < 0) and (p is None or p < 0.05)
        negligible = not self.few and -self.delta <= self.lo and self.hi <= self.delta
        figures = f"95 % interval {self.lo:+.3f} to {self.hi:+.3f}, n = {self.n}"
        if found:
            front, back = (self.a, self.b) if self.difference > 0 else (self.b, self.a)
            sure = f", but by less than the {self.delta:g} that matters" if negligible else ""
            return f"{front} is ahead of {back} by {abs(self.difference):.3f} ({self.a} - {self.b}: {figures}){sure}."
        if negligible:
            return f"{self.a} and {self.b} are equivalent within +-{self.delta:g} ({self.a} - {self.b}: {figures})."
        why = "few scenarios" if self.few else "these scenarios do not separate them"
        return f"Undecided between {self.a} and {self.b}: {why} ({self.a} - {self.b}: {self.difference:+.3f}, {figures})."


def compare(a: Entrant, b: Entrant, *, clusters: ArrayLike | None = None, delta: float = 0.01) -> Comparison:
    """a against b on one task. `clusters` [n]: scenarios of a cluster flip their sign together.

    Raises `compare.different_tasks` unless both were judged on the same task digest.
    """
    return _compare(a, [b], clusters, delta)[0]


def compare_with_all(a: Entrant, others: Sequence[Entrant], *, clusters: ArrayLike | None = None, delta: float = 0.01) -> list[Comparison]:
    """a against each of the others, p values adjusted together by Holm (1979), so that the best of many is not taken for luck's winner."""
    results = _compare(a, others, clusters, delta)
    values = [c.p for c in results if c.p is not None]
    if not values:
        return results
    from statsmodels.stats.multitest import multipletests  # a fifth of a second, paid only here

    adjusted = iter(multipletests(values, method="holm")[1])
    return [c if c.p is None else replace(c, p_holm=float(next(adjusted))) for c in results]


def sign_flip(differences: Floats, rng: np.random.Generator) -> Floats:
    """Two-sided p values of the mean being 0 by flipping signs: differences [m, n] -> [m]. Exact over all 2^n patterns for n <= 12,
    otherwise 9999 random ones, with the observed one counted among them (Phipson and Smyth 2010). All rows meet the same patterns.

    The test of `scipy.stats.permutation_test(permutation_type="samples")`, for many agents in one matrix product.
    """
    m, n = differences.shape
    observed = np.abs(differences.sum(axis=1)) - SAME * np.abs(differences).sum(axis=1)
    if n <= EXACT:
        signs = np.array(list(product((-1.0, 1.0), repeat=n)))
        return np.asarray((np.abs(signs @ differences.T) >= observed).mean(axis=0))
    reached = np.zeros(m)
    for start in range(0, FLIPS, 500):
        signs = rng.integers(0, 2, (min(500, FLIPS - start), n), dtype=np.int8) * 2.0 - 1.0
        reached += (np.abs(signs @ differences.T) >= observed).sum(axis=0)
    return np.asarray((reached + 1) / (FLIPS + 1))


def _compare(a: Entrant, others: Sequence[Entrant], clusters: ArrayLike | None, delta: float) -> list[Comparison]:
    for b in others:
        if a.task_digest != b.task_digest:
            raise ArenaError(
                "compare.different_tasks",
                f"{a.name} was judged on task {a.task_digest[:12]}, {b.name} on {b.task_digest[:12]}",
                "scores are compared only on the same frozen scenarios; run both on one task version",
            )
    paired = [(i, a.scores - b.scores) for i, b in enumerate(others) if a.scores is not None and b.scores is not None]
    p: dict[int, float] = {}
    better: dict[int, float] = {}
    if paired:
        gaps = np.stack([gap for _, gap in paired])
        label = np.arange(gaps.shape[1]) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
        sums = np.zeros((len(gaps), label.max() + 1))
        np.add.at(sums.T, label, gaps.T)
        better = {i: float(np.mean((gap > SAME) + 0.5 * (np.abs(gap) <= SAME))) for i, gap in paired}
        p = dict(zip(better, map(float, sign_flip(sums, stream(a.task_digest, 2))), strict=True))

    def line(i: int, b: Entrant) -> Comparison:
        lo, hi = interval(a.standing.draws.astype(float) - b.standing.draws)
        return Comparison(
            a=a.name,
            b=b.name,
            difference=a.standing.headline - b.standing.headline,
            lo=lo,
            hi=hi,
            p=p.get(i),
            p_holm=None,
            improvement=better.get(i),
            n=a.standing.n,
            few=a.standing.few or b.standing.few,
            delta=delta,
        )

    return [line(i, b) for i, b in enumerate(others)]
