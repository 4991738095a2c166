"""A toy world of two agents who play each other: rock, paper, scissors, and who throws what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from toy_domains import Policy, box, uniform

from arena import registry
from arena.domain import Domain, Metric, Mode, Outcome, Role
from arena.record import Record
from arena.task import Task


@dataclass(frozen=True, slots=True)
class Stakes(Record):
    stake: Tensor  # [B, 3] float64, of each round


@dataclass(frozen=True, slots=True)
class Table(Record):
    t: int
    points: Tensor  # [B] float64, of the row
    last: Tensor  # [B, 2] int64: row, column; 3 before the first round


class Roshambo(Domain):
    """Rock (0), paper (1), scissors (2), three rounds; the loser of a round pays its stake."""

    name = "roshambo"
    objectives = ("points",)
    horizon = 3
    ends_early = False
    metrics_spec = (Metric("points", role="primary"), Metric("result", direction=0))

    def __init__(self) -> None:
        seen = spaces.Dict({"stake": box(0, 1), "other": spaces.Box(0, 3, (), np.int64)})
        self.roles = tuple(Role(name, (Mode("throw", seen, spaces.Discrete(3)),)) for name in ("row", "column"))

    def sample(self, seeds: Sequence[int]) -> Stakes:
        return Stakes((1 + (uniform(seeds, 3) * 4).floor()) / 4)

    def reset(self, scenario: Stakes) -> Table:
        return Table(0, torch.zeros_like(scenario.stake[:, 0]), torch.full((len(scenario.stake), 2), 3))

    def observe(self, scenario: Stakes, state: Table) -> dict[str, dict[str, Tensor]]:
        stake = scenario.stake[:, min(state.t, 2), None]
        return {name: {"stake": stake, "other": state.last[:, 1 - k, None]} for k, name in enumerate(("row", "column"))}

    def step(self, scenario: Stakes, state: Table, actions: Mapping[str, Tensor]) -> tuple[Table, Outcome]:
        row, column = actions["row"][:, 0].long(), actions["column"][:, 0].long()
        won = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)[(row - column) % 3] * scenario.stake[:, state.t]
        after = Table(state.t + 1, state.points + won, torch.stack((row, column), 1))
        reward = {"row": won[:, None, None], "column": -won[:, None, None]}
        return after, Outcome(reward, won.new_empty(len(won), 0), torch.full((len(won),), after.t >= 3))

    def metrics(self, scenario: Stakes, state: Table) -> dict[str, Tensor]:
        return {"points": state.points, "result": (1 + state.points.sign()) / 2}


def roshambo(n: int = 12, outcome: str = "result") -> Task:
    """0 is a draw, 1 all that can be won."""

    def references(task: Task) -> dict[str, np.ndarray]:
        return {"ref0": np.zeros(task.n), "ref1": task.scenarios.stake.sum(1).numpy()}

    return Task("roshambo/tiny-v1", Roshambo(), "tiny", n, {"rounds": 3}, references, candidates=("row", "column"), outcome=outcome, chunk=3)


def known_roshambo(name: str) -> Task:
    """As the registry loads it."""
    return replace(roshambo(), id=f"roshambo/{name}", outcome="" if name == "nobody-wins-v1" else "result")


ROSHAMBO = registry.DomainSpec(
    "roshambo", "rock, paper, scissors",
    (registry.TaskSpec("tiny-v1", "tiny", 12, "three rounds", ranked=False), registry.TaskSpec("nobody-wins-v1", "tiny", 12, "same", ranked=False)),
    "toy_matches:known_roshambo",
)  # fmt: skip


def thrower(name: str, throw: Callable[[Any, Any, int], Any]) -> None:
    """An agent of the registry that plays Roshambo by a function (observation, brief, step) -> actions."""
    made = type(name.title().replace("-", ""), (Policy,), {"__init__": lambda self: Policy.__init__(self, throw), "__doc__": f"{name}."})
    globals()[made.__qualname__] = made
    made.__module__ = "toy_matches"
    registry.agent(name, tasks=("roshambo/*",))(made)


def _quits(obs: Any, brief: Any, step: int) -> Tensor:
    """Rock; as the column no legal throw in every third scenario."""
    return torch.where((brief.scenario % 3 == 0) & (brief.role == "column"), 7, 0)


def _breaks(obs: Any, brief: Any, step: int) -> Tensor:
    if brief.role == "column":
        raise RuntimeError("the table is too far away")
    return torch.zeros_like(obs["other"])


thrower("toy-rock", lambda obs, brief, step: torch.zeros_like(obs["other"]))
thrower("toy-paper", lambda obs, brief, step: torch.ones_like(obs["other"]))
thrower("toy-scissors", lambda obs, brief, step: torch.full_like(obs["other"], 2))
thrower("toy-shuffler", lambda obs, brief, step: (brief.uniforms(step, 1)[:, 0] * 3).long())
thrower("toy-quitter", _quits)
thrower("toy-breaker", _breaks)
