"""The contract an agent fulfils, and the adapter that lets one-observation code in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from arena.seeds import stream_key, uniforms

if TYPE_CHECKING:
    from arena.task import TaskView

Nature = Literal["classical", "learned", "llm", "reference", "other"]
Observation = Mapping[str, Tensor]


@dataclass(frozen=True)
class Brief:
    """What an agent is told before a chunk of scenarios: everything it may know, nothing of the future.

    task: identity, configuration, public knowledge (`task.domain`) and training scenarios (`task.sample("train", indices)`)
    scenario: [B] int64, the scenario ids of the rows
    horizon: decisions of this role in the longest episode, in this mode
    seed: of the run; a version that holds several training seeds plays checkpoint `seed mod count`
    run: uid of the run, for agents of ours that keep notes of it (a transcript); "" outside a run, and for agents in processes of their own
    """

    task: TaskView
    role: str
    mode: str
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    horizon: int
    scenario: Tensor
    device: torch.device
    seed: int
    seat: int = -1
    run: str = ""

    def __len__(self) -> int:
        return len(self.scenario)

    def uniforms(self, step: int, k: int) -> Tensor:
        """[B, k] in [0, 1): the agent's own luck, a pure function of (run seed, role, seat, scenario, step)."""
        return uniforms(stream_key(self.seed, self.role, self.seat), self.scenario, step, k)


class Agent:
    """Base class of batched agents: one call of `act` serves all scenarios of the chunk.

    `act` receives `{name: [B, ...]}` (for a role not declared with one seat [B, S, ...]) as tensors, with `live` [B] bool and, where the
    domain has one, `action_mask`; what comes back for rows that are not live is ignored. It returns actions [B, ...] of the
    mode's action space as a tensor or an array, of integer kind for discrete spaces, and leaves its input unchanged.
    """

    nature: ClassVar[Nature] = "other"
    mode: str | None = None
    batched: ClassVar[bool] = True
    usage: Mapping[str, float] = MappingProxyType({})  # what the chunk cost beside time: calls, tokens, money, invalid answers; read after `end`
    peak_rss: int = 0  # bytes of memory, where it has a process of its own

    def check(self, task: TaskView) -> None:
        """Before a run is stored: raise ArenaError for a task this agent cannot play, saying why."""

    def begin(self, brief: Brief) -> None:
        """A chunk starts: forget the last one. May plan, load, warm up."""

    def act(self, obs: Observation) -> Tensor | np.ndarray[Any, Any]:
        raise NotImplementedError

    def end(self) -> None:
        """The chunk is over."""

    def close(self) -> None:
        """Nobody will ask this agent again: let go of processes and connections. It may be called more than once."""


class Trainable(Protocol):
    """An agent that learns: `train` writes one training seed's checkpoint folder (config.json + *.safetensors)."""

    def train(self, task: TaskView, *, seed: int, budget: int, folder: Path, log: Callable[[dict[str, float]], None]) -> None: ...


class Vectorised(Agent):
    """One-observation code made batched: a fresh player per scenario, so it may keep state between its calls.

    `make()` gives either a function `action = f(obs)` or an object with `act(obs)` and, if it likes, `begin(brief)`.
    `obs` is one row of the mode: a dict of NumPy values, or the bare array where the mode has a single entry.
    """

    def __init__(self, make: Callable[[], Any], mode: str | None = None) -> None:
        self.make, self.mode = make, mode
        self.spare = [make()]  # what cannot be made says so now, not in the first chunk

    def begin(self, brief: Brief) -> None:
        self.players = [self.spare.pop() if self.spare else self.make() for _ in range(len(brief))]
        for player in self.players:
            if hasattr(player, "begin"):
                player.begin(brief)
        self.names = list(brief.observation_space.spaces)
        self.dims = 1 + len(brief.observation_space[self.names[0]].shape or ())
        self.fill = np.zeros(brief.action_space.shape or (), brief.action_space.dtype)

    def act(self, obs: Observation) -> Any:
        if obs[self.names[0]].dim() != self.dims:
            raise ValueError("one-observation agents play roles of one seat; write a batched Agent for several seats")
        columns = {name: obs[name].numpy(force=True) for name in self.names}
        live = obs["live"].tolist()
        actions = []
        for row, player in enumerate(self.players):
            if not live[row]:
                actions.append(self.fill)
                continue
            seen: Any = {name: column[row] for name, column in columns.items()}
            if len(self.names) == 1:
                seen = seen[self.names[0]]
            actions.append(np.asarray(player.act(seen) if hasattr(player, "act") else player(seen)))
        return _stack(actions)

    def end(self) -> None:
        for player in self.players:
            if hasattr(player, "end"):
                player.end()


def _stack(actions: Sequence[np.ndarray[Any, Any]]) -> Any:
    """One array where all rows agree in shape and kind; otherwise the list, so that each odd row is judged alone."""
    first = actions[0]
    same = all(action.shape == first.shape and action.dtype.kind == first.dtype.kind for action in actions)
    return np.stack(actions) if same else list(actions)
