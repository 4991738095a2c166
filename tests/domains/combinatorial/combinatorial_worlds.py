"""What the tests of the kernel share: small instances, random walks through them, and the rules in plain Python."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import strategies as st

from domains.combinatorial.kernel import PROBLEMS, Combinatorial
from domains.combinatorial.scenarios import instances

SEEDS = st.integers(0, 2**32 - 1)
PATHS = ("compiled", "torch")
KINDS = (*PROBLEMS, "cvrp by matrix", "op by matrix")  # a problem, and how its distances are given where both ways are played


def world(kind, n, path="compiled"):
    """The domain of one of KINDS; in torch on the CPU too, where `path` says so."""
    domain = Combinatorial(kind.split()[0], n, explicit="by matrix" in kind)
    if path == "torch":
        domain._compiled_step = domain._step
    return domain


def small(kind, rows, n, seed, padded=True):
    """Random instances of at most n nodes (a depot included), tight enough that rows end early; rows of several sizes where padded.

    Matrices are neither symmetric nor do they keep the triangle inequality.
    """
    problem, explicit = kind.split()[0], "by matrix" in kind
    rng = np.random.default_rng(seed)
    size = rng.integers(3, n + 1, rows) if padded else np.full(rows, n)
    inside = np.arange(n) < size[:, None]
    coords = np.where(inside[..., None], rng.random((rows, n, 2)), 0.0)
    number = np.where(inside, rng.integers(1, 10, (rows, n)), 0)
    common = {"size": size, "best": rng.uniform(1.0, 9.0, rows)}
    if problem == "tsp":
        return instances(coords=coords, **common)
    where = {"matrix": rng.random((rows, n, n)) * ~np.eye(n, dtype=bool)} if explicit or problem == "atsp" else {"coords": coords}
    if problem == "atsp":
        return instances(**where, **common)
    if problem == "cvrp":
        number[:, 0] = 0
        return instances(**where, demand=number, capacity=rng.integers(9, 25, rows), **common)
    if problem == "op":
        return instances(**where, prize=number, budget=rng.uniform(0.1, 2.5, rows), **common)
    weight = np.where(inside, rng.integers(1, 10, (rows, n)), 99)
    return instances(prize=number, demand=weight, capacity=rng.integers(0, 30, rows), **common)


def width(scenario):
    return max(scenario.coords.shape[1], scenario.matrix.shape[1], scenario.demand.shape[1])


def walk(domain, scenario, seed=0):
    """Random legal choices to the end: all actions, states and outcomes. Each row's luck is its own, whatever the batch."""
    state = domain.reset(scenario)
    actions, states, outcomes = [], [state], []
    while not outcomes or not bool(outcomes[-1].terminated.all()):
        luck = np.stack([np.random.default_rng([seed, row, len(actions)]).random(domain.actions) for row in range(len(scenario.size))])
        action = torch.where(state.mask, torch.from_numpy(luck), -1.0).argmax(1)
        state, outcome = domain.step(scenario, state, action)
        actions.append(action), states.append(state), outcomes.append(outcome)
    return actions, states, outcomes


class ByHand:
    """One row in plain Python: sets, floats and the table of the module's docstring."""

    def __init__(self, kind, scenario, row):
        problem = kind.split()[0]
        self.problem, self.size = problem, int(scenario.size[row])
        self.rest = set(range(0 if problem == "kp" else 1, self.size))
        self.here, self.first, self.s = 0, True, {name: tensor[row].tolist() for name, tensor in scenario.tensors().items()}
        self.left = self.s["budget"] if problem == "op" else self.s["capacity"]
        self.over = False

    def way(self, a, b):
        if self.s["matrix"]:
            return self.s["matrix"][a][b]
        return math.dist(self.s["coords"][a], self.s["coords"][b])

    def legal(self):
        if self.problem == "cvrp":
            return {2 * j + b for j in self.rest for b in (0, 1) if b or self.s["demand"][j] <= self.left}
        if self.problem == "kp":
            return {j for j in self.rest if self.s["demand"][j] <= self.left}
        if self.problem == "op":
            return {j for j in self.rest if self.way(self.here, j) + self.way(j, 0) <= self.left + 1e-9 * max(1, self.s["budget"])}
        return set(self.rest)

    def choose(self, action):
        if self.over or not self.legal():
            self.over = True
            return 0.0
        j, through = (action // 2, action % 2) if self.problem == "cvrp" else (action, 0)
        reward = 0.0
        if self.problem in ("op", "kp"):
            reward = self.s["prize"][j] + (self.s["prize"][0] if self.problem == "op" and self.first else 0)
            self.left -= self.way(self.here, j) if self.problem == "op" else self.s["demand"][j]
        else:
            reward = -(self.way(self.here, 0) + self.way(0, j) if through else self.way(self.here, j))
        if self.problem == "cvrp":
            self.left = (self.s["capacity"] if through else self.left) - self.s["demand"][j]
        self.rest.remove(j)
        self.here, self.first = j, False
        if not self.legal():
            self.over = True
            if self.problem not in ("op", "kp"):
                reward -= self.way(j, 0)
        return reward
