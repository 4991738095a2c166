"""The transition against an independent reading of its rules in plain Python, tiny instances worked out, rewards and metrics."""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from combinatorial_worlds import KINDS, PATHS, SEEDS, ByHand, small, walk, world
from hypothesis import given, settings

from domains.combinatorial.checker import evaluate
from domains.combinatorial.distances import METRICS, matrix
from domains.combinatorial.kernel import Combinatorial
from domains.combinatorial.scenarios import instances
from domains.combinatorial.solutions import check_solution
from domains.combinatorial.tsplib import RawInstance

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(seed=SEEDS)
def test_every_step_by_hand(kind, path, seed):
    scenario = small(kind, 4, 8, seed)
    domain = world(kind, 8, path)
    actions, states, outcomes = walk(domain, scenario, seed)
    for row in range(4):
        hand = ByHand(kind, scenario, row)
        for action, before, after, outcome in zip(actions, states, states[1:], outcomes, strict=False):
            shown = set(before.mask[row].nonzero()[:, 0].tolist())
            assert shown == (({0} if hand.over else hand.legal()) or {0})
            assert float(outcome.reward[row, 0]) == pytest.approx(hand.choose(int(action[row])), abs=1e-12)
            assert bool(outcome.terminated[row]) == hand.over == bool(after.done[row])
            assert float(after.left[row]) == pytest.approx(hand.left, abs=1e-12)
            if domain.problem != "kp":
                assert int(after.origin[row]) == hand.here
            assert set(after.free[row].nonzero()[:, 0].tolist()) == hand.rest
        chosen = states[-1].order[row][states[-1].order[row] >= 0].tolist()
        assert len(chosen) == len(set(chosen)) == int(states[-1].count[row])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(seed=SEEDS)
def test_both_ways_of_stepping_agree(kind, seed):
    """Compiled loops and torch: whatever is discrete to the bit, lengths to the last place (torch's square root is not correctly rounded)."""
    scenario = small(kind, 6, 9, seed)
    actions, states, outcomes = walk(world(kind, 9), scenario, seed)
    other = world(kind, 9, "torch")
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
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(seed=SEEDS)
def test_rewards_add_up_to_the_metric(kind, path, seed):
    scenario = small(kind, 8, 9, seed)
    domain = world(kind, 9, path)
    _, states, outcomes = walk(domain, scenario, seed)
    total = torch.stack([outcome.reward[:, 0] for outcome in outcomes]).sum(0)
    found = domain.metrics(scenario, states[-1])
    assert set(found) == {metric.name for metric in domain.metrics_spec}
    if domain.problem == "op":  # where nothing is in reach nothing is rewarded, though the tour stands at the depot and has its prize
        total = torch.where(states[0].done, scenario.prize[:, 0].double(), total)
    worth = found["value"] if domain.problem in ("op", "kp") else -found["cost"]
    torch.testing.assert_close(worth, total, rtol=1e-13, atol=0)
    assert bool((found["feasible"] == 1).all())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("problem", ["cvrp", "op", "kp"])
@settings(max_examples=15)
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


def test_of_two_nodes_at_one_place_on_the_earth_the_distance_is_1():
    """TSPLIB's own formula; ali535 has 29 such nodes and its optimum, 202339, counts them. What a node is from itself is 0."""
    coords = np.full((1, 3, 2), 7.3)
    scenario = instances(coords=coords, metric=METRICS.index("GEO"), demand=np.array([[0, 1, 1]]), capacity=2, best=3.0)
    domain = Combinatorial("cvrp", 3, metrics=True)
    state, first = domain.step(scenario, domain.reset(scenario), torch.tensor([3]))  # by way of the depot, where one is
    state, last = domain.step(scenario, state, torch.tensor([4]))
    assert (float(first.reward), float(last.reward)) == (-1, -2)
    assert domain.metrics(scenario, state)["cost"].tolist() == [3]
    assert matrix("GEO", torch.from_numpy(coords[0])).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    raw = RawInstance("same", "cvrp", 3, np.arange(1, 4), "GEO", coords=coords[0], demand=np.array([0, 1, 1]), capacity=2)
    assert check_solution(raw, [(1, 2)]) == 3


@pytest.mark.parametrize("problem", ["tsp", "atsp", "cvrp", "op"])
def test_one_node_alone_is_a_solution(problem):
    where = {"matrix": np.zeros((1, 1, 1))} if problem == "atsp" else {"coords": np.zeros((1, 1, 2))}
    scenario = instances(**where, demand=np.zeros((1, 1)), prize=np.full((1, 1), 4), capacity=1, budget=0.0, best=4.0 if problem == "op" else 0.0)
    domain = Combinatorial(problem, 1)
    state, outcome = domain.step(scenario, domain.reset(scenario), torch.tensor([0]))
    found = domain.metrics(scenario, state)
    assert outcome.terminated.tolist() == [True] and (found["gap"].tolist(), found["feasible"].tolist()) == ([0], [1])
