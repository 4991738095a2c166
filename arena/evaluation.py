"""A run: a task, a line-up and a seed, advanced in chunks of scenarios; resumable, each chunk counted once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arena import registry
from arena.digest import digest
from arena.engines import Chunk, Engine, Inline, Played, Work
from arena.engines.work import Result, candidate_roles, cast, leave, seat
from arena.environment import environment
from arena.errors import ArenaError
from arena.integrity import with_checks
from arena.judging import judged, per_scenario
from arena.leases import renewing, worker_name
from arena.registration import from_row
from arena.registry import Candidate
from arena.rollout import BREAKDOWNS, Episode
from arena.standings import suites, summarise
from arena.store import (
    AgentRow,
    ChunkResult,
    EntryRequest,
    EntryRow,
    Failure,
    MetricRecord,
    RunRequest,
    RunRow,
    Store,
    TaskRecord,
    Timing,
    write_recording,
)
from arena.store.catalogue import clean
from arena.task import Task

GIVE_UP = 3  # chunks in which an agent broke down, one after the other, after which it is not asked any more
GAVE_UP = "agent.gave_up"
PRINTED = 65_536  # bytes kept of what an agent prints


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


def check_pair(task: Task) -> tuple[str, str]:
    """The roles of a match. Raises ArenaError `crossplay.task` where the task has no two roles for two agents."""
    if task.pair is None:
        hint = "cross-play wants a task with two candidate roles of one seat each and a score per scenario"
        raise ArenaError("crossplay.task", f"{task.id} seats no two agents against each other", hint)
    return task.pair


def register_task(store: Store, task: Task) -> int:
    """The task's row, with metrics and reference vectors; its digest is checked against the frozen one first."""
    return store.ensure_task(task_record(task))


def task_record(task: Task) -> TaskRecord:
    """The task as it is stored."""
    metrics = [MetricRecord("score", "", 1, "score")] if task.headline != "of_means" else []
    metrics += [MetricRecord(m.name, m.unit, m.direction, m.role, m.threshold, m.scale) for m in task.domain.metrics_spec]
    config = {**task.config, "candidates": [task.role], "fill": dict(task.fill), "groups": list(task.groups), "about": task.about}
    if task.pair is not None:
        config["crossplay"] = {"roles": list(task.pair), "outcome": task.outcome or None}
    return TaskRecord(
        task.id, task.domain.name, task.tier, task.digest, config, task.n, task.headline, task.normalise, task.floor, metrics, task.vectors
    )


def seat_line(role: str, agent: AgentRow, mode: str | None, candidate: bool, level: str, seat: int = -1) -> list[Any]:
    """One line of a line-up, as `request_digest` takes it: an agent of others that plays without its walls makes another run."""
    line = [role, seat, agent.digest, mode, candidate]
    return [*line, "inline"] if level == "inline" and agent.kind != "builtin" else line


def request_digest(task: Task, lineup: Sequence[Sequence[Any]], seed: int, ranked: bool = True) -> str:
    """What makes two requests the same run: task, line-up ([role, seat, agent digest, mode, candidate] each), seed, limits; a match, which is
    not ranked, is never a run of the board, also where an agent meets itself."""
    asked = {"task": task.digest, "lineup": lineup, "seed": seed, "limits": dict(task.limits)}
    return digest(asked if ranked else asked | {"ranked": False})


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


