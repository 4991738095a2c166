"""What an engine adds to a chunk: the way to the worker and back, against the bare loop in this process; and what storing a chunk adds.

    OMP_NUM_THREADS=1 python -m benchmarks.engines [--chunks 500] [--json]

Chunks of the 16 scenarios of bidding/tiny-v1, played by the agent `const`. *One at a time*: wall time from submitting a chunk to holding its
result, less the time its worker says it played. *In a row*: all chunks, as many under way as the engine wants. Exit code 1 where the median
of one at a time is above 2 ms (local) or 5 ms (Ray).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections import deque
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from arena import evaluation, registry
from arena.engines import Chunk, Crew, Engine, Work, open_engine
from arena.store import open_store

TASK, AGENT = "bidding/tiny-v1", "const"
TARGETS = {"local": 2.0, "ray": 5.0}  # ms per chunk
WARM = 20  # chunks before measuring, for every worker


def ms(seconds: list[float], quantile: float = 0.5) -> float:
    return 1e3 * float(np.quantile(seconds, quantile))


def bare(work: Work, chunks: int) -> dict[str, float]:
    """The loop itself: one crew in this process."""
    crew, seconds = Crew(work), []
    for k in range(WARM + chunks):
        begun = perf_counter()
        crew.play(Chunk(k, 0, work.task.n))
        seconds.append(perf_counter() - begun)
    crew.close()
    seconds = seconds[WARM:]
    return {"ms one at a time, p50": ms(seconds), "ms one at a time, p99": ms(seconds, 0.99), "chunks/s in a row": chunks / sum(seconds)}


def engine(name: str, work: Work, chunks: int) -> dict[str, float]:
    begun = perf_counter()
    place = open_engine(name)
    try:
        place.submit(work, Chunk(0, 0, work.task.n), silent).result()
        started = perf_counter() - begun
        in_a_row(place, work, WARM * place.capacity)  # every worker has loaded the task
        added, whole = [], []
        for k in range(chunks):
            begun = perf_counter()
            played = place.submit(work, Chunk(k, 0, work.task.n), silent).result()
            whole.append(perf_counter() - begun)
            added.append(whole[-1] - played.seconds)
        rate = chunks / in_a_row(place, work, chunks)
    finally:
        place.close()
    return {
        "ms one at a time, p50": ms(whole),
        "ms one at a time, p99": ms(whole, 0.99),
        "ms added, p50": ms(added),
        "ms added, p99": ms(added, 0.99),
        "chunks/s in a row": rate,
        "s from nothing to the first result": started,
    }


def in_a_row(place: Engine, work: Work, chunks: int) -> float:
    """Seconds for so many chunks, results taken in their order as a run takes them."""
    begun, under_way = perf_counter(), deque()
    for k in range(chunks):
        if len(under_way) >= place.capacity:
            under_way.popleft().result()
        under_way.append(place.submit(work, Chunk(k, 0, work.task.n), silent))
    for pending in under_way:
        pending.result()
    return perf_counter() - begun


def silent(step: int) -> None:
    """Nobody watches."""


def storing(work: Work, chunks: int) -> dict[str, float]:
    """What the driver does with a result: judge it, write its recording (with fsync), commit it to SQLite."""
    task, crew = work.task, Crew(work)
    result_ms, commit_ms = [], []
    with tempfile.TemporaryDirectory() as folder, open_store(None, Path(folder)) as store:
        for seed in range(-(-chunks // task.n)):
            run = evaluation.request(store, task, work.candidate, seed, chunk=1)
            entries = {entry.role: entry for entry in store.entries(run.id)}
            for start in range(task.n):
                chunk = Chunk(start, start, 1)
                played = crew.play(chunk)
                begun = perf_counter()
                result = evaluation._result(store, task, entries, played, chunk)
                middle = perf_counter()
                store.commit_chunk(run.id, result)
                result_ms.append(middle - begun)
                commit_ms.append(perf_counter() - middle)
    crew.close()
    return {
        "ms to judge and record, p50": ms(result_ms),
        "ms to judge and record, p99": ms(result_ms, 0.99),
        "ms to commit, p50": ms(commit_ms),
        "ms to commit, p99": ms(commit_ms, 0.99),
    }


def figures(chunks: int) -> dict[str, dict[str, float]]:
    task, candidate = registry.task(TASK), registry.candidate(AGENT)
    work = Work("benchmark", task, candidate, 0, "cpu")
    names = ["inline", "local[1]", "local[2]"] + (["ray[1]", "ray[2]"] if importlib.util.find_spec("ray") else [])
    found = {"bare loop": bare(work, chunks)}
    found |= {name: engine(name, work, chunks) for name in names}
    return {**found, "store": storing(work, chunks)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="one document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = figures(options.chunks)
    added = {name: values["ms added, p50"] for name, values in found.items() if "ms added, p50" in values}
    late = {name: value for name, value in added.items() if value > TARGETS.get(name.split("[")[0], np.inf)}
    if options.json:
        print(json.dumps({"schema": "arena.bench.engines/1", "figures": found, "above_target": late}))
        return int(bool(late))
    console, stored = Console(width=150), found.pop("store")
    table = Table(f"{options.chunks} chunks of {registry.task(TASK).n} scenarios", *found)
    for name in found["local[1]"]:
        table.add_row(name, *(f"{values[name]:,.2f}" if name in values else "" for values in found.values()))
    console.print(table)
    console.print("storing a chunk: " + ", ".join(f"{name} {value:.2f}" for name, value in stored.items()))
    console.print(f"above target: {late or 'none'}; {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} over the last five minutes")
    return int(bool(late))


if __name__ == "__main__":
    sys.exit(main())
