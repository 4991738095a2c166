"""The best solutions of the frozen tasks, found again: exact where instances are tiny, knapsacks or asymmetric, else by the strongest solvers.

    OMP_NUM_THREADS=1 python -m domains.combinatorial.best_solve TASK --work FOLDER [--effort N] [--workers 2]

Everything found goes to FOLDER/TASK.jsonl, one line per instance and solver, so that a run may be stopped, continued and improved by a
longer one; `best/TASK.safetensors` is made from the best line of each instance. Efforts are counts, never seconds, and the seeds are fixed:
a run makes the same lines on every machine.
Needs OR-Tools (asymmetric) and elkai, whose LKH is free for academic use only (tours).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.seeds import scenario_seeds
from domains.combinatorial import DOMAIN
from domains.combinatorial.best import Best, save_best
from domains.combinatorial.checker import evaluate
from domains.combinatorial.collect import collect
from domains.combinatorial.distances import METRICS, matrix
from domains.combinatorial.exact import MOST, asymmetric, held_karp, knapsack, orienteering, vehicle_routing
from domains.combinatorial.kernel import MAXIMISED, Instances, Problem
from domains.combinatorial.ruin import ruin_and_recreate
from domains.combinatorial.solvers import LKH_MOST, in_integers, lkh_tour
from domains.combinatorial.tasks import DRAWN, unsolved

RUNS = 2  # of LKH in one start
SEARCH = 1000  # iterations of one search for orienteering
EFFORTS = {"tsp": 2, "atsp": 2, "cvrp": 500_000, "op": 20, "kp": 1}  # starts of LKH, each with its own numbering of the nodes; iterations; searches
Solution = dict[str, Any]  # order, via (cvrp), optimal, solver, effort; in the file also index and digest


# ---- one instance -------------------------------------------------------------------------------------------------------


def solve(name: str, index: int, effort: int | None = None) -> Solution:
    """Solve instance `index` of a task's test split: `order` (list of nodes), `via` (cvrp), `optimal` (proven), `solver`, `effort`."""
    problem, n = DRAWN[name]
    scenario = _instance(name, index)
    effort = EFFORTS[problem] if effort is None else effort
    if problem == "kp" or n <= MOST:
        return {**_exactly(problem, scenario), "optimal": True, "effort": 0}
    found = {"tsp": _tour, "atsp": _asymmetric, "cvrp": _routes, "op": _prizes}[problem](scenario, effort)
    return {"optimal": False, **found, "effort": effort}


def _instance(name: str, index: int) -> Instances:
    return unsolved(name, "test", [index], scenario_seeds(f"combinatorial/{name}", "test", [index]))


def _lengths(scenario: Instances) -> NDArray[np.float64]:
    if scenario.matrix.shape[1]:
        return scenario.matrix[0].numpy()
    return matrix(METRICS[int(scenario.metric[0])], scenario.coords[0]).numpy()


def _exactly(problem: Problem, scenario: Instances) -> Solution:
    demand, prize = (row[0].numpy() if row.shape[1] else None for row in (scenario.demand, scenario.prize))
    if problem == "kp":
        return {"order": knapsack(prize, demand, int(scenario.capacity))[1].tolist(), "solver": "dynamic programming over the capacity"}
    if problem == "cvrp":
        _, order, via = vehicle_routing(_lengths(scenario), demand, int(scenario.capacity))
        return {"order": order.tolist(), "via": via.tolist(), "solver": "dynamic programming over sets"}
    _, order = orienteering(_lengths(scenario), prize, float(scenario.budget)) if problem == "op" else held_karp(_lengths(scenario))
    return {"order": order.tolist(), "solver": "dynamic programming over sets"}


def _tour(scenario: Instances, starts: int) -> Solution:
    return {"order": _shortest(_lengths(scenario), starts).tolist(), "solver": _named("LKH 3.0.8 (elkai {})", "elkai")}


def _asymmetric(scenario: Instances, starts: int) -> Solution:
    lengths = _lengths(scenario)
    _, order, proven = asymmetric(in_integers(lengths, LKH_MOST)[0], _shortest(lengths, starts))
    return {"order": order.tolist(), "optimal": proven, "solver": _named("CP-SAT {}, from LKH 3.0.8 (elkai {})", "ortools", "elkai")}


def _shortest(lengths: NDArray[np.float64], starts: int) -> NDArray[np.int64]:
    """The shortest order [n-1] that LKH finds; each start but the first numbers the nodes in another way, so that the search takes another way."""
    orders = []
    for start in range(starts):
        number = np.random.default_rng(start).permutation(len(lengths)) if start else np.arange(len(lengths))
        tour = number[np.append(0, lkh_tour(lengths[np.ix_(number, number)], RUNS))]
        orders.append(np.roll(tour, -int(np.flatnonzero(tour == 0)[0]))[1:])
    return min(orders, key=lambda order: float(lengths[np.append(0, order), np.append(order, 0)].sum()))


def _routes(scenario: Instances, iterations: int) -> Solution:
    routes = ruin_and_recreate(_lengths(scenario), scenario.demand[0].numpy(), int(scenario.capacity), iterations, 0)
    via = [position == 0 and number > 0 for number, route in enumerate(routes) for position in range(len(route))]
    return {"order": np.concatenate(routes).tolist(), "via": via, "solver": "domains.combinatorial.ruin"}


