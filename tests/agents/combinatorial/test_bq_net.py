"""BQ-NCO's network and its training batches: what its scores may depend on, and that every target is what an optimal solution does next."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.combinatorial.bq_data import Labels, symmetry
from agents.combinatorial.bq_labels import GRID, solve
from agents.combinatorial.bq_net import PROBLEMS, BqNet, Shape, features
from domains.combinatorial.scenarios import drawn

torch.set_num_threads(1)
SMALL = Shape(2, 32, 4, 64)


def awake(problem: str, shape: Shape = SMALL, seed: int = 0) -> BqNet:
    """A network whose residual branches count: ReZero would have them start at zero."""
    torch.manual_seed(seed)
    net = BqNet(problem, shape)
    for block in net.blocks:
        block.alpha.data.fill_(0.7)
        block.beta.data.fill_(0.7)
    return net.eval().requires_grad_(False)


def tokens(problem: str, rows: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor | None]:
    rng = np.random.default_rng(seed)
    width = 2 if problem in ("tsp", "kp") else 3
    token = torch.from_numpy(rng.random((rows, length, width))).float()
    left = torch.from_numpy(0.3 + rng.random(rows)).float()
    m = length if problem == "kp" else length - 2
    legal = torch.from_numpy(rng.random((rows, m)) < 0.7) if problem in ("op", "kp") else None
    return token, left, legal


def labelled(problem: str, n: int, count: int) -> dict[str, Any]:
    """Solved instances, stored as bq_labels stores them."""
    sized = {"cvrp": 20, "kp": 50}.get(problem, n)
    found = drawn(problem, sized, range(count))
    if problem == "cvrp":
        found = {"coords": found["coords"][:, : n + 1], "demand": found["demand"][:, : n + 1], "capacity": np.full(count, 20)}
    if problem == "kp":
        found = {"prize": found["prize"][:, :n], "demand": found["demand"][:, :n], "capacity": np.full(count, 250 * n)}
    if "coords" in found:
        found["coords"] = np.round(found["coords"] * GRID) / GRID
    solved = solve(problem, found, 20)
    if "coords" in found:
        found["coords"] = np.round(found["coords"] * GRID).astype(np.uint16)
    return {**found, **solved}


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_order_of_the_nodes_does_not_matter(problem: str, relative: bool) -> None:
    net = awake(problem, Shape(2, 32, 4, 64, relative))
    token, left, legal = tokens(problem, 6, 9)
    inner = torch.from_numpy(np.random.default_rng(1).permutation(9 if problem == "kp" else 7))
    outer = inner if problem == "kp" else torch.cat((torch.zeros(1, dtype=torch.int64), inner + 1, torch.tensor([8])))
    plain, shuffled = net(token, left, legal), net(token[:, outer], left, None if legal is None else legal[:, inner])
    keep = torch.ones_like(plain, dtype=torch.bool) if legal is None else legal
    assert plain.std() > 1e-3
    assert torch.allclose(plain[:, inner][keep[:, inner]], shuffled[keep[:, inner]], atol=1e-5)


@pytest.mark.parametrize("problem", ["tsp", "cvrp", "op"])
def test_moving_turning_and_scaling_change_no_score(problem: str) -> None:
    net = awake(problem)
    token, left, legal = tokens(problem, 6, 9)
    angle, scale = 0.7, 2.5
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float32)
    moved = torch.cat((scale * token[..., :2] @ turn.T + torch.tensor([3.0, -1.0]), token[..., 2:]), -1)
    longer = left * scale if problem == "op" else left
    assert torch.allclose(net(token, left, legal), net(moved, longer, legal), atol=2e-4)


def test_units_of_a_knapsack_change_no_score() -> None:
    net = awake("kp")
    token, left, legal = tokens("kp", 6, 9)
    assert torch.allclose(net(token, left, legal), net(token * torch.tensor([7.0, 0.3]), left * 0.3, legal), atol=1e-4)


@pytest.mark.parametrize("problem", ["op", "kp"])
def test_what_is_out_of_reach_is_no_part_of_the_instance(problem: str) -> None:
    """Nodes that can never be chosen again may lie anywhere: the instance that is left is the same."""
    net = awake(problem)
    token, left, legal = tokens(problem, 6, 9)
    assert legal is not None
    legal[:, 0] = True
    rubbish = token.clone()
    body = rubbish if problem == "kp" else rubbish[:, 1:-1]
    body[~legal] = 5.0 * torch.rand(int((~legal).sum()), token.shape[2], generator=torch.Generator().manual_seed(3))
    assert torch.allclose(net(token, left, legal)[legal], net(rubbish, left, legal)[legal], atol=1e-5)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_scores_stay_finite_where_places_coincide_and_nothing_is_legal(problem: str) -> None:
    net = awake(problem)
    token, left, legal = tokens(problem, 4, 6)
    token[:] = token[:1, :1]
    assert torch.isfinite(net(token, 0.0 * left, None if legal is None else torch.zeros_like(legal))).all()


def test_features_are_counted_right() -> None:
    for problem in PROBLEMS:
        token, left, legal = tokens(problem, 2, 6)
        for relative in (True, False):
            assert features(problem, token, left, legal, relative).shape[-1] == BqNet(problem, Shape(1, 8, 2, 8, relative)).embed.in_features


def test_the_eight_symmetries_are_different_and_keep_distances() -> None:
    xy = torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0)).repeat(8, 1, 1)
    turned = symmetry(xy, torch.arange(8))
    assert torch.allclose(torch.cdist(turned, turned), torch.cdist(xy, xy), atol=1e-6)
    assert (torch.cdist(turned.flatten(1), turned.flatten(1)) + torch.eye(8) > 1e-3).all()
    assert torch.equal(turned[0], xy[0])


@pytest.mark.parametrize("step", [0, 1, 3])
def test_tour_windows_are_best_ways_between_their_ends(step: int) -> None:
    arrays = labelled("tsp", 7, 20)
    batch = Labels("tsp", arrays, torch.device("cpu")).batch(12, np.random.default_rng(step), step)
    for token, target in zip(batch.token.double(), batch.target, strict=True):
        m = len(token) - 2
        best = min(path(token, (0, *inner, m + 1)) for inner in permutations(range(1, m + 1)))
        for first in np.flatnonzero(target.numpy()):
            others = [i for i in range(1, m + 1) if i != first + 1]
            assert min(path(token, (0, int(first) + 1, *inner, m + 1)) for inner in permutations(others)) == pytest.approx(best, abs=1e-5)
    assert batch.target.sum(1).allclose(torch.ones(12)) and (batch.target > 0).sum(1).eq(1 if step else 2).all()


def path(token: Tensor, way: tuple[int, ...]) -> float:
    points = token[list(way), :2]
    return float((points[1:] - points[:-1]).norm(dim=1).sum())


@pytest.mark.parametrize("step", [0, 1, 2])
def test_routes_go_on_as_cheaply_as_they_can(step: int) -> None:
    """Brute force over orders and returns to the depot from where the prefix ends."""
    arrays = labelled("cvrp", 5, 8)
    labels = Labels("cvrp", arrays, torch.device("cpu"))
    batch = labels.batch(8, np.random.default_rng(step), step)
    for row in range(8):
        token, room, target = batch.token[row].double(), float(batch.left[row]), batch.target[row].view(-1, 2)
        assert batch.allowed[row].view(-1, 2)[target > 0].all()
        best = cheapest(token, room, None)
        for first, flag in np.argwhere(target.numpy() > 0):
            assert cheapest(token, room, (int(first) + 1, int(flag))) == pytest.approx(best, abs=1e-4)


def cheapest(token: Tensor, room: float, first: tuple[int, int] | None) -> float:
    m, best = len(token) - 2, np.inf
    distance = torch.cdist(token[:, :2], token[:, :2]).numpy()
    demand, depot = token[:, 2].numpy(), m + 1
    for order in permutations(range(1, m + 1)):
        if first and order[0] != first[0]:
            continue
        for flags in range(1 << m):
            if first and flags & 1 != first[1]:
                continue
            here, left, cost = 0, room, 0.0
            for place, node in enumerate(order):
                if flags >> place & 1:
                    cost, left, here = cost + distance[here, depot], 1.0, depot
                cost, left, here = cost + distance[here, node], left - demand[node], node
                if left < -1e-6 or cost >= best:
                    break
            else:
                best = min(best, cost + distance[here, depot])
    return best


def test_the_fullest_routes_come_first() -> None:
    arrays = labelled("cvrp", 14, 30)
    batch = Labels("cvrp", arrays, torch.device("cpu")).batch(60, np.random.default_rng(0), 0)
    depot = batch.token.shape[1] - 1
    for row in range(60):
        beside, demand = batch.beside[row].tolist(), batch.token[row, :, 2].tolist()
        ends = {token: carried(token, beside, demand, depot) for token in range(1, depot) if depot in beside[token]}
        most = max(ends.values())
        right = {int(token) + 1 for token in (batch.target[row].view(-1, 2) > 0).any(1).nonzero()[:, 0]}
        assert right == {token for token, load in ends.items() if abs(load - most) < 1e-5} and most < 1 + 1e-5


def carried(token: int, beside: list[list[int]], demand: list[float], depot: int) -> float:
    """The load of the route that ends or begins at a token."""
    load, way = demand[token], 0 if beside[token][1] == depot else 1
    while (token := beside[token][way]) not in (0, depot):
        load += demand[token]
    return load


def test_orienteering_batches_know_what_is_left_and_in_reach() -> None:
    arrays = labelled("op", 20, 30)
    labels = Labels("op", arrays, torch.device("cpu"))
    for step in (0, 2, 4):
        batch = labels.batch(40, np.random.default_rng(step), step)
        assert batch.legal is not None and batch.legal[batch.target > 0].all()
        tour = batch.beside[:, :, 1]  # follow the solution to the depot: what is left suffices exactly for it
        for row in range(40):
            at, length, last = 0, 0.0, batch.token.shape[1] - 1
            while at != last:
                after = int(tour[row, at])
                length += float((batch.token[row, at, :2] - batch.token[row, after, :2]).norm())
                at = after
            assert length <= float(batch.left[row]) + 1e-5
            between, ends = batch.token[row, 1:-1, :2], batch.token[row, [0, -1], :2]
            detour = torch.cdist(between, ends).sum(1)
            assert (batch.legal[row] == (detour <= batch.left[row]))[(detour - batch.left[row]).abs() > 1e-5].all()


def test_knapsack_targets_still_fit_together() -> None:
    arrays = labelled("kp", 20, 30)
    labels = Labels("kp", arrays, torch.device("cpu"))
    packed = labels.parts["packed"].numpy()
    for step in (0, 3, 7):
        batch = labels.batch(40, np.random.default_rng(step), step)
        right = batch.target > 0
        assert ((batch.token[..., 1] * right).sum(1) <= batch.left + 1e-4).all()
        assert set(right.sum(1).tolist()) <= set((packed - step).tolist())
        assert torch.allclose(batch.target.sum(1), torch.ones(40))


@pytest.mark.parametrize("problem", ["tsp", "cvrp", "op"])
def test_neighbours_are_mutual(problem: str) -> None:
    """Whoever comes before a token has it behind itself, save the ends, which stand beside several."""
    arrays = labelled(problem, {"tsp": 9, "cvrp": 9, "op": 20}[problem], 20)
    batch = Labels(problem, arrays, torch.device("cpu")).batch(30, np.random.default_rng(0), 2)
    last = batch.token.shape[1] - 1
    checked = 0
    for row in batch.beside.tolist():
        for at in range(1, last):
            before, behind = row[at]
            if behind not in (-1, last):
                assert row[behind][0] == at
                checked += 1
            if before not in (-1, 0, last):
                assert row[before][1] == at
    assert checked > 30
