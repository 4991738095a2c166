"""Verification: every stored metric derived again from scenario and recorded actions alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy
import zstandard
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.rollout import batch, replay
from arena.store import Store, salvage_recording
from arena.store.recordings import recording_path
from arena.task import Task

STEPS, ROWS = ".steps", ".rows"


@dataclass(frozen=True)
class Mismatch:
    """Where stored and derived differ: `step` is the first kernel step that cannot be trusted, or the last one for a metric."""

    chunk: int
    scenario: int
    step: int
    what: str


@dataclass(frozen=True)
class Verification:
    run_id: int
    chunks: int
    scenarios: int
    values: int
    mismatches: list[Mismatch]

    @property
    def ok(self) -> bool:
        return not self.mismatches


def with_checks(actions: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The tensors of a recording: actions per role [T, n, ...] and two checksums of them, per step [T] and per scenario [n].

    One altered byte breaks exactly one of each, which names its place.
    """
    found: dict[str, NDArray[Any]] = {}
    for role, moves in actions.items():
        found[role] = moves
        found[role + STEPS], found[role + ROWS] = _checksums(moves)
    return found


def _checksums(moves: NDArray[Any]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Sums modulo 2^64 of each byte times an odd weight of its place: no change of a single byte leaves them as they were."""
    if not moves.size:
        return np.zeros(moves.shape[0], np.uint64), np.zeros(moves.shape[1] if moves.ndim > 1 else 0, np.uint64)
    raw = np.ascontiguousarray(moves).view(np.uint8).reshape(moves.shape[0], moves.shape[1], -1)
    steps, rows, width = raw.shape
    weight = (_weights(steps)[:, None] * _weights(width)[None, :]).astype(np.uint64)
    across = (_weights(rows)[:, None] * _weights(width)[None, :]).astype(np.uint64)
    by_step, by_row = np.empty(steps, np.uint64), np.zeros(rows, np.uint64)
    for start in range(0, steps, 1024):
        part = raw[start : start + 1024].astype(np.uint64)
        by_step[start : start + 1024] = np.einsum("tnk,nk->t", part, across)
        by_row += np.einsum("tnk,tk->n", part, weight[start : start + 1024])
    return by_step, by_row


def _weights(n: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return np.uint64(2) * (np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) + np.uint64(1)


def verify(store: Store, run_id: int, task: Task, sample: float = 1.0, device: str = "cpu") -> Verification:
    """Replay a run's recordings (a `sample` of its chunks, evenly spread) and compare all metrics and scores.

    Equality is exact where the domain's arithmetic is (`rtol` 0), else within its tolerance.
    """
    from arena.evaluation import scores

    run = store.run_row(run_id)
    entry = next(e for e in store.entries(run_id) if e.candidate)
    stored = store.metric_vectors(entry.id)
    failed = {f["scenario"] for f in store.failures(run_id, limit=10**9)}
    chunks = store.chunks(run_id)
    if not chunks:
        raise ArenaError("verify.empty", f"run {run_id} has no finished chunk yet", f"arena resume {run_id}")
    every = max(1, round(1 / sample)) if sample > 0 else len(chunks)
    checked = chunks[::every]
    mismatches: list[Mismatch] = []
    values = 0
    for chunk in checked:
        start, n = chunk["start"], chunk["n"]
        rows = slice(start, start + n)
        lost = np.array([i in failed for i in range(start, start + n)])
        if chunk["recording_digest"] is None:
            if not lost.all():
                mismatches.append(Mismatch(chunk["chunk"], start, 0, "nothing was recorded"))
            continue
        actions, faults = _actions(store, task, chunk)
        mismatches += faults
        if actions is None:
            continue
        try:
            derived = replay(task.domain, batch(task.scenarios, rows), actions, device)
        except ArenaError as error:
            where = int(error.context.get("step", 0))  # type: ignore[call-overload]
            mismatches.append(Mismatch(chunk["chunk"], start, where, error.message))
            continue
        derived = {name: value if value.ndim == 1 else value.mean(axis=1) for name, value in derived.items()}
        derived["score"] = scores(task, derived, lost, rows)
        for name, value in derived.items():
            was = stored[name][rows]
            wanted = np.where(lost, task.floor if name == "score" else np.nan, value)
            same = np.isclose(was, wanted, rtol=task.domain.rtol, atol=task.domain.rtol, equal_nan=True) if task.domain.rtol else _equal(was, wanted)
            values += n
            for row in np.flatnonzero(~same):
                what = f"{name}: stored {was[row]!r}, derived {wanted[row]!r}"
                mismatches.append(Mismatch(chunk["chunk"], int(start + row), task.domain.horizon - 1, what))
    found = Verification(run_id, len(checked), sum(c["n"] for c in checked), values, mismatches)
    if run.status == "complete" and (sample >= 1 or not found.ok):
        store.set_verified(run_id, found.ok)
    return found


def _equal(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _actions(store: Store, task: Task, chunk: Mapping[str, Any]) -> tuple[dict[str, NDArray[Any]] | None, list[Mismatch]]:
    """The recorded actions of a chunk, or what is wrong with them and where."""
    start, number, digest = chunk["start"], chunk["chunk"], chunk["recording_digest"]
    try:
        salvage = salvage_recording(recording_path(store.home, digest))
    except ArenaError as error:
        return None, [Mismatch(number, start, 0, error.message)]
    roles = [role.name for role in task.domain.roles]
    if salvage.intact and salvage.tensors is not None:
        return {name: np.asarray(salvage.tensors[name]) for name in roles if name in salvage.tensors}, []
    tensors = salvage.tensors or _unchecked(store, digest)
    if tensors is None:
        return None, [Mismatch(number, start, 0, f"the recording cannot be read: {salvage.reason}")]
    faults = [fault for role in roles if role in tensors for fault in _altered(role, tensors, number, start)]
    if not faults:
        short = min((len(tensors[role]) for role in roles if role in tensors), default=0)
        faults = [Mismatch(number, start, short, f"the recording is damaged from here on: {salvage.reason}")]
    return None, faults


def _unchecked(store: Store, digest: str) -> dict[str, NDArray[Any]] | None:
    """The tensors of a file that decodes but is not what its name promises."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(recording_path(store.home, digest).read_bytes()), read_across_frames=True) as reader:
            loaded: dict[str, NDArray[Any]] = safetensors.numpy.load(reader.read())
            return loaded
    except (zstandard.ZstdError, OSError, ValueError, safetensors.SafetensorError):
        return None


def _altered(role: str, tensors: Mapping[str, NDArray[Any]], number: int, start: int) -> list[Mismatch]:
    """Scenario and step of altered actions, from the two checksums."""
    moves, steps, rows = tensors[role], tensors.get(role + STEPS), tensors.get(role + ROWS)
    if steps is None or rows is None or moves.ndim < 2 or len(steps) != len(moves) or len(rows) != moves.shape[1]:
        return []
    by_step, by_row = _checksums(moves)
    bad_steps, bad_rows = np.flatnonzero(by_step != steps), np.flatnonzero(by_row != rows)
    if not len(bad_steps) and not len(bad_rows):
        return []
    step = int(bad_steps[0]) if len(bad_steps) else 0
    what = f"{role}'s recorded actions were altered in {len(bad_steps)} steps of {len(bad_rows)} scenarios"
    return [Mismatch(number, int(start + row), step, what) for row in (bad_rows if len(bad_rows) else [0])]
