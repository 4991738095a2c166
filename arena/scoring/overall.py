"""The overall board: scores averaged over tasks and domains. Never raw metrics, whose mean is ruled by the largest unit; never mean ranks
or win rates, which change when an unrelated agent joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arena.scoring.bootstrap import Standing, interval

CLIP = (-1.0, 1.2)  # no single task decides the board


@dataclass(frozen=True, eq=False, slots=True)
class SuiteStanding:
    """An agent in a suite: a standing per domain of which it has all tasks, and one overall if it has all domains (else None)."""

    domains: dict[str, Standing]
    overall: Standing | None


def suite_standing(standings: Mapping[str, Standing], suite: Mapping[str, Sequence[str]]) -> SuiteStanding:
    """Pool an agent's standings {task: Standing} over a suite {domain: tasks}.

    A domain counts the mean of its tasks, each headline (and each draw) first clipped to [-1, 1.2]; the overall score is the mean over
    domains, equal weights. Nothing is imputed: a domain with a missing task is left out, and then there is no overall score.
    Draws of different tasks are independent, so the vectors are averaged. `n` of the result is the scenarios of all tasks together,
    `runs` the fewest behind any of them.
    """
    domains = {
        domain: _average([_clipped(standings[task]) for task in tasks]) for domain, tasks in suite.items() if all(task in standings for task in tasks)
    }
    return SuiteStanding(domains, _average(list(domains.values())) if domains and len(domains) == len(suite) else None)


def _clipped(standing: Standing) -> Standing:
    return replace(standing, headline=float(np.clip(standing.headline, *CLIP)), draws=standing.draws.clip(*CLIP))


def _average(parts: Sequence[Standing]) -> Standing:
    draws = np.mean([part.draws for part in parts], axis=0, dtype=float).astype(np.float32)
    lo, hi = interval(draws)
    return Standing(
        headline=float(np.mean([part.headline for part in parts])),
        lo=lo,
        hi=hi,
        mean=None,
        iqm=None,
        cvar10=None,
        sd=None,
        n=sum(part.n for part in parts),
        runs=min(part.runs for part in parts),
        draws=draws,
        few=any(part.few for part in parts),
    )
