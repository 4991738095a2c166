"""The tasks of combinatorial optimisation: which instances, and which solutions they are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from arena.errors import ArenaError
from arena.making import validated
from arena.settings import data_root
from arena.task import Task
from domains.combinatorial import DOMAIN
from domains.combinatorial.best import load_best
from domains.combinatorial.kernel import Combinatorial, Instances, Problem
from domains.combinatorial.references import references, with_textbook
from domains.combinatorial.scenarios import CAPACITY, HARD, KNOWN, SPREAD, drawn, drawn_hard, instances, known

FROZEN = Path(__file__).parent / "frozen"
PATIENCE = {"bank_s": 30.0}  # seconds per instance an agent in a process of its own may think, beside what each decision is given
DRAWN: dict[str, tuple[Problem, int]] = {  # name -> problem, its size as the field counts it
    "tsp20-tiny-v1": ("tsp", 20),
    "atsp20-tiny-v1": ("atsp", 20),
    "cvrp20-tiny-v1": ("cvrp", 20),
    "op20-tiny-v1": ("op", 20),
    "kp50-tiny-v1": ("kp", 50),
    "tsp100-v1": ("tsp", 100),
    "cvrp100-v1": ("cvrp", 100),
    "atsp100-v1": ("atsp", 100),
    "op100-v1": ("op", 100),
    "kp200-hard-v1": ("kp", 200),
    "tsp200-v1": ("tsp", 200),
    "tsp500-v1": ("tsp", 500),
    "cvrp200-v1": ("cvrp", 200),
}


def load(name: str, **parameters: Any) -> Task:
    """The task called `name`. Raises ArenaError `data.missing` where it wants files that are not there."""
    make = (lambda: _drawn(name)) if name in DRAWN else (lambda: _files(name))
    return make(**validated(make, parameters, f"combinatorial/{name}", "task.parameters"))


def unsolved(name: str, split: str, indices: Sequence[int], seeds: Sequence[int]) -> Instances:
    """Drawn instances of a task without a best solution (`best` NaN): what `best_solve` solves."""
    problem, n = DRAWN[name]
    if name.startswith("kp200-hard"):
        return instances(**drawn_hard(n, seeds, indices))
    if split == "test" and problem == "tsp" and n in KNOWN:
        return instances(coords=known(n)[list(indices)])
    return instances(**drawn(problem, n, seeds))


def _spec(name: str) -> dict[str, Any]:
    spec = next(task for task in DOMAIN.tasks if task.name == name)
    return {"id": f"combinatorial/{name}", "tier": spec.tier, "n": spec.n, "summary": spec.summary, "frozen": FROZEN / name}


def _drawn(name: str) -> Task:
    problem, n = DRAWN[name]
    domain = Combinatorial(problem, n + 1 if problem in ("cvrp", "op") else n)
    domain.sampler = lambda seeds: with_textbook(domain, unsolved(name, "train", [seed % 300 for seed in seeds], seeds))

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> Instances:
        found = unsolved(name, split, indices, seeds)
        if split != "test":
            return with_textbook(domain, found)
        return replace(found, best=torch.from_numpy(load_best(name).value[list(indices)]))

    config: dict[str, Any] = {"problem": problem, "n": n, "best": {k: v for k, v in load_best(name).about.items() if k != "command"}}
    if problem == "cvrp":
        config["capacity"] = CAPACITY[n]
    if name.startswith("kp200-hard"):
        config |= {"hard": True, "classes": list(HARD), "group_size": SPREAD}
    return Task(
        **_spec(name),
        domain=domain,
        config=config,
        draw=draw,
        references=references,
        normalise="task",
        bounded=load_best(name).optimal,
        groups=HARD if config.get("hard") else (),
        chunk=32 if n <= 50 else 128 if problem == "atsp" or n > 100 else 250,
        limits=PATIENCE,
    )


def _files(name: str) -> Task:
    """Instances of the user's folder, each with its own rounding; one after the other, for they differ in size."""
    from domains.combinatorial.files import benchmark, best_known

    raws, everything = benchmark(data_root(), next(task.needs for task in DOMAIN.tasks if task.name == name))
    facts, problem = [best_known()[raw.name] for raw in raws], raws[0].problem
    domain = Combinatorial(problem, everything.coords.shape[1], metrics=True)

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> Instances:
        if split != "test":
            raise ArenaError("data.train", f"combinatorial/{name} has no training instances", f"train on combinatorial/{problem}100-v1")
        return everything[list(indices)]

    return Task(
        **{**_spec(name), "n": len(raws)},
        domain=domain,
        config={"problem": problem, "instances": [raw.name for raw in raws], "best": [fact.status for fact in facts], "group_size": 1},
        draw=draw,
        references=references,
        normalise="task",
        bounded=all(fact.status == "optimal" for fact in facts),
        groups=tuple(raw.name for raw in raws),
        blocks=tuple(range(len(raws))),
        chunk=1,
        limits=PATIENCE,
    )
