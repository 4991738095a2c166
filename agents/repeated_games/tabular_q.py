"""Tabular Q-learning (Watkins 1989) of a repeated game: state is the round, what was played in the last three, and the game's payoffs.

The opponent is hidden, so states of three rounds hide something and the learned values are those of the behaviour that got there; exploration
therefore dies out. A table knows the games it was trained on, by their payoffs from the player's view, and no others.

Training plays many matches at once. After each batch the rounds are updated from the last to the first, so a batch carries what it saw at the
end back to the beginning. A value moves to the mean of its targets, past batches weighing less and less. Update u draws from its own stream of
(seed, u): an interrupted run goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.repeated_games.trained import checkpoint_folder
from arena.agent import Agent, Brief, Observation
from arena.digest import digest
from arena.errors import ArenaError
from arena.learning.checkpoints import load_checkpoint, save_checkpoint
from arena.learning.resuming import Line, progress, write_log
from arena.task import TaskView
from domains.repeated_games.equilibria import seen_from
from domains.repeated_games.kernel import MEMORY, Matches, RepeatedGame

CODES = 4**MEMORY
POOL = 8192  # training matches, drawn once
LEAST, PER_GAME = 1000, 100  # matches of an update: at least, and for each game
UPDATES, EVERY = 200, 25  # of a run unless said otherwise; between checkpoints
EXPLORING = 0.8  # of the updates; the share of random actions falls from 1 to 0 over them
KEEP = 0.9  # weight of what was seen before, from one update to the next
SPEC: dict[str, Any] = {
    "agent": "tabular-q",
    "version": 1,
    "mode": "history",
    "state": f"game by payoffs, round, 2 * own + other's action of the last {MEMORY} rounds (latest first, base 4)",
}


def memory(own: Tensor, other: Tensor, t: int) -> Tensor:
    """[B] int64 code of the last rounds before round t; own, other: [B, T] actions. Rounds that were not played count as 0: t tells them."""
    code = torch.zeros(len(own), dtype=torch.int64, device=own.device)
    for back in range(min(MEMORY, t)):
        code = 4 * code + 2 * own[:, t - 1 - back].long() + other[:, t - 1 - back].long()
    return code


@dataclass(frozen=True)
class Table:
    """games: [G, 8] float64, payoffs from the player's view; values: [T, G * CODES, 2] float32, points still to come by action"""

    games: Tensor
    values: Tensor

    def places(self, payoffs: Tensor) -> Tensor:
        """[B] number of the game of each row [B, 2, 2, 2]. Raises ArenaError `agent.incompatible` for one that was not learned."""
        same = (payoffs.flatten(1)[:, None] == self.games).all(-1)
        if not bool(same.any(1).all()):
            game = payoffs[int((~same.any(1)).nonzero()[0])].tolist()
            raise ArenaError("agent.incompatible", f"tabular-q has not learned the game {game}", "train it on this task")
        return same.int().argmax(1)

    def cells(self, places: Tensor, obs: Observation, t: int) -> Tensor:
        """[B] row of `values[t]`."""
        cell: Tensor = places * CODES + memory(obs["own"], obs["other"], t)
        return cell


class TabularQ(Agent):
    """Plays the better action of a learned table.

    checkpoint: a folder that `train` wrote, or one that holds several as seed-0, seed-1, ...; by default the one shipped for the task
    """

    nature = "learned"
    mode = "history"

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def check(self, task: TaskView) -> None:
        """Raises ArenaError where there is no table, or one of matches of another length."""
        self._table(task, 0)

    def begin(self, brief: Brief) -> None:
        table = self._table(brief.task, brief.seed)
        self.table, self.step = Table(table.games.to(brief.device), table.values.to(brief.device)), -1

    def act(self, obs: Observation) -> Tensor:
        self.step += 1
        if self.step == 0:
            self.places = self.table.places(obs["payoffs"])
        worth = self.table.values[self.step][self.table.cells(self.places, obs, self.step)]
        return worth.argmax(1)

    def _table(self, task: TaskView, seed: int) -> Table:
        table = load_table(checkpoint_folder("tabular-q", self.checkpoint, task.id, seed))
        rounds = len(table.values)
        if rounds != task.domain.horizon:
            found = f"this table is for {rounds} rounds, {task.id} has {task.domain.horizon}"
            raise ArenaError("agent.incompatible", found, "train it on this task")
        return table

    def train(self, task: TaskView, *, seed: int, folder: Path, log: Callable[[Line], None], budget: int | None = None) -> None:
        """Learn for `budget` updates (default 200), or go on where an interrupted run of the same seed and budget left off in `folder`.

        Raises ArenaError `train.task` for anything but a repeated game against opponents, `train.folder` where the folder holds another run.
        """
        if not isinstance(task.domain, RepeatedGame):
            raise ArenaError("train.task", f"tabular-q does not learn on {task.id}", "train it on a repeated game against strategies")
        updates = budget or UPDATES
        run = {"task": task.id, "task_config": digest(dict(task.config)), "seed": seed, "updates": updates, "pool": POOL}
        done, seconds, lines = progress(folder, SPEC, run, "update")
        if done >= updates:
            return
        began = perf_counter() - seconds
        learner = Learner(task.domain, _drawn(task, seed))
        if done:
            learner.load(folder)
        for update in range(done, updates):
            exploring = max(0.0, 1 - update / (EXPLORING * updates))
            points = learner.update(exploring, torch.Generator().manual_seed(int(np.random.SeedSequence((seed, update)).generate_state(1)[0])))
            matches = (update + 1) * learner.batch
            line = {
                "update": update + 1, "seconds": round(perf_counter() - began, 2), "matches": matches, "exploring": exploring, "points": points,
            }  # fmt: skip
            lines.append(line)
            finished = update + 1 == updates
            if finished or (update + 1) % EVERY == 0:
                write_log(folder, lines)
                shape = {"rounds": task.domain.horizon, "games": len(learner.table.games)}
                config = {"spec": SPEC, "run": run, "shape": shape, "done": update + 1, "seconds": line["seconds"]}
                save_checkpoint(folder, config, learner.parts(finished))
            log(line)


