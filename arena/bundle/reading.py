"""Import: everything is checked before anything is written, nothing is executed, and what comes in is on no board until a replay confirms it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from arena.bundle import tables
from arena.bundle.archive import FIRST, Member, measured, read_archive, read_member
from arena.bundle.checking import (
    MAX_RECORDINGS,
    check_line,
    check_recording,
    check_run,
    check_values,
    failed_scenarios,
    known_task,
    unpacked,
    void_matches,
)
from arena.bundle.form import SCHEMA, Manifest, RunForm, Runs, checked, content_of, damaged, parsed
from arena.digest import digest
from arena.errors import ArenaError
from arena.evaluation import task_record
from arena.store import AgentRow, Store, salvage_recording
from arena.store.recordings import put_recording, recording_path
from arena.store.records import Json
from arena.store.sharing import SharedRun, Vectors
from arena.task import Task

RUNS, ENVIRONMENTS = "runs.json", "environment.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose parts agree with each other and with the tasks of this machine. Recordings are still in the file.

    sha256: of the whole file; tasks: digest -> the task and the reference that makes it here; recordings: digest -> where it lies
    """

    sha256: str
    manifest: Manifest
    content: Runs
    cards: dict[str, str]
    environments: dict[str, Json]
    tasks: dict[str, tuple[Task, str]]
    vectors: dict[str, Vectors]
    recordings: dict[str, Member]

    def agent_rows(self) -> list[Json]:
        return [agent.model_dump() | {"card": self.cards.get(agent.uid, "")} for agent in self.content.agents]

    def origin(self, run: RunForm) -> Json:
        return {"bundle": self.sha256, "arena": self.manifest.arena, "as_of": self.manifest.as_of, "ranked": run.ranked}


@dataclass(frozen=True)
class ImportedRun:
    """run: its number here; added: whether it was not here before."""

    run: int
    uid: str
    task: str
    agent: str
    seed: int
    added: bool


@dataclass(frozen=True)
class Imported:
    """runs: by their numbers here; renamed: (name@version there, name@version here) where the two differ"""

    path: Path
    sha256: str
    arena: str
    as_of: int
    runs: list[ImportedRun]
    renamed: list[tuple[str, str]]


def import_bundle(store: Store, path: Path) -> Imported:
    """Check a bundle and add those of its runs that are not here yet, in one transaction, unranked; also recordings that were lost here.

    Raises ArenaError unknown.file, bundle.damaged, bundle.too_large, bundle.schema, bundle.task_unknown, bundle.conflict; the store is then
    as it was.
    """
    with _opened(path) as file:
        bundle = _checked(file, path)
        _require_same(store, bundle)
        for name, member in bundle.recordings.items():
            place = recording_path(store.home, name)
            if place.exists() and not salvage_recording(place).intact:
                place.unlink()
            put_recording(store.home, name, [read_member(file, member)])
    runs = []
    for run in sorted(bundle.content.runs, key=lambda run: (run.created, run.uid)):
        config = {**run.config, "task": bundle.tasks[run.task][1], "origin": bundle.origin(run)}
        runs.append(SharedRun(run.model_dump() | {"config": config}, run.task, run.environment, bundle.vectors[run.uid]))
    records = {key: task_record(task) for key, (task, _) in bundle.tasks.items()}
    added, agents = store.add_runs(runs, records, bundle.environments, bundle.agent_rows(), content_of)
    return _told(store, path, bundle, added, agents)


def _told(store: Store, path: Path, bundle: Bundle, added: Mapping[str, int], agents: Mapping[str, AgentRow]) -> Imported:
    numbers = store.run_ids([run.uid for run in bundle.content.runs])
    found = [
        ImportedRun(numbers[run.uid], run.uid, bundle.tasks[run.task][0].id, agents[run.entries[0].agent].reference, run.seed, run.uid in added)
        for run in bundle.content.runs
    ]
    there = {agent.uid: f"{agent.name}@{agent.version}" for agent in bundle.content.agents}
    renamed = sorted((name, agents[uid].reference) for uid, name in there.items() if name != agents[uid].reference)
    found.sort(key=lambda run: run.run)
    return Imported(path, bundle.sha256, bundle.manifest.arena, bundle.manifest.as_of, found, renamed)


