"""From runs to boards: one line of a board from an agent's complete runs, and the lines of the suites above it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arena import registry
from arena.digest import digest
from arena.judging import violations
from arena.scoring import Standing, standing, standing_of_means, suite_standing
from arena.scoring.anchor import FEASIBLE
from arena.store import MetricRecord, PoolInput, StandingRecord, Store, SuiteInput, SuiteMember, TaskRecord
from arena.task import Task

OVERALL = ("standard", "overall")  # name and domain of the suite over all domains


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
    """The lines above a task: its domain's, the mean over the domain's suite, and where there are several domains the overall one, the mean
    over them; for agents that have all tasks of it. The store counts the runs behind each."""
    wanted = {d.name: [f"{d.name}/{name}" for name in d.suite] for d in registry.domains().values() if d.suite}
    if task.id not in wanted.get(task.domain.name, ()):
        return []
    members = {m.task: m for m in pool.members if m.task in wanted.get(m.domain, ())}
    there = {
        name: Standing(m.record.headline, m.record.lo or 0.0, m.record.hi or 0.0, None, None, None, None, m.record.n, 1, m.record.draws, False)
        for name, m in members.items()
    }
    found = suite_standing(there, wanted)
    lines = []
    if task.domain.name in found.domains:
        lines.append((task.domain.name, task.domain.name, wanted[task.domain.name], found.domains[task.domain.name]))
    if found.overall is not None and len(wanted) > 1:
        lines.append((*OVERALL, [name for names in wanted.values() for name in names], found.overall))
    return [(_suite_task(store, name, domain, names, line), _summed([members[n] for n in names], line)) for name, domain, names, line in lines]


def _suite_task(store: Store, name: str, domain: str, names: list[str], line: Standing) -> int:
    metrics = [MetricRecord("score", "", 1, "score")]
    return store.ensure_task(TaskRecord(name, domain, "suite", digest({"suite": names}), {"tasks": names}, line.n, metrics=metrics))


def _summed(members: Sequence[SuiteMember], line: Standing) -> StandingRecord:
    """The line of a suite: counts are summed, times averaged."""
    records = [m.record for m in members]
    ms = [record.ms for record in records if record.ms is not None]
    failed, violated = sum(record.failed for record in records), sum(record.violated for record in records)
    return _record(line, failed, violated, sum(ms) / len(ms) if ms else None, tuple(m.task_id for m in members))
