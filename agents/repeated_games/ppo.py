"""PPO (Schulman et al. 2017) by Stable-Baselines3 on the mode `features`; played without it, as every converted model (arena/adapters/sb3.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.repeated_games.trained import checkpoint_folder
from arena.adapters.sb3 import Sb3Agent, load
from arena.agent import Brief
from arena.learning.resuming import Line
from arena.task import TaskView


class Ppo(Sb3Agent):
    """Plays the likelier action of a network of two layers that sees the last three rounds, the time and the payoffs.

    checkpoint: a folder that `train` wrote, or one that holds several as seed-0, seed-1, ...; by default the one shipped for the task
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint, self.mode = checkpoint, "features"  # nothing to open before a task is known

    def check(self, task: TaskView) -> None:
        """Raises ArenaError where there are no weights, or of a network that observes something else."""
        self._open(task, 0)
        super().check(task)

    def begin(self, brief: Brief) -> None:
        self._open(brief.task, brief.seed)
        super().begin(brief)

    def _open(self, task: TaskView, seed: int) -> None:
        self.folder = checkpoint_folder("ppo", self.checkpoint, task.id, seed)
        self.policy = load(self.folder)

    def train(self, task: TaskView, *, seed: int, folder: Path, log: Callable[[Line], None], budget: int | None = None) -> None:
        """Learn for `budget` updates (default 40), or go on where an interrupted run of the same seed and budget left off; ppo_training.train."""
        from agents.repeated_games.ppo_training import train

        train(task, seed=seed, updates=budget, folder=folder, log=log)