def request(
    store: Store,
    task: Task,
    candidate: Candidate,
    seed: int = 0,
    chunk: int | None = None,
    reference: str = "",
    opponent: Candidate | None = None,
) -> RunRow:
    """The run of one candidate on a task, queued; the one there is if it was asked for before. `reference` makes the task again (with
    its parameters; default: its id). With an `opponent` (it may be the candidate itself) it is a match of cross-play: the candidate in the
    first role of the task's pair, whose score is kept, the opponent in the second; unranked.

    Asking again with another chunk size is the same run: results do not depend on it, so the first size stays.
    Raises ArenaError for an agent that cannot play the task, before anything is stored.
    """
    for agent in (candidate, opponent) if opponent is not None else (candidate,):
        check_plays(agent, task)
    if opponent is not None:
        check_pair(task)
    seated, roles = seat(task, candidate, opponent), candidate_roles(task)
    try:
        for role in roles:
            seated[role].agent.check(task.view)
    finally:
        leave(seated)
    players = [(role, who, register_agent(store, who), role in roles) for role, who in cast(task, candidate, opponent).items()]
    entries = [EntryRequest(role, -1, row.id, is_judged, seated[role].mode.name, who.level) for role, who, row, is_judged in players]
    lineup = [seat_line(role, row, seated[role].mode.name, is_judged, who.level) for role, who, row, is_judged in players]
    size = chunk or task.chunk
    config = {"task": reference or task.id, "reference": candidate.spec.get("reference", candidate.name)}
    if opponent is not None:
        config["opponent"] = opponent.spec.get("reference", opponent.name)
    wanted = RunRequest(
        task_id=register_task(store, task),
        request_digest=request_digest(task, lineup, seed, ranked=opponent is None),
        lineup_digest=digest({"lineup": lineup}),
        seed=seed,
        ranked=opponent is None,
        chunk_size=size,
        n_chunks=len(task.chunks(size)),
        environment_id=store.ensure_environment(environment()),
        config=config,
        entries=entries,
    )
    return store.request_run(wanted)


def execute(
    store: Store,
    run: RunRow,
    task: Task,
    candidate: Candidate,
    report: Report | None = None,
    device: str = "cpu",
    engine: Engine | None = None,
    owner: str = "",
    opponent: Candidate | None = None,
) -> RunRow:
    """Play what is missing of a run and complete it. Returns the run's row as it then stands.

    engine: where its chunks are played, by default in this process; whoever opened it closes it
    owner: the worker that holds the run already, if one does
    opponent: of a match, as it was requested
    Raises ArenaError `run.owned` where another live worker has it; KeyboardInterrupt leaves it queued, to be resumed.
    """
    owner = owner or worker_name()
    if not store.acquire(run.id, owner):
        return store.run_row(run.id)
    place = engine or Inline()
    try:
        with renewing(lambda: store.renew(run.id, owner)) as lost:
            _play(store, run, Work(run.uid, task, candidate, run.seed, device, opponent), report or (lambda progress: None), lost, place)
            store.finish(run.id, lambda pool: summarise(task, pool), lambda pool: suites(store, task, pool))
    except BaseException as error:
        place.drop()
        _let_go(store, run.id, owner, error)
        raise
    finally:
        if engine is None:
            place.close()
    return store.run_row(run.id)


def _let_go(store: Store, run_id: int, owner: str, error: BaseException) -> None:
    """Give the run back. A fault of machine, store or user leaves it to be resumed; a fault of kernel or task ends it."""
    code = error.code if isinstance(error, ArenaError) else "internal"
    resumable = isinstance(error, MemoryError) or not isinstance(error, Exception) or (isinstance(error, ArenaError) and error.passing)
    try:
        store.release(run_id, owner, "queued" if resumable else "failed")
        if isinstance(error, Exception):
            store.event(run_id, "error", code, str(error))
    except ArenaError:
        pass  # the store itself is what failed; the first error says so, and the lease ends by itself


