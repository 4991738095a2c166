"""Two small worlds the faces are tried on, beside the registered tasks.

Ladder: one climber, rows end at different steps (clock per row), a binding mask, two objectives, a constraint, a mode that holds its
action for two steps.
Congestion: three drivers who choose a road at once, and a planner who sets the toll at every second step.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from arena import registry
from arena.domain import Domain, Metric, Mode, Outcome, Role
from arena.errors import ArenaError
from arena.faces.gymnasium import ArenaEnv
from arena.record import Record
from arena.task import Task


@dataclass(frozen=True, slots=True)
class Rungs(Record):
    goal: Tensor  # [B] int64, height of the ladder
    wind: Tensor  # [B, 6] float32


@dataclass(frozen=True, slots=True)
class Climb(Record):
    t: Tensor  # [B] int64
    height: Tensor  # [B] int64
    effort: Tensor  # [B] int64


class Ladder(Domain):
    """Action 0 rests, 1 climbs a rung, 2 jumps two (only from even heights). Reaching the goal terminates; after 6 steps it is too late."""

    name = "ladder"
    objectives = ("rungs", "ease")
    constraints = ("wind",)
    horizon = 6
    metrics_spec = (Metric("height", role="primary"),)

    def __init__(self) -> None:
        seen = spaces.Dict(
            {
                "height": spaces.Box(0, 20, (), np.int64),
                "wind": spaces.Box(0.0, 1.0, (2,), np.float32),
                "action_mask": spaces.MultiBinary(3),
            }
        )
        single = Mode("rung", seen, spaces.Discrete(3))
        double = Mode("double", seen, spaces.Discrete(3), 2, self.observe, self.double)
        self.roles = (Role("climber", (single, double)),)

    def double(self, scenario: Rungs, state: Climb, action: Tensor) -> Tensor:
        """A jump is a climb where no jump is allowed."""
        assert bool((state.height < scenario.goal).all()) and bool((state.t < self.horizon).all()), "the kernel was shown a row that is over"
        return torch.where(state.height % 2 == 0, action, action.clamp(max=1))

    def sample(self, seeds):  # type: ignore[no-untyped-def]
        rngs = [np.random.Generator(np.random.Philox(seed)) for seed in seeds]
        return Rungs(
            torch.tensor([int(rng.integers(2, 10)) for rng in rngs]),
            torch.from_numpy(np.stack([rng.random(6, dtype=np.float32) for rng in rngs])),
        )

    def reset(self, scenario: Rungs) -> Climb:
        nothing = torch.zeros_like(scenario.goal)
        return Climb(nothing, nothing, nothing)

    def observe(self, scenario: Rungs, state: Climb) -> dict[str, Tensor]:
        even = state.height % 2 == 0
        wind = scenario.wind.gather(1, (state.t - 1).clamp(min=0)[:, None])[:, 0]
        return {
            "height": state.height,
            "wind": torch.stack((wind, scenario.wind[:, 0]), 1),
            "action_mask": torch.stack((torch.ones_like(even), torch.ones_like(even), even), 1).to(torch.int8),
        }

    def step(self, scenario: Rungs, state: Climb, action: Tensor) -> tuple[Climb, Outcome]:
        assert bool((state.height < scenario.goal).all()) and bool((state.t < self.horizon).all()), "the kernel was shown a row that is over"
        after = Climb(state.t + 1, state.height + action, state.effort + action**2)
        wind = scenario.wind.gather(1, state.t[:, None])
        return after, Outcome(torch.stack((action, -(action**2)), 1).double(), wind.double(), after.height >= scenario.goal)

    def metrics(self, scenario: Rungs, state: Climb) -> dict[str, Tensor]:
        return {"height": state.height.double(), "effort": state.effort.double()}


@dataclass(frozen=True, slots=True)
class Roads(Record):
    load: Tensor  # [B, 2] float64, other traffic


@dataclass(frozen=True, slots=True)
class Traffic(Record):
    t: int
    toll: Tensor  # [B] float64
    share: Tensor  # [B] float64, drivers on road 1 last
    delay: Tensor  # [B, 3] float64, sum so far


class Congestion(Domain):
    """Delay of a road = its other traffic + the drivers on it; road 1 also costs the toll. The planner pays for the mean delay."""

    name = "congestion"
    objectives = ("ease",)
    horizon = 5
    ends_early = False
    metrics_spec = (Metric("delay", role="primary", direction=-1),)

    def __init__(self) -> None:
        driver = spaces.Dict({"toll": spaces.Box(0.0, 1.0, (1,), np.float64), "share": spaces.Box(0.0, 1.0, (), np.float64)})
        planner = spaces.Dict({"share": spaces.Box(0.0, 1.0, (1,), np.float32)})
        self.roles = (
            Role("driver", (Mode("road", driver, spaces.Discrete(2)), Mode("habit", driver, spaces.Discrete(2), steps=3)), seats=3),
            Role("planner", (Mode("toll", planner, spaces.Box(0.0, 1.0, (), np.float32)),)),
        )

    def sample(self, seeds):  # type: ignore[no-untyped-def]
        return Roads(torch.from_numpy(np.stack([np.random.Generator(np.random.Philox(seed)).random(2) for seed in seeds])))

    def reset(self, scenario: Roads) -> Traffic:
        nothing = scenario.load[:, 0] * 0
        return Traffic(0, nothing, nothing, nothing[:, None].expand(-1, 3))

    def acting(self, scenario: Roads, state: Traffic) -> tuple[str, ...]:
        return ("driver",) if state.t % 2 else ("driver", "planner")

    def observe(self, scenario: Roads, state: Traffic) -> dict[str, dict[str, Tensor]]:
        toll, share = state.toll[:, None].expand(-1, 3), state.share[:, None].expand(-1, 3)
        seen = {"driver": {"toll": toll[..., None], "share": share}}
        return seen if state.t % 2 else {**seen, "planner": {"share": state.share[:, None, None].float()}}

    def step(self, scenario: Roads, state: Traffic, actions: dict[str, Tensor]) -> tuple[Traffic, Outcome]:
        assert set(actions) == set(self.observe(scenario, state)), "an action came from a role that does not act now"
        road = actions["driver"]
        toll = actions["planner"][:, 0].double() if "planner" in actions else state.toll
        on_one = road.double().sum(1)
        delay = scenario.load + torch.stack((3 - on_one, on_one), 1)
        own = delay.gather(1, road)
        reward = {"driver": -(own + road * toll[:, None])[..., None], "planner": -own.mean(1)[:, None, None]}
        after = replace(state, t=state.t + 1, toll=toll, share=on_one / 3, delay=state.delay + own)
        return after, Outcome(reward, own.new_empty(len(own), 0), torch.zeros(len(own), dtype=torch.bool))

    def metrics(self, scenario: Roads, state: Traffic) -> dict[str, Tensor]:
        return {"delay": state.delay.mean(1), "delays": state.delay}


def _task(domain: Domain, **config: object) -> Task:
    return Task(f"{domain.name}/tiny-v1", domain, "tiny", 12, config, lambda task: {"ref0": np.zeros(12), "ref1": np.ones(12)})


@pytest.fixture(autouse=True)
def real_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real tasks find their files where the tests' data lies, if it is there."""
    folder = Path(__file__).parents[4] / "shared" / "data"
    if "ARENA_DATA" not in os.environ and folder.is_dir():
        monkeypatch.setenv("ARENA_DATA", str(folder))


