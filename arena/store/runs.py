"""Runs: asked for, leased to one worker at a time, advanced chunk by chunk, each chunk exactly once."""

from __future__ import annotations

import uuid
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, or_, select, update

from arena.errors import ArenaError, unknown
from arena.store.catalogue import Catalogue, clean, pack, pack_histogram
from arena.store.recordings import recording_path
from arena.store.records import ChunkResult, EntryRow, Json, RunRequest, RunRow
from arena.store.schema import chunks, entries, events, failures, measurements, metrics, recordings, runs, standings, tasks, timings

LEASE = 60.0  # seconds; workers renew every 10
_KEPT_PLANS = 256


def refresh_unfinished(connection: Connection, run_id: int) -> None:
    """Count anew how many ranked runs were begun and not completed: an agent's board line shows it, so that dropped seeds show."""
    connection.execute(_COUNT_UNFINISHED, {"b_id": run_id})


class Runs(Catalogue):
    """What is to be done, by whom, and how far it is."""

    _plans: dict[int, tuple[int, set[int], dict[str, int]]]  # run -> (scenarios, entries, metric ids): constant once the run exists

    def request_run(self, request: RunRequest) -> RunRow:
        """The run with this request digest: a new one, queued, or the one there is. One that failed or was cancelled is queued again.

        The first candidate entry is the one that stands on the board: list the task's first candidate role first.
        """
        if not request.entries:
            raise ArenaError("store.request", "a run needs at least one entry", "name an agent for every role")

        def work(connection: Connection) -> RunRow:
            columns = ("task_id", "request_digest", "lineup_digest", "seed", "ranked", "chunk_size", "n_chunks", "environment_id", "config")
            values = {name: getattr(request, name) for name in columns}
            values |= {"uid": uuid.uuid4().hex, "status": "queued", "n_done": 0, "created": self.now(connection)}
            statement = self.insert(runs).values(**values).on_conflict_do_nothing(index_elements=["request_digest"])
            added = connection.execute(statement.returning(*runs.c)).mappings().first()
            if added is None:
                same = runs.c.request_digest == request.request_digest
                dropped = update(runs).where(same, runs.c.status.in_(("failed", "cancelled")))
                connection.execute(dropped.values(status="queued", owner=None, lease_until=None, finished=None))
                return RunRow(**connection.execute(select(runs).where(same)).mappings().one())
            of_entry = ("role", "seat", "agent_id", "candidate", "mode", "level")
            fresh = {"run_id": added["id"], "status": "queued", "failures": 0, "decision_ns_total": 0, "decisions": 0, "peak_rss": 0}
            connection.execute(entries.insert(), [{**fresh, **{name: getattr(e, name) for name in of_entry}} for e in request.entries])
            return RunRow(**added)

        return self.write(work)

    def run_row(self, run_id: int) -> RunRow:
        """Raises ArenaError unknown.run."""
        with self.reading() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first()
            if row is None:
                raise unknown("run", str(run_id), map(str, connection.scalars(select(runs.c.id).order_by(runs.c.id.desc()).limit(100))))
        return RunRow(**row)

    def entries(self, run_id: int) -> list[EntryRow]:
        """The lineup of a run, in the order of its request."""
        with self.reading() as connection:
            rows = connection.execute(select(entries).where(entries.c.run_id == run_id).order_by(entries.c.id)).mappings()
            return [EntryRow(**row) for row in rows]

    # ---- leases ---------------------------------------------------------------------------------------------------

    def acquire(self, run_id: int, owner: str, lease: float = LEASE) -> bool:
        """Take a run, also a failed or cancelled one or one whose owner died. False: it is complete, there is nothing to do.

        `owner` names one worker (host, process id and something random); `lease` is in seconds.
        Raises ArenaError run.owned while another worker's lease lasts, unknown.run.
        """

        def work(connection: Connection) -> tuple[Any, int]:
            query = select(runs.c.status, runs.c.owner, runs.c.lease_until).where(runs.c.id == run_id).with_for_update()
            holder, now = connection.execute(query).first(), self.now(connection)
            if holder is not None and holder.status != "complete" and not _is_held(holder, owner, now):
                connection.execute(update(runs).where(runs.c.id == run_id).values(**self._leased(owner, now, lease)))
                if holder.status == "running" and holder.owner == owner:
                    return holder, now
                connection.execute(update(entries).where(entries.c.run_id == run_id).values(status="running"))
                refresh_unfinished(connection, run_id)
            return holder, now

        holder, now = self.write(work)
        if holder is None:
            raise unknown("run", str(run_id), ())
        if not _is_held(holder, owner, now):
            return bool(holder.status != "complete")
        remaining = (holder.lease_until - now) / 1e6
        raise ArenaError(
            "run.owned",
            f"run {run_id} is being worked on by {holder.owner} (its lease lasts {remaining:.0f} s more)",
            f"wait for it, or end that worker and resume after {remaining:.0f} s",
            run_id=run_id,
            owner=holder.owner,
            remaining=remaining,
        )

    @staticmethod
    def _leased(owner: str, now: int, lease: float) -> Json:
        return {
            "status": "running",
            "owner": owner,
            "lease_until": now + int(lease * 1e6),
            "started": func.coalesce(runs.c.started, now),
            "finished": None,
        }

    def renew(self, run_id: int, owner: str, lease: float = LEASE) -> bool:
        """False: the run is no longer this worker's (cancelled, or taken over after its lease ended); stop working on it."""
        mine = (runs.c.id == run_id, runs.c.owner == owner, runs.c.status == "running")
        return self.write(lambda c: c.execute(update(runs).where(*mine).values(lease_until=self.now(c) + int(lease * 1e6))).rowcount == 1)

    def release(self, run_id: int, owner: str, status: str) -> bool:
        """Give a run back as `queued` (to be resumed), `failed` or `cancelled`. False: it was not this worker's any more."""
        if status not in ("queued", "failed", "cancelled"):
            raise ArenaError("store.status", f"a run cannot be released as {status!r}", "queued, failed or cancelled; finish() completes runs")
        return self._leave((runs.c.id == run_id, runs.c.owner == owner, runs.c.status == "running"), run_id, status)

    def cancel(self, run_id: int) -> bool:
        """Take a run off the queue or from its worker, which learns of it at its next renewal. False: it was not queued or running."""
        return self._leave((runs.c.id == run_id, runs.c.status.in_(("queued", "running"))), run_id, "cancelled")

    def requeue(self, run_id: int) -> bool:
        """Let any worker go on with a run that failed, was cancelled or lost its worker. False: it waits, is worked on or is complete."""
        with self.reading() as connection:
            now = self.now(connection)  # a lease that is renewed in between ends later than this
        gone = or_(runs.c.status.in_(("failed", "cancelled")), and_(runs.c.status == "running", runs.c.lease_until < now))
        return self._leave((runs.c.id == run_id, gone), run_id, "queued")

    def _leave(self, condition: tuple[Any, ...], run_id: int, status: str) -> bool:
        def work(connection: Connection) -> bool:
            finished = None if status == "queued" else self.now(connection)
            statement = update(runs).where(*condition).values(status=status, owner=None, lease_until=None, finished=finished)
            if connection.execute(statement).rowcount != 1:
                return False
            connection.execute(update(entries).where(entries.c.run_id == run_id).values(status=status))
            refresh_unfinished(connection, run_id)
            return True

        return self.write(work)

    def stalled(self) -> list[RunRow]:
        """Runs whose worker died: still `running`, lease over. `acquire` takes them."""
        with self.reading() as connection:
            query = select(runs).where(runs.c.status == "running", runs.c.lease_until < self.now(connection)).order_by(runs.c.id)
            return [RunRow(**row) for row in connection.execute(query).mappings()]

    def next_queued(self, owner: str, lease: float = LEASE) -> RunRow | None:
        """Take the oldest queued run. Workers that ask at the same moment get different runs."""

        def work(connection: Connection) -> RunRow | None:
            # A range of one value, so that only the index by status gives this order: for an equality PostgreSQL walks along the ids,
            # past all that are complete, in the hope of meeting a queued one early.
            waiting = select(runs.c.id).where(runs.c.status.between("queued", "queued")).order_by(runs.c.status, runs.c.id)
            oldest = waiting.limit(1).with_for_update(skip_locked=True)
            statement = update(runs).where(runs.c.id == oldest.scalar_subquery(), runs.c.status == "queued")
            row = connection.execute(statement.values(**self._leased(owner, self.now(connection), lease)).returning(*runs.c)).mappings().first()
            if row is None:
                return None
            connection.execute(update(entries).where(entries.c.run_id == row["id"]).values(status="running"))
            refresh_unfinished(connection, row["id"])
            return RunRow(**row)

        return self.write(work)

    # ---- chunks ---------------------------------------------------------------------------------------------------

    def done_chunks(self, run_id: int) -> set[int]:
        with self.reading() as connection:
            return set(connection.scalars(select(chunks.c.chunk).where(chunks.c.run_id == run_id)))

    def commit_chunk(self, run_id: int, result: ChunkResult) -> bool:
        """All of a chunk in one transaction, or nothing: False when the chunk was committed before, whoever computed it.

        The recording must have been written before. Raises ArenaError store.chunk for a result that does not fit its run.
        """
        n_scenarios, known, metric_ids = self._plan(run_id)
        if not 0 <= result.start <= result.start + result.n <= n_scenarios or result.n < 1:
            raise _misfit(run_id, result, f"scenarios {result.start}..{result.start + result.n - 1} of {n_scenarios}")
        strangers = ({e for e, _ in result.measurements} | {f.entry_id for f in result.failures} | set(result.timings)) - known
        if strangers:
            raise _misfit(run_id, result, f"entries {sorted(strangers)} of another run")
        rows = []
        for (entry_id, metric), values in sorted(result.measurements.items()):
            if metric not in metric_ids:
                raise _misfit(run_id, result, f"metric {metric!r}, not one of {', '.join(metric_ids)}")
            if values.shape != (result.n,):
                raise _misfit(run_id, result, f"{metric!r} of shape {values.shape}, expected ({result.n},)")
            rows.append({"entry_id": entry_id, "metric_id": metric_ids[metric], "start": result.start, "n": result.n, "vals": pack(values)})
        recording = self._recording(result.recording_digest)
        failed = [
            {"entry_id": f.entry_id, "scenario": f.scenario, "step": f.step, "code": f.code, "detail": clean(f.detail)} for f in result.failures
        ]
        timed = [
            {"entry_id": e, "start": result.start, "n": result.n, "hist": pack_histogram(t.hist), "usage": t.usage} for e, t in result.timings.items()
        ]
        totals = self._totals(result)
        mark = {name: getattr(result, name) for name in ("chunk", "start", "n", "attempt", "seconds", "recording_digest")} | {"run_id": run_id}

        def work(connection: Connection) -> bool:
            if connection.scalar(self._mark, mark) is None:
                return False
            if recording:
                connection.execute(self.insert(recordings).values(**recording).on_conflict_do_nothing())
            for table, values in ((measurements, rows), (failures, failed), (timings, timed)):
                if values:
                    connection.execute(_INSERT[table.name], values)
            if totals:
                connection.execute(_ADD_TOTALS, totals)
            connection.execute(_COUNT_DONE, {"b_id": run_id})
            return True

        return self.write(work)

    @cached_property
    def _mark(self) -> Any:
        return self.insert(chunks).on_conflict_do_nothing().returning(chunks.c.n)

    def _plan(self, run_id: int) -> tuple[int, set[int], dict[str, int]]:
        if run_id not in self._plans:
            with self.reading() as connection:
                query = select(tasks.c.id, tasks.c.n_scenarios).join(runs, runs.c.task_id == tasks.c.id).where(runs.c.id == run_id)
                task = connection.execute(query).first()
                if task is None:
                    raise unknown("run", str(run_id), ())
                found = set(connection.scalars(select(entries.c.id).where(entries.c.run_id == run_id)))
                named = connection.execute(select(metrics.c.name, metrics.c.id).where(metrics.c.task_id == task.id))
                ids = {str(name): int(metric_id) for name, metric_id in named}
            while len(self._plans) >= _KEPT_PLANS:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[run_id] = (task.n_scenarios, found, ids)
        return self._plans[run_id]

    def _recording(self, digest: str | None) -> Json | None:
        if digest is None:
            return None
        path = recording_path(self.home, digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise ArenaError("store.recording_missing", f"there is no recording {path}", "write_recording() comes before commit_chunk()") from None
        return {"digest": digest, "bytes": size, "codec": "zstd", "kept": False, "path": f"{path.parent.name}/{path.name}"}

    @staticmethod
    def _totals(result: ChunkResult) -> list[Json]:
        """What the chunk adds to each entry; in the order of ids, so that two chunks of a run cannot deadlock."""
        counts: dict[int, int] = {}
        for failure in result.failures:
            counts[failure.entry_id] = counts.get(failure.entry_id, 0) + 1
        totals = []
        for entry_id in sorted(set(counts) | set(result.timings)):
            timing = result.timings.get(entry_id)
            measured = (timing.decision_ns, timing.decisions, timing.peak_rss) if timing else (0, 0, 0)
            values = (entry_id, counts.get(entry_id, 0), *measured)
            totals.append(dict(zip(("b_id", "b_failed", "b_ns", "b_decisions", "b_rss"), values, strict=True)))
        return totals

    def event(self, run_id: int | None, level: str, code: str, message: str, data: Json | None = None, job_id: int | None = None) -> int:
        """Add a line to the log of a run, of a job or of the store; its id. Readers ask for `events(run_id, after=id)`."""
        values = {"run_id": run_id, "job_id": job_id, "level": level, "code": code, "message": clean(message, 8192), "data": data}
        return self.write(lambda c: int(c.execute(self.insert(events).values(at=self.now(c), **values).returning(events.c.id)).scalar_one()))


# Built once: building and hashing a statement costs SQLAlchemy more than SQLite needs to execute it.
_INSERT = {table.name: table.insert() for table in (measurements, failures, timings)}
_UNFINISHED = (
    select(func.count(func.distinct(runs.c.id)))
    .select_from(runs.join(entries, entries.c.run_id == runs.c.id))
    .where(
        entries.c.agent_id == standings.c.agent_id,
        entries.c.candidate,
        runs.c.task_id == standings.c.task_id,
        runs.c.ranked,
        runs.c.status != "complete",
        runs.c.started.is_not(None),
    )
)
_COUNT_UNFINISHED = (
    update(standings)
    .where(
        standings.c.task_id == select(runs.c.task_id).where(runs.c.id == bindparam("b_id")).scalar_subquery(),
        standings.c.agent_id.in_(select(entries.c.agent_id).where(entries.c.run_id == bindparam("b_id"), entries.c.candidate)),
    )
    .values(runs_unfinished=_UNFINISHED.scalar_subquery())
)
_COUNT_DONE = update(runs).where(runs.c.id == bindparam("b_id")).values(n_done=runs.c.n_done + 1)
_ADD_TOTALS = (
    update(entries)
    .where(entries.c.id == bindparam("b_id"))
    .values(
        failures=entries.c.failures + bindparam("b_failed"),
        decision_ns_total=entries.c.decision_ns_total + bindparam("b_ns"),
        decisions=entries.c.decisions + bindparam("b_decisions"),
        peak_rss=case((entries.c.peak_rss < bindparam("b_rss"), bindparam("b_rss")), else_=entries.c.peak_rss),
    )
)


def _is_held(holder: Any, owner: str, now: int) -> bool:
    """Whether a worker other than `owner` has a lease that lasts."""
    return bool(holder.status == "running" and holder.owner != owner and holder.lease_until >= now)


def _misfit(run_id: int, result: ChunkResult, what: str) -> ArenaError:
    return ArenaError("store.chunk", f"chunk {result.chunk} of run {run_id} holds {what}", "this is a bug of the caller: nothing was stored")