def _require_same(store: Store, bundle: Bundle) -> None:
    """Raises ArenaError bundle.conflict where a run of the bundle is here with other actions or other values."""
    here = store.run_ids([run.uid for run in bundle.content.runs])
    for run in bundle.content.runs:
        if run.uid not in here:
            continue
        content, vectors = store.run_content(here[run.uid])
        theirs = bundle.vectors[run.uid]
        same = [c["recording"] for c in content["chunks"]] == [c.recording for c in run.chunks] and vectors.keys() == theirs.keys()
        if not same or any(vectors[key].tobytes() != theirs[key].tobytes() for key in vectors):
            raise ArenaError(
                "bundle.conflict",
                f"run {run.uid[:6]} of the bundle is run {here[run.uid]} of this store, with other actions or values",
                f"one of the two was altered: arena verify {here[run.uid]} tells whether it is the one here",
                run=here[run.uid],
            )


# ---- checking ------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise ArenaError("unknown.file", f"there is no file {path}", "arena export writes bundles") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ArenaError("unknown.file", f"{path} cannot be read: {error.strerror}", "arena export writes bundles") from None


def _checked(file: BinaryIO, path: Path) -> Bundle:
    members = read_archive(file, path.name)
    manifest = checked(Manifest, parsed(read_member(file, members[FIRST]), FIRST), FIRST)
    if manifest.schema_ != SCHEMA:
        hint = f"this version reads {SCHEMA}; the bundle was written by arena {manifest.arena}, use that version or a newer one"
        raise ArenaError("bundle.schema", f"{path.name} is of form {manifest.schema_!r}", hint)
    for name in sorted(set(members) ^ {*manifest.files, FIRST}):
        raise damaged(name, "is not listed in the manifest" if name in members else "is listed in the manifest and not there")
    for name, listed in manifest.files.items():
        if (members[name].sha256, members[name].size) != (listed.sha256, listed.bytes):
            raise damaged(name, f"has sha256 {members[name].sha256[:12]}, the manifest says {listed.sha256[:12]}")
    for name in sorted({RUNS, ENVIRONMENTS, tables.MEASUREMENTS, tables.STANDINGS} - set(members)):
        raise damaged(name, "is missing")
    content = checked(Runs, parsed(read_member(file, members[RUNS]), RUNS), RUNS)
    environments = parsed(read_member(file, members[ENVIRONMENTS]), ENVIRONMENTS)
    cards = _cards(file, members)
    _require_whole(content, environments, cards, members)
    tasks = _tasks(content)
    agents = {agent.uid: agent.model_dump() for agent in content.agents}
    for run in content.runs:
        check_run(run, tasks[run.task][0], agents)
    vectors = _vectors(read_member(file, members[tables.MEASUREMENTS]), content, tasks)
    recordings = _recordings(file, members, content, tasks)
    _lines(read_member(file, members[tables.STANDINGS]), content, tasks, vectors)
    return Bundle(measured(path.name, path).sha256, manifest, content, cards, environments, tasks, vectors, recordings)


def _cards(file: BinaryIO, members: Mapping[str, Member]) -> dict[str, str]:
    found = {}
    for name, member in members.items():
        if name.startswith("cards/"):
            try:
                text = read_member(file, member).decode()
            except UnicodeDecodeError as error:
                raise damaged(name, f"is no UTF-8: {error}") from error
            if "\0" in text:
                raise damaged(name, "holds a NUL character")
            found[name[6:-3]] = text
    return found