def _play(store: Store, run: RunRow, work: Work, report: Report, lost: threading.Event, engine: Engine) -> None:
    """Play the chunks that are missing. They are committed in their order, whatever order they come back in, so that an agent is given up
    after the same chunk on every engine."""
    task = work.task
    todo, done = [Chunk(index, *span) for index, span in enumerate(task.chunks(run.chunk_size))], store.done_chunks(run.id)
    entries = {entry.role: entry for entry in store.entries(run.id)}
    began, total = time.perf_counter(), sum(chunk.n for chunk in todo if chunk.number not in done)
    failures, played = sum(entry.failures for entry in entries.values()), 0
    log = _Log(store, run.id)

    def tell(step: int = 0, n: int = 0) -> None:
        if lost.is_set():
            raise ArenaError("run.lost", f"run {run.id} was cancelled or taken over by another worker", f"arena status {run.id}")
        report(Progress(run.id, played + n * step / task.domain.horizon, total, failures, time.perf_counter() - began))

    waiting = deque(chunk for chunk in todo if chunk.number not in done)
    under_way: deque[tuple[Chunk, Result]] = deque()
    broken = _broken_scenarios(store, run.id)
    in_a_row, culprit = 0, task.role  # chunks that broke down, just before the one at hand, and in which role the last of them
    for chunk in todo:
        if chunk.number in done:
            crashed = next((broken[i] for i in range(chunk.start, chunk.start + chunk.n) if i in broken), None)
            in_a_row, culprit = (in_a_row + 1, crashed) if crashed else (0, culprit)
            continue
        tell()
        if in_a_row >= GIVE_UP:
            if under_way:
                engine.drop()
                under_way.clear()
            result = _given_up(task, entries, chunk, culprit)
        else:
            while waiting and waiting[0].number <= chunk.number + engine.capacity - 1 and len(under_way) < engine.capacity:
                following = waiting.popleft()
                under_way.append((following, engine.submit(work, following, lambda step, n=following.n: tell(step, n))))  # type: ignore[misc]
            outcome = _result_of(under_way.popleft()[1], tell)
            result = _result(store, task, entries, outcome, chunk)
            crashed = next((f.role for f in outcome.episode.failures if f.code in BREAKDOWNS), None)
            in_a_row, culprit = (in_a_row + 1, crashed) if crashed else (0, culprit)
            log.add(chunk, outcome.episode)
        store.commit_chunk(run.id, result)
        failures, played = failures + len(result.failures), played + chunk.n
        tell()
    log.close()


def _result_of(pending: Result, tell: Callable[[], None]) -> Played:
    """What a chunk came to, looking up now and then to see whether the run is still ours."""
    while True:
        try:
            return pending.result(timeout=0.5)
        except TimeoutError:
            tell()


class _Log:
    """What agents in processes of their own printed, and the stories of their breakdowns, as events of the run."""

    def __init__(self, store: Store, run_id: int) -> None:
        self.store, self.run_id, self.told = store, run_id, 0
        self.printed: dict[str, str] = {}

    def add(self, chunk: Chunk, episode: Episode) -> None:
        self.printed |= episode.printed
        for role, story in episode.crashes.items():
            late = not any(f.role == role and f.code in BREAKDOWNS for f in episode.failures)
            self.told += 1
            if self.told > GIVE_UP and not late:
                continue  # the failures have the rest
            code = next((f.code for f in episode.failures if f.role == role and f.code in BREAKDOWNS), "agent.crash")
            when = f"chunk {chunk.number}" + (", after all was played" if late else "")
            data = {"role": role, "story": clean(story), "output": clean(self.printed.pop(role, ""), PRINTED)}
            head = story.split("\n")[0]
            self.store.event(self.run_id, "warning", code, f"{when}: {role}: {head}", data)

    def close(self) -> None:
        for role, text in self.printed.items():
            last = text.strip().splitlines()[-1] if text.strip() else ""
            self.store.event(self.run_id, "info", "agent.output", f"{role} printed: {last}", {"role": role, "output": clean(text, PRINTED)})


def _broken_scenarios(store: Store, run_id: int) -> dict[int, str]:
    """Scenarios in which an agent broke down or was not asked any more, and its role, so that a resumed run gives up where an undisturbed one
    does."""
    return {f["scenario"]: f["role"] for f in store.failures(run_id, limit=10**9) if f["code"] in (*BREAKDOWNS, GAVE_UP)}


