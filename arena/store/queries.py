"""What pages and commands read: plain lists of dictionaries (ready for pandas) and arrays, each in a fixed number of statements."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, Text, and_, desc, false, func, literal, or_, select, union_all

from arena.store.catalogue import unpack, unpack_histogram
from arena.store.finish import Finishing
from arena.store.records import AgentRow, Json, Vector
from arena.store.schema import (
    agents,
    chunks,
    entries,
    environments,
    events,
    failures,
    measurements,
    metrics,
    ratings,
    runs,
    standing_draws,
    standings,
    tasks,
    timings,
)
from arena.store.vectors import read_vectors

PAGE = 50


class Queries(Finishing):
    """Reading. Statements per call stand in brackets."""

    def _dicts(self, query: Select[Any]) -> list[Json]:
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    # ---- boards ---------------------------------------------------------------------------------------------------

    def board(self, task: int | str, with_draws: bool = False, agent_ids: Collection[int] | None = None) -> list[Json]:
        """The lines of a task's board, best first: the columns of `standings`, `agent`, `version`, `nature`, `kind`, `retired`, `tags`;
        `draws` float32 [2000] if asked for. A name means the task registered last under it; a suite is a task. `agent_ids`: only those. [1]
        """
        wanted: Any = task if isinstance(task, int) else select(func.max(tasks.c.id)).where(tasks.c.name == task).scalar_subquery()
        who = (agents.c.name.label("agent"), agents.c.version, agents.c.nature, agents.c.kind, agents.c.retired, agents.c.tags)
        query = select(standings, *who).join(agents, agents.c.id == standings.c.agent_id).where(standings.c.task_id == wanted)
        if agent_ids is not None:
            query = query.where(standings.c.agent_id.in_(agent_ids))
        if with_draws:
            same = [standing_draws.c[key] == standings.c[key] for key in ("task_id", "role", "agent_id")]
            query = query.add_columns(standing_draws.c.draws).join(standing_draws, and_(*same))
        lines = self._dicts(query.order_by(standings.c.role, desc(standings.c.headline), standings.c.agent_id))
        for line in lines if with_draws else ():
            line["draws"] = np.frombuffer(line["draws"], "<f4").astype(np.float32)
        return lines

    def standings(self, agent_id: int) -> list[Json]:
        """All board lines of an agent, with `task`, `domain`, `tier`. [1]"""
        query = select(standings, tasks.c.name.label("task"), tasks.c.domain, tasks.c.tier).join(tasks, tasks.c.id == standings.c.task_id)
        return self._dicts(query.where(standings.c.agent_id == agent_id).order_by(tasks.c.domain, tasks.c.name, standings.c.task_id))

    def ratings(self, task_id: int, pool_digest: str) -> list[Json]:
        """The ratings of a pool, best first, with `agent`, `version`, `draws` float32. [1]"""
        query = select(ratings, agents.c.name.label("agent"), agents.c.version).join(agents, agents.c.id == ratings.c.agent_id)
        query = query.where(ratings.c.task_id == task_id, ratings.c.pool_digest == pool_digest)
        lines = self._dicts(query.order_by(desc(ratings.c.rating), ratings.c.agent_id))
        return [{**line, "draws": np.frombuffer(line["draws"], "<f4").astype(np.float32)} for line in lines]

    def leaders(self) -> list[Json]:
        """The best line of every task and nature of agents: `task_id`, `task`, `domain`, `tier`, `nature`, `agent`, `headline`, `lo`, `hi`. [1]"""
        columns = (
            standings.c.task_id,
            tasks.c.name.label("task"),
            tasks.c.domain,
            tasks.c.tier,
            agents.c.nature,
            agents.c.name.label("agent"),
            agents.c.version,
            standings.c.agent_id,
            standings.c.lo,
            standings.c.hi,
        )
        source = standings.join(agents, agents.c.id == standings.c.agent_id).join(tasks, tasks.c.id == standings.c.task_id)
        if self.is_postgres:
            order = [desc(standings.c.headline), standings.c.agent_id]
            place = func.row_number().over(partition_by=[standings.c.task_id, agents.c.nature], order_by=order).label("place")
            ranked = select(*columns, standings.c.headline, place).select_from(source).subquery()
            best = select(*(column for column in ranked.c if column.name != "place")).where(ranked.c.place == 1)
            return self._dicts(best.order_by(ranked.c.task_id, ranked.c.nature))
        # SQLite takes bare columns beside MAX from the row that holds the maximum: four times faster than a window function.
        query = select(*columns, func.max(standings.c.headline).label("headline")).select_from(source)
        return self._dicts(query.group_by(standings.c.task_id, agents.c.nature).order_by(standings.c.task_id, agents.c.nature))

    def overview(self) -> dict[str, int]:
        """Counts: `agents`, `tasks`, `standings`, and `queued`, `running`, `complete`, `failed`, `cancelled` runs. [1]"""
        parts = [select(literal(table.name, Text).label("what"), func.count().label("n")).select_from(table) for table in (agents, tasks, standings)]
        by_status = select(runs.c.status.label("what"), func.count().label("n")).group_by(runs.c.status)
        counts = dict.fromkeys(("agents", "tasks", "standings", "queued", "running", "complete", "failed", "cancelled"), 0)
        with self.reading() as connection:
            counts.update({what: n for what, n in connection.execute(union_all(*parts, by_status))})
        return counts

    def matrix(self, domain: str) -> list[Json]:
        """The board lines of a domain's tasks and suites (of several contents of one name the newest): `task_id`, `task`, `tier`, `agent_id`,
        `headline`, `lo`, `hi`, by task and then best first. [1]
        """
        newest = select(func.max(tasks.c.id)).where(tasks.c.domain == domain).group_by(tasks.c.name)
        columns = (standings.c.task_id, tasks.c.name.label("task"), tasks.c.tier, standings.c.agent_id)
        query = select(*columns, standings.c.headline, standings.c.lo, standings.c.hi).join(tasks, tasks.c.id == standings.c.task_id)
        return self._dicts(query.where(standings.c.task_id.in_(newest)).order_by(tasks.c.name, desc(standings.c.headline), standings.c.agent_id))

    def levels(self, task_id: int) -> dict[int, list[str]]:
        """How the agents of a board were kept apart from the host: agent -> isolation levels of its complete ranked runs. [1]"""
        query = (
            select(entries.c.agent_id, entries.c.level)
            .distinct()
            .join(runs, runs.c.id == entries.c.run_id)
            .where(runs.c.task_id == task_id, runs.c.status == "complete", runs.c.ranked, entries.c.candidate)
            .order_by(entries.c.agent_id, entries.c.level)
        )
        found: dict[int, list[str]] = {}
        with self.reading() as connection:
            for agent_id, level in connection.execute(query):
                found.setdefault(agent_id, []).append(level)
        return found

    def domain_counts(self) -> dict[str, dict[str, int]]:
        """Per domain: `boards` (tasks that somebody stands on, suites left out) and `agents` that stand there. [1]"""
        query = select(tasks.c.domain, func.count(func.distinct(standings.c.task_id)), func.count(func.distinct(standings.c.agent_id)))
        query = query.join(tasks, tasks.c.id == standings.c.task_id).where(tasks.c.tier != "suite").group_by(tasks.c.domain)
        with self.reading() as connection:
            return {domain: {"boards": boards, "agents": found} for domain, boards, found in connection.execute(query)}

    def draws(self, lines: Iterable[tuple[int, int]]) -> dict[tuple[int, int], NDArray[np.float32]]:
        """The bootstrap draws of some board lines, by (task, agent): float32 [2000]. [1]"""
        wanted = [and_(standing_draws.c.task_id == task_id, standing_draws.c.agent_id == agent_id) for task_id, agent_id in lines]
        with self.reading() as connection:  # SQLite looks up alternatives by the key, but reads the whole table for an IN of pairs
            rows = connection.execute(select(standing_draws).where(or_(false(), *wanted))).mappings()
            return {(row["task_id"], row["agent_id"]): np.frombuffer(row["draws"], "<f4").astype(np.float32) for row in rows}

    def changed(self) -> int:
        """When a board line was last written, UTC microseconds; 0 where there is none. What is derived from boards is good until then. [1]"""
        with self.reading() as connection:
            return int(connection.scalar(select(func.max(standings.c.updated))) or 0)

    # ---- vectors --------------------------------------------------------------------------------------------------

    def scores(self, entry_ids: Sequence[int], metric: str | None = None) -> Vector:
        """The score (or another metric) of several entries of one task, float64 [entries, n_scenarios]; NaN: not measured yet. [1]"""
        with self.reading() as connection:
            return read_vectors(connection, entry_ids, metric)

    def metric_vectors(self, entry_id: int) -> dict[str, Vector]:
        """All metrics of an entry by name, float64 [n_scenarios]; NaN: failed, not measured yet or of a damaged length. [1]"""
        query = (
            select(metrics.c.name, tasks.c.n_scenarios, measurements.c.start, measurements.c.vals)
            .join(metrics, metrics.c.id == measurements.c.metric_id)
            .join(tasks, tasks.c.id == metrics.c.task_id)
            .where(measurements.c.entry_id == entry_id)
            .order_by(metrics.c.id)
        )
        vectors: dict[str, Vector] = {}
        with self.reading() as connection:
            for name, n, start, blob in connection.execute(query):
                vector = vectors.setdefault(name, np.full(n, np.nan))[start:]
                part = unpack(blob[: len(blob) // 8 * 8])[: len(vector)]
                vector[: len(part)] = part
        return vectors

    def pooled_entries(self, task_id: int, agent_ids: Iterable[int]) -> list[Json]:
        """The entries behind the board lines of some agents: `agent_id`, `run_id`, `entry_id`, `seed`, `role`. [1]"""
        query = (
            select(entries.c.agent_id, entries.c.run_id, entries.c.id.label("entry_id"), runs.c.seed, entries.c.role)
            .join(runs, runs.c.id == entries.c.run_id)
            .where(entries.c.agent_id.in_(list(agent_ids)), entries.c.candidate)
            .where(runs.c.task_id == task_id, runs.c.ranked, runs.c.status == "complete")
        )
        return self._dicts(query.order_by(entries.c.agent_id, runs.c.seed, runs.c.request_digest, entries.c.id))

    def conditions(self, task_id: int, agent_ids: Iterable[int]) -> list[Json]:
        """Under what the runs behind some board lines were played: `agent_id`, `run_id`, `seed`, `mode`, `level`, `environment` (detail),
        `verified`. [1]
        """
        query = (
            select(entries.c.agent_id, entries.c.run_id, runs.c.seed, entries.c.mode, entries.c.level, runs.c.verified)
            .add_columns(environments.c.detail.label("environment"))
            .join(runs, runs.c.id == entries.c.run_id)
            .join(environments, environments.c.id == runs.c.environment_id)
            .where(entries.c.agent_id.in_(list(agent_ids)), entries.c.candidate)
            .where(runs.c.task_id == task_id, runs.c.ranked, runs.c.status == "complete")
        )
        return self._dicts(query.order_by(entries.c.agent_id, runs.c.seed, entries.c.id))

    def scenario(self, task_id: int, index: int) -> list[Json]:
        """One scenario, every entry of complete ranked runs: `agent_id`, `agent`, `version`, `run_id`, `entry_id`, `seed`, `metric`,
        `value`. [1]
        """
        value = func.substr(measurements.c.vals, (index - measurements.c.start) * 8 + 1, 8).label("value")
        within = and_(measurements.c.start <= index, measurements.c.start + measurements.c.n > index)
        who = (entries.c.agent_id, agents.c.name.label("agent"), agents.c.version, runs.c.id.label("run_id"), entries.c.id.label("entry_id"))
        query = (
            select(*who, runs.c.seed, metrics.c.name.label("metric"), value)
            .select_from(runs)
            .join(entries, entries.c.run_id == runs.c.id)
            .join(agents, agents.c.id == entries.c.agent_id)
            .join(metrics, metrics.c.task_id == runs.c.task_id)
            .join(measurements, and_(measurements.c.entry_id == entries.c.id, measurements.c.metric_id == metrics.c.id, within))
            .where(runs.c.task_id == task_id, runs.c.status == "complete", runs.c.ranked, entries.c.candidate)
        )
        rows = self._dicts(query.order_by(agents.c.name, agents.c.version, runs.c.id, entries.c.id, metrics.c.id))
        for row in rows:
            row["value"] = float(np.frombuffer(row["value"], "<f8")[0])
        return rows

    def matches(self, task_id: int, roles: Sequence[str]) -> list[Json]:
        """The matches of cross-play on a task between its two `roles`, in the order they were asked for: `run_id`, `status`, `seed`, `verified`,
        `entry_id` (whose score is kept), `row_id` and `column_id` (agents), `row_failed` and `column_failed` (scenarios). [1]
        """
        row, column = entries.alias("row_entry"), entries.alias("column_entry")
        query = (
            select(runs.c.id.label("run_id"), runs.c.status, runs.c.seed, runs.c.verified, runs.c.config, row.c.id.label("entry_id"))
            .add_columns(row.c.agent_id.label("row_id"), column.c.agent_id.label("column_id"))
            .add_columns(row.c.failures.label("row_failed"), column.c.failures.label("column_failed"))
            .join(row, and_(row.c.run_id == runs.c.id, row.c.role == roles[0]))
            .join(column, and_(column.c.run_id == runs.c.id, column.c.role == roles[1]))
            .where(runs.c.task_id == task_id, runs.c.ranked.is_(False))
        )
        return [row for row in self._dicts(query.order_by(runs.c.id)) if "opponent" in row.pop("config")]

    # ---- runs -----------------------------------------------------------------------------------------------------

    def runs(
        self, before: int | None = None, limit: int = PAGE, task_id: int | None = None, status: str | None = None, agent_id: int | None = None
    ) -> list[Json]:
        """Runs, newest first, with `task` and `candidates` (list of `name@version`); the next page has `before` = the last id. [2]"""
        query = select(runs, tasks.c.name.label("task")).join(tasks, tasks.c.id == runs.c.task_id).order_by(runs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(runs.c.id < before)
        if task_id is not None:
            query = query.where(runs.c.task_id == task_id)
        if status is not None:
            query = query.where(runs.c.status == status)
        if agent_id is not None:
            query = query.where(runs.c.id.in_(select(entries.c.run_id).where(entries.c.agent_id == agent_id)))
        with self.reading() as connection:
            page = {row["id"]: {**row, "candidates": []} for row in connection.execute(query).mappings()}
            lineup = (
                select(entries.c.run_id, agents.c.name, agents.c.version)
                .join(agents, agents.c.id == entries.c.agent_id)
                .where(entries.c.run_id.in_(page), entries.c.candidate)
                .order_by(entries.c.id)
            )
            for run_id, name, version in connection.execute(lineup) if page else ():
                if f"{name}@{version}" not in page[run_id]["candidates"]:
                    page[run_id]["candidates"].append(f"{name}@{version}")
        return list(page.values())

    def run(self, run_id: int) -> Json:
        """A run with `task`, `n_scenarios`, `environment` (detail), `entries` (with `agent`, `version`, `nature`), `seconds` spent on its
        chunks. Raises ArenaError unknown.run. [3]
        """
        query = (
            select(runs, tasks.c.name.label("task"), tasks.c.n_scenarios, environments.c.detail.label("environment"))
            .join(tasks, tasks.c.id == runs.c.task_id)
            .join(environments, environments.c.id == runs.c.environment_id)
            .where(runs.c.id == run_id)
        )
        lineup = select(entries, agents.c.name.label("agent"), agents.c.version, agents.c.nature).join(agents, agents.c.id == entries.c.agent_id)
        with self.reading() as connection:
            row = connection.execute(query).mappings().first()
            if row is not None:
                found = [dict(entry) for entry in connection.execute(lineup.where(entries.c.run_id == run_id).order_by(entries.c.id)).mappings()]
                seconds = connection.scalar(select(func.sum(chunks.c.seconds)).where(chunks.c.run_id == run_id))
                return {**row, "entries": found, "seconds": seconds or 0.0}
        self.run_row(run_id)  # raises unknown.run
        raise AssertionError

    def chunks(self, run_id: int) -> list[Json]:
        """The committed chunks of a run in order, with `recording_digest`. [1]"""
        return self._dicts(select(chunks).where(chunks.c.run_id == run_id).order_by(chunks.c.chunk))

    def events(self, run_id: int | None, after: int = 0, limit: int = 500) -> list[Json]:
        """The log of a run (None: of the store) after event `after`, oldest first. [1]"""
        query = select(events).where(events.c.run_id == run_id, events.c.job_id.is_(None), events.c.id > after)
        return self._dicts(query.order_by(events.c.id).limit(limit))

    def failures(self, run_id: int, limit: int = 1000) -> list[Json]:
        """Failed scenarios of a run: `entry_id`, `role`, `scenario`, `step`, `code`, `detail`. [1]"""
        query = select(failures, entries.c.role).join(entries, entries.c.id == failures.c.entry_id).where(entries.c.run_id == run_id)
        return self._dicts(query.order_by(failures.c.entry_id, failures.c.scenario).limit(limit))

    def timings(self, run_id: int) -> dict[int, Json]:
        """Decision times per entry, merged over chunks: `hist` int64 [64] (bin i: [2^i, 2^(i+1)) ns), `usage` (numbers summed) and `decisions`
        of the chunks that told usage. [1]
        """
        query = select(timings.c.entry_id, timings.c.hist, timings.c.usage).join(entries, entries.c.id == timings.c.entry_id)
        query = query.where(entries.c.run_id == run_id).order_by(timings.c.entry_id, timings.c.start)
        return {merged.pop("entry_id"): merged for merged in self._merged(query)}

    def usages(self, task_names: Collection[str]) -> list[Json]:
        """What judged agents told of their usage in complete ranked runs on these tasks, whatever their content, per entry: `agent_id`, `run_id`,
        `entry_id`, and `hist`, `usage`, `decisions` as in `timings`. [1]
        """
        query = (
            select(entries.c.agent_id, entries.c.run_id, timings.c.entry_id, timings.c.hist, timings.c.usage)
            .select_from(tasks)
            .join(runs, runs.c.task_id == tasks.c.id)
            .join(entries, entries.c.run_id == runs.c.id)
            .join(timings, timings.c.entry_id == entries.c.id)
            .where(tasks.c.name.in_(list(task_names)), runs.c.status == "complete", runs.c.ranked, entries.c.candidate)
            .where(timings.c.usage.is_not(None))
        )
        return self._merged(query.order_by(timings.c.entry_id, timings.c.start))

    def _merged(self, query: Select[Any]) -> list[Json]:
        """Rows of `timings` summed over the chunks of an entry."""
        merged: dict[int, Json] = {}
        for row in self._dicts(query):
            hist, usage = unpack_histogram(row.pop("hist")), row.pop("usage")
            mine = merged.setdefault(row["entry_id"], {**row, "hist": np.zeros(64, np.int64), "usage": {}, "decisions": 0})
            mine["hist"] += hist
            if usage is not None:
                mine["decisions"] += int(hist.sum())
            for name, amount in (usage or {}).items():
                mine["usage"][name] = mine["usage"].get(name, 0) + amount
        return list(merged.values())

    # ---- what is known --------------------------------------------------------------------------------------------

    def tasks(self, domain: str | None = None, tier: str | None = None) -> list[Json]:
        """Tasks by domain and name, without their vectors, with `agents`: how many stand on their board. [1]"""
        standing = select(func.count()).where(standings.c.task_id == tasks.c.id).scalar_subquery().label("agents")
        query = select(tasks, standing).order_by(tasks.c.domain, tasks.c.name, tasks.c.id)
        if domain is not None:
            query = query.where(tasks.c.domain == domain)
        if tier is not None:
            query = query.where(tasks.c.tier == tier)
        return self._dicts(query)

    def agent_rows(self, agent_ids: Iterable[int]) -> dict[int, AgentRow]:
        """Agents by number. [1]"""
        with self.reading() as connection:
            rows = connection.execute(select(agents).where(agents.c.id.in_(list(agent_ids)))).mappings()
            return {row["id"]: AgentRow(**row) for row in rows}

    def agents(self, retired: bool = False) -> list[Json]:
        """All agent versions by name, with `tasks`: on how many boards they stand; retired ones only if asked for. [1]"""
        standing = select(func.count()).where(standings.c.agent_id == agents.c.id).scalar_subquery().label("tasks")
        query = select(agents, standing).order_by(agents.c.name, agents.c.version)
        return self._dicts(query if retired else query.where(agents.c.retired.is_(None)))
