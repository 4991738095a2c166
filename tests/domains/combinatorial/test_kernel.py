"""The transition against an independent reading of its rules in plain Python, and the contract: purity, batches, replay, faces, errors."""

from __future__ import annotations

import itertools
import math
import os
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.agent import Agent
from arena.faces.gymnasium import ArenaEnv, ArenaVectorEnv
from arena.rollout import players, replay, rollout
from arena.task import Task
from domains.combinatorial.checker import evaluate
from domains.combinatorial.distances import METRICS
from domains.combinatorial.kernel import PROBLEMS, Combinatorial
from domains.combinatorial.scenarios import drawn, instances

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial"
SEEDS = st.integers(0, 2**32 - 1)
TINY = {"tsp": 20, "atsp": 20, "cvrp": 20, "op": 20, "kp": 50}
PATHS = ("compiled", "torch")


def world(problem, n, path="compiled", metrics=False):
    """The domain; in torch on the CPU too, where `path` says so."""
    domain = Combinatorial(problem, n, metrics)
    if path == "torch":
        domain._compiled_step = domain._step
    return domain


def small(problem, rows, n, seed, padded=True):
    """Random instances of at most n nodes (a depot included), tight enough that rows end early; rows of several sizes where padded."""
    rng = np.random.default_rng(seed)
    size = rng.integers(3, n + 1, rows) if padded else np.full(rows, n)
    inside = np.arange(n) < size[:, None]
    coords = np.where(inside[..., None], rng.random((rows, n, 2)), 0.0)
    number = np.where(inside, rng.integers(1, 10, (rows, n)), 0)
    common = {"size": size, "best": rng.uniform(1.0, 9.0, rows)}
    if problem == "tsp":
        return instances(coords=coords, **common)
    if problem == "atsp":
        return instances(matrix=rng.random((rows, n, n)) * ~np.eye(n, dtype=bool), **common)
    if problem == "cvrp":
        number[:, 0] = 0
        return instances(coords=coords, demand=number, capacity=rng.integers(9, 25, rows), **common)
    if problem == "op":
        return instances(coords=coords, prize=number, budget=rng.uniform(0.1, 2.5, rows), **common)
    weight = np.where(inside, rng.integers(1, 10, (rows, n)), 99)
    return instances(prize=number, demand=weight, capacity=rng.integers(0, 30, rows), **common)


def width(scenario):
    return max(scenario.coords.shape[1], scenario.matrix.shape[1], scenario.demand.shape[1])


def walk(domain, scenario, seed=0):
    """Random legal choices to the end: all actions, states and outcomes. Each row's luck is its own, whatever the batch."""
    state = domain.reset(scenario)
    actions, states, outcomes = [], [state], []
    while not outcomes or not bool(outcomes[-1].terminated.all()):
        luck = np.stack([np.random.default_rng([seed, row, len(actions)]).random(domain.actions) for row in range(len(scenario.size))])
        action = torch.where(state.mask, torch.from_numpy(luck), -1.0).argmax(1)
        state, outcome = domain.step(scenario, state, action)
        actions.append(action), states.append(state), outcomes.append(outcome)
    return actions, states, outcomes


# ---- the rules, read again --------------------------------------------------------------------------------------------


