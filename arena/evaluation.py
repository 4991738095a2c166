"""A run: a task, a line-up and a seed, advanced in chunks of scenarios; resumable, each chunk counted once."""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from arena import registry
from arena.digest import digest
from arena.environment import environment
from arena.errors import ArenaError
from arena.integrity import with_checks
from arena.judging import judged, per_scenario, violations
from arena.registry import Candidate
from arena.rollout import BREAKDOWNS, Episode, Player, players, rollout
from arena.scoring import Standing, standing, standing_of_means, suite_standing
from arena.scoring.anchor import FEASIBLE
from arena.store import (
    AgentRow,
    ChunkResult,
    EntryRequest,
    EntryRow,
    Failure,
    MetricRecord,
    PoolInput,
    RunRequest,
    RunRow,
    StandingRecord,
    Store,
    SuiteInput,
    TaskRecord,
    Timing,
    write_recording,
)
from arena.task import Task

RENEW = 10.0  # seconds between renewals of a lease
GIVE_UP = 3  # chunks in which an agent broke down, one after the other, after which it is not asked any more
GAVE_UP = "agent.gave_up"


@dataclass(frozen=True)
class Progress:
    """How far a run is: scenarios finished (of this attempt's `todo`), failures, seconds since it began."""

    run_id: int
    done: float
    total: int
    failures: int
    seconds: float


Report = Callable[[Progress], None]


def check_plays(candidate: Candidate, task: Task) -> None:
    """Raises ArenaError `agent.incompatible` where the agent does not name this task among those it can play."""
    if not candidate.plays(task.id):
        raise ArenaError(
            "agent.incompatible",
            f"{candidate.name} does not play {task.id}; it plays {', '.join(candidate.tasks)}",
            f"arena list agents --task {task.id} shows who does",
        )


def register_task(store: Store, task: Task) -> int:
    """The task's row, with metrics and reference vectors; its digest is checked against the frozen one first."""
    metrics = [MetricRecord("score", "", 1, "score")] if task.headline != "of_means" else []
    metrics += [MetricRecord(m.name, m.unit, m.direction, m.role, m.threshold, m.scale) for m in task.domain.metrics_spec]
    config = {**task.config, "candidates": [task.role], "fill": dict(task.fill), "groups": list(task.groups)}
    record = TaskRecord(
        task.id, task.domain.name, task.tier, task.digest, config, task.n, task.headline, task.normalise, task.floor, metrics, task.vectors
    )
    return store.ensure_task(record)


def register_agent(store: Store, candidate: Candidate) -> AgentRow:
    """The agent's row: the version of its name with this content. Raises ArenaError where a given `@version` is not the current one."""
    row = store.ensure_agent(
        candidate.name, candidate.nature, candidate.kind, candidate.spec, artifact_digest=candidate.digest, card=candidate.summary
    )
    if candidate.version is not None and candidate.version != row.version:
        raise ArenaError(
            "unknown.agent",
            f"{candidate.name}@{candidate.version} is not here: the code at hand is {row.reference}",
            "old versions keep their results but cannot be run again without their code",
        )
    return row


def candidate_roles(task: Task) -> tuple[str, ...]:
    """The roles that the candidate plays; its score stands at the first."""
    return task.candidates or (task.role,)


def seat(task: Task, candidate: Candidate) -> dict[str, Player]:
    """Fresh agents in all roles: the candidate in those that are judged, the task's frozen agents in the others."""
    agents = {role: candidate.make() for role in candidate_roles(task)}
    return players(task.domain, agents | {role: registry.candidate(reference).make() for role, reference in task.fill.items()})


