"""Speed of the combinatorial domain: kernel, textbook rules, checker and face; beside what a plain loop over one instance needs.

    arena bench combinatorial

Seconds are CPU seconds of one thread, the best of several repeats after a first that is not counted. The choices are made beforehand by
the textbook rule, so that the kernel alone is timed: legality, step, record, next mask and reward. `python -m benchmarks.combinatorial`
puts the same roll-outs beside RL4CO.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arena.faces.gymnasium import ArenaEnv
from arena.seeds import scenario_seeds
from arena.speed import Row, one_thread, row, seconds
from arena.task import Task
from domains.combinatorial.checker import evaluate
from domains.combinatorial.kernel import PROBLEMS, Combinatorial, Instances, Problem
from domains.combinatorial.references import greedy, textbook
from domains.combinatorial.scenarios import drawn, instances

BATCH = 1024
TARGET = {"tsp": 5e6, "atsp": 2e6, "cvrp": 2e6, "op": 1e6, "kp": 2e6}  # choices/s of a batch
ALONE = 15e3  # choices/s of a single instance
PLAIN = 32  # instances that the plain loop plays


def figures(small: bool = False) -> list[Row]:
    """Rows `what`, `value`, `unit`, `target`, `ok` (None without a target), `peer` (the plain loop's figure or None) and `ratio`: how many
    times better than the peer. `small`: everything at a fraction of the size, without targets, in seconds.
    """
    with one_thread(), torch.no_grad():
        rows = [*kernel_rows(small), *rule_rows(small), face_row(small)]
    if small:
        for row in rows:
            row["target"] = row["ok"] = None
    return rows


def kernel_rows(small: bool) -> list[Row]:
    """Choices per second of the full-contract step, in a batch and one instance at a time; 100 nodes, customers or items."""
    found = []
    for problem in PROBLEMS:
        domain, scenario = world(problem, 20 if small and problem != "kp" else 50 if small else 100, 32 if small else BATCH)
        actions = recorded(domain, scenario)
        few = scenario[: min(PLAIN, len(scenario.size))]
        rows = [tensors.tolist() for tensors in torch.stack(actions, 1)[: len(few.size)]]
        plain = choices(domain, few) / seconds(lambda p=problem, f=few, r=rows: plain_rollout(p, f, r), 3)  # type: ignore[misc]
        for batch, target in ((scenario, TARGET[problem]), (scenario[:1], ALONE)):
            moves = actions if batch is scenario else recorded(domain, batch)
            taken = seconds(lambda d=domain, s=batch, m=moves: played(d, s, m), 5 if len(batch.size) > 1 else 20)  # type: ignore[misc]
            what = f"kernel, {problem} of {domain.n} nodes, {len(batch.size)} at once: legality, step, record, mask, reward"
            found.append(row(what, choices(domain, batch) / taken, "choices/s", target, plain))
    return found


def rule_rows(small: bool) -> list[Row]:
    """The textbook rule with its roll-out (the zero of the scale), and the checker that judges a board's solutions."""
    found = []
    for problem, target in (("tsp", 2.5), ("cvrp", 6.0)):
        domain, scenario = world(problem, 20 if small else 100, 32 if small else 1000)  # type: ignore[arg-type]
        name = f"{len(scenario.size)} {problem} of {domain.n} nodes"
        taken = seconds(lambda d=domain, s=scenario: textbook(d, s), 2)  # type: ignore[misc]
        found.append(row(f"textbook rule, {name}", taken, "s", target))
        state = textbook(domain, scenario)
        taken = seconds(lambda p=problem, s=scenario, e=state: evaluate(p, s, e.order, e.via), 5)  # type: ignore[misc]
        found.append(row(f"checker, {name}", taken, "s", 0.1))
    return found


def face_row(small: bool) -> Row:
    """One environment behind Gymnasium's own interface, episode after episode, instances drawn included."""
    domain, scenario = world("tsp", 20 if small else 100, 1)

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> Instances:
        return instances(**drawn("tsp", domain.n, seeds), best=1.0)

    task = Task("combinatorial/bench-v1", domain, "tiny", 1, {"problem": "tsp"}, lambda task: {"ref0": np.ones(1), "ref1": np.zeros(1)}, draw=draw)
    env = ArenaEnv(task)
    env.reset(seed=0)
    order = range(1, domain.n)

    def episode() -> None:
        for node in order:
            env.step(node)
        env.reset()

    return row(f"single Gymnasium environment, tsp of {domain.n} nodes", len(order) / seconds(episode, 5), "steps/s", 2000.0)


# ---- what is measured ----------------------------------------------------------------------------------------------


def world(problem: Problem, n: int, rows: int) -> tuple[Combinatorial, Instances]:
    """Generated instances of n nodes, customers (beside the depot) or items."""
    scenario = instances(**drawn(problem, n, scenario_seeds(f"combinatorial/bench-{problem}", "train", range(rows))), best=1.0)
    return Combinatorial(problem, n + 1 if problem in ("cvrp", "op") else n), scenario


def recorded(domain: Combinatorial, scenario: Instances) -> list[Tensor]:
    """The textbook rule's choices, step by step, until the last row is over."""
    state, actions = domain.reset(scenario), []
    while not bool(state.done.all()):
        actions.append(greedy(domain.problem, domain.observe(scenario, state)))
        state, _ = domain.step(scenario, state, actions[-1])
    return actions


def played(domain: Combinatorial, scenario: Instances, actions: Sequence[Tensor]) -> Tensor:
    """[B] the rewards of recorded choices, summed."""
    state = domain.reset(scenario)
    rewards = []
    for action in actions:
        state, outcome = domain.step(scenario, state, action)
        rewards.append(outcome.reward)
    return torch.cat(rewards, 1).sum(1)


def choices(domain: Combinatorial, scenario: Instances) -> int:
    """Nodes or items the textbook rule chooses: what is counted per second. Steps of rows that are over count as nothing."""
    return int(textbook(domain, scenario).count.sum())


# ---- the peer: one instance at a time, in plain Python ---------------------------------------------------------------


def plain_rollout(problem: str, scenario: Instances, actions: Sequence[Sequence[int]]) -> list[float]:
    """Rewards of recorded choices [B][T], summed: the same rules with the set of legal choices made anew at every step, as an agent needs it."""
    found = []
    for r, chosen in enumerate(actions):
        coords, matrix = scenario.coords[r].tolist(), scenario.matrix[r].tolist()
        demand, prize = scenario.demand[r].tolist(), scenario.prize[r].tolist()
        capacity, budget = int(scenario.capacity[r]), float(scenario.budget[r])

        def way(a: int, b: int, coords: Any = coords, matrix: Any = matrix) -> float:
            return float(matrix[a][b]) if problem == "atsp" else math.dist(coords[a], coords[b])

        def legal(rest: set[int], here: int, left: float, way: Any = way, demand: Any = demand) -> set[int]:
            if problem == "cvrp":
                return {2 * j for j in rest if demand[j] <= left} | {2 * j + 1 for j in rest}
            if problem == "kp":
                return {j for j in rest if demand[j] <= left}
            if problem == "op":
                return {j for j in rest if way(here, j) + way(j, 0) <= left + 1e-9}
            return set(rest)

        rest, here, total = set(range(0 if problem == "kp" else 1, int(scenario.size[r]))), 0, 0.0
        left = budget if problem == "op" else capacity
        may = legal(rest, here, left)
        for action in chosen:
            if not may:
                break
            if action not in may:
                raise ValueError(f"{action} is not legal")
            j, through = (action >> 1, action & 1) if problem == "cvrp" else (action, 0)
            if problem == "op":
                total, left = total + prize[j], left - way(here, j)
            elif problem == "kp":
                total, left = total + prize[j], left - demand[j]
            else:
                total -= way(here, 0) + way(0, j) if through else way(here, j)
                if problem == "cvrp":
                    left = (capacity if through else left) - demand[j]
            rest.remove(j)
            here = j
            may = legal(rest, here, left)
        found.append(total if problem in ("op", "kp") else total - way(here, 0))
    return found