@pytest.fixture
def known(task_id: str) -> Task:
    """The registered task of a test over all of them, which plays training scenarios; skipped where its data or these are absent."""
    try:
        task = registry.task(task_id)
        task.sample("train", [0])
    except ArenaError as error:
        if error.code.startswith("data"):
            pytest.skip(f"{task_id}: {error.message}")
        raise
    return task


@pytest.fixture
def offer_legal() -> Callable[[ArenaEnv], ArenaEnv]:
    """Where actions are masked: `action_space.sample()` draws among the legal ones, for the checkers of the libraries know no masks."""

    def offer(env: ArenaEnv) -> ArenaEnv:
        if "action_mask" in getattr(env.observation_space, "spaces", {}):

            class Offered(spaces.Discrete):
                def sample(self, mask=None, probability=None):  # type: ignore[no-untyped-def]
                    return super().sample(env.action_masks().astype(np.int8))

            env.action_space = Offered(int(env.action_space.n))  # type: ignore[attr-defined]
        return env

    return offer


@pytest.fixture
def ladder() -> Task:
    return _task(Ladder())


@pytest.fixture
def ladder_by_weights() -> Task:
    return _task(Ladder(), reward_weights={"rungs": 2.0, "ease": 0.5})


@pytest.fixture
def congestion() -> Task:
    return _task(Congestion())
