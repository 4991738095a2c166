"""Four toy worlds that stretch the contract where bidding does not: several roles and seats, early ends and masks, whole-set scores,
float actions. Small enough to be checked by hand. A fifth, of two agents: toy_matches.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from arena import registry
from arena.agent import Agent
from arena.digest import digest
from arena.domain import Domain, Metric, Mode, Outcome, Role
from arena.record import Record
from arena.registry import Candidate
from arena.task import Task


def box(low: float, high: float, shape: tuple[int, ...] = (), kind: Any = np.float64) -> spaces.Box:
    return spaces.Box(low, high, shape, kind)


def uniform(seeds: Sequence[int], *shape: int) -> Tensor:
    """[B, *shape] float64, row i from seed i."""
    return torch.from_numpy(np.stack([np.random.Generator(np.random.Philox(seed)).random(shape) for seed in seeds]))


# ---- Walk: early ends, a binding mask, a clock per row ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Street(Record):
    goal: Tensor  # [B] int64
    slip: Tensor  # [B, 12] bool: this move fails


@dataclass(frozen=True, slots=True)
class Walker(Record):
    t: Tensor  # [B] int64, moves made
    place: Tensor  # [B] int64


class Walk(Domain):
    """Walk to the goal: 0 rests, 1 goes left (never from 0), 2 right. Fewer moves are better; who is there stays there."""

    name = "walk"
    objectives = ("arrived",)
    horizon = 12
    metrics_spec = (Metric("moves", direction=-1, role="primary"), Metric("place", direction=0))

    def __init__(self) -> None:
        seen = spaces.Dict({"place": spaces.Box(0, 20, (), np.int64), "action_mask": spaces.MultiBinary(3)})
        self.roles = (Role("walker", (Mode("step", seen, spaces.Discrete(3)),)),)

    def sample(self, seeds: Sequence[int]) -> Street:
        drawn = uniform(seeds, 13)
        return Street((2 + drawn[:, 0] * 5).long(), drawn[:, 1:] < 0.2)

    def reset(self, scenario: Street) -> Walker:
        nothing = torch.zeros_like(scenario.goal)
        return Walker(nothing, nothing)

    def observe(self, scenario: Street, state: Walker) -> dict[str, Tensor]:
        free = torch.ones_like(state.place, dtype=torch.int8)
        return {"place": state.place, "action_mask": torch.stack((free, (state.place > 0).to(torch.int8), free), 1)}

    def step(self, scenario: Street, state: Walker, action: Tensor) -> tuple[Walker, Outcome]:
        walking = state.place < scenario.goal
        slipped = scenario.slip.gather(1, state.t.clamp(max=11)[:, None])[:, 0]
        move = torch.where(walking & ~slipped, torch.where(action == 2, 1, torch.where(action == 1, -1, 0)), 0)
        after = Walker(state.t + walking, state.place + move)
        there = after.place >= scenario.goal
        return after, Outcome((there & walking).double()[:, None], there.new_empty(len(there), 0), there)

    def metrics(self, scenario: Street, state: Walker) -> dict[str, Tensor]:
        return {"moves": state.t.double(), "place": state.place.double()}


# ---- Shop: a score for the whole set only, a constraint in expectation -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Demand(Record):
    demand: Tensor  # [B, 4] float64


@dataclass(frozen=True, slots=True)
class Till(Record):
    t: int
    profit: Tensor  # [B] float64
    waste: Tensor  # [B] float64


class Shop(Domain):
    """Order 0..4 for each of four days; what is not sold is waste, of which at most 3 are allowed on average."""

    name = "shop"
    objectives = ("profit",)
    constraints = ("waste",)
    horizon = 4
    ends_early = False
    metrics_spec = (Metric("profit", role="primary"), Metric("waste", direction=-1, role="constraint", threshold=3.0))

    def __init__(self) -> None:
        self.roles = (Role("keeper", (Mode("order", spaces.Dict({"day": spaces.Box(0, 4, (), np.int64)}), spaces.Discrete(5)),)),)

    def sample(self, seeds: Sequence[int]) -> Demand:
        return Demand((uniform(seeds, 4) * 5).floor())

    def reset(self, scenario: Demand) -> Till:
        nothing = torch.zeros_like(scenario.demand[:, 0])
        return Till(0, nothing, nothing)

    def observe(self, scenario: Demand, state: Till) -> dict[str, Tensor]:
        return {"day": torch.full_like(state.profit, state.t, dtype=torch.int64)}

    def step(self, scenario: Demand, state: Till, action: Tensor) -> tuple[Till, Outcome]:
        sold = torch.minimum(action.double(), scenario.demand[:, state.t])
        waste = action - sold
        after = Till(state.t + 1, state.profit + sold - 0.25 * waste, state.waste + waste)
        return after, Outcome(sold[:, None], waste[:, None], torch.full_like(sold, after.t >= 4, dtype=torch.bool))

    def metrics(self, scenario: Demand, state: Till) -> dict[str, Tensor]:
        return {"profit": state.profit, "waste": state.waste}


def shop_score(means: Mapping[str, np.ndarray], vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Group means [..., G] -> [...]: a tenth of the profit minus a penalty on waste above 3."""
    profit, waste = np.nanmean(means["profit"], -1), np.nanmean(means["waste"], -1)
    return profit / 10 - 0.5 * np.maximum(0.0, waste - 3.0)


