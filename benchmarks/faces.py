"""What the faces cost: kernel steps per CPU second of bidding (1000 auctions) bare and through every face.

    python -m benchmarks.faces

Rates of the faces include drawing and starting the next scenarios. In the slot mode one decision is 20 kernel steps. One
thread and CPU time, so that other work on the machine disturbs little.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import numpy as np
import torch

from arena import registry
from arena.faces.gymnasium import ArenaEnv, ArenaVectorEnv
from arena.faces.pettingzoo import ArenaParallelEnv
from arena.faces.sb3 import ArenaVecEnv

TASK, BATCH, SLOT = "bidding/standard-v1", 1024, 20


def rate(step: Callable[[], object], seconds: float) -> float:
    """Calls of `step` per CPU second, the best of three spells after a first that is not counted."""
    best = 0.0
    for spell in range(4):
        calls, start = 0, process_time()
        while (elapsed := process_time() - start) < seconds / 4:
            step()
            calls += 1
        best = max(best, calls / elapsed if spell else 0.0)
    return best


def figures(seconds: float = 4.0) -> dict[str, tuple[float, float]]:
    """name -> (decisions, kernel steps) per CPU second, counted over all rows; episodes end and restart as they would in training."""
    found = {}
    for rows in (1, BATCH):
        played = rate(_bare(rows), seconds) * rows
        found[f"kernel, {rows} scenarios"] = played, played
    task = registry.task(TASK)
    drawn = rate(lambda: task.sample("train", range(BATCH)), seconds) * BATCH
    found[f"drawing {BATCH} scenarios"] = drawn, drawn * task.domain.horizon
    for mode, action, steps in (("impression", 40, 1), ("slot", np.float32(-1.0), SLOT)):
        played = rate(_single(ArenaEnv(TASK, mode=mode), action), seconds)
        found[f"ArenaEnv, {mode}"] = played, played * steps
        played = rate(_parallel(ArenaParallelEnv(TASK, {"bidder": mode}), action), seconds)
        found[f"ArenaParallelEnv, {mode}"] = played, played * steps
        many = np.full(BATCH, action)
        vector = ArenaVectorEnv(TASK, BATCH, mode=mode)
        vector.reset(seed=0)
        played = rate(lambda v=vector, a=many: v.step(a), seconds) * BATCH  # type: ignore[misc]
        found[f"ArenaVectorEnv {BATCH}, {mode}"] = played, played * steps
        stable = ArenaVecEnv(TASK, BATCH, mode=mode)
        stable.reset()
        played = rate(lambda v=stable, a=many: v.step(a), seconds) * BATCH  # type: ignore[misc]
        found[f"ArenaVecEnv (SB3) {BATCH}, {mode}"] = played, played * steps
    return found


def _bare(rows: int) -> Callable[[], object]:
    """One kernel step and its observation, from scenario to scenario."""
    task = registry.task(TASK)
    domain, scenario = task.domain, task.sample("train", range(rows))
    bid = torch.full((rows,), 40)
    state = domain.reset(scenario)

    def step() -> None:
        nonlocal state
        if state.t == domain.horizon:
            state = domain.reset(scenario)
        domain.observe(scenario, state)
        state, _ = domain.step(scenario, state, bid)

    return step


def _single(env: ArenaEnv, action: object) -> Callable[[], object]:
    env.reset(seed=0)

    def step() -> None:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()

    return step


def _parallel(env: ArenaParallelEnv, action: object) -> Callable[[], object]:
    env.reset(seed=0)

    def step() -> None:
        env.step({"bidder_0": action})
        if not env.agents:
            env.reset()

    return step


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, (decisions, steps) in figures().items():
        print(f"{name:34s} {decisions:12,.0f} decisions/s {steps:12,.0f} kernel steps/s")
