"""The PettingZoo face: the library's own tests, and a game of several seats worked out by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from pettingzoo.test import parallel_api_test, parallel_seed_test

from arena import registry
from arena.faces.gymnasium import ArenaEnv
from arena.faces.pettingzoo import ArenaParallelEnv

TASKS = sorted(registry.tasks())
DRIVERS = ["driver_0", "driver_1", "driver_2"]


def library_tests(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(make(), num_cycles=30)
        parallel_seed_test(make, num_cycles=30)


@pytest.mark.parametrize("task_id", TASKS)
def test_pettingzoo_accepts_every_task(task_id, known):
    task = known
    for mode in task.domain.roles[0].modes if task.domain.horizon <= 20_000 else task.domain.roles[0].modes[:1]:
        library_tests(lambda mode=mode: ArenaParallelEnv(task, {task.domain.roles[0].name: mode.name}))


@pytest.mark.parametrize("modes", [{}, {"driver": "habit"}])
def test_pettingzoo_accepts_several_roles_and_seats(congestion, modes):
    library_tests(lambda: ArenaParallelEnv(congestion, modes))


def test_pettingzoo_accepts_masks(ladder):
    """The seed test samples without masks, so only the other one can be asked."""
    parallel_api_test(ArenaParallelEnv(ladder), num_cycles=30)


def test_one_role_is_the_same_episode_as_in_gymnasium():
    for mode in ("impression", "slot"):
        alone, face = ArenaEnv("bidding/tiny-v1", mode=mode), ArenaParallelEnv("bidding/tiny-v1", {"bidder": mode})
        assert face.possible_agents == ["bidder_0"]
        assert face.observation_space("bidder_0") == alone.observation_space and face.action_space("bidder_0") == alone.action_space
        for start in ({"seed": 8}, {}, {"options": {"index": 2, "split": "test"}}):
            seen, info = alone.reset(**start)
            views, infos = face.reset(**start)
            over = False
            while not over:
                assert data_equivalence(views, {"bidder_0": seen}, exact=True)
                action = alone.action_space.sample()
                seen, reward, terminated, truncated, info = alone.step(action)
                views, rewards, ended, cut, infos = face.step({"bidder_0": action})
                assert (rewards, ended, cut) == ({"bidder_0": reward}, {"bidder_0": terminated}, {"bidder_0": truncated})
                over = terminated or truncated
            acts = infos["bidder_0"].pop("acts")
            assert isinstance(acts, bool) and data_equivalence(infos["bidder_0"], info, exact=True)
            assert face.agents == []
            with pytest.raises(ResetNeeded):
                face.step({})


def test_seats_are_rewarded_apart_and_the_planner_acts_every_second_step(congestion):
    face = ArenaParallelEnv(congestion)
    assert face.possible_agents == [*DRIVERS, "planner_0"]
    views, infos = face.reset(options={"index": 4, "split": "test"})
    load = congestion.sample("test", [4]).load[0].tolist()
    assert infos["planner_0"] == {"scenario": 4, "acts": True}
    assert views["planner_0"].dtype == np.float32 and views["planner_0"].shape == (1,)
    assert views["driver_1"]["toll"].shape == (1,) and views["driver_1"]["share"].shape == (1,)

    def play(roads, toll=None):
        actions = dict(zip(DRIVERS, roads, strict=True)) | ({} if toll is None else {"planner_0": np.float32(toll)})
        return face.step(actions)

    views, rewards, terminated, truncated, infos = play((1, 0, 1), 0.5)  # two drivers on road 1
    expected = {"driver_0": -(load[1] + 2 + 0.5), "driver_1": -(load[0] + 1), "driver_2": -(load[1] + 2 + 0.5)}
    expected["planner_0"] = -(2 * (load[1] + 2) + load[0] + 1) / 3
    assert rewards == pytest.approx(expected, rel=1e-14)
    assert [infos[agent]["acts"] for agent in face.agents] == [True, True, True, False]
    assert views["driver_0"] == {"share": pytest.approx(2 / 3), "toll": pytest.approx([0.5])}
    assert views["planner_0"] == [0.0], "between its turns the planner is shown what it saw last"

    views, rewards, *_ = play((1, 1, 1), 1.0)  # not the planner's turn: its toll stays 0.5
    assert rewards["driver_0"] == pytest.approx(-(load[1] + 3 + 0.5), rel=1e-14)
    assert views["planner_0"] == [1.0]

    with pytest.raises(ValueError, match="no action from planner_0"):
        play((0, 0, 0))
    with pytest.raises(ValueError, match="no action from driver_2"):
        face.step({"driver_0": 0, "driver_1": 0, "planner_0": 0.0})
    with pytest.raises(ValueError, match="action of 'driver'"):
        play((0, 2, 0), 0.0)
    with pytest.raises(ValueError, match=r"driver_0: shape \(1,\)"):
        play(([0], 0, 0), 0.0)

    for toll in (0.0, None, 0.0):
        _, rewards, terminated, truncated, infos = play((0, 0, 0), toll)
    assert not any(terminated.values()) and all(truncated.values()) and face.agents == []
    delays = [2 * load[1] + 5, load[0] + 1 + load[1] + 3, 2 * load[1] + 5] + 3 * (load[0] + 3) * np.ones(3)
    assert infos["driver_2"]["metrics"]["delays"] == pytest.approx(delays, rel=1e-14)
    assert infos["planner_0"]["metrics"]["delay"] == pytest.approx(np.mean(delays), rel=1e-14)


def test_a_held_decision_lasts_while_others_go_on(congestion):
    """Drivers hold a road for three steps; the planner sets the toll at 0, 2 and 4, so steps stop at 0, 2, 3 and 4."""
    face = ArenaParallelEnv(congestion, {"driver": "habit"})
    views, infos = face.reset(seed=6)
    acting, gained = [], dict.fromkeys(face.possible_agents, 0.0)
    roads, tolls = {0: (0, 1, 1), 2: (1, 1, 1)}, iter((0.25, 0.75, 0.5))
    over = False
    while not over:
        acting.append([agent for agent in face.agents if infos[agent]["acts"]])
        actions = dict(zip(DRIVERS, roads[0] if len(acting) < 3 else roads[2], strict=True))
        if "planner_0" in acting[-1]:
            actions["planner_0"] = np.float32(next(tolls))
        views, rewards, _, truncated, infos = face.step(actions)
        gained = {agent: gained[agent] + reward for agent, reward in rewards.items()}
        over = all(truncated.values())
    assert acting == [[*DRIVERS, "planner_0"], ["planner_0"], DRIVERS, ["planner_0"]]

    domain, scenario = congestion.domain, congestion.sample("train", [face._feed.index(0, 0)])
    state, total = domain.reset(scenario), torch.zeros(3)
    for step, toll in enumerate((0.25, None, 0.75, None, 0.5)):
        actions = {"driver": torch.tensor([roads[0] if step < 3 else roads[2]])}
        if toll is not None:
            actions["planner"] = torch.tensor([[toll]])
        state, outcome = domain.step(scenario, state, actions)
        total = total + outcome.reward["driver"][0, :, 0]
    assert [gained[agent] for agent in DRIVERS] == pytest.approx(total.tolist(), rel=1e-12)


def test_agents_share_nothing(congestion):
    face, untouched = ArenaParallelEnv(congestion), ArenaParallelEnv(congestion)
    views, _ = face.reset(seed=2)
    untouched.reset(seed=2)
    assert len({id(face.action_space(agent)) for agent in face.agents}) == 4
    for _ in range(4):
        for view in views.values():
            for value in view.values() if isinstance(view, dict) else [view]:
                value[...] = 0.9
        actions = dict.fromkeys(DRIVERS, 1) | {"planner_0": np.float32(0.5)}
        one, other = face.step(actions), untouched.step(actions)
        assert data_equivalence(one, other, exact=True)
        views = one[0]


def test_unknown_names_are_refused(congestion):
    with pytest.raises(KeyError, match="driver, planner"):
        ArenaParallelEnv(congestion, {"pilot": "road"})
    with pytest.raises(KeyError, match="road, habit"):
        ArenaParallelEnv(congestion, {"driver": "toll"})