# ---- Village: a planner every tenth step, workers in blocks of unequal seat counts -----------------------------------


@dataclass(frozen=True, slots=True)
class People(Record):
    skill: Tensor  # [B, S] float64; S differs between blocks


@dataclass(frozen=True, slots=True)
class Season(Record):
    t: int
    wealth: Tensor  # [B, S] float64
    tax: Tensor  # [B] float64


class Village(Domain):
    """Workers choose an effort 0..3 (3 only the skilled), the planner a flat tax for ten steps, paid out in equal shares."""

    name = "village"
    objectives = ("wealth",)
    horizon = 30
    ends_early = False
    rtol = 1e-9
    metrics_spec = (Metric("wealth", role="primary"), Metric("tax", direction=0))

    def __init__(self) -> None:
        worker = spaces.Dict({"skill": box(0, 1), "tax": box(0, 1), "action_mask": spaces.MultiBinary(4)})
        self.roles = (
            Role("planner", (Mode("rate", spaces.Dict({"wealth": box(-np.inf, np.inf)}), box(0, 1, (), np.float32)),), turns=3),
            Role("worker", (Mode("effort", worker, spaces.Discrete(4)),), seats=0),
        )

    def sample(self, seeds: Sequence[int]) -> People:
        return People(uniform(seeds, 4))

    def reset(self, scenario: People) -> Season:
        nothing = torch.zeros_like(scenario.skill)
        return Season(0, nothing, nothing[:, 0])

    def acting(self, scenario: People, state: Season) -> tuple[str, ...]:
        return ("planner", "worker") if state.t % 10 == 0 else ("worker",)

    def observe(self, scenario: People, state: Season) -> dict[str, dict[str, Tensor]]:
        skill = scenario.skill
        free = torch.ones_like(skill, dtype=torch.int8)
        mask = torch.stack((free, free, free, (skill > 0.5).to(torch.int8)), -1)
        seen = {"worker": {"skill": skill, "tax": state.tax[:, None].expand_as(skill), "action_mask": mask}}
        return {"planner": {"wealth": state.wealth.mean(1, keepdim=True)}, **seen} if state.t % 10 == 0 else seen

    def step(self, scenario: People, state: Season, actions: Mapping[str, Tensor]) -> tuple[Season, Outcome]:
        tax = actions["planner"][:, 0].double() if "planner" in actions else state.tax
        effort = actions["worker"].double()
        income = scenario.skill * effort
        shared = (tax[:, None] * income).mean(1, keepdim=True)
        gain = (1 - tax[:, None]) * income + shared - 0.1 * effort**2
        after = Season(state.t + 1, state.wealth + gain, tax)
        return after, Outcome({"worker": gain[..., None]}, gain.new_empty(len(gain), 0), torch.full((len(gain),), after.t >= 30))

    def metrics(self, scenario: People, state: Season) -> dict[str, Tensor]:
        return {"wealth": state.wealth, "tax": state.tax}


# ---- Aim: float actions of two components, within a tolerance --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target(Record):
    centre: Tensor  # [B, 2] float64


