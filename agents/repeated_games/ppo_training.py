"""Training of `ppo`: Stable-Baselines3's PPO on the batch of its face, one rollout of whole matches per update.

What keeps it from the nearest local optimum (always defect) is a bonus on entropy that begins large and dies out: while actions are still mixed, the
network learns what tells a reciprocating opponent from others. Update u is seeded by (seed, u) alone and begins with fresh matches: an interrupted
run goes on bit for bit. Nothing is pickled: weights and moments are safetensors, in the form of a converted model.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnvWrapper
from torch import Tensor

from arena.adapters.sb3 import SPEC
from arena.adapters.space_documents import space_document
from arena.digest import digest
from arena.errors import ArenaError
from arena.faces.sb3 import ArenaVecEnv
from arena.learning.checkpoints import load_checkpoint, save_checkpoint
from arena.learning.resuming import Line, moment_shapes, moments, progress, restore_moments, write_log
from arena.task import TaskView
from domains.repeated_games.kernel import Matches, RepeatedGame

MATCHES = 1000  # of an update
UPDATES, EVERY = 40, 5  # of a run unless said otherwise; between checkpoints
HIDDEN = [64, 64]
RATE, ENTROPY = 2e-3, 0.5  # at the beginning; both fall to 0 in proportion to the updates left
GREATEST = 2.0  # no match is worth more to the critic: points are divided so
SEEDS = 2**31


class Points(VecEnvWrapper):
    """Rewards times a factor."""

    def __init__(self, venv: ArenaVecEnv, factor: float) -> None:
        super().__init__(venv)
        self.factor = factor

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        seen, reward, done, infos = self.venv.step_wait()
        return seen, reward * self.factor, done, infos


def train(task: TaskView, *, seed: int, updates: int | None, folder: Path, log: Callable[[Line], None]) -> None:
    """Write a checkpoint folder (config.json, *.safetensors, training.jsonl); go on where `folder` holds an unfinished run of the same kind.

    Raises ArenaError `train.task` for anything but a repeated game against opponents, `train.folder` where the folder holds another run.
    """
    if not isinstance(task.domain, RepeatedGame):
        raise ArenaError("train.task", f"ppo does not learn on {task.id}", "train it on a repeated game against strategies")
    rounds, updates = task.domain.horizon, updates or UPDATES
    run = {"task": task.id, "task_config": digest(dict(task.config)), "seed": seed, "updates": updates, "matches": MATCHES}
    done, seconds, lines = progress(folder, SPEC, run, "update")
    if done >= updates:
        return
    began, left = perf_counter() - seconds, 1.0
    face = ArenaVecEnv(task.reference, MATCHES, mode="features")  # of the split `train`
    env = Points(face, GREATEST / (rounds * _largest_payoff(task)))
    model = PPO(
        "MlpPolicy", env, learning_rate=lambda _: RATE * left, n_steps=rounds, batch_size=MATCHES * rounds // 4, n_epochs=10, gamma=1.0,
        gae_lambda=0.95, policy_kwargs={"net_arch": HIDDEN}, seed=seed, device="cpu",
    )  # fmt: skip
    if done:
        _resume(folder, model)
    for update in range(done, updates):
        left = 1 - update / updates
        model.ent_coef = ENTROPY * left
        drawn = np.random.SeedSequence((seed, update)).generate_state(2)
        env.seed(int(drawn[0]) % (SEEDS - MATCHES))
        set_random_seed(int(drawn[1]) % SEEDS)
        model.learn(MATCHES * rounds)  # begins with a reset
        told = model.logger.name_to_value
        line = {
            "update": update + 1,
            "seconds": round(perf_counter() - began, 2),
            "matches": (update + 1) * MATCHES,
            "points": float(model.rollout_buffer.rewards.sum(0).mean()) / env.factor,
            "entropy": -float(told["train/entropy_loss"]),
            "value_loss": float(told["train/value_loss"]),
        }
        lines.append(line)
        finished = update + 1 == updates
        if finished or (update + 1) % EVERY == 0:
            write_log(folder, lines)
            _save(folder, {"run": run, "done": update + 1, "seconds": line["seconds"]}, model, finished)
        log(line)


def _largest_payoff(task: TaskView) -> float:
    drawn = task.sample("train", range(MATCHES))
    assert isinstance(drawn, Matches)
    return float(drawn.payoffs.abs().max())


def _save(folder: Path, told: dict[str, Any], model: PPO, finished: bool) -> None:
    """The form of a converted model, and what it takes to go on where the run is not finished."""
    policy = model.policy
    layers = [policy.mlp_extractor.policy_net[0], policy.mlp_extractor.policy_net[2], policy.action_net]
    network = {
        "algorithm": "PPO", "observation": space_document(model.observation_space), "action": space_document(model.action_space),
        "hidden": HIDDEN, "activation": "Tanh", "limit": None, "squash": False, "normalizer": None,
    }  # fmt: skip
    actor = {f"{i}.{name}": getattr(layer, name) for i, layer in enumerate(layers) for name in ("weight", "bias")}
    parts: dict[str, dict[str, Tensor]] = {"policy": actor}
    if not finished:
        parts |= {"learner": policy.state_dict(), "optimizer": moments(policy.optimizer)}
    source = {"stable_baselines3": version("stable-baselines3")}
    save_checkpoint(folder, {"spec": SPEC, "network": network, "source": source, **told}, parts)


def _resume(folder: Path, model: PPO) -> None:
    policy = model.policy
    shapes = {name: tuple(tensor.shape) for name, tensor in policy.state_dict().items()}
    found = load_checkpoint(folder, SPEC, {"learner": shapes, "optimizer": moment_shapes(policy.parameters())})
    policy.load_state_dict(found.parts["learner"])
    restore_moments(policy.optimizer, found.parts["optimizer"])