def request(store: Store, task: Task, candidate: Candidate, seed: int = 0, chunk: int | None = None, reference: str = "") -> RunRow:
    """The run of one candidate on a task, queued; the one there is if it was asked for before. `reference` makes the task again (with
    its parameters; default: its id).

    Asking again with another chunk size is the same run: results do not depend on it, so the first size stays.
    Raises ArenaError for an agent that cannot play the task, before anything is stored.
    """
    check_plays(candidate, task)
    seated, roles = seat(task, candidate), candidate_roles(task)
    for role in roles:
        seated[role].agent.check(task.view)
    row = register_agent(store, candidate)
    cast = [(role, row, True) for role in roles]
    cast += [(role, register_agent(store, registry.candidate(filler)), False) for role, filler in task.fill.items()]
    entries = [EntryRequest(role, -1, agent.id, is_judged, seated[role].mode.name, "inline") for role, agent, is_judged in cast]
    lineup = [[role, -1, agent.digest, seated[role].mode.name, is_judged] for role, agent, is_judged in cast]
    size = chunk or task.chunk
    wanted = RunRequest(
        task_id=register_task(store, task),
        request_digest=digest({"task": task.digest, "lineup": lineup, "seed": seed, "limits": dict(task.limits)}),
        lineup_digest=digest({"lineup": lineup}),
        seed=seed,
        ranked=True,
        chunk_size=size,
        n_chunks=len(task.chunks(size)),
        environment_id=store.ensure_environment(environment()),
        config={"task": reference or task.id, "reference": candidate.spec.get("reference", candidate.name)},
        entries=entries,
    )
    return store.request_run(wanted)


def execute(store: Store, run: RunRow, task: Task, candidate: Candidate, report: Report | None = None, device: str = "cpu") -> RunRow:
    """Play what is missing of a run and complete it. Returns the run's row as it then stands.

    Raises ArenaError `run.owned` where another live worker has it; KeyboardInterrupt leaves it queued, to be resumed.
    """
    owner = f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
    if not store.acquire(run.id, owner):
        return store.run_row(run.id)
    try:
        with _renewing(store, run.id, owner) as lost:
            _play(store, run, task, candidate, report or (lambda progress: None), device, lost)
            store.finish(run.id, lambda pool: summarise(task, pool), lambda pool: suites(store, task, pool))
    except BaseException as error:
        _let_go(store, run.id, owner, error)
        raise
    return store.run_row(run.id)


def _let_go(store: Store, run_id: int, owner: str, error: BaseException) -> None:
    """Give the run back. A fault of machine, store or user leaves it to be resumed; a fault of kernel or task ends it."""
    code = error.code if isinstance(error, ArenaError) else "internal"
    resumable = isinstance(error, MemoryError) or not isinstance(error, Exception) or code.split(".")[0] in ("store", "infra", "run")
    try:
        store.release(run_id, owner, "queued" if resumable else "failed")
        if isinstance(error, Exception):
            store.event(run_id, "error", code, str(error))
    except ArenaError:
        pass  # the store itself is what failed; the first error says so, and the lease ends by itself


@contextmanager
def _renewing(store: Store, run_id: int, owner: str) -> Iterator[threading.Event]:
    """Keep the lease while the block runs; the event is set when the run is no longer ours."""
    over, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not over.wait(RENEW):
            try:
                if not store.renew(run_id, owner):
                    lost.set()
            except ArenaError:
                pass  # busy: the lease outlasts several missed renewals

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()


