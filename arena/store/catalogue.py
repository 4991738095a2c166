"""Agents, tasks and environments: written once, found again by the digest of their content."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select, text, update

from arena.digest import digest
from arena.errors import ArenaError, unknown
from arena.store.database import Database
from arena.store.records import AgentRow, Json, TaskRecord, TaskRow, Vector
from arena.store.schema import agents, environments, events, metrics, task_vectors, tasks


def pack(values: Vector) -> bytes:
    """float64 [n] as little-endian bytes."""
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def unpack(blob: bytes) -> Vector:
    return np.frombuffer(blob, dtype="<f8").astype(np.float64)


def pack_histogram(counts: NDArray[np.int64]) -> bytes:
    """int64 [64] without the empty bins at its end: few agents think for seconds."""
    return np.trim_zeros(np.ascontiguousarray(counts, "<i8"), "b").tobytes()


def unpack_histogram(blob: bytes) -> NDArray[np.int64]:
    return np.frombuffer(blob.ljust(8 * 64, b"\0"), "<i8").astype(np.int64)


def clean(message: str, limit: int = 2048) -> str:
    """Text that both engines store: at most `limit` bytes of UTF-8, no NUL (PostgreSQL has none), no lone surrogates."""
    return message.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").replace("\0", "\N{REPLACEMENT CHARACTER}")


class Catalogue(Database):
    """What is known."""

    def ensure_agent(
        self,
        name: str,
        nature: str,
        kind: str,
        spec: Json,
        artifact_digest: str | None = None,
        domain: str | None = None,
        tags: Sequence[str] = (),
        card: str = "",
    ) -> AgentRow:
        """The version of `name` with this content, registered if it is new.

        Content is nature, kind, spec, artifact and domain: other content under a known name becomes its next version. Tags and card only
        describe; given ones replace those stored. Content that another name has too is allowed and leaves the event `agent.duplicate`.
        """
        content = digest({"nature": nature, "kind": kind, "spec": spec, "artifact": artifact_digest, "domain": domain})
        query = select(agents).where(agents.c.name == name, agents.c.digest == content)
        with self.reading() as connection:
            row = connection.execute(query).mappings().first()
        if row is not None and (not tags or list(tags) == row["tags"]) and (not card or card == row["card"]):
            return AgentRow(**row)

        def work(connection: Connection) -> AgentRow:
            if self.is_postgres:  # two processes must not both take version max + 1
                connection.execute(text("LOCK TABLE agents IN SHARE ROW EXCLUSIVE MODE"))
            known = connection.execute(query).mappings().first()
            if known is not None:
                described = {"tags": list(tags) or known["tags"], "card": card or known["card"]}
                connection.execute(update(agents).where(agents.c.id == known["id"]).values(**described))
                return AgentRow(**{**known, **described})
            twin = connection.execute(select(agents.c.name, agents.c.version).where(agents.c.digest == content)).first()
            newest = connection.scalar(select(func.max(agents.c.version)).where(agents.c.name == name)) or 0
            now = self.now(connection)
            values = {
                "uid": uuid.uuid4().hex,
                "name": name,
                "version": newest + 1,
                "nature": nature,
                "kind": kind,
                "spec": spec,
                "digest": content,
                "artifact_digest": artifact_digest,
                "domain": domain,
                "tags": list(tags),
                "card": card,
                "created": now,
            }
            added = connection.execute(self.insert(agents).values(**values).returning(*agents.c)).mappings().one()
            if twin is not None:
                message = f"{name}@{newest + 1} has the content of {twin.name}@{twin.version}"
                connection.execute(events.insert().values(at=now, level="notice", code="agent.duplicate", message=message))
            return AgentRow(**added)

        return self.write(work)

    def retire_agent(self, agent_id: int, retired: bool = True) -> None:
        """Hide a version from lists and from bare names; its results stay."""
        self.write(lambda c: c.execute(update(agents).where(agents.c.id == agent_id).values(retired=self.now(c) if retired else None)))

    def ensure_task(self, record: TaskRecord) -> int:
        """The id of the task with this name and digest, stored with metrics and vectors if it is new.

        A name may be stored with several digests (an altered working copy beside the frozen task); their results never mix.
        Raises ArenaError store.vector where a vector does not have one value per scenario.
        """
        for name, vector in record.vectors.items():
            if vector.shape != (record.n_scenarios,):
                raise ArenaError(
                    "store.vector",
                    f"vector {name!r} of {record.name} has shape {vector.shape}, expected ({record.n_scenarios},)",
                    "give one float64 per scenario",
                )
        query = select(tasks.c.id).where(tasks.c.name == record.name, tasks.c.digest == record.digest)
        with self.reading() as connection:
            found = connection.scalar(query)
        if found is not None:
            return int(found)

        return self.write(lambda connection: self._put_task(connection, record))

    def _put_task(self, connection: Connection, record: TaskRecord) -> int:
        columns = ("name", "domain", "tier", "digest", "config", "n_scenarios", "headline", "normalise", "floor")
        values = {name: getattr(record, name) for name in columns}
        values |= {"uid": uuid.uuid4().hex, "registered": self.now(connection)}
        added = connection.scalar(self.insert(tasks).values(**values).on_conflict_do_nothing().returning(tasks.c.id))
        if added is None:  # another process was faster
            same = (tasks.c.name == record.name, tasks.c.digest == record.digest)
            return int(connection.execute(select(tasks.c.id).where(*same)).scalar_one())
        metric_columns = ("name", "unit", "direction", "role", "threshold", "scale")
        if record.metrics:
            rows = [{"task_id": added, **{name: getattr(m, name) for name in metric_columns}} for m in record.metrics]
            connection.execute(metrics.insert(), rows)
        if record.vectors:
            connection.execute(task_vectors.insert(), [{"task_id": added, "name": k, "vals": pack(v)} for k, v in record.vectors.items()])
        return int(added)

    def ensure_environment(self, detail: Json) -> int:
        """The id of this combination of Python, platform, devices, packages and code version."""
        content = digest(detail)
        query = select(environments.c.id).where(environments.c.digest == content)
        with self.reading() as connection:
            found = connection.scalar(query)
        if found is not None:
            return int(found)

        return self.write(lambda connection: self._put_environment(connection, detail))

    def _put_environment(self, connection: Connection, detail: Json) -> int:
        content = digest(detail)
        connection.execute(self.insert(environments).values(digest=content, detail=detail).on_conflict_do_nothing())
        return int(connection.execute(select(environments.c.id).where(environments.c.digest == content)).scalar_one())

    def task(self, reference: int | str) -> TaskRow:
        """A task by id or by name (the one registered last under that name). Raises ArenaError unknown.task."""
        condition = tasks.c.id == reference if isinstance(reference, int) else tasks.c.name == reference
        with self.reading() as connection:
            row = connection.execute(select(tasks).where(condition).order_by(tasks.c.id.desc()).limit(1)).mappings().first()
            if row is None:
                raise unknown("task", str(reference), connection.scalars(select(tasks.c.name).distinct()))
        return TaskRow(**row)

    def agent(self, reference: int | str) -> AgentRow:
        """An agent by id, `name@version` or `name` (newest version, one that is not retired if there is one). Raises ArenaError unknown.agent."""
        if isinstance(reference, int):
            condition: Any = agents.c.id == reference
        else:
            name, _, version = reference.partition("@")
            condition = agents.c.name == name
            if version:
                condition &= agents.c.version == (int(version) if version.isdecimal() else -1)
        order = (agents.c.retired.is_not(None), agents.c.version.desc())
        with self.reading() as connection:
            row = connection.execute(select(agents).where(condition).order_by(*order).limit(1)).mappings().first()
            if row is None:
                raise unknown("agent", str(reference), connection.scalars(select(agents.c.name).distinct()))
        return AgentRow(**row)

    def metrics(self, task_id: int) -> list[Json]:
        """The metrics of a task, in the order of their declaration."""
        with self.reading() as connection:
            rows = connection.execute(select(metrics).where(metrics.c.task_id == task_id).order_by(metrics.c.id)).mappings()
            return [dict(row) for row in rows]

    def task_vectors(self, task_id: int) -> dict[str, Vector]:
        """`ref0`, `ref1`, `group`, ...: float64 [n_scenarios] each."""
        with self.reading() as connection:
            rows = connection.execute(select(task_vectors.c.name, task_vectors.c.vals).where(task_vectors.c.task_id == task_id))
            return {name: unpack(blob) for name, blob in rows}
