"""Whether what a bundle says of its runs can be so: against the task as it is known here, and one part against the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy
import torch
import zstandard
from numpy.typing import NDArray

from arena import registry
from arena.bundle.form import RunForm, TaskForm, damaged
from arena.digest import canonical_json
from arena.errors import ArenaError
from arena.evaluation import task_record
from arena.integrity import ROWS, STEPS, line_faults, with_checks
from arena.legality import Illegal, judge
from arena.standings import summarise
from arena.store import PoolInput, StandingRecord
from arena.store.sharing import Vectors
from arena.task import Task

RUNS = "runs.json"
MAX_RECORDING, MAX_RECORDINGS = 1 << 29, 1 << 34  # bytes unpacked, of one and of all


def known_task(form: TaskForm, references: Sequence[str]) -> tuple[Task, str]:
    """The task of this machine with that very digest, and the reference that makes it. Raises ArenaError bundle.task_unknown, bundle.damaged."""
    found, reason, fix = None, f"{form.name} is not known here", "install the domain that brings it: arena list tasks shows what is known"
    for reference in dict.fromkeys([*references, form.name]):
        try:
            found = registry.task(reference)
        except ArenaError as error:
            reason, fix = f"{reference} cannot be made here: {error.message}", error.hint
            continue
        try:
            here = found.digest
        except ArenaError as error:  # task.changed: what is here is not even what was frozen here
            reason, fix = error.message, error.hint
            continue
        if found.id == form.name and here == form.digest:
            _same_record(form, found)
            return found, reference
        reason = f"{found.id} has digest {here[:12]} here"
        fix = "results of different tasks do not mix: install the version of the domain (and its data) that the bundle was made with"
    raise ArenaError(
        "bundle.task_unknown",
        f"the bundle's runs were played on {form.name} with digest {form.digest[:12]}; {reason}",
        fix,
        task=form.name,
        expected=form.digest,
    )


def _same_record(form: TaskForm, task: Task) -> None:
    record = task_record(task)
    listed = [[m.name, m.unit, m.direction, m.role, m.threshold, m.scale] for m in record.metrics]
    mine = [record.domain, record.tier, record.n_scenarios, record.headline, record.normalise, record.floor, record.config, listed]
    theirs = [form.domain, form.tier, form.n_scenarios, form.headline, form.normalise, form.floor, form.config]
    metrics = [[m.name, m.unit, m.direction, m.role, m.threshold, m.scale] for m in form.metrics]
    if canonical_json(mine) != canonical_json([*theirs, metrics]):
        raise damaged(RUNS, f"the description of {form.name} is not that of the task with its digest")


def check_run(run: RunForm, task: Task, agents: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ArenaError bundle.damaged where line-up, chunks, failures or timings cannot be those of a complete run on the task."""

    def require(holds: bool, reason: str) -> None:
        if not holds:
            raise damaged(RUNS, f"run {run.uid[:6]} on {task.id}: {reason}")

    spans = task.chunks(run.chunk_size)
    require([(chunk.start, chunk.n) for chunk in run.chunks] == spans, "its chunks are not those of the task")
    main = run.entries[0]
    roles = task.candidates or (task.role,)
    require(main.role == task.role and main.candidate, f"the first entry is not the candidate as {task.role}")
    require(sorted(e.role for e in run.entries) == sorted([*roles, *task.fill]), "its roles are not those of the task")
    for entry in run.entries:
        require(entry.seat == -1 and entry.candidate == (entry.role in roles), f"the seat of {entry.role} is not the task's")
        match = not run.ranked and "opponent" in run.config and task.pair is not None
        require(not entry.candidate or entry.agent == main.agent or match, "two agents are judged at once")
        if not entry.candidate:
            same = agents[entry.agent]["artifact_digest"] == registry.candidate(task.fill[entry.role]).digest
            require(same, f"{entry.role} is not played by {task.fill[entry.role]}")
        mine = [f for f in run.failures if run.entries[min(f.entry, len(run.entries) - 1)] is entry]
        require(len(mine) == entry.failures and (entry.candidate or not mine), f"the failures of {entry.role} do not add up")
    places = [(f.entry, f.scenario) for f in run.failures]
    require(all(e < len(run.entries) and s < task.n for e, s in places) and len(set(places)) == len(places), "its failures lie outside of it")
    timed = [(t.entry, t.start, t.n) for t in run.timings]
    require(len(set(timed)) == len(timed) and all(e < len(run.entries) and (s, n) in spans for e, s, n in timed), "its timings lie outside of it")
    wanted = [metric.name for metric in task_record(task).metrics]
    require(sorted(main.metrics) == sorted(wanted), f"it measures {', '.join(main.metrics)}, expected {', '.join(wanted)}")
    require(all(not entry.metrics for entry in run.entries[1:]), "more than one entry is measured")


def check_values(run: RunForm, task: Task, vectors: Vectors) -> None:
    """Raises ArenaError bundle.damaged where a failed scenario or a void match has values, or another one lacks them."""
    failed, void = failed_scenarios(run, task), void_matches(run, task)
    for (_, name), vector in vectors.items():
        as_failed = vector == task.floor if name == "score" else np.isnan(vector)
        wrong = np.flatnonzero(~np.where(void, np.isnan(vector), np.where(failed, as_failed, np.isfinite(vector))))
        if len(wrong):
            first = wrong[0]
            fate = "is void" if void[first] else "failed" if failed[first] else "did not fail"
            raise damaged("measurements.parquet", f"{name} = {vector[first]} in scenario {first} of run {run.uid[:6]}, which {fate}")


