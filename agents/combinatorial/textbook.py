"""The textbook rules as agents: nearest neighbour, prize per distance, value per weight."""

from __future__ import annotations

from torch import Tensor

from arena.agent import Agent, Brief, Observation
from domains.combinatorial.references import greedy


class Textbook(Agent):
    """Plays the rule that is every task's 0 (domains/combinatorial/references.py); for kp every item that fits is packed."""

    nature = "classical"

    def begin(self, brief: Brief) -> None:
        self.problem = brief.task.domain.problem  # type: ignore[attr-defined]

    def act(self, obs: Observation) -> Tensor:
        return greedy(self.problem, obs)
