"""Solved instances to imitate: drawn from the training stream, solved well, stored as shards of plain arrays.

    python -m agents.combinatorial.bq_labels tsp --n 20 --count 20000 --out FOLDER --workers 2

Solvers need no licence beyond MIT and Apache: tsp, iterated local search (local_search.py); op and cvrp, the searches of the domain
(collect.py, ruin.py); kp, exact by dynamic programming. `effort` is counted in iterations per node, so a label depends on its instance and
the effort alone.
Shard k holds instances k * SHARD and on; whole shards are kept, so an interrupted command goes on. Coordinates are rounded to 1/65535 before
they are solved: what is stored is what was solved.

Files of shard 00000: `00000.coords.npy` uint16 [C, N, 2] (times 65535), `.demand.npy` and `.prize.npy` int16 [C, N] (kp: weight and value),
`.capacity.npy` int64 [C], `.budget.npy` float64 [C], `.order.npy` int16 [C, T] (-1 behind the end), `.via.npy` uint8 [C, T]; width 0 where the
problem has none. `labels.json` says what they are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.combinatorial.local_search import improve_tour, nearest_neighbour
from agents.combinatorial.planner import joined
from arena.errors import ArenaError
from arena.seeds import scenario_seeds
from domains.combinatorial.collect import collect
from domains.combinatorial.exact import knapsack
from domains.combinatorial.ruin import ruin_and_recreate
from domains.combinatorial.scenarios import drawn, drawn_hard

SHARD = 1000
GRID = 65535
VERSION = 3
HARD = "kp-hard"
EFFORT = {"tsp": 10, "cvrp": 250, "op": 20, "kp": 1, HARD: 1}  # iterations per node
Arrays = dict[str, NDArray[Any]]
Integers = NDArray[np.int64]


def stream(problem: str, n: int, start: int, count: int) -> Arrays:
    """Training instances `start` .. of the labels' own stream, coordinates on the grid: {name: [count, ...]}. No test set draws from it.

    `problem` kp-hard: knapsacks of Pisinger's hard classes.
    """
    indices = range(start, start + count)
    seeds = scenario_seeds(f"combinatorial/labels-{problem}{n}", "train", indices)
    found = drawn_hard(n, seeds, indices) if problem == HARD else drawn(problem, n, seeds)
    if "coords" in found:
        found["coords"] = np.round(found["coords"] * GRID) / GRID
    return found


def solve(problem: str, arrays: Arrays, effort: int) -> Arrays:
    """Solutions of instances {name: [B, ...]}: order [B, T] int16 and via [B, T] uint8 ([B, 0] but in cvrp). effort: iterations per node."""
    rows = len(next(iter(arrays.values())))
    solutions = [_one(problem, {name: array[row] for name, array in arrays.items()}, effort) for row in range(rows)]
    n = arrays["prize"].shape[1] if problem in ("kp", HARD) else arrays["coords"].shape[1] - 1
    order, via = np.full((rows, n), -1, np.int16), np.zeros((rows, n if problem == "cvrp" else 0), np.uint8)
    for row, (nodes, through) in enumerate(solutions):
        order[row, : len(nodes)] = nodes
        via[row, : len(through)] = through
    return {"order": order, "via": via}


def _one(problem: str, row: dict[str, Any], effort: int) -> tuple[Integers, NDArray[np.bool_]]:
    none = np.zeros(0, np.bool_)
    if problem in ("kp", HARD):
        return knapsack(row["prize"], row["demand"], int(row["capacity"]))[1], none
    lengths = np.sqrt(((row["coords"][:, None] - row["coords"][None]) ** 2).sum(-1))
    iterations = effort * len(lengths)
    if problem == "tsp":
        return improve_tour(lengths, nearest_neighbour(lengths), iterations, 0)[1:], none
    if problem == "op":
        return collect(lengths, row["prize"], float(row["budget"]), iterations, 0), none
    return joined(ruin_and_recreate(lengths, row["demand"], int(row["capacity"]), iterations, 0))


# ---- shards -------------------------------------------------------------------------------------------------------------


def make_labels(
    problem: str, n: int, count: int, folder: Path, effort: int | None = None, workers: int = 1, told: Callable[[int], None] = lambda done: None
) -> None:
    """Have at least `count` labels in `folder`, keeping those it holds. told(labels there are) after every shard.

    Raises ArenaError `label.folder` where the folder holds labels of another kind.
    """
    about = {"problem": problem, "n": n, "effort": effort or EFFORT[problem], "version": VERSION}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "labels.json"
    if path.is_file() and json.loads(path.read_text()) != about:
        raise ArenaError("label.folder", f"{folder} holds labels {path.read_text().strip()}", f"choose another folder for {json.dumps(about)}")
    path.write_text(json.dumps(about) + "\n")
    wanted = [k for k in range(-(-count // SHARD)) if not (folder / f"{k:05d}.order.npy").is_file()]
    jobs = [(problem, n, k, about["effort"], folder) for k in wanted]
    present = -(-count // SHARD) - len(wanted)
    if workers == 1:
        for done, job in enumerate(jobs, 1):
            _shard(job)
            told((present + done) * SHARD)
    elif jobs:
        with ProcessPoolExecutor(workers) as pool:
            for done, _ in enumerate(pool.map(_shard, jobs), 1):
                told((present + done) * SHARD)


def _shard(job: tuple[str, int, int, int, Path]) -> None:
    problem, n, k, effort, folder = job
    arrays = stream(problem, n, k * SHARD, SHARD)
    store(folder, k, {**arrays, **solve(problem, arrays, effort)})


def store(folder: Path, k: int, arrays: Arrays) -> None:
    """Write shard k: instances with order and via. The order comes last, so a shard that has one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"demand": np.int16, "prize": np.int16, "capacity": np.int64, "budget": np.float64, "via": np.uint8, "order": np.int16}
    found = {name: arrays[name].astype(kind) for name, kind in kinds.items() if name in arrays}
    if "coords" in arrays:
        found = {"coords": np.round(arrays["coords"] * GRID).astype(np.uint16), **found}
    for name, array in found.items():
        part = folder / f"{k:05d}.{name}.part.npy"
        np.save(part, array, allow_pickle=False)
        os.replace(part, folder / f"{k:05d}.{name}.npy")


def load_labels(folder: Path, count: int) -> Arrays:
    """The first `count` labels: {name: [count, ...]} as stored (coords uint16). Raises ArenaError `label.missing` where there are fewer."""
    found: dict[str, list[NDArray[Any]]] = {}
    shards = [folder / f"{k:05d}.order.npy" for k in range(-(-count // SHARD))]
    for path in shards:
        if not path.is_file():
            raise ArenaError("label.missing", f"{path} is not there", "make labels first: python -m agents.combinatorial.bq_labels")
        for name in ("coords", "demand", "prize", "capacity", "budget", "order", "via"):
            file = path.with_name(path.name.replace("order", name))
            if file.is_file():
                found.setdefault(name, []).append(np.load(file, allow_pickle=False))
    return {name: np.concatenate(parts)[:count] for name, parts in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bq_labels", description="Solved instances to imitate.")
    parser.add_argument("problem", choices=list(EFFORT))
    parser.add_argument("--n", type=int, required=True, help="nodes (tsp), customers (cvrp, op) or items (kp)")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--effort", type=int, default=None, help=f"iterations per node, by default {EFFORT}")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    make_labels(asked.problem, asked.n, asked.count, asked.out, asked.effort, asked.workers, lambda done: print(f"{done} labels", flush=True))


if __name__ == "__main__":
    try:
        main()
    except ArenaError as error:
        sys.exit(str(error))