def _prizes(scenario: Instances, searches: int) -> Solution:
    """The best of several searches: most instances are settled by any one of them, the others want luck rather than length."""
    lengths, prize = _lengths(scenario), scenario.prize[0].numpy()
    orders = [collect(lengths, prize, float(scenario.budget), SEARCH, seed) for seed in range(searches)]
    return {"order": max(orders, key=lambda order: int(prize[order].sum())).tolist(), "solver": "domains.combinatorial.collect"}


def _named(pattern: str, *packages: str) -> str:
    return pattern.format(*map(version, packages))


# ---- what was found so far ----------------------------------------------------------------------------------------------


def _digest(scenario: Instances) -> str:
    """Of an instance's contents: what was found for another instance of the same number does not count."""
    parts = (getattr(scenario, name).numpy().tobytes() for name in ("coords", "matrix", "demand", "capacity", "prize", "budget"))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _line(name: str, effort: int | None, index: int) -> Solution:
    torch.set_num_threads(1)
    return {"index": index, "digest": _digest(_instance(name, index)), **solve(name, index, effort)}


def _lines(path: Path) -> list[Solution]:
    """What a file holds."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _mend(path: Path) -> None:
    """Cut off a last line whose writer was stopped within it."""
    if path.is_file() and not (text := path.read_bytes()).endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])


def run(name: str, path: Path, effort: int | None = None, workers: int = 1) -> None:
    """Solve what the file does not hold at this effort yet, and add it there."""
    task = next(spec for spec in DOMAIN.tasks if spec.name == name)
    problem, n = DRAWN[name]
    wanted = 0 if problem == "kp" or n <= MOST else EFFORTS[problem] if effort is None else effort
    there = {(line["index"], line["digest"]) for line in _lines(path) if line["optimal"] or line["effort"] >= wanted}
    left = [index for index in range(task.n) if (index, _digest(_instance(name, index))) not in there]
    with path.open("a") as file:
        for done, line in enumerate(_each(partial(_line, name, effort), left, workers), 1):
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(f"\r{name}: {done} of {len(left)}", end="" if done < len(left) else "\n", flush=True)


def _each(work: partial[Solution], indices: Sequence[int], workers: int) -> Iterator[Solution]:
    if workers == 1:
        yield from map(work, indices)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(work, indices)


def freeze(name: str, path: Path, command: str) -> tuple[Path, float]:
    """The best line of every instance as the task's frozen file, and their mean cost or value. Raises ArenaError `reference.missing`."""
    task = next(spec for spec in DOMAIN.tasks if spec.name == name)
    problem, _ = DRAWN[name]
    lines: dict[int, list[Solution]] = {index: [] for index in range(task.n)}
    for line in _lines(path):
        lines[line["index"]].append(line)
    chosen, costs, optimal = [], [], []
    for index in range(task.n):
        scenario = _instance(name, index)
        held = [line for line in lines[index] if line["digest"] == _digest(scenario)]
        found = [(cost, line) for line in held if (cost := _cost(problem, scenario, line)) is not None]
        if not found:
            raise ArenaError("reference.missing", f"nothing feasible was found for instance {index} of {name}", f"looked for in {path}")
        cost, line = min(found, key=lambda pair: -pair[0] if problem in MAXIMISED else pair[0])
        chosen.append(line)
        costs.append(cost)
        optimal.append(any(line["optimal"] for _, line in found))
    horizon = max(len(line["order"]) for line in chosen)
    order, via = np.full((task.n, horizon), -1, np.int16), np.zeros((task.n, horizon if problem == "cvrp" else 0), np.uint8)
    for row, line in enumerate(chosen):
        order[row, : len(line["order"])] = line["order"]
        via[row, : len(line.get("via", ()))] = line.get("via", ())
    about = {
        "status": "optimal" if all(optimal) else "heuristic",
        "proven": sum(optimal),
        "found": dict(Counter(_label(problem, line) for line in chosen)),
        "seeds": "fixed",
        "command": command,
    }
    return save_best(name, Best(order, via, np.array(costs), about)), float(np.mean(costs))


def _label(problem: Problem, line: Solution) -> str:
    unit = {"tsp": f"starts of {RUNS} runs", "cvrp": "iterations", "op": f"searches of {SEARCH} iterations"}.get(problem)
    return line["solver"] + (f", {line['effort']} {unit}" if unit and line["effort"] else "")


def _cost(problem: Problem, scenario: Instances, line: Solution) -> float | None:
    """What a solution costs or is worth by the independent checker; None where it is none."""
    order = torch.tensor([line["order"]], dtype=torch.int64)
    judged = evaluate(problem, scenario, order, torch.tensor([line["via"]]) if problem == "cvrp" else None)
    return float(judged.cost) if bool(judged.feasible) else None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m domains.combinatorial.best_solve", description="Find the best solutions of a frozen task again.")
    parser.add_argument("task", choices=sorted(DRAWN), metavar="TASK", help=", ".join(DRAWN))
    parser.add_argument("--work", type=Path, required=True, help="folder for what has been found so far")
    parser.add_argument("--effort", type=int, help="starts of LKH (default 2), iterations (500,000), searches (20)")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    path = given.work / f"{given.task}.jsonl"
    _mend(path)
    run(given.task, path, given.effort, given.workers)
    effort = "" if given.effort is None else f" --effort {given.effort}"
    command = f"python -m domains.combinatorial.best_solve {given.task}{effort}"
    written, mean = freeze(given.task, path, command)
    print(f"{written.name}: {written.stat().st_size:,} bytes, mean {mean:.6f}")


if __name__ == "__main__":
    main()
