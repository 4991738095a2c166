"""The Gymnasium faces: the library's own checkers, the kernel played by hand, and the batch against single environments."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import arena.faces
from arena import registry
from arena.errors import ArenaError
from arena.faces.gymnasium import ArenaEnv, ArenaVectorEnv

TASKS = sorted(registry.tasks())
ONE_ROLE = [task for task in TASKS if task != "repeated_games/crossplay-v1"]  # two roles: the parallel face alone has room for both
# No faults: features are unbounded on purpose, x in [-4, 4] is the task's definition of the action, and a task of one campaign
# shows the index of that campaign.
HARMLESS = ("is -infinity", "is infinity", "symmetric and normalized", "maximum and minimum values are equal")


def legal_action(space, mask=None, rows=None, rng=None):
    """A random legal action, or one per row."""
    if rows is None:
        return space.sample(mask.astype(np.int8)) if mask is not None else space.sample()
    return np.stack([legal_action(space, None if mask is None else mask[row]) for row in range(rows)])


@pytest.mark.parametrize("task_id", ONE_ROLE)
def test_gymnasium_accepts_every_task_in_every_mode(task_id, known, offer_legal):
    task = known
    for mode in task.domain.roles[0].modes:
        env = gymnasium.make(arena.faces.gym_id(task_id), mode=mode.name, disable_env_checker=True).unwrapped
        offer_legal(env)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            check_env(env)
        assert not [str(w.message) for w in heard if not any(words in str(w.message) for words in HARMLESS)]


@pytest.mark.parametrize("task_id", ONE_ROLE)
def test_a_batch_of_every_task_plays_what_single_environments_play(task_id, known):
    task = known
    decisions = 2 if task.domain.horizon > 20_000 else 8
    for mode in task.domain.roles[0].modes:
        batch = gymnasium.make_vec(arena.faces.gym_id(task_id), num_envs=3, mode=mode.name)
        loop = SyncVectorEnv([lambda mode=mode: ArenaEnv(task, mode=mode.name)] * 3)
        compare(batch, loop, decisions)


def test_a_checker_accepts_rows_that_end_early(ladder):
    for mode in ("rung", "double"):
        env = ArenaEnv(ladder, mode=mode)
        env.action_space = gymnasium.spaces.Discrete(2)  # the checker knows no masks; 2 is the masked action
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_env(env, skip_render_check=True)


@pytest.mark.parametrize("mode", ["rung", "double"])
def test_rows_restart_one_by_one_like_single_environments(ladder, mode):
    batch = ArenaVectorEnv(ladder, 7, mode=mode)
    loop = SyncVectorEnv([lambda: ArenaEnv(ladder, mode=mode)] * 7)
    ends = compare(batch, loop, 60)
    assert len({step for step, row in ends}) > 10, "rows were meant to end at different steps"


def test_a_batch_restarts_all_rows_of_a_shared_clock():
    task = registry.task("bidding/tiny-v1")
    ends = compare(ArenaVectorEnv(task, 5, mode="slot"), SyncVectorEnv([lambda: ArenaEnv(task, mode="slot")] * 5), 50)
    assert sorted({step for step, _ in ends}) == [19, 40]


def compare(batch, loop, steps):
    """Play both with the same actions; everything they show must be equal. Returns (step, row) of every end."""
    assert batch.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert batch.single_observation_space == loop.single_observation_space and batch.observation_space == loop.observation_space
    assert batch.single_action_space == loop.single_action_space and batch.action_space == loop.action_space
    seen, infos = batch.reset(seed=11)
    seen_by_loop, infos_of_loop = loop.reset(seed=11)
    assert data_equivalence(seen, seen_by_loop, exact=True)
    assert data_equivalence(infos, infos_of_loop, exact=True)
    batch.single_action_space.seed(5)
    ends = []
    for step in range(steps):
        masks = batch.action_masks() if isinstance(batch.single_action_space, gymnasium.spaces.Discrete) else None
        actions = legal_action(batch.single_action_space, masks, batch.num_envs)
        one, other = batch.step(actions), loop.step(actions)
        for mine, theirs in zip(one[:4], other[:4], strict=True):
            assert data_equivalence(mine, theirs, exact=True), step
        assert data_equivalence(one[4], other[4], exact=True), step
        assert one[0] in batch.observation_space
        ends += [(step, row) for row in np.flatnonzero(one[2] | one[3])]
    return ends


@pytest.mark.parametrize("mode", ["impression", "slot"])
def test_an_episode_is_the_kernel_played_by_hand(mode):
    task = registry.task("bidding/tiny-v1")
    domain, chosen = task.domain, task.domain.roles[0].mode(mode)
    env = ArenaEnv(task, mode=mode)
    env.action_space.seed(2)
    observation, info = env.reset(options={"index": 9, "split": "test"})
    assert info == {"scenario": 9}
    scenario = task.sample("test", [9])
    state, over, total = domain.reset(scenario), False, 0.0
    while not over:
        expected = (chosen.observe or domain.observe)(scenario, state)
        shown = observation if isinstance(observation, dict) else {"features": observation}
        for name, value in shown.items():
            assert value.dtype == chosen.observation_space[name].dtype and value.shape == (chosen.observation_space[name].shape or (1,))
            assert np.array_equal(value, np.atleast_1d(expected[name][0].numpy()))
        action = env.action_space.sample()
        observation, reward, terminated, truncated, info = env.step(action)
        over, vector = terminated or truncated, np.zeros(4)
        for _ in range(chosen.steps):
            tensor = torch.as_tensor(action).reshape(1)
            state, outcome = domain.step(scenario, state, chosen.expand(scenario, state, tensor) if chosen.expand else tensor)
            vector += outcome.reward[0].numpy()
        assert np.array_equal(info["reward_vector"], vector) and reward == vector[0]
        total += reward
    assert terminated and not truncated, "the campaign is over, and n stood in the observation: nothing to bootstrap from"
    metrics = {name: float(value[0]) for name, value in domain.metrics(scenario, state).items()}
    assert info["metrics"] == metrics
    assert total == pytest.approx(metrics["value"], rel=1e-12) and total > 0


def test_reaching_the_goal_terminates_and_running_out_of_time_truncates(ladder):
    goals = ladder.sample("test", range(12)).goal
    for index in range(12):
        env = ArenaEnv(ladder, split="test", index=index)
        env.reset()
        steps = 0
        while True:
            *_, terminated, truncated, info = env.step(1)
            steps += 1
            if terminated or truncated:
                break
        goal = int(goals[index])
        assert (terminated, truncated, steps) == (goal <= 6, goal > 6, min(goal, 6))
        assert info["metrics"]["height"] == steps
        with pytest.raises(ResetNeeded):
            env.step(1)
    assert {int(g) <= 6 for g in goals} == {True, False}


def test_held_actions_sum_rewards_and_costs(ladder):
    env = ArenaEnv(ladder, mode="double", split="test", index=int(ladder.sample("test", range(12)).goal.argmax()))
    env.reset()
    _, reward, _, _, info = env.step(2)  # a jump to 2, then another: both from even heights
    assert info["reward_vector"].tolist() == [4, -8] and reward == 4
    wind = ladder.sample("test", [env.scenario]).wind[0, :2].double().sum()
    assert info["cost"] == pytest.approx([float(wind)])


def test_weights_of_the_task_make_the_scalar(ladder_by_weights, ladder):
    env = ArenaEnv(ladder_by_weights)
    env.reset(seed=1)
    assert env.step(2)[1] == 2.0 * 2 + 0.5 * -4
    with pytest.raises(ArenaError, match="speed"):
        ArenaEnv(replace(ladder, config={"reward_weights": {"speed": 1.0}}))


@pytest.mark.parametrize("action", [301, -1, 1.5, np.float32(3), True, "high", [4], [4, 5], None])
def test_an_illegal_bid_raises_and_changes_nothing(action):
    env, untouched = (ArenaEnv("bidding/tiny-v1", split="test", index=3) for _ in range(2))
    env.reset(), untouched.reset()
    with pytest.raises(ValueError, match="action of 'bidder'"):
        env.step(action)
    assert data_equivalence(env.step(77), untouched.step(77), exact=True)


@pytest.mark.parametrize("action", [4.1, np.nan, [0.5, 0.5], np.inf])
def test_an_illegal_coefficient_raises(action):
    env = ArenaEnv("bidding/tiny-v1", mode="slot")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action of 'bidder'"):
        env.step(action)


def test_an_illegal_row_of_a_batch_is_named_and_nothing_happens(ladder):
    env = ArenaVectorEnv(ladder, 3)
    first, _ = env.reset(seed=4)
    env.step([1, 0, 0])
    assert env.action_masks().tolist() == [[True, True, False], [True] * 3, [True] * 3]
    with pytest.raises(ValueError, match="row 0: value 2, allowed 2 of the mask: 0, 1"):
        env.step([2, 1, 1])
    with pytest.raises(ValueError, match="shape"):
        env.step([1, 1])
    assert env.step([0, 0, 0])[0]["height"].ravel().tolist() == [1, 0, 0]


def test_the_action_of_a_row_that_has_ended_is_ignored(ladder):
    one, other = ArenaVectorEnv(ladder, 4, split="test"), ArenaVectorEnv(ladder, 4, split="test")
    goals = ladder.sample("test", range(12)).goal
    chosen = [int(goals.argmin()), int(goals.argmax())] * 2
    for env in (one, other):
        env.reset(seed=3, options={"index": chosen, "split": "test"})
        for _ in range(int(goals.min())):
            *_, terminated, _, _ = env.step([1] * 4)
        assert terminated.tolist() == [True, False, True, False]
    with pytest.raises(ValueError, match="row 3"):
        one.step([99, 1, -1, 99])
    results = one.step([99, 1, -1, 1]), other.step([0, 1, 2, 1])
    assert data_equivalence(*results, exact=True)
    seen, rewards, terminated, truncated, infos = results[0]
    assert seen["height"].ravel().tolist() == [0, int(goals.min()) + 1] * 2 and rewards.tolist() == [0, 1, 0, 1]
    assert infos["_scenario"].tolist() == [True, False, True, False] and infos["_cost"].tolist() == [False, True, False, True]


def test_a_mask_shown_cannot_be_tampered_with(ladder):
    env = ArenaEnv(ladder)
    seen, _ = env.reset(seed=0)
    seen, *_ = env.step(1)
    assert seen["action_mask"].tolist() == [1, 1, 0]
    seen["action_mask"][:] = 1
    assert env.action_masks().tolist() == [True, True, False]
    with pytest.raises(ValueError, match="mask"):
        env.step(2)


def test_what_is_shown_is_never_touched_again():
    env = ArenaEnv("bidding/tiny-v1")
    kept, copies = [], []
    seen, info = env.reset(seed=3)
    for _ in range(30):
        kept.append((seen, info))
        copies.append(({k: v.copy() for k, v in seen.items()}, {k: np.copy(v) for k, v in info.items()}))
        seen, *_, info = env.step(50)
    for (seen, info), (as_was, info_as_was) in zip(kept, copies, strict=True):
        assert all(np.array_equal(seen[name], as_was[name]) for name in seen)
        assert all(np.array_equal(info[name], info_as_was[name]) for name in info)
    arrays = [array for seen, info in kept for array in (*seen.values(), *(v for v in info.values() if isinstance(v, np.ndarray)))]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_writing_into_observations_of_a_batch_does_not_reach_the_scenario():
    env, untouched = (ArenaVectorEnv("bidding/tiny-v1", 4) for _ in range(2))
    seen, _ = env.reset(seed=1)
    untouched.reset(seed=1)
    for _ in range(10):
        for value in seen.values():
            value[:] = 0
        one, other = env.step([90] * 4), untouched.step([90] * 4)
        assert data_equivalence(one, other, exact=True)
        seen, rewards, terminated, truncated, _ = one
        rewards[:] = 9
        terminated[:] = truncated[:] = True


def test_seeds_decide_the_scenarios():
    first, second = ArenaEnv("bidding/tiny-v1"), ArenaEnv("bidding/tiny-v1", seed=21)
    ids = [first.reset(seed=21)[1]["scenario"]] + [first.reset()[1]["scenario"] for _ in range(20)]
    assert ids == [second.reset()[1]["scenario"] for _ in range(21)]
    assert len(set(ids)) == 21
    assert first.reset(seed=22)[1]["scenario"] not in ids
    third, fourth = ArenaEnv("bidding/tiny-v1"), ArenaEnv("bidding/tiny-v1")
    assert third.reset()[1] != fourth.reset()[1], "without a seed, luck is fresh"


def test_a_scenario_asked_for_does_not_advance_the_sequence():
    env, straight = ArenaEnv("bidding/tiny-v1"), ArenaEnv("bidding/tiny-v1")
    env.reset(seed=5), straight.reset(seed=5)
    assert env.reset(options={"index": 7})[1]["scenario"] == 7
    assert env.reset()[1] == straight.reset()[1]
    with pytest.raises(ArenaError, match=r"0\.\.15"):
        env.reset(options={"index": 16, "split": "test"})
    with pytest.raises(ValueError, match="index"):
        env.reset(options={"split": "test"})


def test_the_test_split_is_gone_through_in_order():
    env = ArenaEnv("bidding/tiny-v1", split="test")
    assert [env.reset(seed=14)[1]["scenario"], *(env.reset()[1]["scenario"] for _ in range(3))] == [14, 15, 0, 1]
    batch = ArenaVectorEnv("bidding/tiny-v1", 5, split="test", mode="slot")
    _, infos = batch.reset(seed=0)
    played = infos["scenario"].tolist()
    for _ in range(3 * 21):
        *_, infos = batch.step(np.zeros(5))
        played += infos["scenario"].tolist() if "scenario" in infos else []
    assert played == [i % 16 for i in range(20)]
    _, infos = batch.reset(options={"index": [3, 3, 0, 1, 2], "split": "test"})
    assert infos["scenario"].tolist() == [3, 3, 0, 1, 2]


def test_many_resets_are_served_by_few_draws(ladder):
    calls = []

    def draw(split, indices, seeds):
        calls.append(len(indices))
        return ladder.domain.sample(seeds)

    env = ArenaEnv(replace(ladder, draw=draw))
    env.reset(seed=0)
    assert calls == [1], "a seeded reset costs one scenario"
    for _ in range(126):
        env.reset()
    assert calls == [1, 2, 4, 8, 16, 32, 64]
    calls.clear()
    batch = ArenaVectorEnv(replace(ladder, draw=draw), 64)
    batch.reset(seed=0)
    starts = 64
    for _ in range(100):
        *_, infos = batch.step(np.ones(64, np.int64))
        starts += int(infos["_scenario"].sum()) if "scenario" in infos else 0
    assert starts > 800 and len(calls) < starts / 20


def test_rows_can_be_reset_by_mask(ladder):
    env = ArenaVectorEnv(ladder, 3)
    env.reset(seed=0)
    env.step([1, 1, 1])
    seen, infos = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert seen["height"].ravel().tolist() == [1, 0, 1] and infos["_scenario"].tolist() == [False, True, False]
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": np.zeros(3, bool)})


def test_several_seats_are_sent_to_the_other_face(congestion):
    with pytest.raises(ArenaError, match="3 driver, 1 planner"):
        ArenaEnv(congestion)
    with pytest.raises(KeyError, match="impression, slot"):
        ArenaEnv("bidding/tiny-v1", mode="auction")


def test_every_task_is_registered_without_loading_torch():
    assert set(arena.faces.register_all()) == {arena.faces.gym_id(task) for task in TASKS}
    assert arena.faces.gym_id("bidding/tiny-v1") == "arena/bidding-tiny-v1"
    code = "import sys, gymnasium, arena.faces; assert 'arena/bidding-tiny-v1' in gymnasium.registry; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    env = gymnasium.make("arena.faces:arena/bidding-tiny-v1", mode="slot")
    assert env.spec.to_json() and env.reset(seed=1)[0].shape == (8,)
    vector = gymnasium.make_vec("arena/bidding-tiny-v1", num_envs=4, mode="slot")
    assert isinstance(vector, ArenaVectorEnv) and vector.reset(seed=1)[0].shape == (4, 8)
