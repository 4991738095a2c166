"""The kernel's contract: purity, batches, padding, rows that are over, replay, faces, what it shows, errors."""

from __future__ import annotations

import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from combinatorial_worlds import KINDS, PATHS, SEEDS, small, walk, width, world
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings

from arena.agent import Agent
from arena.faces.gymnasium import ArenaEnv, ArenaVectorEnv
from arena.rollout import players, replay, rollout
from arena.task import Task
from domains.combinatorial.kernel import PROBLEMS, Combinatorial
from domains.combinatorial.scenarios import drawn, instances

TINY = {"tsp": 20, "atsp": 20, "cvrp": 20, "op": 20, "kp": 50}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(seed=SEEDS)
def test_a_batch_is_its_rows_one_by_one(kind, path, seed):
    scenario = small(kind, 5, 9, seed)
    domain = world(kind, 9, path)
    actions, states, outcomes = walk(domain, scenario, seed)
    whole = domain.metrics(scenario, states[-1])
    for row in range(5):
        alone = scenario[row : row + 1]
        state = domain.reset(alone)
        for action, after, outcome in zip(actions, states[1:], outcomes, strict=True):
            state, one = domain.step(alone, state, action[row : row + 1])
            assert all(torch.equal(a[row : row + 1], b) for a, b in zip(after.tensors().values(), state.tensors().values(), strict=True))
            assert torch.equal(outcome.reward[row : row + 1], one.reward) and bool(outcome.terminated[row]) == bool(one.terminated)
            seen, wanted = domain.observe(alone, state), domain.observe(scenario, after)
            assert all(torch.equal(wanted[name][row : row + 1], seen[name]) for name in wanted)
        assert all(torch.equal(value, whole[name][row : row + 1]) for name, value in domain.metrics(alone, state).items())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind, path):
    """The same instances in a wider array, its surplus filled with tempting rubbish, play as they do in their own width."""
    scenario = small(kind, 6, 7, 11, padded=False)
    rng = np.random.default_rng(0)
    extra = 4

    def padded(tensor, dims):
        if not tensor.shape[1]:
            return tensor
        wide = torch.from_numpy(rng.integers(1, 5, (6, *[7 + extra] * dims, *tensor.shape[1 + dims :]))).to(tensor.dtype)
        wide[(slice(None), *[slice(7)] * dims)] = tensor
        return wide

    wide = replace(
        scenario,
        coords=padded(scenario.coords, 1),
        matrix=padded(scenario.matrix, 2),
        demand=padded(scenario.demand, 1),
        prize=padded(scenario.prize, 1),
        size=torch.full((6,), 7),
    )
    narrow_world, wide_world = world(kind, 7, path), world(kind, 7 + extra, path)
    actions, states, outcomes = walk(narrow_world, scenario)
    state = wide_world.reset(wide)
    for action, wanted, outcome in zip(actions, states[1:], outcomes, strict=True):
        state, found = wide_world.step(wide, state, action)
        assert torch.equal(found.reward, outcome.reward) and torch.equal(found.terminated, outcome.terminated)
        assert torch.equal(state.mask[:, : narrow_world.actions], wanted.mask) and not bool(state.mask[:, narrow_world.actions :].any())
    small_metrics, wide_metrics = narrow_world.metrics(scenario, states[-1]), wide_world.metrics(wide, state)
    for name, value in small_metrics.items():
        torch.testing.assert_close(wide_metrics[name], value, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_over_stays_over(kind, path):
    """Rows end at different steps; then only entry 0 is shown, whatever is played is ignored, nothing is rewarded, nothing moves."""
    scenario = small(kind, 24, 9, 2)
    domain = world(kind, 9, path)
    state = domain.reset(scenario)
    ended, ends = torch.zeros(24, dtype=torch.bool), set()
    rng = np.random.default_rng(0)
    for step in range(domain.horizon + 3):
        luck = torch.from_numpy(rng.random((24, domain.actions)))
        action = torch.where(state.mask, luck, -1.0).argmax(1)
        anything = torch.from_numpy(rng.integers(0, domain.actions, 24))
        before = state
        state, outcome = domain.step(scenario, state, torch.where(ended, anything, action))
        assert bool((outcome.reward[ended] == 0).all()) and bool((state.mask[state.done].nonzero()[:, 1] == 0).all())
        assert torch.equal(outcome.terminated, state.done) and bool((outcome.terminated | ~ended).all())
        assert all(torch.equal(a[ended], b[ended]) for a, b in zip(before.tensors().values(), state.tensors().values(), strict=True))
        assert bool((state.mask.any(1)).all()), "there is always an entry to point at"
        if bool((outcome.terminated & ~ended).any()):
            ends.add(step)
        ended = outcome.terminated
    assert bool(ended.all()) and len(ends) > 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("problem", ["op", "kp"])
def test_nothing_feasible_at_the_start_is_said_by_the_first_step(problem, path):
    """The first row has nothing to choose, the second has; the first must not take what entry 0 stands for."""
    if problem == "op":
        coords = np.array([[[0, 0], [3, 0], [0, 3]]] * 2, float)
        scenario = instances(coords=coords, prize=np.array([[0, 4, 5]] * 2), budget=np.array([5.9, 6.0]), best=5.0)
    else:
        scenario = instances(prize=np.array([[4, 5, 6]] * 2), demand=np.array([[3, 3, 3]] * 2), capacity=np.array([2, 3]), best=6.0)
    domain = world(problem, 3, path)
    state = domain.reset(scenario)
    assert state.mask[0].tolist() == [True, False, False]
    after, outcome = domain.step(scenario, state, torch.tensor([0, 1]))
    assert outcome.terminated.tolist() == [True, True] and outcome.reward[:, 0].tolist() == [0, 4 if problem == "op" else 5]
    assert after.order[0].tolist() == [-1] * domain.horizon and torch.equal(after.left[0], state.left[0])
    found = domain.metrics(scenario, after)
    assert found["value"].tolist() == [0, 4 if problem == "op" else 5] and found["feasible"].tolist() == [1, 1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_step_changes_none_of_its_inputs(kind, path):
    scenario = small(kind, 6, 8, 1)
    domain = world(kind, 8, path)
    actions, _, _ = walk(domain, scenario)
    state = domain.reset(scenario)
    for action in actions:
        before = {k: v.clone() for k, v in (scenario.tensors("s") | state.tensors("p") | {"a": action}).items()}
        after, _ = domain.step(scenario, state, action)
        domain.observe(scenario, state), domain.metrics(scenario, state)
        again, _ = domain.step(scenario, state, action)
        assert all(torch.equal(before[k], v) for k, v in (scenario.tensors("s") | state.tensors("p") | {"a": action}).items())
        assert all(torch.equal(a, b) for a, b in zip(after.tensors().values(), again.tensors().values(), strict=True))
        state = after


@pytest.mark.parametrize("kind", KINDS)
def test_memory_in_another_layout_plays_the_same(kind):
    """Column-major and broadcast series, as slices of a larger record may be."""
    scenario = small(kind, 4, 7, 8, padded=False)
    other = scenario.map(lambda tensor: torch.stack((tensor, tensor), -1)[..., 0])
    assert any(not tensor.is_contiguous() for tensor in other.tensors().values())
    domain = world(kind, 7)
    actions, states, _ = walk(domain, scenario)
    state = domain.reset(other).map(lambda tensor: torch.stack((tensor, tensor), -1)[..., 0])
    for action, wanted in zip(actions, states[1:], strict=True):
        state, _ = domain.step(other, state, torch.stack((action, action), 1)[:, 0])
        assert all(torch.equal(a, b) for a, b in zip(state.tensors().values(), wanted.tensors().values(), strict=True))


class Luck(Agent):
    """Random legal nodes from the brief's own luck."""

    def begin(self, brief):
        self.brief, self.at = brief, 0

    def act(self, obs):
        self.at += 1
        luck = self.brief.uniforms(self.at, obs["action_mask"].shape[1])
        return torch.where(obs["action_mask"].bool(), torch.as_tensor(luck), -1.0).argmax(1)


def toy(kind, n=8):
    """A task of 12 small instances."""
    domain = world(kind, n)

    def draw(split, indices, seeds):
        rows = [small(kind, 1, n, seed % 2**32) for seed in seeds]
        return replace(
            type(rows[0])(**{name: torch.cat([row.tensors()[name] for row in rows]) for name in rows[0].tensors()}), best=torch.ones(len(rows))
        )

    vectors = {"ref0": np.ones(12), "ref1": np.zeros(12)}
    return Task(
        f"combinatorial/toy-{domain.problem}-v1", domain, "tiny", 12, {"problem": domain.problem}, lambda task: vectors, draw=draw, bounded=False
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_finds_what_was_played(kind):
    task = toy(kind)
    lineup = players(task.domain, {"planner": Luck()})
    episode = rollout(task.domain, task.scenarios, lineup, task=task.view, ids=torch.arange(12))
    assert not episode.failures and episode.actions["planner"].dtype == np.int8
    again = replay(task.domain, task.scenarios, episode.actions)
    assert all(np.array_equal(again[name], value) for name, value in episode.metrics.items()) and (again["feasible"] == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gymnasium_accepts_it_and_rows_restart_one_by_one(kind):
    task = toy(kind)
    longest = int(walk(task.domain, task.scenarios)[1][-1].count.argmax())
    env = ArenaEnv(task, split="test", index=longest)

    class Offered(gymnasium.spaces.Discrete):
        """The checker knows no masks."""

        def sample(self, mask=None, probability=None):
            return super().sample(env.action_masks().astype(np.int8))

    env.action_space = Offered(task.domain.actions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env, skip_render_check=True)
    batch, loop = ArenaVectorEnv(task, 6), SyncVectorEnv([lambda: ArenaEnv(task)] * 6)
    seen, _ = batch.reset(seed=4)
    other, _ = loop.reset(seed=4)
    rng, ends = np.random.default_rng(1), set()
    for step in range(30):
        assert all(np.array_equal(seen[name], other[name]) for name in seen)
        action = np.where(batch.action_masks(), rng.random((6, task.domain.actions)), -1).argmax(1)
        seen, reward, over, cut, _ = batch.step(action)
        other, *found, _ = loop.step(action)
        assert np.array_equal(reward, found[0]) and np.array_equal(over, found[1]) and not cut.any()
        ends |= {(step, row) for row in np.flatnonzero(over)}
    assert len({step for step, _ in ends}) > 4, "rows were meant to end at different steps"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("problem", "action", "message"),
    [
        ("tsp", [1, 2, 9], r"action\[2\] = 9 lies outside the legal range 0..7"),
        ("tsp", [1, -2, 3], r"action\[1\] = -2 lies outside"),
        ("tsp", [1, 2, 0], r"action\[2\] = 0 is not legal at step 0; legal: 1, 2, 3, 4, 5, 6, 7$"),
        ("cvrp", [2, 1, 3], r"action\[1\] = 1 is not legal at step 0; legal: 2, 3, 4, 5, 6, 7, 8, 9, \.\.\."),
        ("kp", [0, 1, 8], r"action\[2\] = 8 lies outside the legal range 0..7"),
        ("tsp", [1.0, 2.0, 3.0], "must be 3 integers, one per scenario; got torch.float64"),
        ("tsp", [True, False, True], "got torch.bool"),
        ("tsp", [1, 2], r"got torch.int64 \(2,\)"),
    ],
)
def test_what_is_no_action_is_refused(problem, action, message, path):
    scenario = small(problem, 3, 8, 0, padded=False)
    domain = world(problem, 8, path)
    action = torch.tensor(action) if not isinstance(action[0], float) else torch.tensor(action, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        domain.step(scenario, domain.reset(scenario), action)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_node_is_chosen_once(problem, path):
    scenario = small(problem, 3, 8, 1, padded=False)
    ample = {"budget": torch.full((3,), 50.0, dtype=torch.float64)} if problem == "op" else {"capacity": torch.full((3,), 60)}
    scenario = replace(scenario, **ample)
    domain = world(problem, 8, path)
    action = torch.tensor([4, 4, 5])
    state, _ = domain.step(scenario, domain.reset(scenario), action)
    with pytest.raises(ValueError, match=r"action\[0\] = 4 is not legal at step 1"):
        domain.step(scenario, state, action)
    assert domain.step(scenario, state, torch.tensor([6, 7, 6]))[0].count.tolist() == [2, 2, 2]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_generated_instances_show_what_they_hold(problem):
    scenario = instances(**drawn(problem, TINY[problem], range(3)))
    n = width(scenario)
    domain = Combinatorial(problem, n)
    state = domain.reset(scenario)
    seen, space = domain.observe(scenario, state), domain.roles[0].modes[0].observation_space
    assert set(seen) == set(space.spaces)
    for row in range(3):
        assert space.contains({name: np.asarray(value[row], space[name].dtype) for name, value in seen.items()})
    if problem == "atsp":
        assert torch.equal(seen["matrix"], scenario.matrix)
    else:
        columns = {
            "tsp": (scenario.coords[..., 0], scenario.coords[..., 1]),
            "cvrp": (scenario.coords[..., 0], scenario.coords[..., 1], scenario.demand),
            "op": (scenario.coords[..., 0], scenario.coords[..., 1], scenario.prize),
            "kp": (scenario.prize, scenario.demand),
        }[problem]
        assert torch.equal(seen["nodes"], torch.stack([column.double() for column in columns], -1))
    if problem == "op":
        assert torch.equal(seen["budget"], scenario.budget)
    if problem in ("cvrp", "kp"):
        assert torch.equal(seen["capacity"], scenario.capacity)
