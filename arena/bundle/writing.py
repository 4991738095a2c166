"""Export: complete runs with all that is known of them, in one file that equal runs make equal to the byte."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from arena.bundle import tables
from arena.bundle.archive import FIRST, Member, measured, write_archive
from arena.bundle.form import SCHEMA, content_of, public, public_spec, public_text, written
from arena.digest import digest
from arena.errors import ArenaError
from arena.store import AgentRow, Store, TaskRow, read_recording
from arena.store.finish import standing_of
from arena.store.recordings import recording_path
from arena.store.records import Json

_TASK = ("name", "domain", "tier", "digest", "n_scenarios", "headline", "normalise", "floor", "config")
_METRIC = ("name", "unit", "direction", "role", "threshold", "scale")


@dataclass(frozen=True)
class Exported:
    """sha256: of the bundle's bytes; lines: board lines whose runs are all in it."""

    path: Path
    sha256: str
    bytes: int
    runs: int
    agents: int
    tasks: int
    recordings: int
    lines: int


def export_runs(store: Store, run_ids: Iterable[int], path: Path) -> Exported:
    """Write complete runs into a bundle at `path`, replacing what is there. Nothing is left there when it fails.

    Raises ArenaError bundle.empty, bundle.too_large, unknown.run, run.unfinished, store.damaged, store.recording_missing,
    store.recording_damaged, output.file.
    """
    numbers = sorted(set(run_ids))
    if not numbers:
        raise ArenaError("bundle.empty", "there is no complete run to export", "arena list runs --status complete shows what there is")
    agents: dict[int, AgentRow] = {}
    tasks: dict[int, TaskRow] = {}
    environments: dict[str, Json] = {}
    uids, runs, vectors = {}, [], {}
    for number in numbers:
        row, (content, measured_values) = store.run_row(number), store.run_content(number)
        task = tasks.setdefault(row.task_id, store.task(row.task_id))
        for entry in content["entries"]:
            entry["agent"] = agents.setdefault(entry["agent"], store.agent(entry["agent"])).uid
        for position, entry in enumerate(content["entries"]):
            entry["metrics"] = [name for place, name in measured_values if place == position]
        for failure in content["failures"]:
            failure["detail"] = public_text(failure["detail"])
        machine = public(store.run(number)["environment"])
        environments[digest(machine)] = machine
        origin = row.config.get("origin")
        content["config"] = public({key: value for key, value in row.config.items() if key != "origin"})
        content |= {"task": task.digest, "environment": digest(machine), "ranked": row.ranked or bool(origin and origin["ranked"])}
        uids[number] = row.uid
        runs.append(content)
        vectors[row.uid] = measured_values
    runs.sort(key=lambda run: run["uid"])
    files: dict[str, bytes | Path] = {
        "runs.json": written({"tasks": _tasks(store, tasks), "agents": _agents(agents), "runs": runs}),
        "environment.json": written(environments),
        tables.MEASUREMENTS: tables.write_measurements((run["uid"], vectors[run["uid"]]) for run in runs),
    }
    lines = list(_lines(store, tasks, agents, uids))
    files[tables.STANDINGS] = tables.write_standings(lines)
    files |= {f"cards/{agent.uid}.md": agent.card.encode() for agent in agents.values() if agent.card}
    for name in {chunk["recording"] for run in runs for chunk in run["chunks"]} - {None}:
        read_recording(store.home, name)  # what is damaged must not travel on
        files[f"recordings/{name[:2]}/{name}.zst"] = recording_path(store.home, name)
    members: list[tuple[Member, bytes | Path]] = [(measured(name, files[name]), files[name]) for name in sorted(files)]
    manifest = {
        "schema": SCHEMA,
        "arena": version("arena-bench"),
        "as_of": max(run["finished"] or run["created"] for run in runs),
        "files": {member.name: {"sha256": member.sha256, "bytes": member.size} for member, _ in members},
    }
    first = written(manifest)
    with replacing(path) as file:
        write_archive(file, [(measured(FIRST, first), first), *members])
    whole = measured(path.name, path)
    recordings = sum(member.name.startswith("recordings/") for member, _ in members)
    return Exported(path, whole.sha256, whole.size, len(runs), len(agents), len(tasks), recordings, len(lines))


def _tasks(store: Store, tasks: Mapping[int, TaskRow]) -> list[Json]:
    found = []
    for task in tasks.values():
        listed = [{name: metric[name] for name in _METRIC} for metric in store.metrics(task.id)]
        found.append({name: getattr(task, name) for name in _TASK} | {"metrics": listed})
    return sorted(found, key=lambda task: (task["name"], task["digest"]))


def _agents(agents: Mapping[int, AgentRow]) -> list[Json]:
    """As they leave: without their cards, which are files of their own, and without what is nobody else's concern."""
    found = []
    for agent in agents.values():
        row = {name: getattr(agent, name) for name in ("uid", "version", "nature", "kind", "artifact_digest", "domain", "tags", "created")}
        whole = {name: getattr(agent, name) for name in ("nature", "kind", "domain", "spec", "artifact_digest")}
        found.append(row | {"name": public(agent.name), "spec": public_spec(agent.spec), "digest": content_of(whole)})
    return sorted(found, key=lambda agent: str(agent["uid"]))


def _lines(store: Store, tasks: Mapping[int, TaskRow], agents: Mapping[int, AgentRow], uids: Mapping[int, str]) -> Iterator[Json]:
    """The board lines that follow from these runs alone: all their runs are here."""
    found = []
    for task in tasks.values():
        for line in store.board(task.id, with_draws=True):
            if line["agent_id"] in agents and set(line["run_set"]) <= set(uids):
                record = standing_of({**line, "draws": line["draws"].astype("<f4").tobytes()})
                numbers = {name: getattr(record, name) for name in record.__slots__}
                key = {"task": task.digest, "role": line["role"], "agent": agents[line["agent_id"]].uid}
                runs = sorted(uids[number] for number in line["run_set"])
                found.append({**numbers, **key, "runs": runs, "runs_unfinished": line["runs_unfinished"]})
    yield from sorted(found, key=lambda line: (line["task"], line["role"], line["agent"]))


def export_values(store: Store, task_ids: Sequence[int], path: Path) -> int:
    """Every single value of the complete ranked runs on some tasks as a row of a Parquet file; how many rows were written.

    Columns: task, agent, version, seed, scenario, metric, value (float64; NaN where the scenario failed).
    Raises ArenaError bundle.empty, output.file.
    """
    lines = [(store.task(task_id).name, line) for task_id in task_ids for line in store.board(task_id)]
    if not lines:
        raise ArenaError("bundle.empty", "no agent stands on these boards yet", "arena run -t TASK -a AGENT")

    def entries() -> Iterator[tuple[str, str, int, int, Mapping[str, Any]]]:
        for name, line in lines:
            for entry in store.pooled_entries(line["task_id"], [line["agent_id"]]):
                if entry["role"] == line["role"] and (vectors := store.metric_vectors(entry["entry_id"])):
                    yield name, line["agent"], line["version"], entry["seed"], vectors

    with replacing(path) as file:
        return tables.write_long(file, entries())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is finished. Raises ArenaError output.file where it cannot be written."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise ArenaError("output.file", f"{path} cannot be written: {error.strerror or error}", "name another file: -o") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
