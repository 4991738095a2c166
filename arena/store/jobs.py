"""Jobs: what the dashboard (or `arena register --queue`) asks for and a worker does. Leased like runs, each done by one worker."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection, and_, case, false, or_, select, update

from arena.errors import ArenaError, unknown
from arena.store.queries import PAGE, Queries
from arena.store.records import JobRow, Json
from arena.store.runs import LEASE
from arena.store.schema import events, jobs

KINDS = ("register", "run")


class Jobs(Queries):
    """The queue of what is not a run yet."""

    def enqueue(self, kind: str, spec: Json) -> JobRow:
        """Ask for something. Raises ArenaError store.job for a kind that no worker knows."""
        if kind not in KINDS:
            raise ArenaError("store.job", f"no worker does jobs of kind {kind!r}", f"kinds: {', '.join(KINDS)}")

        def work(connection: Connection) -> JobRow:
            values = {"uid": uuid.uuid4().hex, "kind": kind, "spec": spec, "status": "queued", "created": self.now(connection)}
            return JobRow(**connection.execute(self.insert(jobs).values(**values).returning(*jobs.c)).mappings().one())

        return self.write(work)

    def next_job(self, owner: str, lease: float = LEASE) -> JobRow | None:
        """Take the oldest job that waits or whose worker died. Workers that ask at the same moment get different ones."""

        def work(connection: Connection) -> JobRow | None:
            now = self.now(connection)
            free = or_(jobs.c.status == "queued", and_(jobs.c.status == "running", jobs.c.lease_until < now))
            oldest = select(jobs.c.id).where(free).order_by(jobs.c.id).limit(1).with_for_update(skip_locked=True)
            statement = update(jobs).where(jobs.c.id == oldest.scalar_subquery(), free)
            taken = {"status": "running", "owner": owner, "lease_until": now + int(lease * 1e6), "started": now}
            row = connection.execute(statement.values(**taken).returning(*jobs.c)).mappings().first()
            return None if row is None else JobRow(**row)

        return self.write(work)

    def renew_job(self, job_id: int, owner: str, lease: float = LEASE) -> bool:
        """False: the job is no longer this worker's (cancelled, or taken over after its lease ended)."""
        return self._mine(job_id, owner, lambda connection: {"lease_until": self.now(connection) + int(lease * 1e6)})

    def end_job(self, job_id: int, owner: str, status: str, result: Json | None = None, run_id: int | None = None) -> bool:
        """Note what became of a job: `done` or `failed`, or `queued` again. False: it was not this worker's any more."""
        return self._mine(
            job_id,
            owner,
            lambda connection: {
                "status": status, "owner": None, "lease_until": None, "result": result, "run_id": run_id,
                "finished": None if status == "queued" else self.now(connection),
            },
        )  # fmt: skip

    def _mine(self, job_id: int, owner: str, values: Any) -> bool:
        mine = (jobs.c.id == job_id, jobs.c.owner == owner, jobs.c.status == "running")
        return self.write(lambda connection: connection.execute(update(jobs).where(*mine).values(**values(connection))).rowcount == 1)

    def cancel_job(self, job_id: int) -> bool:
        """Take a job off the queue or from its worker. False: it had ended."""
        waiting = (jobs.c.id == job_id, jobs.c.status.in_(("queued", "running")))
        result = {"code": "job.cancelled", "message": "cancelled", "hint": "", "checks": []}

        def work(connection: Connection) -> bool:
            values = {"status": "failed", "owner": None, "lease_until": None, "result": result, "finished": self.now(connection)}
            return connection.execute(update(jobs).where(*waiting).values(**values)).rowcount == 1

        return self.write(work)

    def jobs(self, before: int | None = None, limit: int = PAGE, status: str | None = None) -> list[Json]:
        """Jobs, newest first, with `stalled`: its worker died. [1]"""
        with self.reading() as connection:
            gone = and_(jobs.c.status == "running", jobs.c.lease_until < self.now(connection))
        query = select(jobs, case((gone, True), else_=false()).label("stalled")).order_by(jobs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(jobs.c.id < before)
        if status is not None:
            query = query.where(jobs.c.status == status)
        return [{**row, "stalled": bool(row["stalled"])} for row in self._dicts(query)]

    def job(self, job_id: int) -> Json:
        """One job, as `jobs` gives it. Raises ArenaError unknown.job. [1]"""
        found = self.jobs(before=job_id + 1, limit=1)
        if not found or found[0]["id"] != job_id:
            raise unknown("job", str(job_id), ())
        return found[0]

    def job_events(self, job_id: int, after: int = 0, limit: int = 500) -> list[Json]:
        """The log of a job after event `after`, oldest first. [1]"""
        return self._dicts(select(events).where(events.c.job_id == job_id, events.c.id > after).order_by(events.c.id).limit(limit))
