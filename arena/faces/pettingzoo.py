"""The PettingZoo face: a `ParallelEnv` of any domain, one agent per role and seat, named `<role>_<seat>`.

One `step` runs the kernel until some role decides again. All agents stay until the episode ends. An agent that has nothing to decide
now (a planner between its turns, a coefficient that is held) is shown its last view (before its first: zeros) and may leave its action
out; if it gives one, it is ignored. `infos[agent]["acts"]` says whose action counts in the next step. Rewards come to all agents at every
step.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from pettingzoo import ParallelEnv
from torch import Tensor

from arena.domain import Mode
from arena.errors import ArenaError
from arena.faces.episodes import as_task, blank, legal, reward_weights, shown, shown_space, vector_space
from arena.faces.feed import Feed
from arena.faces.gymnasium import KEYS, chosen_scenarios
from arena.task import Task

Step = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]


class ArenaParallelEnv(ParallelEnv):  # type: ignore[misc]  # pettingzoo is not typed
    """One scenario of a task at a time, played by all its roles and seats.

    modes: role -> mode; a role left out plays in the kernel's own. Seeds, options and the ends of episodes are as in `ArenaEnv`.
    Raises ValueError for an illegal or a missing action; nothing has happened then.
    """

    render_mode: None = None

    def __init__(self, task: Task | str, modes: Mapping[str, str] | None = None, split: str = "train") -> None:
        self.task, self.split = as_task(task), split
        self.domain = self.task.domain
        self.metadata = {"render_modes": [], "name": self.task.id}
        chosen = dict(modes or {})
        self._modes: dict[str, Mode] = {role.name: role.mode(chosen.pop(role.name, None)) for role in self.domain.roles}
        if chosen:
            self.domain.role(next(iter(chosen)))  # raises for a role there is not
        for role in self.domain.roles:
            if role.seats < 1:
                raise ArenaError("face.seats", f"{self.task.id}: the seats of {role.name!r} vary between scenarios", "play a task of fixed seats")
        self._seats = {f"{role.name}_{seat}": (role.name, seat) for role in self.domain.roles for seat in range(role.seats)}
        self.possible_agents = list(self._seats)
        self.agents: list[str] = []
        self.observation_spaces = {agent: shown_space(self._modes[role]) for agent, (role, _) in self._seats.items()}
        self.action_spaces = {agent: vector_space(self._modes[role].action_space) for agent, (role, _) in self._seats.items()}
        self._feed = Feed(self.task, 1, split)
        self._weights = reward_weights(self.task)
        self._random: np.random.Generator | None = None

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        if seed is not None or self._random is None:
            self._random, _ = seeding.np_random(seed)
            self._feed.seed([int(self._random.integers(KEYS)) if seed is None else seed])
        split, index = chosen_scenarios(options, self.split)
        if index is None:
            self._scenario, found = self._feed.next(np.ones(1, np.bool_))
            index = int(found[0])
        else:
            self._scenario = self.task.sample(split, [int(index)])
        self._state = self.domain.reset(self._scenario)
        self._elapsed = 0
        self._acted = dict.fromkeys(self._modes, 0)  # kernel steps at which the role acted
        self._held: dict[str, Tensor] = {}
        self._last = {agent: _blank(self._modes[role]) for agent, (role, _) in self._seats.items()}
        self.agents = list(self.possible_agents)
        self._look()
        return self._shown(), {agent: {"scenario": int(index), **info} for agent, info in self._infos().items()}

    def step(self, actions: dict[str, Any]) -> Step:
        if not self.agents:
            raise ResetNeeded("the episode is over; call reset() before the next step()")
        self._held |= {role: self._decision(role, actions) for role in self._deciding}
        rewards, costs, terminated, truncated = self._run()
        infos = self._infos()
        for agent, info in infos.items():
            info["reward_vector"] = rewards[agent].copy()
            if self.domain.constraints:
                info["cost"] = costs.copy()
        if terminated or truncated:
            metrics = {name: value[0].double().numpy(force=True) for name, value in self.domain.metrics(self._scenario, self._state).items()}
            for info in infos.values():
                info["metrics"] = {name: np.array(value) if value.ndim else float(value) for name, value in metrics.items()}
        seen, everyone = self._shown(), self.agents
        if terminated or truncated:
            self.agents = []
        gained = {agent: float(rewards[agent] @ self._weights) for agent in everyone}
        return seen, gained, dict.fromkeys(everyone, terminated), dict.fromkeys(everyone, truncated), infos

    def render(self) -> None:
        """Episodes are drawn by their domain's figures, not here."""

    def close(self) -> None:
        """Nothing to release."""

    # ---- the kernel -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """What the roles that act now see, and which of them decide."""
        self._views = self.domain.views(self._scenario, self._state, self._modes)
        self._deciding = [role for role in self._views if self._acted[role] % self._modes[role].steps == 0]

    @property
    def _holding(self) -> bool:
        """Whether the only role there is holds its decision, so that its next view is not needed yet."""
        role = self.domain.roles[0].name
        return self.domain.single and self._acted[role] % self._modes[role].steps != 0

    def _decision(self, role: str, actions: Mapping[str, Any]) -> Tensor:
        """The decision of a role [1, S, ...] ([1, ...] in a domain of one role and seat) from those of its seats."""
        names = [agent for agent, (name, _) in self._seats.items() if name == role]
        missing = [agent for agent in names if actions.get(agent) is None]
        if missing:
            raise ValueError(f"no action from {', '.join(missing)}: every agent whose info says acts=True gives one")
        given = [np.asarray(actions[agent]) for agent in names]
        shape = self.action_spaces[names[0]].shape or ()
        given = [value.reshape(1) if shape == (1,) and value.shape == () else value for value in given]
        for agent, value in zip(names, given, strict=True):
            if value.shape != shape:
                raise ValueError(f"action of {agent}: shape {value.shape}, expected {shape}")
        lead = (1,) if self.domain.single else (1, len(names))
        stacked = np.stack(given)[None] if len(lead) == 2 else given[0][None]
        return legal(self.domain, role, self._modes[role], stacked, lead, self._views[role], torch.ones(1, dtype=torch.bool))

    def _run(self) -> tuple[dict[str, Any], Any, bool, bool]:
        """Kernel steps until some role decides or the episode ends; rewards by agent, cost, terminated, truncated."""
        rewards: dict[str, Any] = dict.fromkeys(self._seats, 0.0)
        cost: Any = 0.0
        while True:
            moves = {}
            for role in self._views:
                expand = self._modes[role].expand
                moves[role] = self._held[role] if expand is None else expand(self._scenario, self._state, self._held[role])
            self._state, outcome = self.domain.advance(self._scenario, self._state, moves)
            self._elapsed += 1
            self._deciding = []
            for role in moves:
                self._acted[role] += 1
            cost = cost + outcome.cost[0].numpy(force=True)
            for agent, (role, seat) in self._seats.items():
                reward = outcome.reward[0] if isinstance(outcome.reward, Tensor) else outcome.reward[role][0, seat]
                rewards[agent] = rewards[agent] + reward.numpy(force=True)
            terminated = bool(outcome.terminated[0])
            truncated = self._elapsed >= self.domain.horizon and not terminated
            over = terminated or truncated
            if over or not self._holding:
                self._look()
            if over or self._deciding:
                return rewards, cost, terminated, truncated

    def _shown(self) -> dict[str, Any]:
        for agent, (role, seat) in self._seats.items():
            if role in self._views:
                self._last[agent] = shown(self._modes[role], self._views[role], 0 if self.domain.single else (0, seat))
        return deepcopy(self._last)

    def _infos(self) -> dict[str, dict[str, Any]]:
        return {agent: {"acts": role in self._deciding} for agent, (role, _) in self._seats.items()}


def _blank(mode: Mode) -> Any:
    """What an agent is shown before it has ever acted."""
    values = {name: blank(vector_space(space)) for name, space in mode.observation_space.spaces.items()}
    return next(iter(values.values())) if len(values) == 1 else values
