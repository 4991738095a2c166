"""Gymnasium faces: `ArenaEnv` plays one scenario at a time, `ArenaVectorEnv` a batch of them in one kernel call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from arena.faces.episodes import Episodes, Turn, as_task, shown, shown_space, vector_space
from arena.faces.feed import Flags
from arena.task import Task

KEYS = 2**31  # keys drawn where no seed was given


class ArenaEnv(gymnasium.Env[Any, Any]):
    """One scenario of a task at a time.

    task: a task or its id; role, mode: who plays and how, by default the first role in the kernel's own mode
    split: "train", "val" or "test"; index: play this scenario in every episode
    seed: used by a first `reset` that has none

    `reset(seed=s)` starts the sequence of scenarios that belongs to s, `reset()` goes on in it, `reset(options={"index": i, "split": "test"})`
    plays that scenario. `info` holds `scenario` after a reset, `reward_vector` (and `cost`) after a step and `metrics` at the end.
    Raises ValueError for an illegal action; nothing has happened then.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        task: Task | str,
        role: str | None = None,
        mode: str | None = None,
        split: str = "train",
        index: int | None = None,
        seed: int | None = None,
        render_mode: None = None,
    ) -> None:
        self.task, self.split, self.scenario, self.render_mode = as_task(task), split, index, render_mode
        self._play = Episodes(self.task, 1, role, mode, split)
        self._seed, self._started, self._over = seed, False, True
        self.mode = self._play.mode.name
        self.observation_space = shown_space(self._play.mode)
        self.action_space = vector_space(self._play.mode.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is None and not self._started:
            seed = self._seed
        super().reset(seed=seed)
        if seed is not None or not self._started:
            self._play.feed.seed([int(self.np_random.integers(KEYS)) if seed is None else seed])
        self._started = True
        split, index = chosen_scenarios(options, self.split)
        if index is None and self.scenario is not None:
            index = self.scenario
        if index is None:
            self._play.restart(_ALL)
        else:
            self._play.play(split, [int(index)])
        self._over = False
        return shown(self._play.mode, self._play.seen, 0), {"scenario": int(self._play.index[0])}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        play = self._play
        if self._over:
            raise ResetNeeded("the episode is over; call reset() before the next step()")
        tensor = play.legal(np.asarray(action)[None], (1,))
        turn = play.decide(tensor)
        play.look()
        info: dict[str, Any] = {"reward_vector": turn.reward[0].copy()}
        if turn.cost.shape[1]:
            info["cost"] = turn.cost[0].copy()
        terminated, truncated = bool(turn.terminated[0]), bool(turn.truncated[0])
        if terminated or truncated:
            self._over = True
            info["metrics"] = {name: float(value[0]) for name, value in play.metrics().items()}
        return shown(play.mode, play.seen, 0), float(turn.reward[0] @ play.weights), terminated, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """[n] bool, the actions that are legal now (what sb3-contrib's MaskablePPO asks for)."""
        found: NDArray[np.bool_] = self._play.masks()[0]
        return found


class ArenaVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """`num_envs` scenarios of a task in one kernel call.

    A row that has ended shows its last observation; the next step ignores its action, rewards it with 0 and shows the first observation of
    its next scenario (`AutoresetMode.NEXT_STEP`). Row i of `reset(seed=s)` plays what `ArenaEnv` plays with seed s + i; a sequence of seeds
    is taken as it is (None: go on). `options`: `{"index": [...], "split": ...}` plays these scenarios first; `{"reset_mask": [B] bool}`
    resets these rows only.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self, task: Task | str, num_envs: int = 1, role: str | None = None, mode: str | None = None, split: str = "train", render_mode: None = None
    ) -> None:
        self.task, self.split, self.num_envs, self.render_mode = as_task(task), split, num_envs, render_mode
        self._play = Episodes(self.task, num_envs, role, mode, split)
        self._started = False
        self._over: Flags = np.ones(num_envs, np.bool_)
        self.mode = self._play.mode.name
        self.single_observation_space = shown_space(self._play.mode)
        self.single_action_space = vector_space(self._play.mode.action_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        keys = None if seed is None or isinstance(seed, int) else list(seed)
        if keys is not None and len(keys) != self.num_envs:
            raise ValueError(f"{len(keys)} seeds for {self.num_envs} environments")
        super().reset(seed=seed if isinstance(seed, int) else None)
        if isinstance(seed, int):
            keys = [seed + row for row in range(self.num_envs)]
        if not self._started:
            drawn = self.np_random.integers(KEYS, size=self.num_envs).tolist()
            keys = [new if key is None else key for key, new in zip(keys or [None] * self.num_envs, drawn, strict=True)]
        self._play.feed.seed(keys or ())
        self._started = True
        rows = _mask(options, self.num_envs)
        split, index = chosen_scenarios(options, self.split)
        if index is None:
            self._play.restart(rows)
        elif rows.all():
            self._play.play(split, [int(i) for i in index])
        else:
            raise ValueError("give either reset_mask or index: scenarios named by index are played by all rows")
        self._over = self._over & ~rows
        return shown(self._play.mode, self._play.seen), self._started_info(rows)

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        play, over = self._play, self._over
        if not self._started:
            raise ResetNeeded("call reset() before the first step()")
        if over.all():
            play.restart(over)
            ended: Flags = np.zeros(self.num_envs, np.bool_)
            self._over = ended
            return shown(play.mode, play.seen), np.zeros(self.num_envs), ended.copy(), ended.copy(), self._started_info(over)
        waiting = bool(over.any())
        turn = play.decide(play.legal(np.asarray(actions), (self.num_envs,), over), ~over if waiting else None)
        infos = self._infos(turn, over)
        if waiting:
            play.restart(over)
            infos |= self._started_info(over)
        else:
            play.look()
        self._over = turn.terminated | turn.truncated
        return shown(play.mode, play.seen), turn.reward @ play.weights, turn.terminated.copy(), turn.truncated.copy(), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """[num_envs, n] bool, the actions that are legal now."""
        return self._play.masks()

    def _started_info(self, rows: Flags) -> dict[str, Any]:
        return {"scenario": np.where(rows, self._play.index, 0), "_scenario": rows.copy()}

    def _infos(self, turn: Turn, over: Flags) -> dict[str, Any]:
        """Gymnasium's form: for each key an array over the rows, and under `_key` which rows it concerns."""
        infos: dict[str, Any] = {"reward_vector": turn.reward.copy(), "_reward_vector": ~over}
        if turn.cost.shape[1]:
            infos |= {"cost": turn.cost.copy(), "_cost": ~over}
        ended = turn.terminated | turn.truncated
        if ended.any():
            metrics: dict[str, Any] = {}
            for name, value in self._play.metrics().items():
                metrics |= {name: np.where(ended, value, 0.0), f"_{name}": ended.copy()}
            infos |= {"metrics": metrics, "_metrics": ended}
        return infos


_ALL: Flags = np.ones(1, np.bool_)


def chosen_scenarios(options: Mapping[str, Any] | None, split: str) -> tuple[str, Any]:
    """Split and index (or None) asked for by `options`; other keys are for wrappers. Raises ValueError for a split without an index."""
    given = options or {}
    if "split" in given and "index" not in given:
        raise ValueError(f"options name the split {given['split']!r} but no scenario; add its index, or make the environment with this split")
    return given.get("split", split), given.get("index")


def _mask(options: Mapping[str, Any] | None, rows: int) -> Flags:
    mask: Flags = np.asarray((options or {}).get("reset_mask", np.ones(rows, np.bool_)))
    if mask.shape != (rows,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(f"reset_mask must be {rows} booleans, at least one of them True; got {mask!r}")
    return mask
