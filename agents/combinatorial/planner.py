"""What all planners share: the whole instance is read at the first step, solved once, and the solution is played back node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.agent import Agent, Brief, Nature, Observation
from arena.errors import ArenaError
from arena.task import TaskView
from domains.combinatorial.distances import EUCLID, METRICS, matrix

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Plan = tuple[NDArray[Any], NDArray[np.bool_] | None]  # order [B, T] (node ids, -1 behind the last), via [B, T] (cvrp: reached through the depot)


@dataclass(frozen=True, eq=False)
class Seen:
    """The instances of B rows as the first observation shows them, cut to their n nodes (items in kp). What a problem lacks is empty.

    points [B, n, 2], or matrix [B, n, n] (atsp, and where distances are explicit)
    demand [B, n] (cvrp, and the weights of kp); prize [B, n] (op, and the values of kp)
    capacity [B] int64; budget [B]; metric [B] index into distances.METRICS; legal [B, n] nodes with a legal first move
    seeds [B] int64: each row's own luck, whatever the batch
    """

    problem: str
    points: Floats
    matrix: Floats
    demand: Integers
    prize: Integers
    capacity: Integers
    budget: Floats
    metric: Integers
    legal: NDArray[np.bool_]
    seeds: Integers

    def __len__(self) -> int:
        return len(self.legal)

    @property
    def n(self) -> int:
        return self.legal.shape[1]

    @property
    def coords(self) -> Floats:
        """The points. Raises ArenaError `agent.incompatible` where distances are a matrix."""
        if self.matrix.shape[1]:
            raise ArenaError(
                "agent.incompatible", "the distances are a matrix: nobody knows where the nodes lie", "choose an agent of distances alone"
            )
        return self.points

    def distances(self, row: int) -> Floats:
        """[n, n] float64 of one row; rounded as its metric says."""
        if self.matrix.shape[1]:
            return self.matrix[row]
        return matrix(METRICS[int(self.metric[row])], torch.from_numpy(self.points[row])).numpy()


class Planner(Agent):
    """An agent that thinks once per chunk, at its first step. A subclass names its `problems` and writes `plan`.

    A plan that ends early, or (op, kp) names a node that is not legal when its turn comes, is completed: what is illegal is left out, and
    when nothing is left of it the first legal node is taken.
    """

    nature: ClassVar[Nature] = "classical"
    problems: ClassVar[tuple[str, ...]]
    wants_points: ClassVar[bool] = False  # it must know where the nodes lie

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `agent.incompatible` for a problem this planner does not solve, and for a matrix where it wants points."""
        problem = getattr(task.domain, "problem", task.domain.name)
        if problem not in self.problems:
            plays = ", ".join(self.problems)
            raise ArenaError("agent.incompatible", f"{type(self).__name__} plays {plays}; {task.id} is {problem}", "choose a task of its problems")
        if self.wants_points and getattr(task.domain, "explicit", False):
            told = f"{task.id} gives distances as a matrix; {type(self).__name__} must know where the nodes lie"
            raise ArenaError("agent.incompatible", told, "choose an agent of distances alone")

    def begin(self, brief: Brief) -> None:
        self.check(brief.task)
        self.problem: str = brief.task.domain.problem  # type: ignore[attr-defined]
        self.seeds = (brief.uniforms(0, 1)[:, 0] * 2.0**53).long().numpy(force=True)
        self.order: Tensor | None = None

    def plan(self, seen: Seen) -> Plan:
        """Solve all rows of `seen`."""
        raise NotImplementedError

    def act(self, obs: Observation) -> Tensor:
        if self.order is None:
            self._think(obs)
        mask, live, rows = obs["action_mask"].bool(), obs["live"].bool(), torch.arange(len(obs["live"]), device=obs["live"].device)
        if self.problem in ("op", "kp"):
            return self._next_legal(mask, live, rows)
        planned = self.order[:, self.step] if self.step < self.order.shape[1] else self.order.new_full((len(rows),), -1)
        self.step += 1
        return torch.where(live & (planned >= 0), planned, mask.to(torch.uint8).argmax(1))

    def _think(self, obs: Observation) -> None:
        live = obs["live"].bool().numpy(force=True)
        seen = read(self.problem, obs, self.seeds, live)
        width = 2 * seen.n
        order = np.full((len(live), width), -1, np.int64)
        if live.any():
            found, via = self.plan(seen)
            found = np.asarray(found, np.int64)
            moves = found if via is None else np.where(found >= 0, 2 * found + via, -1)
            order[live, : moves.shape[1]] = moves
        self.order = torch.from_numpy(order).to(obs["live"].device)
        self.step, self.at = 0, torch.zeros(len(live), dtype=torch.int64, device=obs["live"].device)

    def _next_legal(self, mask: Tensor, live: Tensor, rows: Tensor) -> Tensor:
        assert self.order is not None
        last = self.order.shape[1] - 1
        while True:
            planned = self.order[rows, self.at.clamp(max=last)]
            given = planned >= 0
            stuck = live & given & ~mask[rows, planned.clamp(min=0)] & (self.at <= last)
            if not bool(stuck.any()):
                break
            self.at = self.at + stuck.long()
        self.at = (self.at + given.long()).clamp(max=last)
        return torch.where(live & given, planned, mask.to(torch.uint8).argmax(1))


