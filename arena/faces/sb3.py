"""The Stable-Baselines3 face: a `VecEnv` directly on the batch, no loop over environments.

It shows what the Gymnasium face shows. The reward is the task's scalar; the vector stands in `info["reward_vector"]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from arena.faces.episodes import Episodes, as_task, shown, shown_space, vector_space
from arena.faces.feed import Flags
from arena.faces.gymnasium import KEYS, chosen_scenarios
from arena.task import Task

Indices = int | Iterable[int] | None


class ArenaVecEnv(VecEnv):
    """`num_envs` scenarios of a task in one kernel call; a row that has ended starts its next scenario within the same step.

    Its last observation is `info["terminal_observation"]`, its figures are `info["metrics"]`. `info["TimeLimit.truncated"]` says whether a
    learner may bootstrap from it (see `arena.faces.episodes`). `seed(s)` before `reset()` gives row i the scenarios of seed s + i;
    `set_options` takes `{"index": i, "split": ...}` for every row. Wrap in SB3's `VecMonitor` for episode returns in the training log.
    """

    def __init__(self, task: Task | str, num_envs: int, role: str | None = None, mode: str | None = None, split: str = "train") -> None:
        self.task, self.split = as_task(task), split
        self._play = Episodes(self.task, num_envs, role, mode, split)
        self.mode = self._play.mode.name
        self.spec: None = None
        self.render_mode: str | None = None
        self._started = False
        self._actions: Any = None
        super().__init__(num_envs, shown_space(self._play.mode), vector_space(self._play.mode.action_space))

    def reset(self) -> Any:
        keys: list[int | None] = list(self._seeds)
        if not self._started:
            drawn = np.random.default_rng().integers(KEYS, size=self.num_envs).tolist()
            keys = [new if key is None else key for key, new in zip(keys, drawn, strict=True)]
        self._play.feed.seed(keys)
        self._started = True
        chosen = [chosen_scenarios(options, self.split) for options in self._options]
        self._reset_seeds()
        self._reset_options()
        if all(index is None for _, index in chosen):
            self._play.restart(np.ones(self.num_envs, np.bool_))
        elif any(index is None for _, index in chosen) or len({split for split, _ in chosen}) > 1:
            raise ValueError("options must name a scenario for every row, all of one split")
        else:
            self._play.play(chosen[0][0], [int(index) for _, index in chosen])
        self.reset_infos = self._started_infos(range(self.num_envs))
        return self._shown()

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], Flags, list[dict[str, Any]]]:
        play = self._play
        turn = play.decide(play.legal(np.asarray(self._actions), (self.num_envs,)))
        play.look()
        done = turn.terminated | turn.truncated
        both = zip(turn.reward.copy(), turn.truncated.tolist(), strict=True)
        infos: list[dict[str, Any]] = [{"reward_vector": vector, "TimeLimit.truncated": truncated} for vector, truncated in both]
        if turn.cost.shape[1]:
            for info, cost in zip(infos, turn.cost.copy(), strict=True):
                info["cost"] = cost
        if done.any():
            ended = np.flatnonzero(done).tolist()
            last, metrics = self._shown(), play.metrics()
            for row in ended:
                infos[row]["terminal_observation"] = {name: value[row] for name, value in last.items()} if isinstance(last, dict) else last[row]
                infos[row]["metrics"] = {name: float(value[row]) for name, value in metrics.items()}
            play.restart(done)
            for row, info in zip(ended, self._started_infos(ended), strict=True):
                self.reset_infos[row] = info
        return self._shown(), (turn.reward @ play.weights).astype(np.float32), done, infos

    def action_masks(self) -> NDArray[np.bool_]:
        """[num_envs, n] bool, the actions that are legal now."""
        return self._play.masks()

    def close(self) -> None:
        """Nothing to release."""

    # ---- rows as if they were environments --------------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """The attribute, once per row: all rows share this object's."""
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set for all rows. Raises ValueError for some rows only: they share their attributes."""
        if indices is not None and set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise ValueError(f"{attr_name!r} cannot be set for rows {list(self._get_indices(indices))} alone: all rows are one batch")
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any) -> list[Any]:
        """`action_masks` row by row. Raises AttributeError for anything else: the rows are no objects of their own."""
        if method_name != "action_masks":
            raise AttributeError(f"rows of one batch have no method {method_name!r}; they have action_masks")
        masks = self.action_masks()
        return [masks[row] for row in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Indices = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[None]:
        return [None] * self.num_envs

    def _started_infos(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        return [{"scenario": int(self._play.index[row])} for row in rows]

    def _shown(self) -> Any:
        return shown(self._play.mode, self._play.seen)
