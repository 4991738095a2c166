"""Solved instances to imitate: drawn from the training stream, solved well, stored as shards of plain arrays.

    python -m agents.combinatorial.bq_labels tsp --n 20 --count 20000 --out FOLDER --workers 2

Solvers need no licence beyond MIT and Apache: tsp, iterated local search (local_search.py); op, an iterated insertion by prize per
detour; kp, exact by dynamic programming; cvrp, PyVRP (`pip install pyvrp`). `effort` is counted in
iterations, so a label depends on its instance and the effort alone. Shard k holds instances k * SHARD and on; whole shards are kept, so an
interrupted command goes on. Coordinates are rounded to 1/65535 before they are solved: what is stored is what was solved.

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
from numba import njit
from numpy.typing import NDArray

from agents.combinatorial.local_search import improve_tour, nearest_neighbour
from arena.errors import ArenaError
from arena.seeds import scenario_seeds
from domains.combinatorial.exact import knapsack
from domains.combinatorial.scenarios import drawn, drawn_hard

SHARD = 1000
GRID = 65535
VERSION = 1
HARD = "kp-hard"
EFFORT = {"tsp": 10, "cvrp": 5, "op": 40, "kp": 1, HARD: 1}  # iterations per node
SLACK = 0.2  # op: how much worse a tour may be than the best to be walked on from, at the start
PYVRP_UNIT = 100_000  # integers per unit of length; ten times finer, PyVRP's largest penalty (1e5 per unit of load) no longer deters overload
Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
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
    dist = np.sqrt(((row["coords"][:, None] - row["coords"][None]) ** 2).sum(-1))
    kicks = effort * len(dist)
    if problem == "tsp":
        return improve_tour(dist, nearest_neighbour(dist), kicks, 0)[1:], none
    if problem == "op":
        return _orienteer(dist, row["prize"].astype(np.int64), float(row["budget"]), kicks, 1), none
    return _routes(row, kicks)


# ---- orienteering -------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _improve(dist: Floats, tour: Integers) -> None:
    """2-opt and Or-opt (stretches of up to 3, either way round) to a local optimum, in place; the first improvement is taken."""
    n = len(tour)
    better = n > 3
    while better:
        better = False
        for i in range(n - 1):
            for j in range(i + 2, n):
                if i == 0 and j == n - 1:
                    continue
                a, b, c, d = tour[i], tour[i + 1], tour[j], tour[(j + 1) % n]
                if dist[a, c] + dist[b, d] < dist[a, b] + dist[c, d] - 1e-12:
                    tour[i + 1 : j + 1] = tour[i + 1 : j + 1][::-1].copy()
                    better = True
        for length in range(1, min(4, n - 2)):
            for i in range(n):
                first, last = tour[i], tour[(i + length - 1) % n]
                before, after = tour[(i - 1) % n], tour[(i + length) % n]
                gain = dist[before, first] + dist[last, after] - dist[before, after]
                most, place, turned = 1e-12, -1, False
                for k in range(length, n - 1):  # between the k-th and the next node behind the stretch's start
                    a, b = tour[(i + k) % n], tour[(i + k + 1) % n]
                    straight = gain - (dist[a, first] + dist[last, b] - dist[a, b])
                    reverse = gain - (dist[a, last] + dist[first, b] - dist[a, b])
                    if straight > most:
                        most, place, turned = straight, k, False
                    if reverse > most:
                        most, place, turned = reverse, k, True
                if place >= 0:
                    rolled = np.empty(n, np.int64)
                    for k in range(n):
                        rolled[k] = tour[(i + k) % n]
                    moved = rolled[:length][::-1].copy() if turned else rolled[:length].copy()
                    tour[: place + 1 - length] = rolled[length : place + 1]
                    tour[place + 1 - length : place + 1] = moved
                    tour[place + 1 :] = rolled[place + 1 :]
                    better = True


@njit(cache=True)
def _length(dist: Floats, tour: Integers) -> float:
    total = dist[tour[-1], tour[0]]
    for i in range(len(tour) - 1):
        total += dist[tour[i], tour[i + 1]]
    return total


@njit(cache=True)
def _fill(dist: Floats, prize: Integers, budget: float, tour: Integers, size: int, power: float, noise: float) -> int:
    """Insert into tour[:size] (from node 0) while the way fits, always what has most prize^power per detour, times exp(noise); the new size."""
    n = len(dist)
    inside = np.zeros(n, np.bool_)
    length = 0.0
    for i in range(size):
        inside[tour[i]] = True
        length += dist[tour[i], tour[(i + 1) % size]]
    weight = prize**power * np.exp(noise * np.random.randn(n))
    while True:
        most, chosen, place, added = -1.0, -1, -1, 0.0
        for j in range(1, n):
            if inside[j]:
                continue
            cheapest, where = np.inf, -1
            for i in range(size):
                a, b = tour[i], tour[(i + 1) % size]
                detour = dist[a, j] + dist[j, b] - dist[a, b]
                if detour < cheapest:
                    cheapest, where = detour, i
            if length + cheapest <= budget:
                worth = weight[j] / (cheapest + 1e-9)
                if worth > most:
                    most, chosen, place, added = worth, j, where, cheapest
        if chosen < 0:
            return size
        for i in range(size, place + 1, -1):
            tour[i] = tour[i - 1]
        tour[place + 1] = chosen
        inside[chosen] = True
        size += 1
        length += added


@njit(cache=True)
def _shorten(dist: Floats, tour: Integers, size: int) -> None:
    """tour[:size] made a local optimum, from node 0 again."""
    path = tour[:size].copy()
    _improve(dist, path)
    home = np.argmin(path)
    tour[:size] = np.concatenate((path[home:], path[:home]))


@njit(cache=True)
def _orienteer(dist: Floats, prize: Integers, budget: float, rounds: int, seed: int) -> Integers:
    """Nodes in order of a tour from node 0 within the budget.

    Insertion; then in each round a stretch or random nodes are dropped, the rest is shortened and filled again by a rule perturbed at random.
    Record-to-record travel (Dueck 1993): a tour is walked on from unless it is worse than the best by more than a share that falls to zero.
    """
    np.random.seed(seed)
    limit = budget * (1 - 1e-12)
    tour, best, kept = np.zeros(len(dist), np.int64), np.zeros(len(dist), np.int64), np.zeros(len(dist), np.int64)
    size = _fill(dist, prize, limit, tour, 1, 1.0, 0.0)
    best[:], best_size, kept[:], kept_size = tour, size, tour, size
    most, shortest = prize[tour[:size]].sum(), _length(dist, tour[:size])
    for k in range(rounds):
        tour[:], size = kept, kept_size
        share = 0.1 + 0.6 * np.random.random()
        stretch = np.random.random() < 0.5
        first = 1 + np.random.randint(max(1, size - 1))
        left = 1
        for i in range(1, size):
            gone = 0 <= (i - first) % size < share * size if stretch else np.random.random() < share
            if not gone:
                tour[left] = tour[i]
                left += 1
        size = left
        _shorten(dist, tour, size)
        size = _fill(dist, prize, limit, tour, size, 2.0 * np.random.random(), np.random.random())
        _shorten(dist, tour, size)
        size = _fill(dist, prize, limit, tour, size, 1.0, 0.0)
        value, length = prize[tour[:size]].sum(), _length(dist, tour[:size])
        if value > most or (value == most and length < shortest - 1e-12):
            most, shortest, best_size = value, length, size
            best[:] = tour
        if value >= most * (1 - SLACK * (1 - k / rounds)):
            kept_size = size
            kept[:] = tour
    return best[1:best_size].copy()


# ---- vehicle routing ----------------------------------------------------------------------------------------------------


def _routes(row: dict[str, Any], iterations: int) -> tuple[Integers, NDArray[np.bool_]]:
    try:
        from pyvrp import Model, PenaltyParams, SolveParams
        from pyvrp.stop import MaxIterations
    except ImportError as error:
        raise ArenaError("label.solver", "cvrp is solved by PyVRP, which is not installed", "pip install pyvrp==0.14.1 (MIT)") from error
    points = np.round(row["coords"] * PYVRP_UNIT).astype(np.int64)
    model = Model()
    places = [model.add_location(int(x), int(y)) for x, y in points]
    model.add_depot(places[0])
    for place, demand in zip(places[1:], row["demand"][1:], strict=True):
        model.add_client(place, delivery=[int(demand)])
    model.add_vehicle_type(len(places) - 1, capacity=[int(row["capacity"])])
    lengths = np.round(np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))).astype(np.int64)
    for i, first in enumerate(places):
        for j, second in enumerate(places):
            if i != j:
                model.add_edge(first, second, distance=int(lengths[i, j]))
    often = SolveParams(penalty=PenaltyParams(solutions_between_updates=50))  # the default 500 is longer than a short search
    found = model.solve(MaxIterations(iterations), seed=1, display=False, params=often).best
    if not found.is_feasible():
        raise ArenaError("label.infeasible", f"PyVRP found no feasible routes in {iterations} iterations", "give more effort")
    routes = [[stop.idx + 1 for stop in route if stop.is_client()] for route in found.routes()]
    via = np.concatenate([np.arange(len(route)) == 0 for route in routes])
    via[0] = False
    return np.concatenate(routes), via


# ---- shards -------------------------------------------------------------------------------------------------------------


def make_labels(
    problem: str, n: int, count: int, folder: Path, effort: int | None = None, workers: int = 1, told: Callable[[int], None] = lambda done: None
) -> None:
    """Have at least `count` labels in `folder`, keeping those it holds. told(labels there are) after every shard.

    Raises ArenaError `label.folder` where the folder holds labels of another kind, `label.solver` where PyVRP is wanted and missing.
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
