"""Verification: every stored metric derived again from scenario and recorded actions alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import zstandard
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.judging import judged, per_scenario
from arena.rollout import replay
from arena.store import StandingRecord, Store, salvage_recording
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

    Equality is exact where the domain's arithmetic is (`rtol` 0), else within its tolerance. The agent is not needed. Where all was looked at
    and nothing differs, the agent's line on the board is derived from the stored scores too. Notes the outcome
    with a complete run: that it is verified when all of it was looked at, that it is not as soon as anything differs. An imported run that is
    verified joins its agent's line on the board.
    Raises ArenaError `verify.empty` where nothing is recorded yet.
    """
    run, chunks = store.run_row(run_id), store.chunks(run_id)
    if not chunks:
        raise ArenaError("verify.empty", f"run {run_id} has no finished chunk yet", f"arena resume {run_id}")
    entries = {e.id: e for e in store.entries(run_id)}
    entry = next(e for e in entries.values() if e.candidate)
    stored = store.metric_vectors(entry.id)
    failed, void = np.zeros(task.n, bool), np.zeros(task.n, bool)
    for f in store.failures(run_id, limit=10**9):
        (failed if entries[f["entry_id"]].agent_id == entry.agent_id else void)[f["scenario"]] = True
    void &= ~failed
    checked = chunks[:: max(1, round(1 / sample)) if sample > 0 else len(chunks)]
    mismatches: list[Mismatch] = []
    values = 0
    if run.status == "complete":
        there = {chunk["chunk"] for chunk in chunks}
        wanted_chunks = enumerate(task.chunks(run.chunk_size))
        mismatches += [Mismatch(index, start, 0, "the chunk is not in the store") for index, (start, _) in wanted_chunks if index not in there]
    for chunk in checked:
        rows = slice(chunk["start"], chunk["start"] + chunk["n"])
        actions, faults = _actions(store, task, chunk, bool((failed | void)[rows].all()))
        mismatches += faults
        if actions is None:
            continue
        try:
            metrics = replay(task.domain, task.rows(chunk["start"], chunk["n"]), actions, device)
            derived = judged(task, {name: per_scenario(value) for name, value in metrics.items()}, failed[rows], rows, void[rows])
            if "score" in derived:  # arithmetic on the metrics as stored: exact even where those are found again within a tolerance only
                derived["score"] = judged(task, {name: stored[name][rows] for name in metrics}, failed[rows], rows, void[rows])["score"]
        except ArenaError as error:
            step = error.context.get("step", task.domain.horizon - 1)
            mismatches.append(Mismatch(chunk["chunk"], rows.start, step if isinstance(step, int) else 0, error.message))
            continue
        for name, wanted in derived.items():
            found = stored[name][rows]
            values += chunk["n"]
            for row in np.flatnonzero(~_same(found, wanted, 0.0 if name == "score" else task.domain.rtol)):
                what = f"{name}: stored {found[row]!s}, derived {wanted[row]!s}"
                mismatches.append(Mismatch(chunk["chunk"], rows.start + int(row), task.domain.horizon - 1, what))
    if not mismatches and len(checked) == len(chunks):
        mismatches += _board_line(store, run_id, task)
    outcome = Verification(run_id, len(checked), sum(c["n"] for c in checked), values, mismatches)
    if run.status == "complete" and (len(checked) == len(chunks) or not outcome.ok):
        store.set_verified(run_id, outcome.ok)
        if outcome.ok and "origin" in run.config:
            from arena.bundle import rank_verified  # which needs the checksums of this module

            rank_verified(store, run_id, task)
    return outcome


def _board_line(store: Store, run_id: int, task: Task) -> list[Mismatch]:
    """Where the agent's board line is not what the stored scores of its runs make. To rounding: matrix products differ between machines."""
    from arena.standings import summarise

    found = store.board_line(run_id)
    if found is None:
        return []
    pool, stored = found
    what = "the board line of the agent is not what its scores make: "
    return [Mismatch(0, 0, 0, what + fault) for fault in line_faults(stored, summarise(task, pool))]


