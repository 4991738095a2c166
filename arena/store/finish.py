"""From the last chunk to the board: pooled over all complete ranked runs of an agent, whoever finishes at the same time.

What takes long is computed outside any transaction from a set of runs; the transaction that stores it first checks that the set is still
the same, else everything starts over. So two runs that finish together are both pooled, and a crash at any point is repaired by finishing
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, func, select, update

from arena.errors import ArenaError
from arena.store.records import EntryRow, Json, PoolInput, RatingRecord, StandingRecord, SuiteInput, SuiteMember, Suites, Summarise, Vector
from arena.store.runs import Runs, refresh_unfinished
from arena.store.schema import agents, chunks, entries, failures, metrics, ratings, runs, standing_draws, standings, tasks
from arena.store.vectors import read_vectors

_KEY = ("task_id", "role", "agent_id")
_NUMBERS = tuple(f.name for f in fields(StandingRecord) if f.name not in ("draws", "members"))
_Versions = dict[tuple[int, str], list[int]]  # (task, role) -> runs that its standing pools


class Finishing(Runs):
    """Completing runs and the standings they make."""

    def finish(self, run_id: int, summarise: Summarise, suites: Suites | None = None) -> None:
        """Complete a run whose chunks are all there; if it is ranked, write its agent's standing on the task and in the suites above.

        `summarise` turns the pooled scores into one board line; `suites` turns all standings of the agent into lines of suite tasks. Both
        may be called again when another run of the agent finished in between. Finishing a complete run recomputes the same rows.
        Raises ArenaError run.unfinished when chunks are missing, run.not_running when it failed or was cancelled.
        """
        row = self.run_row(run_id)
        if row.status not in ("running", "complete"):
            raise ArenaError("run.not_running", f"run {run_id} is {row.status}, it cannot be completed", f"resume it first: arena resume {run_id}")
        missing = row.n_chunks - len(self.done_chunks(run_id))
        if missing:
            raise ArenaError("run.unfinished", f"{missing} of {row.n_chunks} chunks of run {run_id} are missing", f"arena resume {run_id}")
        if not row.ranked:
            self.write(lambda connection: self._complete(connection, run_id))
            return
        candidate = next(entry for entry in self.entries(run_id) if entry.candidate)
        while not self._settle(run_id, row.task_id, candidate, summarise, suites):
            pass  # only when another finish succeeded meanwhile

    def _settle(self, run_id: int, task_id: int, candidate: EntryRow, summarise: Summarise, suites: Suites | None) -> bool:
        """One attempt; False: other runs of the agent were completed meanwhile, start over."""
        agent_id, role = candidate.agent_id, candidate.role
        pool = self._pool(run_id, task_id, agent_id, role)
        record = summarise(pool)
        _check(record)
        run_set = sorted(pool.run_ids)
        above: Sequence[tuple[int, StandingRecord]] = ()
        seen: _Versions = {}
        if suites is not None:
            members, seen = self._members(agent_id, (task_id, role, record))
            above = suites(SuiteInput(agent_id, members))
            for _, suite in above:
                _check(suite)

        def work(connection: Connection) -> bool:
            # Two finishes of one agent must not pass the check side by side (SQLite writes one transaction at a time anyway).
            connection.execute(select(agents.c.id).where(agents.c.id == agent_id).with_for_update())
            if sorted(row.run_id for row in self._pooled_runs(connection, run_id, task_id, agent_id, role)) != run_set:
                return False
            if suites is not None and self._versions(connection, agent_id, (task_id, role)) != seen:
                return False
            self._complete(connection, run_id)
            self._put_standing(connection, (task_id, role, agent_id), record, run_set)
            refresh_unfinished(connection, run_id)
            pooled = {**seen, (task_id, role): run_set}
            for suite_id, suite in above:
                below = [key for key in pooled if not suite.members or key[0] in suite.members]
                self._put_standing(connection, (suite_id, "", agent_id), suite, sorted({r for key in below for r in pooled[key]}))
                self._sum_unfinished(connection, suite_id, agent_id, [task for task, _ in below])
            return True

        return self.write(work)

    def _complete(self, connection: Connection, run_id: int) -> None:
        there = select(func.count()).where(chunks.c.run_id == run_id).scalar_subquery()
        statement = update(runs).where(runs.c.id == run_id, runs.c.status == "running", runs.c.n_chunks == there)
        statement = statement.values(status="complete", owner=None, lease_until=None, finished=self.now(connection))
        if connection.execute(statement).rowcount == 1:
            connection.execute(update(entries).where(entries.c.run_id == run_id).values(status="complete"))
            return
        status = connection.scalar(select(runs.c.status).where(runs.c.id == run_id))
        if status != "complete":
            raise ArenaError("run.not_running", f"run {run_id} became {status} while it was being finished", f"arena resume {run_id}")

    def board_line(self, run_id: int) -> tuple[PoolInput, StandingRecord] | None:
        """The agent's standing as stored and the runs it must follow from; None where the run is on no board or others have joined it."""
        row = self.run_row(run_id)
        candidate = next(entry for entry in self.entries(run_id) if entry.candidate)
        if not row.ranked or row.status != "complete":
            return None
        pool = self._pool(run_id, row.task_id, candidate.agent_id, candidate.role)
        key = zip(_KEY, (row.task_id, candidate.role, candidate.agent_id), strict=True)
        query = select(standings, standing_draws.c.draws).join(standing_draws, _same_key).where(*(standings.c[name] == value for name, value in key))
        with self.reading() as connection:
            line = connection.execute(query).mappings().one_or_none()
        return (pool, standing_of(line)) if line is not None and sorted(line["run_set"]) == sorted(pool.run_ids) else None

    # ---- what is pooled -------------------------------------------------------------------------------------------

    @staticmethod
    def _pooled_runs(connection: Connection, run_id: int, task_id: int, agent_id: int, role: str) -> Sequence[Any]:
        """(run, entry, seed, times) of the agent's complete ranked runs and of this one, in an order that does not depend on when they ran."""
        query = (
            select(runs.c.id.label("run_id"), entries.c.id.label("entry_id"), runs.c.seed, entries.c.decision_ns_total, entries.c.decisions)
            .join(entries, entries.c.run_id == runs.c.id)
            .where(entries.c.agent_id == agent_id, entries.c.candidate, entries.c.role == role)
            .where(runs.c.task_id == task_id, runs.c.ranked, (runs.c.status == "complete") | (runs.c.id == run_id))
            .order_by(runs.c.seed, runs.c.request_digest, entries.c.seat)
        )
        rows = connection.execute(query).all()
        first = {row.run_id: row for row in reversed(rows)}  # an agent with several seats of the role has one entry that counts
        return [row for row in rows if first[row.run_id] is row]

    def _pool(self, run_id: int, task_id: int, agent_id: int, role: str) -> PoolInput:
        with self.reading() as connection:
            rows = self._pooled_runs(connection, run_id, task_id, agent_id, role)
            ids = [row.entry_id for row in rows]
            n, score = connection.execute(
                select(tasks.c.n_scenarios, metrics.c.name)
                .outerjoin(metrics, (metrics.c.task_id == tasks.c.id) & (metrics.c.role == "score"))
                .where(tasks.c.id == task_id)
            ).one()
            scores = read_vectors(connection, ids, score) if score is not None else None
            failed: NDArray[np.bool_] = np.zeros((len(ids), n), bool)
            place = {entry_id: row for row, entry_id in enumerate(ids)}
            for entry_id, scenario in connection.execute(select(failures.c.entry_id, failures.c.scenario).where(failures.c.entry_id.in_(ids))):
                failed[place[entry_id], scenario] = True

        def metric(name: str) -> Vector:
            with self.reading() as connection:
                return read_vectors(connection, ids, name)

        return PoolInput(
            task_id=task_id,
            agent_id=agent_id,
            role=role,
            run_ids=tuple(row.run_id for row in rows),
            entry_ids=tuple(ids),
            seeds=tuple(row.seed for row in rows),
            scores=scores,
            failed=failed,
            decision_ns=np.array([row.decision_ns_total for row in rows], np.int64),
            decisions=np.array([row.decisions for row in rows], np.int64),
            metric=metric,
        )

    def _members(self, agent_id: int, fresh: tuple[int, str, StandingRecord]) -> tuple[tuple[SuiteMember, ...], _Versions]:
        """All standings of the agent outside suites with `fresh` in its place, and the runs behind the others."""
        task_id, role, record = fresh
        with self.reading() as connection:
            query = (
                select(standings, standing_draws.c.draws, tasks.c.name, tasks.c.domain, tasks.c.tier)
                .join(standing_draws, _same_key)
                .join(tasks, tasks.c.id == standings.c.task_id)
                .where(standings.c.agent_id == agent_id, tasks.c.tier != "suite")
                .order_by(standings.c.task_id, standings.c.role)
            )
            rows = [row for row in connection.execute(query).mappings() if (row["task_id"], row["role"]) != (task_id, role)]
            task = connection.execute(select(tasks.c.name, tasks.c.domain, tasks.c.tier).where(tasks.c.id == task_id)).one()
        members = [SuiteMember(row["task_id"], row["name"], row["domain"], row["tier"], row["role"], standing_of(row)) for row in rows]
        members.append(SuiteMember(task_id, task.name, task.domain, task.tier, role, record))
        versions = {(row["task_id"], row["role"]): row["run_set"] for row in rows}
        return tuple(sorted(members, key=lambda member: (member.task_id, member.role))), versions

    @staticmethod
    def _versions(connection: Connection, agent_id: int, without: tuple[int, str]) -> _Versions:
        query = (
            select(standings.c.task_id, standings.c.role, standings.c.run_set)
            .join(tasks, tasks.c.id == standings.c.task_id)
            .where(standings.c.agent_id == agent_id, tasks.c.tier != "suite")
        )
        return {(task, role): run_set for task, role, run_set in connection.execute(query) if (task, role) != without}

    def _put_standing(self, connection: Connection, key: tuple[int, str, int], record: StandingRecord, run_set: list[int]) -> None:
        where = dict(zip(_KEY, key, strict=True))
        unverified = select(func.count()).where(runs.c.id.in_(run_set), runs.c.verified.is_not(True))
        values: Json = {name: _storable(getattr(record, name)) for name in _NUMBERS}
        values |= {"runs": len(run_set), "runs_unfinished": 0, "run_set": run_set, "updated": self.now(connection)}
        values["verified"] = connection.scalar(unverified) == 0
        connection.execute(self._upserts[0], {**where, **values})
        connection.execute(self._upserts[1], {**where, "draws": _floats(record.draws)})

    @cached_property
    def _upserts(self) -> tuple[Any, Any]:
        """For `standings` and `standing_draws`: put a row in the place of the one with its key."""

        def upsert(table: Table) -> Any:
            fresh = self.insert(table)
            changed = {column.name: fresh.excluded[column.name] for column in table.c if column.name not in _KEY}
            return fresh.on_conflict_do_update(index_elements=_KEY, set_=changed)

        return upsert(standings), upsert(standing_draws)

    @staticmethod
    def _sum_unfinished(connection: Connection, suite_id: int, agent_id: int, below: list[int]) -> None:
        lines = standings.alias()
        theirs = select(func.coalesce(func.sum(lines.c.runs_unfinished), 0)).where(lines.c.agent_id == agent_id, lines.c.task_id.in_(below))
        mine = (standings.c.task_id == suite_id, standings.c.agent_id == agent_id)
        connection.execute(update(standings).where(*mine).values(runs_unfinished=theirs.scalar_subquery()))

    def set_verified(self, run_id: int, verified: bool) -> None:
        """Note whether a replay found the recorded metrics again; a board line is verified when all its runs are."""

        def work(connection: Connection) -> None:
            connection.execute(update(runs).where(runs.c.id == run_id).values(verified=verified))
            agent = select(entries.c.agent_id).where(entries.c.run_id == run_id, entries.c.candidate)
            lines = connection.execute(select(*(standings.c[k] for k in _KEY), standings.c.run_set).where(standings.c.agent_id.in_(agent))).all()
            for *key, run_set in lines:
                if run_id in run_set:
                    unverified = connection.scalar(select(func.count()).where(runs.c.id.in_(run_set), runs.c.verified.is_not(True)))
                    here = [standings.c[name] == value for name, value in zip(_KEY, key, strict=True)]
                    connection.execute(update(standings).where(*here).values(verified=unverified == 0))

        self.write(work)

    def save_ratings(self, task_id: int, pool_digest: str, rows: Sequence[RatingRecord]) -> None:
        """Keep the ratings of one pool of agents on one task, in place of earlier ones of the same pool."""

        def work(connection: Connection) -> None:
            pool = {"task_id": task_id, "pool_digest": pool_digest}
            connection.execute(ratings.delete().where(ratings.c.task_id == task_id, ratings.c.pool_digest == pool_digest))
            numbers = ("agent_id", "rating", "lo", "hi", "games")
            values = [{**pool, **{name: getattr(row, name) for name in numbers}, "draws": _floats(row.draws)} for row in rows]
            if values:
                connection.execute(ratings.insert(), values)

        self.write(work)


_same_key = (
    (standing_draws.c.task_id == standings.c.task_id)
    & (standing_draws.c.role == standings.c.role)
    & (standing_draws.c.agent_id == standings.c.agent_id)
)


def standing_of(row: Any) -> StandingRecord:
    """The record behind a row of `standings` joined with its draws."""
    return StandingRecord(**{name: row[name] for name in _NUMBERS}, draws=np.frombuffer(row["draws"], "<f4").astype(np.float32))


def _floats(draws: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(draws, "<f4").tobytes()


def _storable(value: Any) -> Any:
    """Plain numbers; NaN becomes NULL on both engines (SQLite would do it silently)."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def _check(record: StandingRecord) -> None:
    if not np.isfinite(record.headline) or record.draws.ndim != 1 or not np.isfinite(record.draws).all():
        what = f"the headline {record.headline} or one of its {record.draws.shape} draws is not a finite number"
        raise ArenaError("score.nonfinite", what, "this is a bug of the scoring")