def _given_up(task: Task, entries: Mapping[str, EntryRow], chunk: Chunk, culprit: str) -> ChunkResult:
    """A chunk that is not played because the agent in the role `culprit` broke down too often."""
    index, start, n = chunk
    main = entries[task.role]
    blamed = entries[culprit] if entries[culprit].agent_id != main.agent_id else main
    failed = np.full(n, blamed is main)
    nothing = {m.name: np.full(n, np.nan) for m in task.domain.metrics_spec}
    measured = {(main.id, name): values for name, values in judged(task, nothing, failed, slice(start, start + n), ~failed).items()}
    reason = f"{GIVE_UP} chunks in a row broke down; not played"
    failures = [Failure(blamed.id, i, 0, GAVE_UP, reason) for i in range(start, start + n)]
    return ChunkResult(index, start, n, 1, 0.0, None, measured, failures, {})


def _result(store: Store, task: Task, entries: Mapping[str, EntryRow], played: Played, chunk: Chunk) -> ChunkResult:
    """What a chunk leaves behind. A scenario that the candidate fails in any of its roles is failed where its score stands; a match that its
    opponent fails is void there.

    Raises ArenaError `task.fill` where a frozen agent failed: then nobody can be judged by this task.
    """
    tick, episode, (index, start, n) = time.perf_counter(), played.episode, chunk
    failed, void, main = np.zeros(n, bool), np.zeros(n, bool), entries[task.role]
    failures: dict[tuple[int, int], Failure] = {}
    for f in episode.failures:
        entry = entries[f.role]
        if not entry.candidate:
            raise ArenaError(
                "task.fill",
                f"{task.fill[f.role]}, which {task.id} seats as {f.role}, failed in scenario {start + f.row} at step {f.step} ({f.code}): {f.detail}",
                "repair the frozen agent and give the task a new version",
            )
        mine = entry.agent_id == main.agent_id
        (failed if mine else void)[f.row] = True
        detail = f.detail if entry.id == main.id or not mine else f"as {f.role}: {f.detail}"
        for key in {(entry.id, start + f.row), (main.id if mine else entry.id, start + f.row)}:
            failures.setdefault(key, Failure(*key, f.step, f.code, detail))
    metrics = {name: per_scenario(value) for name, value in episode.metrics.items()}
    measured = {(main.id, name): values for name, values in judged(task, metrics, failed, slice(start, start + n), void & ~failed).items()}
    timings = {
        entries[role].id: Timing(timing.hist, timing.nanoseconds, timing.decisions, timing.peak_rss, timing.usage or None)
        for role, timing in episode.timings.items()
    }
    recording = write_recording(store.home, with_checks(episode.actions)) if episode.actions else None
    seconds = played.seconds + time.perf_counter() - tick
    return ChunkResult(index, start, n, played.attempt, seconds, recording, measured, list(failures.values()), timings)


def stored_candidate(store: Store, run_id: int) -> Candidate:
    """The candidate of a stored run, made again from what was stored. Raises ArenaError `agent.changed` where its code is another now."""
    return _made_again(store, next(e for e in store.entries(run_id) if e.candidate))


def stored_opponent(store: Store, run: RunRow) -> Candidate | None:
    """The candidate's opponent in a match, made again likewise; None for a run that is no match."""
    if "opponent" not in run.config:
        return None
    return _made_again(store, [e for e in store.entries(run.id) if e.candidate][1])


def _made_again(store: Store, entry: EntryRow) -> Candidate:
    row = store.agent(entry.agent_id)
    candidate = from_row(row) if row.spec.get("registered") else registry.candidate(_reference(row.spec))
    if candidate.digest != row.artifact_digest:
        raise ArenaError(
            "agent.changed",
            f"run {entry.run_id} was begun by {row.reference}, whose code or weights have changed since",
            "restore them, or start a new run: the changed agent is a new version",
        )
    return candidate


def _reference(spec: Mapping[str, Any]) -> str:
    parameters = spec.get("parameters") or {}
    reference = str(spec["reference"])
    if "(" in reference or not parameters or "target" in spec:
        return reference
    return f"{reference}({','.join(f'{key}={value!r}' for key, value in parameters.items())})"
