"""GPT-4 as it was recorded: its complete policies for ten rounds, from the released files (docs: `arena data fetch repeated_games`).

There is one policy for the prisoner's dilemma 8/0/10/5 and one for the battle of the sexes 10/7, where it is the player who prefers action 0
(J); in the other seat it plays the mirrored policy, with both actions exchanged, which was not recorded. Words, letters and the order of
options change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from arena import settings
from arena.agent import Agent, Brief
from arena.errors import ArenaError
from arena.task import TaskView
from domains.repeated_games.fetch import origins
from domains.repeated_games.games import BOS_10, PD_8
from domains.repeated_games.recorded import EXPECTED, PLACES, find
from domains.repeated_games.recorded_policy import ROUNDS, position, read_policy

_GAMES = ("the prisoner's dilemma 8/0/10/5", "the battle of the sexes 10/7")


class Recorded(Agent):
    """The released policies of GPT-4, base or SCoT (it predicts the other's move first).

    Raises ArenaError `data.missing` where the files are absent, `data.values` where they are others than released.
    """

    nature = "llm"
    mode = "history"

    def __init__(self, scot: bool = False) -> None:
        self.name = "recorded-gpt4-scot" if scot else "recorded-gpt4"
        policies = []
        for game in ("pd", "bos"):
            what = f"{game}-{'scot' if scot else 'base'}"
            path = find(settings.data_root(), what)
            policy = read_policy(path)
            if hashlib.sha256(path.read_bytes()).hexdigest() != origins()[PLACES[what][0]]["sha256"]:
                raise ArenaError("data.values", f"{path} is another file than released (its sha256 differs)", EXPECTED)
            policies.append(policy)
        self.policies = torch.from_numpy(np.stack(policies))  # [2, 1023]

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `agent.incompatible` for matches of another length."""
        if task.domain.horizon != ROUNDS:
            said = f"{self.name} was recorded for {ROUNDS} rounds; {task.id} has {task.domain.horizon}"
            raise ArenaError("agent.incompatible", said, "choose a task of ten rounds")

    def begin(self, brief: Brief) -> None:
        self.game: Tensor | None = None

    def act(self, obs: Mapping[str, Tensor]) -> Tensor:
        if self.game is None:
            self.game, self.mirrored = self._recognised(obs["payoffs"])
        past = obs["other"] ^ self.mirrored[:, None].to(torch.int8)
        entry = position(past.numpy(force=True), obs["round"].numpy(force=True))
        return self.policies[self.game, torch.from_numpy(entry)].to(past.device).long() ^ self.mirrored.long()

    def _recognised(self, payoffs: Tensor) -> tuple[Tensor, Tensor]:
        """Which policy [B], and whether with the actions exchanged [B]. payoffs: [B, own action, other's action, (own, other)]"""
        known = torch.stack([PD_8, BOS_10, BOS_10.flip(0, 1)]).to(payoffs.device)
        same = (payoffs[:, None] == known).flatten(2).all(2)
        if not bool(same.any(1).all()):
            cells = payoffs[int((~same.any(1)).int().argmax())].tolist()
            raise ArenaError("agent.incompatible", f"{self.name} was not recorded in a game that pays {cells}", f"it plays {' and '.join(_GAMES)}")
        which = same.int().argmax(1).cpu()
        return which.clamp(max=1), which == 2
