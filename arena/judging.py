"""From what a kernel measured to what is stored and scored; the same for a run and for its verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.domain import Metric
from arena.errors import ArenaError
from arena.scoring import check_bound, score, violation
from arena.task import Task


def per_scenario(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """[B] as it is; [B, S] as the mean over the seats."""
    return value if value.ndim == 1 else value.mean(axis=1)


def judged(
    task: Task, metrics: Mapping[str, NDArray[np.float64]], failed: NDArray[np.bool_], rows: slice, void: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[np.float64]]:
    """All that is stored of a chunk, by name: metrics [n], NaN where the scenario failed, and `score` unless it exists for the whole set only.

    void: [n] matches that the opponent failed; they say nothing of this agent, so its score is NaN too

    Raises ArenaError `kernel.nonfinite`, `score.above_bound`.
    """
    unplayed = failed if void is None else failed | void
    for name, value in metrics.items():
        wrong = np.flatnonzero(~unplayed & ~np.isfinite(value))
        if len(wrong):
            raise ArenaError(
                "kernel.nonfinite",
                f"{task.domain.name} measured {name} = {value[wrong[0]]} in scenario {rows.start + wrong[0]}",
                "this is a bug of the domain, not a score",
            )
    found = {name: np.where(unplayed, np.nan, value) for name, value in metrics.items()}
    if task.headline == "of_means":
        return found
    limits = [m for m in task.domain.metrics_spec if m.role == "constraint"]
    broken = violations(limits, [np.where(unplayed, 0.0, metrics[m.name]) for m in limits])
    value, ref0, ref1 = metrics[task.primary.name], task.vectors["ref0"], task.vectors["ref1"]
    rule: dict[str, Any] = {"normalise": task.normalise, "violations": broken, "failed": unplayed, "rows": rows}
    if task.bounded:
        check_bound(value, ref0, ref1, task.primary.direction, **rule)
    scores = score(value, ref0, ref1, task.primary.direction, floor=task.floor, **rule)
    return found | {"score": scores if void is None else np.where(void, np.nan, scores)}


def violations(limits: Sequence[Metric], values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """[...] the normalised violation of each scenario over all constraints; None where there is none."""
    if not limits:
        return None
    return violation(np.stack(values, axis=-1), [m.threshold or 0.0 for m in limits], [m.direction for m in limits], [m.scale for m in limits])