def read(problem: str, obs: Observation, seeds: Integers, rows: NDArray[np.bool_]) -> Seen:
    """The instances of the chosen rows [B] bool, without the padding behind the last node that can be chosen in any of them.

    Raises ArenaError `data.mixed` for tours and routes of several sizes: a plan holds every node of its row.
    """
    mask = obs["action_mask"].bool().numpy(force=True)[rows]
    legal = mask.reshape(len(mask), -1, 2).any(2) if problem == "cvrp" else mask
    n = 1 + int(np.flatnonzero(legal.any(0)).max(initial=0))
    if problem not in ("op", "kp") and (legal != legal[:1]).any():
        sizes = ", ".join(map(str, sorted(set((1 + legal.sum(1)).tolist()))))
        raise ArenaError("data.mixed", f"one batch of {problem} instances of {sizes} nodes", "give those of each size in a batch of its own")
    none = np.zeros((len(mask), 0))

    def column(name: str) -> NDArray[Any]:
        return np.asarray(obs[name].numpy(force=True)[rows])

    explicit = "matrix" in obs
    nodes = none if problem == "atsp" else np.ascontiguousarray(column("nodes")[:, :n])
    last = none.astype(np.int64) if problem in ("tsp", "atsp") else np.ascontiguousarray(np.rint(nodes[..., -1]).astype(np.int64))
    return Seen(
        problem=problem,
        points=np.zeros((len(mask), 0, 2)) if explicit or problem == "kp" else np.ascontiguousarray(nodes[..., :2]),
        matrix=np.ascontiguousarray(column("matrix")[:, :n, :n]) if explicit else np.zeros((len(mask), 0, 0)),
        demand=last if problem in ("cvrp", "kp") else none.astype(np.int64),
        prize=last if problem == "op" else np.rint(nodes[..., 0]).astype(np.int64) if problem == "kp" else none.astype(np.int64),
        capacity=column("full_capacity" if problem == "cvrp" else "capacity") if problem in ("cvrp", "kp") else np.zeros(len(mask), np.int64),
        budget=column("budget") if problem == "op" else np.full(len(mask), np.inf),
        metric=column("metric") if "metric" in obs else np.full(len(mask), EUCLID, np.int64),
        legal=np.ascontiguousarray(legal[:, :n]),
        seeds=seeds[rows],
    )


def padded(rows: Sequence[NDArray[Any]], width: int) -> Integers:
    """Rows of unequal length as one array [B, width], filled with -1."""
    found = np.full((len(rows), width), -1, np.int64)
    for row, nodes in zip(found, rows, strict=True):
        row[: len(nodes)] = nodes
    return found


def joined(routes: Sequence[NDArray[Any]]) -> tuple[Integers, NDArray[np.bool_]]:
    """Routes (customers in turn, no depot) as the kernel plays them: order [n], via [n], True at the first customer of all routes but the first."""
    kept = [np.asarray(route, np.int64) for route in routes if len(route)]
    order = np.concatenate(kept)
    via = np.concatenate([np.arange(len(route)) == 0 for route in kept])
    via[0] = False
    return order, via
