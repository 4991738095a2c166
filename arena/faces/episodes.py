"""What every face shares: a batch of rows, each playing one scenario after the other in one mode of a role.

When does an episode end? **terminated** is what the kernel says: nothing after this step has value, so a learner must not bootstrap.
**truncated** means that the horizon stopped an episode the kernel would have gone on with, so a learner bootstraps from the last
observation. A kernel whose problem itself ends at the horizon (bidding: the campaign is over, `n` left stands in the observation)
says terminated there; one that is merely stopped at the horizon does not. Never both.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from arena import registry
from arena.domain import Domain, Mode, Outcome
from arena.errors import ArenaError, unknown
from arena.faces.feed import Feed, Flags
from arena.legality import Illegal, judge
from arena.task import Task

Floats = NDArray[np.float64]
Observation = dict[str, Tensor]


@dataclass(frozen=True)
class Turn:
    """What one decision brought, summed over its kernel steps: reward [B, objective], cost [B, constraint], ends [B]."""

    reward: Floats
    cost: Floats
    terminated: Flags
    truncated: Flags


class Episodes:
    """`rows` rows of a single-role task. The faces differ in when they restart rows and in how they hand things out."""

    def __init__(self, task: Task, rows: int, role: str | None, mode: str | None, split: str) -> None:
        self.task, self.rows, self.domain = task, rows, task.domain
        self.role = self.domain.role(role or self.domain.roles[0].name)
        if not self.domain.single:
            seats = ", ".join(f"{r.seats} {r.name}" for r in self.domain.roles)
            raise ArenaError("face.seats", f"{task.id} is played by {seats}", "arena.faces.pettingzoo.ArenaParallelEnv shows all of them")
        self.mode = self.role.mode(mode)
        self.feed = Feed(task, rows, split)
        self.weights = reward_weights(task)
        self.index: NDArray[np.int64] = np.full(rows, -1)
        self.elapsed: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.latest = 0  # the largest of `elapsed`
        self.live = torch.ones(rows, dtype=torch.bool)
        self.scenario: Any = None
        self.state: Any = None
        self.seen: Observation = {}

    # ---- starting -------------------------------------------------------------------------------------------------

    def restart(self, rows: Flags) -> None:
        """Begin the next scenario in the rows chosen. Raises ValueError where a shared clock forbids restarting only some."""
        scenario, index = self.feed.next(rows)
        self._place(scenario, index, rows)

    def play(self, split: str, index: list[int]) -> None:
        """Begin the scenarios named, one per row."""
        if len(index) != self.rows:
            raise ValueError(f"{len(index)} scenario indices for {self.rows} rows")
        self._place(self.task.sample(split, index), np.asarray(index, np.int64), np.ones(self.rows, np.bool_))

    def _place(self, scenario: Any, index: NDArray[np.int64], rows: Flags) -> None:
        state = self.domain.reset(scenario)
        if rows.all():
            self.scenario, self.state, self.index = scenario, state, index
            self.elapsed = np.zeros(self.rows, np.int64)
        else:
            chosen = torch.from_numpy(rows)
            self.scenario, self.state = scenario.where(chosen, self.scenario), state.where(chosen, self.state)
            self.index, self.elapsed = np.where(rows, index, self.index), np.where(rows, 0, self.elapsed)
        self.latest = int(self.elapsed.max())
        self.look()

    # ---- playing --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Observe; kept as `seen` because masks and idle actions are read from it."""
        self.seen = (self.mode.observe or self.domain.observe)(self.scenario, self.state)

    def legal(self, action: Any, lead: tuple[int, ...], ignore: Flags | None = None) -> Tensor:
        """The action as a tensor [B, ...]; rows in `ignore` idle. Raises ValueError saying what was found and what is allowed."""
        return legal(self.domain, self.role.name, self.mode, action, lead, self.seen, self.live, ignore)

    def decide(self, action: Tensor, playing: Flags | None = None) -> Turn:
        """Play the decision [B, ...] in the rows `playing` (all by default) for the mode's number of kernel steps, or until they are over.

        The kernel never sees a row that is over. Observe afterwards with `look`.
        """
        domain, mode = self.domain, self.mode
        reward: Any = 0.0
        cost: Any = 0.0
        terminated, truncated = np.zeros(self.rows, np.bool_), np.zeros(self.rows, np.bool_)
        whole, running = playing is None, np.ones(self.rows, np.bool_) if playing is None else playing
        for _ in range(mode.steps):
            if whole:
                move = action if mode.expand is None else mode.expand(self.scenario, self.state, action)
                self.state, outcome = domain.step(self.scenario, self.state, move)
                self.elapsed += 1
            else:
                outcome = self._step_some(action, running)
                self.elapsed += running
            gained, spent = _numbers(outcome)
            reward, cost = reward + gained, cost + spent
            self.latest += 1
            if domain.ends_early or self.latest >= domain.horizon:
                terminated = terminated | (outcome.terminated.numpy(force=True) & running)
                truncated = truncated | ((self.elapsed >= domain.horizon) & running & ~terminated)
                running = running & ~(terminated | truncated)
                whole = whole and bool(running.all())
                if not running.any():
                    break
        return Turn(reward, cost, terminated, truncated)

    def _step_some(self, action: Tensor, running: Flags) -> Outcome:
        """One kernel step of the running rows alone; the outcome of the others is zero."""
        chosen = torch.from_numpy(np.flatnonzero(running))
        home = torch.from_numpy(np.cumsum(running) - 1).clamp(min=0)  # where a row stands among the chosen
        mask = torch.from_numpy(running)
        scenario, state = self.scenario[chosen], self.state[chosen]
        move = action[chosen] if self.mode.expand is None else self.mode.expand(scenario, state, action[chosen])
        after, outcome = self.domain.step(scenario, state, move)
        self.state = after[home].where(mask, self.state)
        return outcome[home].map(lambda tensor: tensor * mask.view(-1, *[1] * (tensor.dim() - 1)))

    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """`{name: [B]}` of the episodes as they stand."""
        return {name: np.array(value.numpy(force=True), np.float64) for name, value in self.domain.metrics(self.scenario, self.state).items()}

    def masks(self) -> NDArray[np.bool_]:
        """[B, n] bool, the actions that are legal now; all of them where the mode has no mask."""
        space = self.mode.action_space
        if not isinstance(space, spaces.Discrete):
            raise AttributeError(f"mode {self.mode.name!r} has actions {space}; only Discrete actions are masked")
        mask = None if self.role.advisory else self.seen.get("action_mask")
        return np.ones((self.rows, int(space.n)), np.bool_) if mask is None else np.array(mask.numpy(force=True), np.bool_)


