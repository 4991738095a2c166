"""The contract a domain fulfils: a world written once, as pure batched functions on torch tensors.

Given a scenario and the actions, the outcome is determined: all luck is in the scenario. `docs/contract.md` shows how eight very
different worlds are expressed in it. Notation: B scenarios (always the first axis), S seats of a role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from gymnasium import spaces
from torch import Tensor

from arena.record import Record

__all__ = ["Domain", "Metric", "Mode", "Outcome", "Record", "Role"]

Observation = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Outcome(Record):
    """What one step brought: always vectors; the task makes the scalar.

    reward: [B, objective], or `{role: [B, S, objective]}` where several seats or roles are rewarded apart
    cost: [B, constraint]
    terminated: [B] bool; an episode that runs to the horizon is stopped by the rollout (faces: truncated)
    """

    reward: Tensor | Mapping[str, Tensor]
    cost: Tensor
    terminated: Tensor


@dataclass(frozen=True)
class Mode:
    """One way of playing a role: its own spaces, observation and pure expansion to kernel actions.

    The observation space is a `Dict`; where it has a single entry the faces show that entry alone. A binding `action_mask`
    is an entry of that name ([n] of a Discrete(n), 1 = legal). A decision is held for `steps` kernel steps, and `expand` is
    called at each of them with the state of that moment, so it may depend on what is on offer then.
    The first mode of a role is the kernel's own: `observe` and `expand` stay None there.
    """

    name: str
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    steps: int = 1
    observe: Callable[[Any, Any], Observation] | None = None
    expand: Callable[[Any, Any, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Role:
    """A kind of player. Interchangeable players are the seats of one role.

    seats: how many; 0 where it varies between scenarios (then in blocks of equal shape that no chunk crosses)
    advisory: the mask in the observation informs but does not bind, because the rules say what a masked action does
    """

    name: str
    modes: tuple[Mode, ...]
    seats: int = 1
    advisory: bool = False

    def mode(self, name: str | None) -> Mode:
        """The mode called `name`; None is the kernel's own. Raises KeyError naming the modes there are."""
        if name is None:
            return self.modes[0]
        for mode in self.modes:
            if mode.name == name:
                return mode
        raise KeyError(f"role {self.name!r} has no mode {name!r}; it has {', '.join(m.name for m in self.modes)}")


@dataclass(frozen=True)
class Metric:
    """One figure per scenario. `direction` +1: more is better, -1: less is, 0: neither (information)."""

    name: str
    unit: str = ""
    direction: int = 1
    role: Literal["primary", "constraint", "objective", "info"] = "info"
    threshold: float | None = None
    scale: float | None = None
    help: str = field(default="", compare=False)


class Domain:
    """Base class of all worlds. A subclass sets the attributes and writes `reset`, `observe`, `step` and `metrics`.

    name: registered name
    version: of the kernel; raised whenever results change
    roles: in playing order; the first is where a candidate's score stands unless the task says otherwise
    objectives, constraints: names of the columns of `Outcome.reward` and `Outcome.cost`
    horizon: kernel steps after which the rollout stops an episode
    metrics_spec: what `metrics` returns
    rtol: tolerance within which a replay must find the stored metrics; 0 (bit-equal) where arithmetic is exact or ordered
    ends_early: whether episodes may terminate before the horizon (lets the rollout skip the check)
    """

    name: str
    version: int = 1
    roles: tuple[Role, ...]
    objectives: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    horizon: int
    metrics_spec: tuple[Metric, ...]
    rtol: float = 0.0
    ends_early: bool = True

    # ---- what a domain writes -------------------------------------------------------------------------------------

    def sample(self, seeds: Sequence[int]) -> Any:
        """Draw one scenario per seed; row i is a pure function of seed i, whatever the batch."""
        raise NotImplementedError(f"domain {self.name!r} draws no scenarios; it loads them from files")

    def reset(self, scenario: Any) -> Any:
        """The state before the first action."""
        raise NotImplementedError

    def observe(self, scenario: Any, state: Any) -> Any:
        """What each role may see now, in the kernel's own mode; never the future.

        Single role and seat: `{name: [B, ...]}`. Otherwise `{role: {name: [B, S, ...]}}` for the roles that act now.
        """
        raise NotImplementedError

    def step(self, scenario: Any, state: Any, actions: Any) -> tuple[Any, Outcome]:
        """The transition: pure, no hidden luck, no change of its inputs.

        Single role and seat: actions [B, ...]. Otherwise `{role: [B, S, ...]}` for the roles that were observed.
        Raises ValueError naming index, value and legal range for an action outside the space.
        """
        raise NotImplementedError

    def metrics(self, scenario: Any, state: Any) -> dict[str, Tensor]:
        """`{name: [B]}` (or [B, S] for a role of several seats), float64; units in `metrics_spec`."""
        raise NotImplementedError

    # ---- what the platform calls ----------------------------------------------------------------------------------

    @property
    def single(self) -> bool:
        """One role with one seat: written, recorded and faced without the nesting."""
        return len(self.roles) == 1 and self.roles[0].seats == 1

    def role(self, name: str) -> Role:
        for role in self.roles:
            if role.name == name:
                return role
        raise KeyError(f"domain {self.name!r} has no role {name!r}; it has {', '.join(r.name for r in self.roles)}")

    def views(self, scenario: Any, state: Any, modes: Mapping[str, Mode] | None = None) -> dict[str, Observation]:
        """`observe` with the nesting: one observation for every role that acts now, each in its mode."""
        modes = modes or {}
        if self.single:
            name = self.roles[0].name
            observe = modes[name].observe if name in modes else None
            return {name: (observe or self.observe)(scenario, state)}
        seen = self.observe(scenario, state)
        for name in seen:
            observe = modes[name].observe if name in modes else None
            if observe is not None:
                seen[name] = observe(scenario, state)
        return dict(seen)

    def advance(self, scenario: Any, state: Any, actions: Mapping[str, Tensor]) -> tuple[Any, Outcome]:
        """`step` with the nesting."""
        return self.step(scenario, state, actions[self.roles[0].name] if self.single else actions)

    def idle(self, role: str, observation: Observation) -> Tensor:
        """The action played in a row whose agent has failed: the first legal one of the mask, else the lowest of the space."""
        mode = self.role(role).modes[0]
        mask = observation.get("action_mask")
        if mask is not None:
            return mask.to(torch.uint8).argmax(-1)
        lead = next(iter(observation.values())).shape[: 1 if self.single else 2]
        space = mode.action_space
        low = torch.as_tensor(space.low if isinstance(space, spaces.Box) else getattr(space, "start", 0))
        shape = space.shape or ()
        return low.expand(*lead, *shape).contiguous()