def _play(store: Store, run: RunRow, task: Task, candidate: Candidate, report: Report, device: str, lost: threading.Event) -> None:
    chunks, done = task.chunks(run.chunk_size), store.done_chunks(run.id)
    entries = {entry.role: entry for entry in store.entries(run.id)}
    lineup = seat(task, candidate)
    began, total = time.perf_counter(), sum(n for index, (_, n) in enumerate(chunks) if index not in done)
    failures, played = sum(entry.failures for entry in entries.values()), 0
    broken = _broken_scenarios(store, run.id)
    in_a_row = 0  # chunks that broke down, just before the one at hand
    for index, (start, n) in enumerate(chunks):
        if index in done:
            in_a_row = in_a_row + 1 if broken.intersection(range(start, start + n)) else 0
            continue

        def watch(step: int, played: int = played, n: int = n, failures: int = failures) -> None:
            if lost.is_set():
                raise ArenaError("run.lost", f"run {run.id} was cancelled or taken over by another worker", f"arena status {run.id}")
            report(Progress(run.id, played + n * step / task.domain.horizon, total, failures, time.perf_counter() - began))

        watch(0)
        tick = time.perf_counter()
        if in_a_row >= GIVE_UP:
            result = _given_up(task, entries, index, start, n)
        else:
            scenario, ids = task.rows(start, n), torch.arange(start, start + n)
            episode = rollout(task.domain, scenario, lineup, task=task.view, ids=ids, seed=run.seed, device=device, watch=watch)
            result = _result(store, task, entries, episode, index, start, n, tick)
            in_a_row = in_a_row + 1 if any(f.code in BREAKDOWNS for f in episode.failures) else 0
            if episode.crashes:
                lineup = seat(task, candidate)  # whatever state the crash left is gone
                if not episode.failures:
                    store.event(run.id, "warning", "agent.crash", f"chunk {index}, after all was played: {_told(episode.crashes)}")
        store.commit_chunk(run.id, result)
        failures, played = failures + len(result.failures), played + n
        report(Progress(run.id, played, total, failures, time.perf_counter() - began))


def _told(crashes: Mapping[str, str]) -> str:
    return "; ".join(f"{role}: {story}" for role, story in crashes.items())


def _broken_scenarios(store: Store, run_id: int) -> set[int]:
    """Scenarios in which an agent broke down or was not asked any more, so that a resumed run gives up where an undisturbed one does."""
    return {f["scenario"] for f in store.failures(run_id, limit=10**9) if f["code"] in (*BREAKDOWNS, GAVE_UP)}


def _given_up(task: Task, entries: Mapping[str, EntryRow], index: int, start: int, n: int) -> ChunkResult:
    entry, failed = entries[task.role].id, np.ones(n, bool)
    nothing = {m.name: np.full(n, np.nan) for m in task.domain.metrics_spec}
    measured = {(entry, name): values for name, values in judged(task, nothing, failed, slice(start, start + n)).items()}
    reason = f"{GIVE_UP} chunks in a row broke down; not played"
    failures = [Failure(entry, i, 0, GAVE_UP, reason) for i in range(start, start + n)]
    return ChunkResult(index, start, n, 1, 0.0, None, measured, failures, {})


def _result(
    store: Store, task: Task, entries: Mapping[str, EntryRow], episode: Episode, index: int, start: int, n: int, tick: float
) -> ChunkResult:
    """What a chunk leaves behind. A scenario that the candidate fails in any of its roles is failed where its score stands.

    Raises ArenaError `task.fill` where a frozen agent failed: then nobody can be judged by this task.
    """
    failed, main = np.zeros(n, bool), entries[task.role].id
    failures: dict[tuple[int, int], Failure] = {}
    for f in episode.failures:
        entry = entries[f.role]
        if not entry.candidate:
            raise ArenaError(
                "task.fill",
                f"{task.fill[f.role]}, which {task.id} seats as {f.role}, failed in scenario {start + f.row} at step {f.step} ({f.code}): {f.detail}",
                "repair the frozen agent and give the task a new version",
            )
        failed[f.row] = True
        detail = f.detail if entry.id == main else f"as {f.role}: {f.detail}"
        for key in {(entry.id, start + f.row), (main, start + f.row)}:
            failures.setdefault(key, Failure(*key, f.step, f.code, detail))
    metrics = {name: per_scenario(value) for name, value in episode.metrics.items()}
    measured = {(main, name): values for name, values in judged(task, metrics, failed, slice(start, start + n)).items()}
    timings = {
        entries[role].id: Timing(timing.hist, timing.nanoseconds, timing.decisions, usage=timing.usage or None)
        for role, timing in episode.timings.items()
    }
    recording = write_recording(store.home, with_checks(episode.actions))
    return ChunkResult(index, start, n, 1, time.perf_counter() - tick, recording, measured, list(failures.values()), timings)