class Learner:
    """A table and how much each of its values has seen."""

    def __init__(self, domain: RepeatedGame, pool: Matches) -> None:
        seen = seen_from(pool.payoffs, pool.seat).flatten(1)
        games, self.places = torch.unique(seen, dim=0, return_inverse=True)
        self.domain, self.pool, self.batch = domain, pool, max(LEAST, PER_GAME * len(games))
        self.table = Table(games, torch.zeros(domain.horizon, len(games) * CODES, 2))
        self.visits = torch.zeros_like(self.table.values)

    def update(self, exploring: float, generator: torch.Generator) -> float:
        """Play a batch, a share `exploring` of its actions at random, and learn from it; mean points of a match."""
        domain, table, rounds = self.domain, self.table, self.domain.horizon
        rows = torch.randint(len(self.places), (self.batch,), generator=generator)
        luck, drawn = torch.rand(rounds, self.batch, generator=generator), torch.randint(2, (rounds, self.batch), generator=generator)
        scenario, places = self.pool[rows], self.places[rows]
        state, seen = domain.reset(scenario), []
        for t in range(rounds):
            cells = table.cells(places, domain.observe(scenario, state), t)
            action = torch.where(luck[t] < exploring, drawn[t], table.values[t][cells].argmax(1))
            state, outcome = domain.step(scenario, state, action)
            assert isinstance(outcome.reward, Tensor)
            seen.append((cells, action, outcome.reward[:, 0]))
        later = torch.zeros(self.batch, dtype=torch.float64)
        for t in reversed(range(rounds)):
            cells, action, reward = seen[t]
            self._learn(t, 2 * cells + action, reward + later)
            later = table.values[t][cells].amax(1).double()
        return float(state.totals[:, 0].mean())

    def _learn(self, t: int, entry: Tensor, target: Tensor) -> None:
        """Move the values of round t towards targets [B]."""
        value, visits = self.table.values[t].view(-1), self.visits[t].view(-1)
        count = torch.bincount(entry, minlength=len(value))
        total = torch.bincount(entry, target, minlength=len(value))
        visits.mul_(KEEP).add_(count)
        value += torch.where(count > 0, (total - count * value) / visits.clamp(min=1), 0.0).float()

    def parts(self, finished: bool) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds; visits only while learning goes on."""
        table = {"games": self.table.games, "values": self.table.values}
        return {"table": table} if finished else {"table": table, "learning": {"visits": self.visits}}

    def load(self, folder: Path) -> None:
        """Take up what an unfinished run saved."""
        shape = tuple(self.visits.shape)
        shapes = {"table": {"games": tuple(self.table.games.shape), "values": shape}, "learning": {"visits": shape}}
        parts = load_checkpoint(folder, SPEC, shapes).parts
        self.table, self.visits = Table(parts["table"]["games"], parts["table"]["values"]), parts["learning"]["visits"]


def load_table(folder: Path) -> Table:
    """The table in `folder`. Raises ArenaError `checkpoint.*`."""
    shape = load_checkpoint(folder, SPEC, {}).config.get("shape", {})
    games, rounds = int(shape.get("games", 0)), int(shape.get("rounds", 0))
    part = load_checkpoint(folder, SPEC, {"table": {"games": (games, 8), "values": (rounds, games * CODES, 2)}}).parts["table"]
    return Table(part["games"], part["values"])


def _drawn(task: TaskView, seed: int) -> Matches:
    """The training matches of a seed."""
    pool = task.sample("train", range(seed * POOL, (seed + 1) * POOL))
    assert isinstance(pool, Matches)
    return pool
