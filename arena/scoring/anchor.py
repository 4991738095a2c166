"""From a raw metric to a score: 0 is the named baseline, 1 the named bound, in every scenario of every task.

n is the number of scenarios, direction is +1 where more of the metric is better and -1 where less is better.
References are always those of the whole task; `rows` picks the scenarios at hand (a chunk), so that a task-wide
denominator does not change with the chunk size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arena.errors import ArenaError

Floats = NDArray[np.float64]
Normalise = Literal["scenario", "task"]
Rows = slice | NDArray[np.intp] | None

FLAT = 0.1  # a gap below this share of its group's median gap makes a ratio that says nothing
FEASIBLE = 1e-9  # normalised violation that still counts as feasible
ABOVE_BOUND = 1e-6  # how far above a proven bound rounding may carry a score


def flat_scenarios(ref0: ArrayLike, ref1: ArrayLike, direction: int, groups: ArrayLike | None = None) -> list[int]:
    """Indices of the scenarios whose gap between the references [n] is not positive or below 0.1 of the median gap of their group [n].

    The median is taken per group because one median over profiles of unequal scale would condemn whole profiles.
    """
    gap = _gap(ref0, ref1, direction)
    if not np.isfinite(gap).all():
        where = np.flatnonzero(~np.isfinite(gap)).tolist()
        raise ArenaError(
            "task.reference", f"references of scenarios {_some(where)} are not finite", "compute them again before freezing", indices=where
        )
    _, group = np.unique(np.zeros(len(gap)) if groups is None else np.asarray(groups), return_inverse=True)
    median = np.array([np.median(gap[group == g]) for g in range(group.max(initial=-1) + 1)])
    return np.flatnonzero((gap <= 0) | (gap < FLAT * median[group])).tolist()


def check_gaps(ref0: ArrayLike, ref1: ArrayLike, direction: int, groups: ArrayLike | None = None) -> None:
    """The rule at freeze for tasks normalised per scenario; raises `task.flat_scenario` that lists the offending indices."""
    flat = flat_scenarios(ref0, ref1, direction, groups)
    if flat:
        raise ArenaError(
            "task.flat_scenario",
            f"in {len(flat)} of {np.size(ref0)} scenarios the two references nearly agree (gap below {FLAT} of the group's median): {_some(flat)}",
            "leave them out with --drop-flat, or declare normalise='task' (one denominator, the mean gap)",
            indices=flat,
        )


def anchored(metric: ArrayLike, ref0: ArrayLike, ref1: ArrayLike, direction: int, normalise: Normalise = "scenario", rows: Rows = None) -> Floats:
    """s = d (m - r0) / gap, with gap = d (r1 - r0) of the scenario, or its mean over the task for normalise="task".

    metric [..., n] (of the scenarios in `rows`), ref0 and ref1 [n] of the whole task (or scalars); returns the shape of metric.
    No floor and no constraint yet. Raises `task.no_gap` where a denominator is not positive and `score.shape` where lengths differ.
    """
    gap = _gap(ref0, ref1, direction)
    start = np.broadcast_to(np.asarray(ref0, dtype=float), gap.shape)
    denominator = np.full_like(gap, gap.mean()) if normalise == "task" else gap
    start, denominator = _at(start, rows), _at(denominator, rows)
    values = np.asarray(metric, dtype=float)
    if start.ndim and values.shape[-1:] != start.shape:
        raise ArenaError(
            "score.shape",
            f"the metric has shape {values.shape}, the references cover {len(start)} scenarios",
            "the last axis of the metric is the scenario",
        )
    if not (denominator > 0).all():
        where = np.flatnonzero(~(np.atleast_1d(denominator) > 0)).tolist()
        raise ArenaError(
            "task.no_gap", f"reference 1 is not better than reference 0 in scenarios {_some(where)}", "check direction and references", indices=where
        )
    return np.asarray(direction * (values - start) / denominator)


def violation(values: ArrayLike, thresholds: Sequence[float], directions: Sequence[int], scales: Sequence[float | None]) -> Floats:
    """Normalised violation v = max_k max(0, d_k (h_k - c_k) / scale_k) per scenario: values [..., n, K] -> [..., n].

    d = -1 means "at most h", +1 "at least h". A scale of None means |h|; h = 0 must declare one (`task.constraint_scale`).
    """
    threshold, direction = np.asarray(thresholds, dtype=float), np.asarray(directions, dtype=float)
    scale = np.array([abs(h) if s is None else s for h, s in zip(thresholds, scales, strict=True)], dtype=float)
    if not (scale > 0).all():
        k = int(np.flatnonzero(~(scale > 0))[0])
        raise ArenaError(
            "task.constraint_scale",
            f"constraint {k} has threshold {thresholds[k]} and scale {scales[k]}: it has no positive scale",
            "declare scale > 0",
        )
    excess = direction * (threshold - np.asarray(values, dtype=float)) / scale
    return np.asarray(np.max(excess, axis=-1, initial=0.0))


def score(
    metric: ArrayLike,
    ref0: ArrayLike,
    ref1: ArrayLike,
    direction: int,
    *,
    normalise: Normalise = "scenario",
    floor: float = -1.0,
    violations: ArrayLike | None = None,
    failed: ArrayLike | None = None,
    rows: Rows = None,
) -> Floats:
    """The whole per-scenario rule: metric [..., n] -> score [..., n], never NaN and never below the floor.

    Anchored score s; with a violation v > 1e-9 it becomes min(s, 0) - v; then the floor, which every scenario shares: otherwise
    crashing (the floor) would beat playing badly. `failed` scenarios (whose metric may be NaN) score the floor and stay in n.
    Raises `kernel.nonfinite` where a metric or violation of a played scenario is not finite.
    """
    values = np.asarray(metric, dtype=float)
    lost = np.zeros(values.shape, dtype=bool) if failed is None else np.broadcast_to(np.asarray(failed, dtype=bool), values.shape)
    v = np.zeros(values.shape) if violations is None else np.broadcast_to(np.asarray(violations, dtype=float), values.shape)
    broken = ~lost & ~(np.isfinite(values) & np.isfinite(v))
    if broken.any():
        where = np.flatnonzero(broken.reshape(-1, broken.shape[-1]).any(axis=0)).tolist()
        raise ArenaError(
            "kernel.nonfinite",
            f"the kernel returned NaN or infinity in scenarios {_some(where)}",
            "this is a bug of the domain, not a score",
            indices=where,
        )
    s = anchored(np.where(lost, 0.0, values), ref0, ref1, direction, normalise, rows)
    s = np.where(v <= FEASIBLE, s, np.minimum(s, 0.0) - v)
    return np.where(lost, floor, np.maximum(s, floor))


def check_bound(
    metric: ArrayLike,
    ref0: ArrayLike,
    ref1: ArrayLike,
    direction: int,
    *,
    normalise: Normalise = "scenario",
    violations: ArrayLike | None = None,
    failed: ArrayLike | None = None,
    rows: Rows = None,
) -> None:
    """Where reference 1 is a proven bound, no feasible played scenario may beat it by more than 1e-6 of the denominator.

    Raises `score.above_bound`: then either the bound or the kernel is wrong and the run is suspect. Infeasible scenarios may pass the
    bound of the feasible ones. The margin is s - s(r1), which under normalise="task" is not s - 1.
    """
    best = np.broadcast_to(np.asarray(ref1, dtype=float), np.broadcast_shapes(np.shape(ref0), np.shape(ref1)))
    best = _at(best, rows)
    values = np.where(False if failed is None else failed, best, np.asarray(metric, dtype=float))
    beyond = anchored(values, ref0, ref1, direction, normalise, rows) - anchored(best, ref0, ref1, direction, normalise, rows)
    beyond = np.where(np.asarray(0.0 if violations is None else violations) <= FEASIBLE, beyond, 0.0)
    if (beyond > ABOVE_BOUND).any():
        where = np.flatnonzero((np.atleast_2d(beyond) > ABOVE_BOUND).any(axis=0)).tolist()
        raise ArenaError(
            "score.above_bound",
            f"scenarios {_some(where)} beat a proven bound, by up to {beyond.max():.3g}",
            "a bound cannot be beaten: look for the fault in the reference or the kernel; the run is suspect",
            indices=where,
        )


def _gap(ref0: ArrayLike, ref1: ArrayLike, direction: int) -> Floats:
    if direction not in (-1, 1):
        raise ArenaError("task.direction", f"direction is {direction!r}", "+1 where more is better, -1 where less is better")
    return np.asarray(direction * (np.asarray(ref1, dtype=float) - np.asarray(ref0, dtype=float)))


def _at(task_values: Floats, rows: Rows) -> Floats:
    return task_values if rows is None or not task_values.ndim else task_values[rows]


def _some(indices: list[int]) -> str:
    return ", ".join(map(str, indices[:8])) + (f" and {len(indices) - 8} more" if len(indices) > 8 else "")
