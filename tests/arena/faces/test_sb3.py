"""The Stable-Baselines3 face: SB3's checker, its own loop over environments as the oracle, and learning."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecMonitor, VecNormalize

from arena import registry
from arena.faces.episodes import vector_space
from arena.faces.gymnasium import ArenaEnv, ArenaVectorEnv
from arena.faces.sb3 import ArenaVecEnv

TASKS = sorted(set(registry.tasks()) - {"repeated_games/crossplay-v1"})  # two roles: the parallel face alone has room for both
# x in [-4, 4] is the task's definition of the action; tables of nodes are flattened by SB3 itself; a bimatrix is no image
HARMLESS = ("symmetric and normalized Box", "unconventional shape", "payoffs is an image", "minimal resolution for an image")


@pytest.mark.parametrize("task_id", TASKS)
def test_sb3_accepts_every_task_in_every_mode(task_id, known, offer_legal):
    task = known
    for mode in task.domain.roles[0].modes:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            check_env(offer_legal(ArenaEnv(task, mode=mode.name)))
            if mode.name == "slot":  # nothing in its observation is a scalar, which SB3's checker cannot take
                check_env(offer_legal(ArenaEnv(task, mode=mode.name)))
        assert not [str(w.message) for w in heard if not any(words in str(w.message) for words in HARMLESS)]
        env = VecCheckNan(ArenaVecEnv(task, 2, mode=mode.name), raise_exception=True)
        seen = env.reset()
        for name, value in seen.items() if isinstance(seen, dict) else [(None, seen)]:
            space = env.observation_space[name] if name else env.observation_space
            assert value.shape == (2, *space.shape) and value.dtype == space.dtype and len(space.shape) >= 1
        masks = env.env_method("action_masks") if "action_mask" in seen else [None, None]
        env.step(np.stack([env.action_space.sample(None if mask is None else mask.astype(np.int8)) for mask in masks]))


WORLDS = [("ladder", "rung"), ("ladder", "double"), ("bidding/tiny-v1", "impression"), ("bidding/tiny-v1", "slot")]


@pytest.mark.parametrize(("world", "mode"), WORLDS)
def test_the_batch_does_what_a_loop_over_environments_does(world, mode, request):
    task = registry.task(world) if "/" in world else request.getfixturevalue(world)
    rows, steps = 6, 230 if mode == "impression" else 45
    batch = ArenaVecEnv(task, rows, mode=mode)
    loop = DummyVecEnv([lambda: ArenaEnv(task, mode=mode)] * rows)
    assert batch.seed(31) == loop.seed(31)

    def plain(seen):
        """What the loop shows, with scalars as vectors; and what the batch shows."""
        flat = {name: value.reshape(rows, -1) for name, value in seen.items()} if isinstance(seen, dict) else seen
        return dict(flat) if isinstance(flat, dict) else flat

    assert data_equivalence(batch.reset(), plain(loop.reset()), exact=True)
    assert batch.reset_infos == loop.reset_infos
    rng, ends = np.random.default_rng(0), 0
    for _ in range(steps):
        masks = np.stack(batch.env_method("action_masks")) if isinstance(batch.action_space, spaces.Discrete) else None
        if masks is None:
            actions = rng.uniform(-3, 1, (rows, 1)).astype(np.float32)
        else:
            actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
        seen, rewards, dones, infos = batch.step(actions)
        seen_by_loop, rewards_of_loop, dones_of_loop, infos_of_loop = loop.step(actions if masks is not None else actions[:, 0])
        assert data_equivalence(seen, plain(seen_by_loop), exact=True)
        assert data_equivalence((rewards, dones), (rewards_of_loop, dones_of_loop), exact=True)
        for info, other in zip(infos, infos_of_loop, strict=True):
            last, other_last = info.pop("terminal_observation", None), other.pop("terminal_observation", None)
            assert data_equivalence(info, other, exact=True)
            assert (last is None) == (other_last is None)
            for name, value in last.items() if isinstance(last, dict) else []:
                assert np.array_equal(value.reshape(-1), other_last[name].reshape(-1)), name
            if isinstance(last, np.ndarray):
                assert np.array_equal(last, other_last)
        assert batch.reset_infos == loop.reset_infos
        ends += int(dones.sum())
    assert ends >= 2 * rows


def test_only_episodes_cut_by_the_horizon_are_bootstrapped(ladder):
    env = ArenaVecEnv(ladder, 12, split="test")
    env.set_options([{"index": i, "split": "test"} for i in range(12)])
    env.reset()
    goals, seen = ladder.sample("test", range(12)).goal.tolist(), {}
    for _ in range(6):
        _, _, dones, infos = env.step(np.ones(12, np.int64))
        for row in np.flatnonzero(dones):
            seen.setdefault(row, infos[row]["TimeLimit.truncated"])
    assert [seen[row] for row in range(12)] == [goal > 6 for goal in goals]


def test_rows_answer_for_environments(ladder):
    env = ArenaVecEnv(ladder, 3)
    env.seed(0)
    env.reset()
    assert env.get_attr("mode") == ["rung"] * 3 and env.get_attr("task", indices=[0, 2]) == [ladder] * 2
    assert env.has_attr("action_masks") and not env.has_attr("no_such_thing")
    env.step(np.array([1, 0, 0]))
    assert [mask.tolist() for mask in env.env_method("action_masks", indices=[0, 1])] == [[True, True, False], [True, True, True]]
    with pytest.raises(ValueError, match="row 0"):
        env.step(np.array([2, 0, 0]))
    with pytest.raises(AttributeError, match="fly"):
        env.env_method("fly")
    env.set_attr("note", "kept")
    assert env.get_attr("note") == ["kept"] * 3
    with pytest.raises(ValueError, match="one batch"):
        env.set_attr("note", "lost", indices=0)
    assert env.env_is_wrapped(object, indices=1) == [False] and env.render_mode is None
    env.close()


def test_options_and_seeds_are_used_once():
    env = ArenaVecEnv("bidding/tiny-v1", 2, mode="slot")
    env.seed(3)
    env.reset()
    first = [info["scenario"] for info in env.reset_infos]
    assert first == [ArenaEnv("bidding/tiny-v1").reset(seed=seed)[1]["scenario"] for seed in (3, 4)]
    env.set_options({"index": 5})
    env.reset()
    assert [info["scenario"] for info in env.reset_infos] == [5, 5]
    env.reset()
    assert not {5, *first} & {info["scenario"] for info in env.reset_infos}
    env.set_options([{"index": 5}, {}])
    with pytest.raises(ValueError, match="every row"):
        env.reset()


def test_scalars_become_vectors():
    space = vector_space(spaces.Dict({"n": spaces.Box(0, 9, (), np.int64), "x": spaces.Box(-1, 1, (3,), np.float32), "k": spaces.Discrete(4)}))
    assert space == spaces.Dict({"n": spaces.Box(0, 9, (1,), np.int64), "x": spaces.Box(-1, 1, (3,), np.float32), "k": spaces.Discrete(4)})


@pytest.mark.parametrize("world", ["bidding/tiny-v1", "ladder"])
def test_ppo_runs_on_dictionaries(world, ladder):
    if world == "ladder":  # PPO knows no masks: let the mask inform only
        ladder.domain.roles = (replace(ladder.domain.roles[0], advisory=True),)
    env = VecMonitor(ArenaVecEnv(ladder if world == "ladder" else world, 4))
    model = PPO("MultiInputPolicy", env, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu")
    model.learn(512)
    assert model.num_timesteps == 512 and len(model.ep_info_buffer) >= 4
    mean, _ = evaluate_policy(model, env, n_eval_episodes=4)
    assert np.isfinite(mean)


def ratios(model, env, rows=200, decisions=20):
    """[rows] value won per bound by the mean action, on the first validation scenarios of seed 0."""
    play = ArenaVectorEnv("bidding/tiny-v1", rows, mode="slot", split="val")
    seen, _ = play.reset(seed=0)
    for _ in range(decisions):
        action, _ = model.predict(env.normalize_obs(seen), deterministic=True)
        seen, _, terminated, _, infos = play.step(action[:, 0])
    assert terminated.all()
    return infos["metrics"]["ratio"]


@pytest.mark.slow
def test_ppo_learns_to_pace_a_budget():
    """PPO against its untrained self on 200 held-out scenarios, paired: 60,000 decisions.

    With seeds 0 to 4 the gain is 0.08 to 0.11, six to nine standard errors.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        env = VecNormalize(ArenaVecEnv("bidding/tiny-v1", 64, mode="slot"), gamma=1.0)
        model = PPO(
            "MlpPolicy", env, n_steps=20, batch_size=320, n_epochs=8, gamma=1.0, learning_rate=7e-4, seed=0, device="cpu",
            policy_kwargs={"log_std_init": -0.7},
        )  # fmt: skip
        before = ratios(model, env)
        model.learn(60_000)
        gain = ratios(model, env) - before
    finally:
        torch.set_num_threads(threads)
    assert gain.mean() > 0.05, f"{before.mean():.3f} before, gain {gain.mean():.3f}"
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(len(gain))
