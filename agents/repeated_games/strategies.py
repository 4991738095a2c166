"""The strategies as agents: the same automata that the tasks' opponents are, walked by what the observation shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from arena.agent import Agent, Brief
from arena.errors import ArenaError, unknown
from arena.task import TaskView
from domains.repeated_games.automata import Library, Table
from domains.repeated_games.games import PD_8
from domains.repeated_games.opponents import RULES, View, allowed, table, views


class Strategist(Agent):
    """Plays a strategy by its name; `parameters` are those of its rule (chi of zd-extort-2, vector of memory-one).

    Raises ArenaError `unknown.strategy`, `agent.parameters`; before a run, what the rule says of parameters that the game does not allow.
    """

    nature = "classical"
    mode = "history"

    def __init__(self, strategy: str, **parameters: Any) -> None:
        if strategy not in RULES:
            raise unknown("strategy", strategy, RULES)
        self.strategy, self.parameters = strategy, allowed(strategy, parameters)
        self.known: dict[tuple[View, int], Table] = {}  # automata of the games met so far

    def check(self, task: TaskView) -> None:
        """Raises what the rule says in the task's first game: rules that take parameters look at no game, or play tasks that have only one."""
        if not self.parameters:
            return
        try:
            payoffs = task.sample("train", [0]).payoffs[0]  # type: ignore[attr-defined]
        except ArenaError:  # recorded matches have nothing to train on
            payoffs = PD_8
        table(self.strategy, views(payoffs[None])[0], 1, **self.parameters)

    def begin(self, brief: Brief) -> None:
        self.brief, self.step = brief, -1
        self.state = brief.scenario.new_empty(0)

    def act(self, obs: Mapping[str, Tensor]) -> Tensor:
        self.step += 1
        if self.step == 0:
            self._meet(obs)
        else:
            last = self.step - 1
            code = 2 * obs["own"][:, last].long() + obs["other"][:, last]
            self.state = self.after[4 * self.state + code].long()
        chance = self.play[self.state]
        if self.sure:
            return 1 - chance.long()
        return (self.brief.uniforms(self.step, 1)[:, 0] >= chance).long()

    def _meet(self, obs: Mapping[str, Tensor]) -> None:
        """The automata of the games at hand, one each, and the state before the first action."""
        if not bool((obs["rounds"] == obs["own"].shape[1]).all()):
            raise ArenaError("agent.incompatible", f"{self.strategy} is not told how many rounds there are", "choose a task whose end is known")
        games, place = torch.unique(obs["payoffs"].flatten(1), dim=0, return_inverse=True)
        rounds = obs["own"].shape[1]
        seen = views(games.view(-1, 2, 2, 2))
        for view in seen:
            if (view, rounds) not in self.known:
                self.known[view, rounds] = table(self.strategy, view, rounds, **self.parameters)
        tables = [self.known[view, rounds] for view in seen]
        library = Library.of([self.strategy] * len(tables), tables).to(place.device)
        self.play, self.after, self.state = library.play, library.after, library.start[place]
        self.sure = all(one.sure for one in tables)