def failed_scenarios(run: RunForm, task: Task) -> NDArray[np.bool_]:
    """[n] where the candidate failed, as its first entry says."""
    failed = np.zeros(task.n, bool)
    failed[[f.scenario for f in run.failures if f.entry == 0]] = True
    return failed


def void_matches(run: RunForm, task: Task) -> NDArray[np.bool_]:
    """[n] where the opponent of a match failed, and the candidate did not."""
    void = np.zeros(task.n, bool)
    void[[f.scenario for f in run.failures if run.entries[f.entry].agent != run.entries[0].agent]] = True
    return void & ~failed_scenarios(run, task)


# ---- recordings ----------------------------------------------------------------------------------------------------


def unpacked(packed: bytes, name: str) -> bytes:
    """The content of a recording file, of which no more is held than a recording may have. Raises ArenaError bundle.damaged."""
    pieces, size = [], 0
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed, read_across_frames=True) as reader:
            while piece := reader.read(1 << 20):
                size += len(piece)
                if size > MAX_RECORDING:
                    raise damaged(name, f"unpacks to more than {MAX_RECORDING:,} bytes")
                pieces.append(piece)
    except zstandard.ZstdError as error:
        raise damaged(name, f"cannot be unpacked: {error}") from error
    return b"".join(pieces)


def check_recording(block: bytes, name: str, task: Task, failed: NDArray[np.bool_]) -> None:
    """Raises ArenaError bundle.damaged where a recording is not one of legal actions of all roles in a chunk of the task.

    failed: [n of the chunk]; what was played in such scenarios is not judged.
    """
    try:
        tensors: dict[str, NDArray[Any]] = safetensors.numpy.load(block)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise damaged(name, f"holds no tensors: {error}") from error
    moves = {role.name: tensors[role.name] for role in task.domain.roles if role.name in tensors}
    if set(tensors) != {role.name + part for role in task.domain.roles for part in ("", STEPS, ROWS)}:
        raise damaged(name, f"holds {', '.join(sorted(tensors))}, which is not a recording of {task.id}")
    for role in task.domain.roles:
        acted = moves[role.name]
        if not acted.size and failed.all():
            continue
        space = role.modes[0].action_space
        seats = () if task.domain.single else acted.shape[2:3]  # how many there are may differ from block to block
        shape = (len(failed), *seats, *(space.shape or ()))
        if acted.shape[1:] != shape or len(acted) > task.domain.horizon:
            reason = f"holds actions {list(acted.shape)} of {role.name}, expected at most {task.domain.horizon} times {list(shape)}"
            raise damaged(name, reason)
        played = torch.from_numpy(acted[:, ~failed].reshape(-1, *shape[1:]))
        lead = tuple(played.shape[: 1 if task.domain.single else 2])
        try:
            _, wrong = judge(played, space, lead, None, torch.ones(len(played), dtype=torch.bool))
        except Illegal as error:
            raise damaged(name, f"actions of {role.name}: {error}") from error
        if wrong:
            raise damaged(name, f"an action of {role.name} is not legal: {next(iter(wrong.values()))}")
    for key, sums in with_checks(moves).items():
        if not np.array_equal(sums, tensors[key]):
            raise damaged(name, f"{key} is not the checksum of the actions")


# ---- board lines ---------------------------------------------------------------------------------------------------


def check_line(line: Mapping[str, Any], stored: StandingRecord, task: Task, runs: Sequence[tuple[RunForm, Vectors]]) -> None:
    """Raises ArenaError bundle.damaged where a board line is not what the values of its runs make."""
    pooled = sorted(runs, key=lambda pair: (pair[0].seed, pair[0].uid))
    forms = [run for run, _ in pooled]

    def metric(name: str) -> NDArray[np.float64]:
        return np.stack([vectors[0, name] for _, vectors in pooled])

    mains = [run.entries[0] for run in forms]
    wrong = f"the line of agent {str(line['agent'])[:6]} on {task.id}"
    if line["role"] != task.role or any(run.task != line["task"] or main.agent != line["agent"] for run, main in zip(forms, mains, strict=True)):
        raise damaged("standings.parquet", f"{wrong} is not of its runs")
    pool = PoolInput(
        task_id=0,
        agent_id=0,
        role=task.role,
        run_ids=tuple(range(len(pooled))),
        entry_ids=tuple(range(len(pooled))),
        seeds=tuple(run.seed for run in forms),
        scores=None if task.headline == "of_means" else metric("score"),
        failed=np.stack([failed_scenarios(run, task) for run in forms]),
        decision_ns=np.array([main.decision_ns_total for main in mains]),
        decisions=np.array([main.decisions for main in mains]),
        metric=metric,
    )
    faults = line_faults(stored, summarise(task, pool))
    if len(set(pool.seeds)) < len(pooled):  # runs of one seed are drawn in the order of their requests, which is nobody else's concern
        faults = [fault for fault in faults if not fault.startswith(("its draws", "lo:", "hi:"))]
    if faults:
        raise damaged("standings.parquet", f"{wrong} is not what its runs make: {faults[0]}")