@dataclass(frozen=True, slots=True)
class Shots(Record):
    t: int
    miss: Tensor  # [B] float32
    last: Tensor  # [B, 2] float32


class Aim(Domain):
    """Three shots at a hidden centre; the miss of each is shown."""

    name = "aim"
    objectives = ("miss",)
    horizon = 3
    ends_early = False
    rtol = 1e-5
    metrics_spec = (Metric("miss", direction=-1, role="primary"),)

    def __init__(self) -> None:
        self.roles = (Role("archer", (Mode("shot", spaces.Dict({"last": box(-1, 1, (2,), np.float32)}), box(-1, 1, (2,), np.float32)),)),)

    def sample(self, seeds: Sequence[int]) -> Target:
        return Target(uniform(seeds, 2) * 2 - 1)

    def reset(self, scenario: Target) -> Shots:
        return Shots(0, torch.zeros(len(scenario.centre)), torch.zeros(len(scenario.centre), 2))

    def observe(self, scenario: Target, state: Shots) -> dict[str, Tensor]:
        return {"last": state.last}

    def step(self, scenario: Target, state: Shots, action: Tensor) -> tuple[Shots, Outcome]:
        away = (action - scenario.centre.float()).norm(dim=1)
        after = Shots(state.t + 1, state.miss + away, action)  # keeps the action itself: a careless agent could change it later
        return after, Outcome(-away[:, None], away.new_empty(len(away), 0), torch.full((len(away),), after.t >= 3))

    def metrics(self, scenario: Target, state: Shots) -> dict[str, Tensor]:
        return {"miss": state.miss}


# ---- tasks and agents ------------------------------------------------------------------------------------------------


def _against(low: float, high: float) -> Callable[[Task], dict[str, np.ndarray]]:
    return lambda task: {"ref0": np.full(task.n, low), "ref1": np.full(task.n, high)}


def walk(n: int = 20) -> Task:
    return Task("walk/tiny-v1", Walk(), "tiny", n, {"goal": [2, 6]}, _against(12.0, 1.0), bounded=False, chunk=7)


def shop(n: int = 40) -> Task:
    groups = lambda task: {"group": np.arange(task.n) % 2.0}  # noqa: E731
    return Task("shop/tiny-v1", Shop(), "tiny", n, {}, groups, headline="of_means", function=shop_score, groups=("odd", "even"), chunk=16)


def aim(n: int = 10) -> Task:
    return Task("aim/tiny-v1", Aim(), "tiny", n, {}, _against(6.0, 0.0), chunk=4)


def village(candidates: tuple[str, ...], fill: Mapping[str, str]) -> Task:
    """Seven scenarios: three of two workers, four of four."""

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> People:
        return People(uniform(seeds, 2 if indices[0] < 3 else 4))

    return Task(
        f"village/{'-'.join(candidates)}-v1", Village(), "tiny", 7, {}, _against(0.0, 100.0), draw=draw,
        candidates=candidates, fill=fill, blocks=(0, 3), chunk=4, bounded=False,
    )  # fmt: skip


class Policy(Agent):
    """A batched agent from a function (observation, brief, step) -> actions."""

    def __init__(self, function: Callable[[Any, Any, int], Any]) -> None:
        self.function = function

    def begin(self, brief: Any) -> None:
        self.brief, self.step = brief, -1

    def act(self, obs: Any) -> Any:
        self.step += 1
        return self.function(obs, self.brief, self.step)


def entrant(name: str, function: Callable[[Any, Any, int], Any]) -> Candidate:
    """A candidate that plays `function`."""
    return Candidate(name, "builtin", "other", {"reference": name}, digest({"toy": name}), lambda: Policy(function))


@registry.agent("toy-planner")
class Planner(Agent):
    """A tax of 0.3."""

    def act(self, obs: Any) -> Tensor:
        return torch.full_like(obs["wealth"], 0.3)


@registry.agent("toy-worker")
class Worker(Agent):
    """Effort 2."""

    def act(self, obs: Any) -> Tensor:
        return torch.full_like(obs["skill"], 2).long()


@registry.agent("toy-striker")
class Striker(Worker):
    """A frozen agent that breaks down."""

    def act(self, obs: Any) -> Tensor:
        raise RuntimeError("on strike")