class ByHand:
    """One row in plain Python: sets, floats and the table of the module's docstring."""

    def __init__(self, problem, scenario, row):
        self.problem, self.size = problem, int(scenario.size[row])
        self.rest = set(range(0 if problem == "kp" else 1, self.size))
        self.here, self.first, self.s = 0, True, {name: tensor[row].tolist() for name, tensor in scenario.tensors().items()}
        self.left = self.s["budget"] if problem == "op" else self.s["capacity"]
        self.over = False

    def way(self, a, b):
        if self.problem == "atsp":
            return self.s["matrix"][a][b]
        return math.dist(self.s["coords"][a], self.s["coords"][b])

    def legal(self):
        if self.problem == "cvrp":
            return {2 * j + b for j in self.rest for b in (0, 1) if b or self.s["demand"][j] <= self.left}
        if self.problem == "kp":
            return {j for j in self.rest if self.s["demand"][j] <= self.left}
        if self.problem == "op":
            return {j for j in self.rest if self.way(self.here, j) + self.way(j, 0) <= self.left + 1e-9 * max(1, self.s["budget"])}
        return set(self.rest)

    def choose(self, action):
        if self.over or not self.legal():
            self.over = True
            return 0.0
        j, through = (action // 2, action % 2) if self.problem == "cvrp" else (action, 0)
        reward = 0.0
        if self.problem in ("op", "kp"):
            reward = self.s["prize"][j] + (self.s["prize"][0] if self.problem == "op" and self.first else 0)
            self.left -= self.way(self.here, j) if self.problem == "op" else self.s["demand"][j]
        else:
            reward = -(self.way(self.here, 0) + self.way(0, j) if through else self.way(self.here, j))
        if self.problem == "cvrp":
            self.left = (self.s["capacity"] if through else self.left) - self.s["demand"][j]
        self.rest.remove(j)
        self.here, self.first = j, False
        if not self.legal():
            self.over = True
            if self.problem not in ("op", "kp"):
                reward -= self.way(j, 0)
        return reward


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_every_step_by_hand(problem, path, seed):
    scenario = small(problem, 4, 8, seed)
    domain = world(problem, 8, path)
    actions, states, outcomes = walk(domain, scenario, seed)
    for row in range(4):
        hand = ByHand(problem, scenario, row)
        for action, before, after, outcome in zip(actions, states, states[1:], outcomes, strict=False):
            shown = set(before.mask[row].nonzero()[:, 0].tolist())
            assert shown == (({0} if hand.over else hand.legal()) or {0})
            assert float(outcome.reward[row, 0]) == pytest.approx(hand.choose(int(action[row])), abs=1e-12)
            assert bool(outcome.terminated[row]) == hand.over == bool(after.done[row])
            assert float(after.left[row]) == pytest.approx(hand.left, abs=1e-12)
            if problem != "kp":
                assert int(after.origin[row]) == hand.here
            assert set(after.free[row].nonzero()[:, 0].tolist()) == hand.rest
        chosen = states[-1].order[row][states[-1].order[row] >= 0].tolist()
        assert len(chosen) == len(set(chosen)) == int(states[-1].count[row])


@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_both_ways_of_stepping_agree(problem, seed):
    """Compiled loops and torch: whatever is discrete to the bit, lengths to the last place (torch's square root is not correctly rounded)."""
    scenario = small(problem, 6, 9, seed)
    actions, states, outcomes = walk(world(problem, 9), scenario, seed)
    other = world(problem, 9, "torch")
    state = other.reset(scenario)
    for action, wanted, outcome in zip(actions, states[1:], outcomes, strict=True):
        state, found = other.step(scenario, state, action)
        for name, tensor in state.tensors().items():
            mine = wanted.tensors()[name]
            assert tensor.dtype == mine.dtype
            torch.testing.assert_close(tensor, mine, rtol=0, atol=1e-14 if tensor.is_floating_point() else 0)
        torch.testing.assert_close(found.reward, outcome.reward, rtol=1e-14, atol=0)
        assert found.reward.dtype == outcome.reward.dtype and found.cost.shape == outcome.cost.shape == (6, 0)
        assert torch.equal(found.terminated, outcome.terminated)


# ---- tiny instances, worked out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_tsp_of_a_rectangle(path):
    """3 x 4 rectangle: the first diagonal costs 5, so 0-2-1-3-0 is 5 + 4 + 5 + 4; around it is 14."""
    scenario = instances(coords=np.array([[[0, 0], [3, 0], [3, 4], [0, 4]]], float), best=14.0)
    domain = world("tsp", 4, path)
    for choices, rewards, gap in (((1, 2, 3), (-3, -4, -7), 0.0), ((2, 1, 3), (-5, -4, -9), 100 * 4 / 14)):
        state = domain.reset(scenario)
        for j, reward in zip(choices, rewards, strict=True):
            state, outcome = domain.step(scenario, state, torch.tensor([j]))
            assert float(outcome.reward) == reward
        assert bool(outcome.terminated) and state.order.tolist() == [list(choices)]
        found = domain.metrics(scenario, state)
        assert float(found["cost"]) == -sum(rewards) and float(found["gap"]) == pytest.approx(gap)
        assert float(found["feasible"]) == 1 and float(found["optimal"]) == (gap == 0)


@pytest.mark.parametrize("path", PATHS)
def test_atsp_has_a_direction(path):
    matrix = np.array([[[0, 1, 10], [20, 0, 2], [4, 30, 0]]], float)
    scenario, domain = instances(matrix=matrix, best=7.0), world("atsp", 3, path)
    for choices, rewards in (((1, 2), (-1, -6)), ((2, 1), (-10, -50))):
        state = domain.reset(scenario)
        for j, reward in zip(choices, rewards, strict=True):
            state, outcome = domain.step(scenario, state, torch.tensor([j]))
            assert float(outcome.reward) == reward
        assert float(domain.metrics(scenario, state)["cost"]) == -sum(rewards)


@pytest.mark.parametrize("path", PATHS)
def test_cvrp_of_three_customers_on_a_line(path):
    """Depot at 0, customers at 1, 2 and -3 with 4, 5 and 6 of 10: 1 and 2 share a vehicle, home once from 2, then to -3 and back."""
    scenario = instances(coords=np.array([[[0, 0], [1, 0], [2, 0], [-3, 0]]], float), demand=np.array([[0, 4, 5, 6]]), capacity=10, best=10.0)
    domain = world("cvrp", 4, path)
    state = domain.reset(scenario)
    assert state.mask.nonzero()[:, 1].tolist() == [2, 3, 4, 5, 6, 7]
    rewards, left, masks = [], [], []
    for action in (2 * 1, 2 * 2, 2 * 3 + 1):
        state, outcome = domain.step(scenario, state, torch.tensor([action]))
        rewards.append(float(outcome.reward)), left.append(int(state.left)), masks.append(state.mask.nonzero()[:, 1].tolist())
    assert rewards == [-1.0, -1.0, -(2 + 3) - 3.0] and left == [6, 1, 4]
    assert masks == [[4, 5, 6, 7], [7], [0]], "6 > 1 left: the last customer only through the depot"
    found = domain.metrics(scenario, state)
    assert [float(found[name]) for name in ("cost", "gap", "feasible", "optimal", "routes")] == [10, 0, 1, 1, 2]
    assert state.via.tolist() == [[False, False, True]]


@pytest.mark.parametrize("path", PATHS)
def test_cvrp_leaves_the_depot_either_way_at_the_same_cost(path):
    scenario = small("cvrp", 32, 8, 3, padded=False)
    domain = world("cvrp", 8, path)
    state = domain.reset(scenario)
    assert torch.equal(state.mask[:, 2::2], state.mask[:, 3::2])
    for j in range(1, 8):
        (one, first), (two, second) = (domain.step(scenario, state, torch.full((32,), 2 * j + b)) for b in (0, 1))
        assert torch.equal(first.reward, second.reward) and torch.equal(one.left, two.left) and torch.equal(one.mask, two.mask)
        costs = [evaluate("cvrp", scenario, s.order, s.via).length for s in (one, two)]
        assert torch.equal(*costs)


@pytest.mark.parametrize("path", PATHS)
def test_op_counts_the_way_home(path):
    """Points at 3 and at (3, 4) from the depot: there and back along the triangle is 12."""
    coords, prize = np.array([[[0, 0], [3, 0], [3, 4]]], float), np.array([[7, 2, 5]])
    for budget, legal in ((12.0, [2]), (12.0 - 1e-9, [2]), (12.0 - 1e-6, [0])):
        scenario, domain = instances(coords=coords, prize=prize, budget=budget, best=14.0), world("op", 3, path)
        state, outcome = domain.step(scenario, domain.reset(scenario), torch.tensor([1]))
        assert float(outcome.reward) == 2 + 7, "the depot's own prize comes with the first step"
        assert state.mask.nonzero()[:, 1].tolist() == legal and bool(outcome.terminated) == (legal == [0])
        if legal == [2]:
            state, outcome = domain.step(scenario, state, torch.tensor([2]))
            found = domain.metrics(scenario, state)
            assert float(outcome.reward) == 5 and bool(outcome.terminated)
            assert [float(found[name]) for name in ("value", "gap", "feasible", "length")] == [14, 0, 1, 12]


@pytest.mark.parametrize("path", PATHS)
def test_kp_ends_when_nothing_fits(path):
    scenario = instances(prize=np.array([[6, 5, 5, 9]]), demand=np.array([[6, 5, 5, 11]]), capacity=10, best=10.0)
    domain = world("kp", 4, path)
    state = domain.reset(scenario)
    assert state.mask.tolist() == [[True, True, True, False]], "the item heavier than the knapsack is never offered"
    state, outcome = domain.step(scenario, state, torch.tensor([0]))
    assert float(outcome.reward) == 6 and bool(outcome.terminated) and int(state.left) == 4
    found = domain.metrics(scenario, state)
    assert float(found["value"]) == 6 and float(found["gap"]) == 40 and float(found["feasible"]) == 1


# ---- rewards and metrics ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_rewards_add_up_to_the_metric(problem, path, seed):
    scenario = small(problem, 8, 9, seed)
    domain = world(problem, 9, path)
    _, states, outcomes = walk(domain, scenario, seed)
    total = torch.stack([outcome.reward[:, 0] for outcome in outcomes]).sum(0)
    found = domain.metrics(scenario, states[-1])
    assert set(found) == {metric.name for metric in domain.metrics_spec}
    if problem == "op":  # where nothing is in reach nothing is rewarded, though the tour stands at the depot and has its prize
        total = torch.where(states[0].done, scenario.prize[:, 0].double(), total)
    worth = found["value"] if problem in ("op", "kp") else -found["cost"]
    torch.testing.assert_close(worth, total, rtol=1e-13, atol=0)
    assert bool((found["feasible"] == 1).all())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("problem", ["cvrp", "op", "kp"])
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_capacity_and_budget_are_conserved(problem, path, seed):
    """What is left and what was used add up at every step: load since the depot, weight packed, length walked; and home is always in reach."""
    scenario = small(problem, 8, 9, seed)
    actions, states, _ = walk(world(problem, 9, path), scenario, seed)
    for state in states:
        for row in range(8):
            k = int(state.count[row])
            nodes = state.order[row, :k].tolist()
            if problem == "op":
                points = scenario.coords[row][[0, *nodes]].tolist()
                used = sum(math.dist(a, b) for a, b in itertools.pairwise(points))
                assert float(state.left[row]) + used == pytest.approx(float(scenario.budget[row]), abs=1e-12)
                assert math.dist(points[-1], points[0]) <= float(state.left[row]) + 1e-8
            else:
                start = 0
                if problem == "cvrp" and bool(state.via[row, :k].any()):
                    start = int(state.via[row, :k].nonzero().max())
                used = int(scenario.demand[row][nodes[start:]].sum())
                assert int(state.left[row]) + used == int(scenario.capacity[row]) and int(state.left[row]) >= 0


def points(path):
    """Coordinates of a TSPLIB file, read apart from the loader under test elsewhere."""
    lines = path.read_text().split("NODE_COORD_SECTION")[1].split("EOF")[0].strip().splitlines()
    return np.array([[float(x) for x in line.split()[1:3]] for line in lines])


@pytest.mark.parametrize(
    ("name", "metric", "length"),
    [("berlin52", "EUC_2D", 7542), ("tsp225", "EUC_2D", 3916), ("att48", "ATT", 10628), ("ulysses16", "GEO", 6859), ("gr96", "GEO", 55209)],
)
def test_optimal_tours_of_tsplib_have_their_published_length(name, metric, length):
    """tsp225 tells nint from rounding half to even: 3916, not 3861."""
    files = DATA / "tsplib" / f"{name}.tsp", DATA / "tsplib" / f"{name}.opt.tour"
    if not all(file.is_file() for file in files):
        pytest.skip(f"{name} is not in {DATA / 'tsplib'}")
    coords = points(files[0])
    tour = [int(x) - 1 for x in files[1].read_text().split("TOUR_SECTION")[1].split("-1")[0].split()]
    start = tour.index(0)
    scenario = instances(coords=coords[None], metric=METRICS.index(metric), best=float(length))
    domain = Combinatorial("tsp", len(coords), metrics=True)
    state, total = domain.reset(scenario), 0.0
    for j in tour[start + 1 :] + tour[:start]:
        state, outcome = domain.step(scenario, state, torch.tensor([j]))
        total += float(outcome.reward)
    found = domain.metrics(scenario, state)
    assert -total == float(found["cost"]) == length and float(found["gap"]) == 0 and float(found["optimal"]) == 1


@pytest.mark.parametrize("problem", ["tsp", "cvrp"])
def test_rounded_distances_are_integers_at_every_step_and_rows_may_differ_in_metric(problem):
    scenario = small(problem, len(METRICS), 8, 5)
    scenario = replace(scenario, coords=(scenario.coords * 80).round(decimals=2), metric=torch.arange(len(METRICS)))
    domain = Combinatorial(problem, 8, metrics=True)
    assert int(domain.observe(scenario, domain.reset(scenario))["metric"][3]) == 3
    _, states, outcomes = walk(domain, scenario)
    reward = torch.stack([outcome.reward[:, 0] for outcome in outcomes])
    assert torch.equal(reward[:, 1:], reward[:, 1:].round()) and not torch.equal(reward[:, 0], reward[:, 0].round())
    assert torch.equal(-reward.sum(0)[1:], domain.metrics(scenario, states[-1])["cost"][1:])


# ---- the contract -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_a_batch_is_its_rows_one_by_one(problem, path, seed):
    scenario = small(problem, 5, 9, seed)
    domain = world(problem, 9, path)
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
@pytest.mark.parametrize("problem", PROBLEMS)
def test_padding_changes_nothing(problem, path):
    """The same instances in a wider array, its surplus filled with tempting rubbish, play as they do in their own width."""
    scenario = small(problem, 6, 7, 11, padded=False)
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
    narrow_world, wide_world = world(problem, 7, path), world(problem, 7 + extra, path)
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
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_row_that_is_over_stays_over(problem, path):
    """Rows end at different steps; then only entry 0 is shown, whatever is played is ignored, nothing is rewarded, nothing moves."""
    scenario = small(problem, 24, 9, 2)
    domain = world(problem, 9, path)
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
@pytest.mark.parametrize("problem", PROBLEMS)
def test_step_changes_none_of_its_inputs(problem, path):
    scenario = small(problem, 6, 8, 1)
    domain = world(problem, 8, path)
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


@pytest.mark.parametrize("problem", PROBLEMS)
def test_memory_in_another_layout_plays_the_same(problem):
    """Column-major and broadcast series, as slices of a larger record may be."""
    scenario = small(problem, 4, 7, 8, padded=False)
    other = scenario.map(lambda tensor: torch.stack((tensor, tensor), -1)[..., 0])
    assert any(not tensor.is_contiguous() for tensor in other.tensors().values())
    domain = world(problem, 7)
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


def toy(problem, n=8):
    """A task of 12 small instances."""
    domain = Combinatorial(problem, n)

    def draw(split, indices, seeds):
        rows = [small(problem, 1, n, seed % 2**32) for seed in seeds]
        return replace(
            type(rows[0])(**{name: torch.cat([row.tensors()[name] for row in rows]) for name in rows[0].tensors()}), best=torch.ones(len(rows))
        )

    vectors = {"ref0": np.ones(12), "ref1": np.zeros(12)}
    return Task(f"combinatorial/toy-{problem}-v1", domain, "tiny", 12, {"problem": problem}, lambda task: vectors, draw=draw, bounded=False)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_replay_finds_what_was_played(problem):
    task = toy(problem)
    lineup = players(task.domain, {"planner": Luck()})
    episode = rollout(task.domain, task.scenarios, lineup, task=task.view, ids=torch.arange(12))
    assert not episode.failures and episode.actions["planner"].dtype == np.int8
    again = replay(task.domain, task.scenarios, episode.actions)
    assert all(np.array_equal(again[name], value) for name, value in episode.metrics.items()) and (again["feasible"] == 1).all()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_gymnasium_accepts_it_and_rows_restart_one_by_one(problem):
    task = toy(problem)
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


# ---- the quotient -----------------------------------------------------------------------------------------------------------


def sub_instance(state):
    return {name: getattr(state, name) for name in ("free", "mask", "origin", "left", "done")}


def best_completion(domain, scenario, state):
    """The most reward still to be had from a state of one row, by trying everything."""
    if bool(state.done):
        return 0.0
    found = []
    for action in state.mask[0].nonzero()[:, 0]:
        after, outcome = domain.step(scenario, state, action[None])
        found.append(float(outcome.reward) + best_completion(domain, scenario, after))
    return max(found)


def by_permutation(problem, scenario, rest, here, left):
    """The same by plain enumeration of what remains, as an instance of its own: no state, no kernel."""
    best = -math.inf
    hand = ByHand(problem, scenario, 0)
    routes = itertools.product((0, 1), repeat=len(rest)) if problem == "cvrp" else ((0,) * len(rest),)
    for order, vias in itertools.product(itertools.permutations(rest), tuple(routes)):
        hand.rest, hand.here, hand.left, hand.first, hand.over = set(rest), here, left, False, False
        total = 0.0
        for j, b in zip(order, vias, strict=True):
            action = 2 * j + b if problem == "cvrp" else j
            if hand.over:
                break
            if action not in hand.legal():
                total = -math.inf
                break
            total += hand.choose(action)
        best = max(best, total)
    return best


@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS)
def test_two_ways_to_one_sub_instance_are_one_state(problem, seed):
    """Four nodes chosen in two orders that leave the same place, rest and capacity: same masks, rewards and optimum; which is the rest's own."""
    n, rng = 7, np.random.default_rng(seed)
    scenario = small(problem, 1, n, seed, padded=False)
    last = 4
    if problem == "op":  # lengths walked must agree too: nodes 1 and 2 at one place
        coords = scenario.coords.clone()
        coords[:, 2] = coords[:, 1]
        scenario = replace(scenario, coords=coords, budget=torch.tensor([4.0], dtype=torch.float64))
        ways = [1, 2, 3, last], [2, 1, 3, last]
    else:
        first = rng.permutation([1, 2, 3]).tolist()
        ways = [1, 2, 3, last], [*first, last]
    if problem == "kp":
        scenario = replace(scenario, capacity=scenario.demand[:, 1 : last + 1].sum(1) + 9)
    if problem == "cvrp":  # the last customer of both through the depot: the load before it is forgotten
        ways = tuple([2 * j + 1 for j in way] for way in ways)
    domain = world(problem, n)
    ends = []
    for way in ways:
        state = domain.reset(scenario)
        for j in way:
            state, _ = domain.step(scenario, state, torch.tensor([j]))
        ends.append(state)
    one, two = ends
    for name, value in sub_instance(one).items():
        torch.testing.assert_close(getattr(two, name), value, rtol=0, atol=1e-12 if problem == "op" else 0)
    optimum = best_completion(domain, scenario, one)
    assert best_completion(domain, scenario, two) == pytest.approx(optimum, abs=1e-12)
    rest = one.free[0].nonzero()[:, 0].tolist()
    left = one.left[0].item()
    assert by_permutation(problem, scenario, rest, int(one.origin[0]), left) == pytest.approx(optimum, abs=1e-12)
    while not bool(one.done):
        action = one.mask[0].nonzero()[-1]
        (one, first), (two, second) = domain.step(scenario, one, action), domain.step(scenario, two, action)
        assert torch.equal(first.reward, second.reward) and torch.equal(one.mask, two.mask) and torch.equal(first.terminated, second.terminated)


