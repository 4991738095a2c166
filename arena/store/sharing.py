"""Runs as they leave a store and enter another one: whole, named by `uid` alone, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, select, text, update

from arena.digest import digest
from arena.errors import ArenaError
from arena.store.catalogue import pack, pack_histogram, unpack, unpack_histogram
from arena.store.queries import Queries
from arena.store.records import AgentRow, Json, TaskRecord, Vector
from arena.store.schema import agents, chunks, entries, events, failures, measurements, metrics, recordings, runs, timings

Vectors = dict[tuple[int, str], Vector]  # (entry, metric) -> float64 [n_scenarios]

_ENTRY = ("role", "seat", "candidate", "mode", "level", "failures", "decision_ns_total", "decisions", "peak_rss")
_RUN = ("uid", "seed", "chunk_size", "created", "started", "finished")


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A complete run without the numbers that a store gives. In `content`, entries are named by their position.

    content: uid, seed, chunk_size, created, started, finished, config; `entries` (with `agent`: a uid), `chunks` (start, n, attempt, seconds,
        recording), `failures` (entry, scenario, step, code, detail), `timings` (entry, start, n, hist, usage)
    task, environment: digests
    """

    content: Json
    task: str
    environment: str
    vectors: Vectors


class Sharing(Queries):
    """What export and import need."""

    def run_content(self, run_id: int) -> tuple[Json, Vectors]:
        """A complete run as `SharedRun.content`, its agents by number, and its vectors. [6]

        Raises ArenaError unknown.run, run.unfinished, store.damaged where a measurement is missing or has another length than its chunk.
        """
        row = self.run_row(run_id)
        if row.status != "complete":
            raise ArenaError("run.unfinished", f"run {run_id} is {row.status}, only complete runs can leave", f"arena resume {run_id}")
        entry = entries.c.run_id == run_id
        measured = (
            select(measurements.c.entry_id, metrics.c.name, measurements.c.start, measurements.c.n, measurements.c.vals)
            .join(entries, entries.c.id == measurements.c.entry_id)
            .join(metrics, metrics.c.id == measurements.c.metric_id)
            .where(entry)
            .order_by(measurements.c.entry_id, metrics.c.id, measurements.c.start)
        )
        failed = select(failures).join(entries, entries.c.id == failures.c.entry_id).where(entry)
        timed = select(timings).join(entries, entries.c.id == timings.c.entry_id).where(entry)
        with self.reading() as connection:
            seated = connection.execute(select(entries).where(entry).order_by(entries.c.id)).mappings().all()
            played = connection.execute(select(chunks).where(chunks.c.run_id == run_id).order_by(chunks.c.chunk)).mappings().all()
            lost = connection.execute(failed.order_by(failures.c.entry_id, failures.c.scenario)).mappings().all()
            spent = connection.execute(timed.order_by(timings.c.entry_id, timings.c.start)).mappings().all()
            pieces: dict[tuple[int, str], list[tuple[int, int, bytes]]] = {}
            for entry_id, name, start, n, blob in connection.execute(measured):
                pieces.setdefault((entry_id, name), []).append((start, n, blob))
        place = {row["id"]: position for position, row in enumerate(seated)}
        spans = [(chunk["start"], chunk["n"]) for chunk in played]
        vectors: Vectors = {}
        for (entry_id, name), found in pieces.items():
            if [(start, n) for start, n, _ in found] != spans or any(len(blob) != 8 * n for _, n, blob in found):
                reason = f"run {run_id}: the stored values of {name!r} do not fit its chunks"
                raise ArenaError("store.damaged", reason, f"arena verify {run_id} says where; restore a backup")
            vectors[place[entry_id], name] = np.concatenate([unpack(blob) for _, _, blob in found])
        content: Json = {name: getattr(row, name) for name in _RUN}
        content["config"] = row.config
        content["entries"] = [{name: row[name] for name in _ENTRY} | {"agent": row["agent_id"]} for row in seated]
        content["chunks"] = [{k: c[k] for k in ("start", "n", "attempt", "seconds")} | {"recording": c["recording_digest"]} for c in played]
        content["failures"] = [{"entry": place[f["entry_id"]]} | {k: f[k] for k in ("scenario", "step", "code", "detail")} for f in lost]
        content["timings"] = [
            {"entry": place[t["entry_id"]], "start": t["start"], "n": t["n"], "usage": t["usage"]}
            | {"hist": np.trim_zeros(unpack_histogram(t["hist"]), "b").tolist()}
            for t in spent
        ]
        return content, vectors

    def run_ids(self, uids: Sequence[str]) -> dict[str, int]:
        """The numbers of those runs that are here, by uid. [1 per 500]"""
        found: dict[str, int] = {}
        with self.reading() as connection:
            for start in range(0, len(uids), 500):
                query = select(runs.c.uid, runs.c.id).where(runs.c.uid.in_(uids[start : start + 500]))
                found |= {uid: run_id for uid, run_id in connection.execute(query)}
        return found

    def add_runs(
        self,
        shared: Sequence[SharedRun],
        tasks: Mapping[str, TaskRecord],
        environments: Mapping[str, Json],
        newcomers: Sequence[Json],
        content_of: Callable[[Mapping[str, Any]], str],
    ) -> tuple[dict[str, int], dict[str, AgentRow]]:
        """Complete runs of another store, unranked, in one transaction; those whose uid is here already stay as they are.

        tasks, environments: by digest; newcomers: the agents of the runs, rows of `agents` without id; content_of: the digest by which an
        agent of this store and a newcomer of the same name are the same. Others get a version of their own: theirs if it is free, else the next.
        The recordings must have been written before. Returns the numbers of the runs that were added, and all agents, by uid.
        Raises ArenaError bundle.conflict where an agent's uid is here with other content.
        """

        def work(connection: Connection) -> tuple[dict[str, int], dict[str, AgentRow]]:
            if self.is_postgres:  # two imports must not both take a version, nor both add a run
                connection.execute(text("LOCK TABLE agents IN SHARE ROW EXCLUSIVE MODE"))
            here = {agent["uid"]: self._settled(connection, agent, content_of) for agent in newcomers}
            task_ids = {key: self._put_task(connection, record) for key, record in tasks.items()}
            places = {key: self._put_environment(connection, detail) for key, detail in environments.items()}
            added: dict[str, int] = {}
            for run in shared:
                if connection.scalar(select(runs.c.id).where(runs.c.uid == run.content["uid"])) is None:
                    number = self._add_run(connection, run, task_ids[run.task], places[run.environment], here)
                    added[run.content["uid"]] = number
            return added, here

        return self.write(work)

    def _settled(self, connection: Connection, agent: Json, content_of: Callable[[Mapping[str, Any]], str]) -> AgentRow:
        same = connection.execute(select(agents).where(agents.c.uid == agent["uid"])).mappings().first()
        if same is not None:
            if content_of(dict(same)) != agent["digest"]:
                raise ArenaError(
                    "bundle.conflict",
                    f"the agent {agent['name']} of the bundle has the uid of {same['name']}@{same['version']}, which has other content",
                    "one of the two was altered: ask for the bundle again",
                )
            return AgentRow(**same)
        namesakes = connection.execute(select(agents).where(agents.c.name == agent["name"]).order_by(agents.c.version)).mappings().all()
        for row in namesakes:
            if content_of(dict(row)) == agent["digest"]:
                return AgentRow(**row)
        taken = {row["version"] for row in namesakes}
        version = max(taken) + 1 if agent["version"] in taken else agent["version"]
        values = {**agent, "version": version, "retired": None}
        return AgentRow(**connection.execute(self.insert(agents).values(**values).returning(*agents.c)).mappings().one())

    def _add_run(self, connection: Connection, shared: SharedRun, task_id: int, environment_id: int, here: Mapping[str, AgentRow]) -> int:
        content = shared.content
        lineup = [[e["role"], e["seat"], here[e["agent"]].digest, e["mode"], e["candidate"]] for e in content["entries"]]
        count = len(content["chunks"])
        row: Json = {name: content[name] for name in _RUN}
        # its own request, until a replay has shown that it may stand for the one that anybody can make
        row |= {"request_digest": digest({"imported": content["uid"]}), "lineup_digest": digest({"lineup": lineup}), "ranked": False}
        row |= {"task_id": task_id, "environment_id": environment_id, "status": "complete", "n_chunks": count, "n_done": count}
        run_id = int(connection.execute(self.insert(runs).values(**row, config=content["config"]).returning(runs.c.id)).scalar_one())
        numbers = []
        for entry in content["entries"]:
            seat = {name: entry[name] for name in _ENTRY} | {"run_id": run_id, "agent_id": here[entry["agent"]].id, "status": "complete"}
            numbers.append(int(connection.execute(self.insert(entries).values(**seat).returning(entries.c.id)).scalar_one()))
        metric_ids = {name: number for name, number in connection.execute(select(metrics.c.name, metrics.c.id).where(metrics.c.task_id == task_id))}
        spans = [(chunk["start"], chunk["n"]) for chunk in content["chunks"]]
        kept = [row for row in map(self._recording, {c["recording"] for c in content["chunks"]}) if row is not None]
        if kept:
            connection.execute(self.insert(recordings).on_conflict_do_nothing(), kept)
        rows: dict[Any, list[Json]] = {
            chunks: [
                {"run_id": run_id, "chunk": number, "recording_digest": c["recording"], **{k: c[k] for k in ("start", "n", "attempt", "seconds")}}
                for number, c in enumerate(content["chunks"])
            ],
            measurements: [
                {"entry_id": numbers[e], "metric_id": metric_ids[name], "start": start, "n": n, "vals": pack(vector[start : start + n])}
                for (e, name), vector in shared.vectors.items()
                for start, n in spans
            ],
            failures: [{**{k: f[k] for k in ("scenario", "step", "code", "detail")}, "entry_id": numbers[f["entry"]]} for f in content["failures"]],
            timings: [
                {"entry_id": numbers[t["entry"]], "start": t["start"], "n": t["n"], "usage": t["usage"]}
                | {"hist": pack_histogram(np.array(t["hist"], np.int64))}
                for t in content["timings"]
            ],
        }
        for table, values in rows.items():
            if values:
                connection.execute(table.insert(), values)
        note = {"level": "info", "code": "bundle.imported", "message": "imported, unranked until it is verified here"}
        connection.execute(events.insert().values(run_id=run_id, at=self.now(connection), data=content["config"]["origin"], **note))
        return run_id

    def rank_run(self, run_id: int, request_digest: str) -> int | None:
        """Let an imported run stand for a request. The number of the run that does so already, then nothing changes; None: this one does now."""

        def work(connection: Connection) -> int | None:
            if self.is_postgres:  # nobody else may make the request meanwhile
                connection.execute(text("LOCK TABLE runs IN SHARE ROW EXCLUSIVE MODE"))
            other = connection.scalar(select(runs.c.id).where(runs.c.request_digest == request_digest, runs.c.id != run_id))
            if other is None:
                connection.execute(update(runs).where(runs.c.id == run_id).values(ranked=True, request_digest=request_digest))
            return None if other is None else int(other)

        return self.write(work)
