"""The Parquet files of bundles and of `arena export --long`: one value per row, exact float64, zstd."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arena.bundle.archive import LIMIT
from arena.bundle.form import damaged
from arena.store.records import StandingRecord, Vector

MEASUREMENTS, STANDINGS = "measurements.parquet", "standings.parquet"
_VALUES = pa.schema(
    [("run", pa.string()), ("entry", pa.int32()), ("metric", pa.string()), ("scenario", pa.int32()), ("value", pa.float64())]
)
_LONG = pa.schema(
    [("task", pa.string()), ("agent", pa.string()), ("version", pa.int32()), ("seed", pa.int64()), ("scenario", pa.int32())]
    + [("metric", pa.string()), ("value", pa.float64())]
)
_NUMBERS = ("headline", "lo", "hi", "mean", "iqm", "cvar10", "sd", "ms")
_COUNTS = ("failed", "violated", "n")
_LINES = pa.schema(
    [("task", pa.string()), ("role", pa.string()), ("agent", pa.string())]
    + [(name, pa.float64()) for name in _NUMBERS]
    + [(name, pa.int64()) for name in (*_COUNTS, "runs_unfinished")]
    + [("runs", pa.list_(pa.string())), ("draws", pa.list_(pa.float32()))]
)
_OPTIONS: dict[str, Any] = {"compression": "zstd", "store_schema": False, "version": "2.6", "write_statistics": True}
MAX_LINES = 100_000

# ---- measurements --------------------------------------------------------------------------------------------------


def write_measurements(runs: Iterable[tuple[str, Mapping[tuple[int, str], Vector]]]) -> bytes:
    """All vectors of all runs, a row group per run: (uid, {(entry, metric): float64 [n]})."""
    file = io.BytesIO()
    with pq.ParquetWriter(file, _VALUES, use_dictionary=["run", "metric"], **_OPTIONS) as writer:
        for uid, vectors in runs:
            writer.write_table(_rows(uid, vectors), row_group_size=1 << 30)
    return file.getvalue()


def _rows(uid: str, vectors: Mapping[tuple[int, str], Vector]) -> pa.Table:
    sizes = [len(vector) for vector in vectors.values()]
    columns = [
        pa.array([uid] * sum(sizes), pa.string()),
        np.repeat([entry for entry, _ in vectors], sizes).astype(np.int32),
        pa.array([name for (_, name), size in zip(vectors, sizes, strict=True) for _ in range(size)], pa.string()),
        np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]),
        np.concatenate(list(vectors.values())),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=_VALUES)


def read_measurements(content: bytes, runs: Sequence[tuple[str, Sequence[tuple[int, str]], int]]) -> Iterator[dict[tuple[int, str], Vector]]:
    """The vectors of every run, given what must be there: (uid, [(entry, metric)], scenarios). Raises ArenaError bundle.damaged."""
    file = _opened(content, _VALUES, MEASUREMENTS)
    if file.num_row_groups != len(runs):
        raise damaged(MEASUREMENTS, f"has {file.num_row_groups} row groups for {len(runs)} runs")
    for group, (uid, names, n) in enumerate(runs):
        if file.metadata.row_group(group).num_rows != n * len(names):
            reason = f"has {file.metadata.row_group(group).num_rows} values of run {uid[:6]}, expected {len(names)} metrics of {n} scenarios"
            raise damaged(MEASUREMENTS, reason)
        table = _guarded(lambda group=group: file.read_row_group(group, use_threads=False), MEASUREMENTS)
        wanted = _rows(uid, dict.fromkeys(names, np.zeros(n)))
        for name in ("run", "entry", "metric", "scenario"):
            if not table.column(name).equals(wanted.column(name)):
                raise damaged(MEASUREMENTS, f"column {name!r} of run {uid[:6]} is not what runs.json says")
        if table.column("value").null_count:
            raise damaged(MEASUREMENTS, f"run {uid[:6]} has values that are missing")
        values = table.column("value").to_numpy().reshape(len(names), n)
        yield {key: values[row].copy() for row, key in enumerate(names)}


def write_long(file: BinaryIO, entries: Iterable[tuple[str, str, int, int, Mapping[str, Vector]]]) -> int:
    """Every value as a row: (task, agent, version, seed, {metric: float64 [n]}) of each entry, a row group per entry; the rows written."""
    count = 0
    with pq.ParquetWriter(file, _LONG, use_dictionary=["task", "agent", "metric"], **_OPTIONS) as writer:
        for task, agent, version, seed, vectors in entries:
            rows = _rows("", {(0, name): vector for name, vector in vectors.items()})
            n = rows.num_rows
            constant = [pa.array([task] * n), pa.array([agent] * n), pa.array([version] * n, pa.int32()), pa.array([seed] * n, pa.int64())]
            table = pa.Table.from_arrays([*constant, *(rows.column(name) for name in ("scenario", "metric", "value"))], schema=_LONG)
            writer.write_table(table, row_group_size=1 << 30)
            count += n
    return count


# ---- board lines ---------------------------------------------------------------------------------------------------


def write_standings(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Board lines: `task` (digest), `role`, `agent` (uid), the numbers of a `StandingRecord`, `runs_unfinished`, `runs` (uids), `draws`."""
    columns = [pa.array([line[field.name] for line in lines], field.type) for field in _LINES]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=_LINES), file, use_dictionary=False, **_OPTIONS)
    return file.getvalue()


def read_standings(content: bytes) -> list[tuple[dict[str, Any], StandingRecord]]:
    """The board lines of a bundle: their keys (`task`, `role`, `agent`, `runs`) and their numbers. Raises ArenaError bundle.damaged."""
    file = _opened(content, _LINES, STANDINGS)
    if file.metadata.num_rows > MAX_LINES:
        raise damaged(STANDINGS, f"has {file.metadata.num_rows:,} lines")
    lines = _guarded(lambda: file.read(use_threads=False).to_pylist(), STANDINGS)
    found = []
    for line in lines:
        needed = [line[name] for name in ("task", "role", "agent", "headline", *_COUNTS, "runs", "draws")]
        if None in needed or None in line["runs"] or None in line["draws"]:
            raise damaged(STANDINGS, "a value is missing")
        draws = np.array(line["draws"], np.float32)
        record = StandingRecord(**{name: line[name] for name in (*_NUMBERS, *_COUNTS)}, draws=draws)
        found.append(({name: line[name] for name in ("task", "role", "agent", "runs")}, record))
    return found


def _opened(content: bytes, schema: pa.Schema, what: str) -> pq.ParquetFile:
    file = _guarded(lambda: pq.ParquetFile(io.BytesIO(content)), what)
    if not file.schema_arrow.equals(schema) or file.metadata.metadata:
        raise damaged(what, f"has the columns {', '.join(file.schema_arrow.names)}, expected {', '.join(schema.names)}")
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > LIMIT or sum(g.column(i).num_values for g in groups for i in range(g.num_columns)) > LIMIT:
        raise damaged(what, f"is said to unpack to more than {LIMIT:,} bytes")
    return file


def _guarded(read: Any, what: str) -> Any:
    """What a reading function returns. Raises ArenaError bundle.damaged for whatever the Parquet reader cannot make sense of."""
    try:
        return read()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise damaged(what, f"cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
