"""Measurements as matrices: the chunks of every entry put together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy import Connection, and_, select

from arena.errors import ArenaError
from arena.store.records import Vector
from arena.store.schema import entries, measurements, metrics, runs, tasks


def read_vectors(connection: Connection, entry_ids: Sequence[int], metric: str | None) -> Vector:
    """One metric of several entries of one task, float64 [entries, n_scenarios]; NaN where nothing is measured yet. One statement.

    `metric` None: the task's score. Raises ArenaError compare.different_tasks, unknown.entry, unknown.metric.
    """
    wanted = metrics.c.role == "score" if metric is None else metrics.c.name == metric
    query = (
        select(entries.c.id, tasks.c.id, tasks.c.n_scenarios, metrics.c.id, measurements.c.start, measurements.c.vals)
        .join(runs, runs.c.id == entries.c.run_id)
        .join(tasks, tasks.c.id == runs.c.task_id)
        .outerjoin(metrics, and_(metrics.c.task_id == tasks.c.id, wanted))
        .outerjoin(measurements, and_(measurements.c.entry_id == entries.c.id, measurements.c.metric_id == metrics.c.id))
        .where(entries.c.id.in_(entry_ids))
    )
    rows = connection.execute(query).all()
    place = {entry_id: row for row, entry_id in enumerate(dict.fromkeys(entry_ids))}
    lost = set(place) - {row[0] for row in rows}
    if lost or not rows:
        raise ArenaError("unknown.entry", f"there are no entries {sorted(lost)}", "take entry ids from the runs of this store")
    task_ids = {row[1] for row in rows}
    if len(task_ids) > 1:
        raise ArenaError("compare.different_tasks", f"the entries belong to {len(task_ids)} tasks", "compare agents on one task (same digest)")
    if rows[0][3] is None:
        wanted_name = "score per scenario" if metric is None else f"metric {metric!r}"
        raise ArenaError("unknown.metric", f"task {rows[0][1]} has no {wanted_name}", "see store.metrics(task)")
    matrix = np.full((len(place), rows[0][2]), np.nan)
    for entry_id, _, _, _, start, blob in rows:
        if blob is not None:
            part = np.frombuffer(blob, "<f8")
            matrix[place[entry_id], start : start + len(part)] = part
    return matrix[[place[entry_id] for entry_id in entry_ids]]