def _numbers(outcome: Outcome) -> tuple[Floats, Floats]:
    assert isinstance(outcome.reward, Tensor)  # rewards by role belong to several roles or seats
    return outcome.reward.numpy(force=True), outcome.cost.numpy(force=True)


# ---- tasks ----------------------------------------------------------------------------------------------------------


def as_task(task: Task | str) -> Task:
    """The task itself, or the one the registry knows by that id."""
    return registry.task(task) if isinstance(task, str) else task


def reward_weights(task: Task) -> Floats:
    """[objective] what makes the scalar reward: `reward_weights` of the task's configuration, else the first objective alone.

    Raises ArenaError `unknown.objective` for a weight that names no objective.
    """
    names = task.domain.objectives
    given: Mapping[str, float] = task.config.get("reward_weights") or {names[0]: 1.0}
    for name in given:
        if name not in names:
            raise unknown("objective", name, names)
    return np.array([given.get(name, 0.0) for name in names], np.float64)


# ---- spaces and values ----------------------------------------------------------------------------------------------


def shown_space(mode: Mode) -> spaces.Space[Any]:
    """The observation space a face shows: the `Dict`, or its only entry, scalars as vectors of length 1."""
    entries = mode.observation_space.spaces
    return vector_space(next(iter(entries.values())) if len(entries) == 1 else mode.observation_space)