def _require_whole(content: Runs, environments: Mapping[str, Any], cards: Mapping[str, str], members: Mapping[str, Member]) -> None:
    """Raises ArenaError bundle.damaged where something is named and not there, there and not named, there twice, or not what its digest says."""

    def match(what: str, listed: Sequence[str], used: set[str], where: str = RUNS) -> None:
        if len(set(listed)) != len(listed):
            raise damaged(where, f"{what} {next(x for x in listed if listed.count(x) > 1)[:12]} is there twice")
        for name in sorted(set(listed) ^ used):
            raise damaged(where, f"{what} {name[:12]} " + ("belongs to no run" if name in listed else "is named by a run and not there"))

    match("run", [run.uid for run in content.runs], {run.uid for run in content.runs})
    match("task", [task.digest for task in content.tasks], {run.task for run in content.runs})
    match("agent", [agent.uid for agent in content.agents], {entry.agent for run in content.runs for entry in run.entries})
    match("environment", list(environments), {run.environment for run in content.runs}, ENVIRONMENTS)
    match("card", list(cards), set(cards) & {agent.uid for agent in content.agents}, "cards")
    recorded = {chunk.recording for run in content.runs for chunk in run.chunks if chunk.recording is not None}
    match("recording", [_digest_of(name) for name in members if name.startswith("recordings/")], recorded, "recordings")
    for agent in content.agents:
        if content_of(agent.model_dump()) != agent.digest or "registered" in agent.spec:
            raise damaged(RUNS, f"agent {agent.name!r} is not what its digest says")
    for key, detail in environments.items():
        if not isinstance(detail, dict) or digest(detail) != key or "\0" in repr(detail):
            raise damaged(ENVIRONMENTS, f"environment {key[:12]} is not what its digest says")
    match("agent", [f"{agent.name}@{agent.version}" for agent in content.agents], {f"{agent.name}@{agent.version}" for agent in content.agents})


def _digest_of(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".zst")


def _tasks(content: Runs) -> dict[str, tuple[Task, str]]:
    named: dict[str, list[str]] = {}
    for run in content.runs:
        if not isinstance(run.config.get("task"), str):
            raise damaged(RUNS, f"run {run.uid[:6]} does not say its task")
        named.setdefault(run.task, []).append(run.config["task"])
    return {task.digest: known_task(task, named[task.digest]) for task in content.tasks}


def _vectors(content: bytes, runs: Runs, tasks: Mapping[str, tuple[Task, str]]) -> dict[str, Vectors]:
    wanted = [
        (run.uid, [(place, name) for place, entry in enumerate(run.entries) for name in entry.metrics], tasks[run.task][0].n) for run in runs.runs
    ]
    found = {}
    for run, vectors in zip(runs.runs, tables.read_measurements(content, wanted), strict=True):
        check_values(run, tasks[run.task][0], vectors)
        found[run.uid] = vectors
    return found


def _recordings(file: BinaryIO, members: Mapping[str, Member], content: Runs, tasks: Mapping[str, tuple[Task, str]]) -> dict[str, Member]:
    """Every recording, held against its name and against each chunk that names it. One at a time is in memory."""
    uses: dict[str, list[partial[None]]] = {}
    for run in content.runs:
        task = tasks[run.task][0]
        failed = failed_scenarios(run, task) | void_matches(run, task)
        for number, chunk in enumerate(run.chunks):
            lost = failed[chunk.start : chunk.start + chunk.n]
            if chunk.recording is not None:
                uses.setdefault(chunk.recording, []).append(partial(check_recording, task=task, failed=lost))
            elif not lost.all():
                raise damaged(RUNS, f"chunk {number} of run {run.uid[:6]} has no recording and did not fail as a whole")
    found = {}
    left = MAX_RECORDINGS
    for name, member in members.items():
        if not name.startswith("recordings/"):
            continue
        block = unpacked(read_member(file, member), name)
        left -= len(block)
        if left < 0:
            raise ArenaError("bundle.too_large", f"the recordings unpack to more than {MAX_RECORDINGS:,} bytes", "ask for it in several bundles")
        if hashlib.sha256(block).hexdigest() != _digest_of(name):
            raise damaged(name, "its content is not what its name promises")
        for check in uses[_digest_of(name)]:
            check(block, name)
        found[_digest_of(name)] = member
    return found


def _lines(content: bytes, runs: Runs, tasks: Mapping[str, tuple[Task, str]], vectors: Mapping[str, Vectors]) -> None:
    forms = {run.uid: run for run in runs.runs}
    seen = set()
    for line, record in tables.read_standings(content):
        key = (line["task"], line["role"], line["agent"])
        pooled = set(line["runs"])
        if not pooled or pooled - set(forms) or len(pooled) < len(line["runs"]) or line["task"] not in tasks or key in seen:
            raise damaged(tables.STANDINGS, "a line is there twice, or is of runs that are not")
        seen.add(key)
        check_line(line, record, tasks[line["task"]][0], [(forms[uid], vectors[uid]) for uid in line["runs"]])
