"""The contract a domain fulfils: a world written once, as pure batched functions on torch tensors.

Given a scenario and the actions, the outcome is determined: all luck is in the scenario. `docs/contract.md` shows how eight very
different worlds are expressed in it. Notation: B scenarios (always the first axis), S seats of a role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from arena.record import Record

__all__ = ["Domain", "FileReport", "Metric", "Mode", "Outcome", "Record", "Role"]

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
    called at each of them with the state of that moment, so it may depend on what is on offer then (and on the clock in the
    state: row t of a plan). `expand` gives a legal kernel action for every action in the space; `legal` says, once per decision,
    which actions [*lead] the rules allow beyond space and mask (a tour that visits every node, rows that sum to 1).
    The first mode of a role is the kernel's own: `observe` and `expand` stay None there.
    """

    name: str
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    steps: int = 1
    observe: Callable[[Any, Any], Observation] | None = None
    expand: Callable[[Any, Any, Tensor], Tensor] | None = None
    legal: Callable[[Any, Any, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Role:
    """A kind of player. Interchangeable players are the seats of one role.

    seats: how many; 0 where it varies between scenarios (then in blocks of equal shape that no chunk crosses)
    advisory: the mask in the observation informs but does not bind, because the rules say what a masked action does
    turns: kernel steps at which the role acts in the longest episode; None: at every step (else see `Domain.acting`)
    """

    name: str
    modes: tuple[Mode, ...]
    seats: int = 1
    advisory: bool = False
    turns: int | None = None

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


@dataclass(frozen=True)
class FileReport:
    """What a domain found in one of the user's files. rows: of what the kind of file holds; message: what it is, or what is wrong with it"""

    path: Path
    kind: str
    ok: bool
    rows: int
    message: str


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

    def acting(self, scenario: Any, state: Any) -> tuple[str, ...]:
        """The roles that act now, the same for all scenarios of the batch; every role unless overridden."""
        return tuple(role.name for role in self.roles)

    def step(self, scenario: Any, state: Any, actions: Any) -> tuple[Any, Outcome]:
        """The transition: pure, no hidden luck, no change of its inputs.

        Single role and seat: actions [B, ...]. Otherwise `{role: [B, S, ...]}` for the roles that were observed.
        Raises ValueError naming index, value and legal range for an action outside the space.
        """
        raise NotImplementedError

    def metrics(self, scenario: Any, state: Any) -> dict[str, Tensor]:
        """`{name: [B]}` (or [B, S] for a role of several seats), float64; units in `metrics_spec`."""
        raise NotImplementedError

    def shown(self, scenario: Any, state: Any) -> dict[str, Any]:
        """What a replay shows of a step beside its actions, from the state [1, ...] that they led to: `{name: number or word}`.

        The single numbers in the state, unless overridden.
        """
        return {name: tensor.reshape(-1)[0].item() for name, tensor in state.tensors().items() if tensor.numel() == 1}

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
        names = self.acting(scenario, state)
        own = {name: observe for name in names if name in modes and (observe := modes[name].observe) is not None}
        seen = self.observe(scenario, state) if len(own) < len(names) else {}
        return {name: own[name](scenario, state) if name in own else seen[name] for name in names}

    def advance(self, scenario: Any, state: Any, actions: Mapping[str, Tensor]) -> tuple[Any, Outcome]:
        """`step` with the nesting."""
        return self.step(scenario, state, actions[self.roles[0].name] if self.single else actions)

    def idle(self, role: str, observation: Mapping[str, Tensor], mode: Mode | None = None) -> Tensor:
        """The action [*lead, ...] of a mode (the kernel's own by default) played in rows that nobody plays any more.

        The first legal one of the mask, else the one nearest to zero; a domain that refuses that one overrides this.
        """
        mode = mode or self.role(role).modes[0]
        space, mask = mode.action_space, observation.get("action_mask")
        if mask is not None and isinstance(space, spaces.Discrete):
            return mask.to(torch.uint8).argmax(-1) + int(space.start)
        name, entry = next(iter(mode.observation_space.spaces.items()))
        seen = observation[name]
        lead = seen.shape[: seen.dim() - len(entry.shape or ())]
        nearest = np.clip(0, space.low, space.high) if isinstance(space, spaces.Box) else getattr(space, "start", 0)
        value = torch.as_tensor(np.asarray(nearest, space.dtype), device=seen.device)
        return value.expand(*lead, *(space.shape or ())).contiguous()