def line_faults(stored: StandingRecord, derived: StandingRecord) -> list[str]:
    """In what a board line differs from the one that was derived, to rounding."""
    wrong = []
    for name in ("headline", "lo", "hi", "mean", "iqm", "cvar10", "sd", "failed", "violated", "n", "draws"):
        a, b = (np.array(getattr(record, name), float) for record in (stored, derived))  # None as NaN
        if a.shape != b.shape or not np.allclose(a, b, rtol=1e-6, atol=1e-6 if name == "draws" else 1e-9, equal_nan=True):
            wrong.append("its draws" if name == "draws" else f"{name}: stored {a:.10g}, derived {b:.10g}")
    return wrong


def _same(a: NDArray[np.float64], b: NDArray[np.float64], rtol: float) -> NDArray[np.bool_]:
    if rtol:
        return np.asarray(np.isclose(a, b, rtol=rtol, atol=rtol, equal_nan=True))
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _actions(store: Store, task: Task, chunk: Mapping[str, Any], all_failed: bool) -> tuple[dict[str, NDArray[Any]] | None, list[Mismatch]]:
    """The recorded actions of a chunk, if there is anything to replay, and what is wrong with them and where."""
    number, start, digest = chunk["chunk"], chunk["start"], chunk["recording_digest"]
    if digest is None:  # an agent that had given up was not asked
        return None, [] if all_failed else [Mismatch(number, start, 0, "nothing was recorded")]
    path = recording_path(store.home, digest)
    try:
        salvage = salvage_recording(path)
    except ArenaError as error:
        return None, [Mismatch(number, start, 0, error.message)]
    roles = [role.name for role in task.domain.roles]
    if salvage.intact and salvage.tensors is not None:
        return {name: np.asarray(salvage.tensors[name]) for name in roles if name in salvage.tensors}, []
    tensors = _decoded(path)
    faults = [fault for role in roles if tensors and role in tensors for fault in _altered(role, tensors, number, start)]
    if faults:
        return None, faults
    what = f"the recording is damaged: {salvage.reason}"
    if tensors is not None and not set(roles) - set(tensors):  # altered with its checksums: what its metrics are now names the scenarios
        return {name: tensors[name] for name in roles}, [Mismatch(number, start, 0, what)]
    certain = min((len(moves) for name, moves in (salvage.tensors or {}).items() if name in roles), default=0)
    return None, [Mismatch(number, start, certain, what)]


def _decoded(path: Path) -> dict[str, NDArray[Any]] | None:
    """The tensors of a recording without regard to its name and to the checksums of its frames; None where it cannot be decoded so.

    A frame's header says by bit 2 of its fifth byte that four bytes of checksum follow (RFC 8878, 3.1.1.1.1).
    """
    packed, block = bytearray(path.read_bytes()), b""
    try:
        while packed:
            checked = 4 if packed[4] & 4 else 0
            packed[4] &= ~4
            decoder = zstandard.ZstdDecompressor().decompressobj()
            block += decoder.decompress(bytes(packed))
            if not decoder.eof:
                return None
            packed = bytearray(decoder.unused_data[checked:])
        loaded: dict[str, NDArray[Any]] = safetensors.numpy.load(block)
    except (zstandard.ZstdError, safetensors.SafetensorError, IndexError, ValueError, KeyError):
        return None
    return loaded


def _altered(role: str, tensors: Mapping[str, NDArray[Any]], number: int, start: int) -> list[Mismatch]:
    """Scenario and step of altered actions, from the two checksums."""
    moves, steps, rows = tensors[role], tensors.get(role + STEPS), tensors.get(role + ROWS)
    if steps is None or rows is None or moves.ndim < 2 or len(steps) != len(moves) or len(rows) != moves.shape[1]:
        return []
    by_step, by_row = _checksums(moves)
    bad_steps, bad_rows = np.flatnonzero(by_step != steps), np.flatnonzero(by_row != rows)
    if not len(bad_steps) and not len(bad_rows):
        return []
    if not len(bad_steps) or not len(bad_rows):
        bad_steps, bad_rows = np.append(bad_steps, 0), np.append(bad_rows, 0)
        return [Mismatch(number, start + int(bad_rows[0]), int(bad_steps[0]), f"a checksum of {role}'s actions was altered, no action")]
    what = f"{role}'s recorded actions were altered in {len(bad_steps)} steps of {len(bad_rows)} scenarios"
    return [Mismatch(number, start + int(row), int(bad_steps[0]), what) for row in bad_rows]
