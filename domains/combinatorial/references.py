"""The 0 and the 1 of every task: the textbook rule of the problem, and the best solution known.

Textbook rules. tsp, atsp: the nearest unvisited node. cvrp: the nearest customer that still fits; back to the depot only when none does.
op: the reachable node of most prize per distance. kp: items by value per weight, each that fits; for the hard classes, whose difficulty is
where to stop, the same order up to the first that does not fit (the linear relaxation, rounded down). Ties go to the smallest index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.task import Task, Vector
from domains.combinatorial.checker import evaluate, gap
from domains.combinatorial.distances import distance
from domains.combinatorial.kernel import Combinatorial, Instances, Partial


def greedy(problem: str, obs: Mapping[str, Tensor]) -> Tensor:
    """[B] int64: the textbook rule's next action, from what the kernel shows."""
    mask, rows = obs["action_mask"].bool(), torch.arange(len(obs["action_mask"]), device=obs["action_mask"].device)
    if problem == "kp":
        return _first_best(obs["nodes"][..., 0] / obs["nodes"][..., 1], mask)
    if problem in ("tsp", "atsp"):
        return _first_best(-_away(obs, obs["origin"]), mask)
    if problem == "op":
        return _first_best(obs["nodes"][..., -1] / _away(obs, obs["origin"]), mask)
    direct, through = mask.view(len(rows), -1, 2).unbind(-1)
    near = _first_best(-_away(obs, obs["origin"]), direct)
    home = _first_best(-_away(obs, obs["dest"]), through)
    return torch.where(direct.any(1), 2 * near, 2 * home + 1)


def _away(obs: Mapping[str, Tensor], origin: Tensor) -> Tensor:
    """[B, N] from the node origin [B] to every other."""
    rows = torch.arange(len(origin), device=origin.device)
    if "matrix" in obs:
        return obs["matrix"][rows, origin]
    points = obs["nodes"][..., :2]
    return distance(obs.get("metric", torch.zeros_like(rows)), points[rows, origin][:, None], points)


def _first_best(key: Tensor, legal: Tensor) -> Tensor:
    """[B] the first legal index of the highest key; 0 / 0 counts as worst."""
    return torch.where(legal, key.nan_to_num(nan=-1e300, posinf=1e300, neginf=-1e300), -torch.inf).argmax(1)


@torch.no_grad()
def textbook(domain: Combinatorial, scenario: Instances) -> Partial:
    """The solutions that the textbook rule builds: the state behind its last step."""
    state = domain.reset(scenario)
    while not bool(state.done.all()):
        state, _ = domain.step(scenario, state, greedy(domain.problem, domain.observe(scenario, state)))
    return state


def with_textbook(domain: Combinatorial, scenario: Instances) -> Instances:
    """Instances whose best solution nobody has looked for (training, validation): the textbook's stands for it."""
    state = textbook(domain, scenario)
    return replace(scenario, best=evaluate(domain.problem, scenario, state.order, state.via).cost)


def stop_at_first(value: NDArray[np.int64], weight: NDArray[np.int64], capacity: NDArray[np.int64]) -> NDArray[np.float64]:
    """[B] the value of items by ratio up to the first that does not fit; value, weight [B, n] int64, capacity [B]."""
    order = np.argsort(-(value / weight), axis=1, kind="stable")
    taken = np.cumsum(np.take_along_axis(weight, order, 1), 1) <= capacity[:, None]
    return np.where(taken, np.take_along_axis(value, order, 1), 0).sum(1).astype(np.float64)


def references(task: Task) -> dict[str, Vector]:
    """0 is the gap of the textbook rule to the best solution known, 1 is that solution (a gap of 0)."""
    domain: Combinatorial = task.domain  # type: ignore[assignment]
    zero, group = [], task.config.get("group_size", task.n)
    for part in task.parts:
        if task.config.get("hard"):
            value = torch.from_numpy(stop_at_first(part.prize.numpy(), part.demand.numpy(), part.capacity.numpy()))  # type: ignore[attr-defined]
        else:
            state = textbook(domain, part)  # type: ignore[arg-type]
            value = evaluate(domain.problem, part, state.order, state.via).cost  # type: ignore[arg-type]
        zero.append(gap(value, part.best, domain.maximise))  # type: ignore[attr-defined]
    return {
        "ref0": torch.cat(zero).numpy(),
        "ref1": np.zeros(task.n),
        "best": torch.cat([part.best for part in task.parts]).numpy(),  # type: ignore[attr-defined]
        "group": np.arange(task.n, dtype=np.float64) // group,
    }