def vector_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space with every Box of shape () made one of shape (1,), entries of a Dict included: SB3's networks and checker take no scalars.

    A copy, so that no two environments share its random numbers.
    """
    if isinstance(space, spaces.Dict):
        return spaces.Dict({name: vector_space(entry) for name, entry in space.spaces.items()})
    if isinstance(space, spaces.Box) and space.shape == ():
        return spaces.Box(space.low.reshape(1), space.high.reshape(1), (1,), space.dtype.type)
    return deepcopy(space)


def shown(mode: Mode, seen: Mapping[str, Tensor], row: Any = slice(None)) -> Any:
    """The observation of some rows (or of one: an int, or a tuple row and seat) as fresh NumPy arrays of the space's dtypes."""
    entries = mode.observation_space.spaces
    values = {name: np.array(seen[name].numpy(force=True)[row], space.dtype) for name, space in entries.items()}
    values = {name: value if entries[name].shape else value[..., None] for name, value in values.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def legal(
    domain: Domain, role: str, mode: Mode, action: Any, lead: tuple[int, ...], seen: Mapping[str, Tensor], live: Tensor, ignore: Flags | None = None
) -> Tensor:
    """`action` [*lead, ...] as a tensor of the mode's dtype, judged by the rules of `arena.legality`; nothing is clipped or masked.

    ignore: [B] rows that end here: they play the idle action, whatever was given. Raises ValueError for the first illegal row.
    """
    space = mode.action_space
    if isinstance(space, spaces.Box) and space.shape == () and np.shape(action) == (*lead, 1):
        action = np.asarray(action)[..., 0]
    mask = None if domain.role(role).advisory else seen.get("action_mask")
    if ignore is not None and ignore.any():
        action = np.array(action, copy=True)
        if action.shape != (*lead, *(space.shape or ())):
            raise ValueError(f"actions of {role!r}: shape {action.shape}, expected {(*lead, *(space.shape or ()))}")
        action[ignore] = idle(domain, role, mode, seen, lead)[ignore]
        live = live & torch.from_numpy(~ignore)
    try:
        tensor, wrong = judge(action, space, lead, mask, live)
    except Illegal as error:
        raise ValueError(f"action of {role!r}: {error}") from None
    if wrong:
        row, reason = next(iter(wrong.items()))
        raise ValueError(f"action of {role!r} in row {row}: {reason}" if lead[0] > 1 else f"action of {role!r}: {reason}")
    return tensor.to(_DTYPES[space.dtype])


def idle(domain: Domain, role: str, mode: Mode, seen: Mapping[str, Tensor], lead: tuple[int, ...]) -> NDArray[Any]:
    """[*lead, ...] an action for rows nobody plays: the first legal one of the mask, else zero or what lies nearest to it."""
    space = mode.action_space
    if mode.expand is None and "action_mask" in seen:
        return domain.idle(role, dict(seen)).numpy(force=True)
    return np.broadcast_to(blank(space), (*lead, *(space.shape or ())))


def blank(space: spaces.Space[Any]) -> NDArray[Any]:
    """The value of a space that is zero or nearest to it."""
    nearest = np.clip(0, space.low, space.high) if isinstance(space, spaces.Box) else getattr(space, "start", 0)
    return np.broadcast_to(np.asarray(nearest, space.dtype), space.shape or ()).copy()


_KINDS: tuple[type, ...] = (np.int8, np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64)
_DTYPES: dict[Any, torch.dtype] = {np.dtype(kind): torch.from_numpy(np.zeros(0, kind)).dtype for kind in _KINDS}