# ---- from runs to standings ----------------------------------------------------------------------------------------


def summarise(task: Task, pool: PoolInput) -> StandingRecord:
    """One board line from all complete ranked runs of an agent."""
    clusters = task.vectors.get("cluster")
    if task.headline == "of_means":
        function, vectors = task.function, task.vectors
        assert function is not None
        columns = [m.name for m in task.domain.metrics_spec]
        metrics = np.stack([pool.metric(name) for name in columns], axis=-1)
        groups = task.vectors.get("group", np.zeros(task.n))
        found = standing_of_means(
            np.where(pool.failed[:, :, None], 0.0, metrics), ~pool.failed, groups,
            lambda means: function({name: means[..., k] for k, name in enumerate(columns)}, vectors), task.floor,
            task_digest=task.digest, clusters=clusters,
        )  # fmt: skip
    else:
        assert pool.scores is not None
        found = standing(pool.scores, task_digest=task.digest, clusters=clusters, headline=task.headline)
    limits = [m for m in task.domain.metrics_spec if m.role == "constraint"]
    broken = violations(limits, [np.where(pool.failed, 0.0, pool.metric(m.name)) for m in limits])
    violated = 0 if broken is None else int((~pool.failed & (broken > FEASIBLE)).sum())
    decisions = int(pool.decisions.sum())
    return _record(found, int(pool.failed.sum()), violated, pool.decision_ns.sum() / decisions / 1e6 if decisions else None)


def _record(found: Standing, failed: int, violated: int, ms: float | None, members: tuple[int, ...] = ()) -> StandingRecord:
    return StandingRecord(
        found.headline, found.lo, found.hi, found.mean, found.iqm, found.cvar10, found.sd, failed, violated, ms, found.n, found.draws, members
    )


def suites(store: Store, task: Task, pool: SuiteInput) -> list[tuple[int, StandingRecord]]:
    """The domain's own line: the mean over its suite of tasks, for agents that have them all. The store counts the runs behind it."""
    domain = registry.domains().get(task.domain.name)
    if domain is None:
        return []
    names = [f"{domain.name}/{name}" for name in domain.suite]
    members = {m.task: m for m in pool.members if m.task in names}
    if task.id not in names or set(members) != set(names):
        return []
    there = {
        name: Standing(m.record.headline, m.record.lo or 0.0, m.record.hi or 0.0, None, None, None, None, m.record.n, 1, m.record.draws, False)
        for name, m in members.items()
    }
    found = suite_standing(there, {domain.name: names}).domains[domain.name]
    record = TaskRecord(
        domain.name, domain.name, "suite", digest({"suite": names}), {"tasks": names}, found.n, metrics=[MetricRecord("score", "", 1, "score")]
    )
    lines = [m.record for m in members.values()]
    ms = [line.ms for line in lines if line.ms is not None]
    below = tuple(m.task_id for m in members.values())
    summed = _record(found, sum(r.failed for r in lines), sum(r.violated for r in lines), sum(ms) / len(ms) if ms else None, below)
    return [(store.ensure_task(record), summed)]


def stored_candidate(store: Store, run_id: int) -> Candidate:
    """The candidate of a stored run, made again from what was stored. Raises ArenaError `agent.changed` where its code is another now."""
    entry = next(e for e in store.entries(run_id) if e.candidate)
    row = store.agent(entry.agent_id)
    candidate = registry.candidate(_reference(row.spec))
    if candidate.digest != row.artifact_digest:
        raise ArenaError(
            "agent.changed",
            f"run {run_id} was begun by {row.reference}, whose code or weights have changed since",
            "restore them, or start a new run: the changed agent is a new version",
        )
    return candidate


def _reference(spec: Mapping[str, Any]) -> str:
    parameters = spec.get("parameters") or {}
    reference = str(spec["reference"])
    if "(" in reference or not parameters or "target" in spec:
        return reference
    return f"{reference}({','.join(f'{key}={value!r}' for key, value in parameters.items())})"