@pytest.mark.parametrize("problem", ["tsp", "cvrp"])
def test_what_remains_is_an_instance_of_its_own(problem):
    """Tail recursion: where one stands on the depot's own place, the rest alone, as a fresh instance, plays on as the whole did."""
    scenario = small(problem, 8, 9, 4, padded=False)
    coords = scenario.coords.clone()
    coords[:, 3] = coords[:, 0]
    scenario = replace(scenario, coords=coords)
    domain, fewer = world(problem, 9), world(problem, 6)
    factor = 2 if problem == "cvrp" else 1
    state = domain.reset(scenario)
    for j in (1, 2, 3):
        state, _ = domain.step(scenario, state, torch.full((8,), factor * j + factor - 1))
    keep = [0, 4, 5, 6, 7, 8]
    rest = replace(scenario, coords=coords[:, keep], size=torch.full((8,), 6))
    if problem == "cvrp":
        rest = replace(rest, demand=scenario.demand[:, keep])
        state = replace(state, left=scenario.capacity, mask=domain._mask(scenario, state.free, state.origin, scenario.capacity))
    alone = fewer.reset(rest)
    for _ in range(5):
        columns = [factor * j + b for j in keep[1:] for b in range(factor)]
        assert torch.equal(state.mask[:, columns], alone.mask[:, factor:]) or bool(alone.done.all())
        choice = alone.mask.to(torch.uint8).argmax(1)
        (alone, mine) = fewer.step(rest, alone, choice)
        action = torch.tensor(keep)[choice // factor] * factor + choice % factor
        state, whole = domain.step(scenario, state, action)
        assert torch.equal(mine.reward, whole.reward) and torch.equal(mine.terminated, whole.terminated)


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
