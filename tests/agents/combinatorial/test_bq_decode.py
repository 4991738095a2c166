"""BQ-NCO's decoding: the index buffer against plain re-encoding through the kernel, beams against enumeration, everything against the checker."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.combinatorial.bq_data import KP_UNIT, PRIZE_UNIT
from agents.combinatorial.bq_decode import Given, Rest, beam, choose, given, greedy, legal, rest, scores, solve, whole, worth
from agents.combinatorial.bq_net import PROBLEMS, BqNet, Shape
from agents.combinatorial.bq_search import improve, routes_sorted
from domains.combinatorial.checker import evaluate
from domains.combinatorial.distances import unit_square
from domains.combinatorial.exact import held_karp, knapsack, orienteering, vehicle_routing
from domains.combinatorial.kernel import Combinatorial, Instances
from domains.combinatorial.scenarios import drawn, instances

torch.set_num_threads(1)
SIZE = {"tsp": 20, "cvrp": 20, "op": 20, "kp": 50}


def awake(problem: str, relative: bool = True, seed: int = 0) -> BqNet:
    """A network that has learned nothing but prefers some nodes clearly."""
    torch.manual_seed(seed)
    net = BqNet(problem, Shape(2, 32, 4, 64, relative))
    for block in net.blocks:
        block.alpha.data.fill_(0.7)
        block.beta.data.fill_(0.7)
    net.head.weight.data.mul_(8)
    return net.eval().requires_grad_(False)


class Nearest(BqNet):
    """Prefers what is near (kp: what is light), and the depot only where nothing fits: a rule that search can improve on."""

    def forward(self, token: Tensor, left: Tensor, legal: Tensor | None = None) -> Tensor:
        if self.problem == "kp":
            return -token[..., 1]
        away = (token[:, 1:-1, :2] - token[:, :1, :2]).norm(dim=-1)
        return torch.stack((-away, -away - 5.0), -1) if self.problem == "cvrp" else -away


def scenario(problem: str, rows: int, first: int = 0) -> Instances:
    return instances(**drawn(problem, SIZE[problem], range(first, first + rows)))


def cut(found: Instances, n: int, problem: str) -> Instances:
    """The first n nodes."""
    return replace(
        found, size=torch.full_like(found.size, n), coords=found.coords[:, :n], demand=found.demand[:, :n], prize=found.prize[:, :n],
        capacity=found.capacity // 4 if problem == "kp" else found.capacity,
    )  # fmt: skip


def plain(net: BqNet, problem: str, found: Instances) -> Instances:
    """Solve row by row through the kernel, gathering from its mask what is left at every step: no buffer, no batch. Returns the final state."""
    domain = Combinatorial(problem, found.size.max().item())  # type: ignore[arg-type]
    state = domain.reset(found)
    while not bool(state.done.all()):
        seen = domain.observe(found, state)
        actions = torch.zeros(len(found.size), dtype=torch.int64)
        for row in range(len(found.size)):
            if not state.done[row] and domain._mask(found, state.free, state.origin, state.left)[row].any():
                actions[row] = plain_choice(net, problem, {name: tensor[row] for name, tensor in seen.items()}, state.free[row])
        state, _ = domain.step(found, state, actions)
    return state  # type: ignore[return-value]


def plain_choice(net: BqNet, problem: str, seen: dict[str, Tensor], free: Tensor) -> int:
    mask, nodes = seen["action_mask"].bool(), seen["nodes"]
    left = free.nonzero()[:, 0]
    if problem == "kp":
        score = net((nodes[left] / KP_UNIT)[None].float(), (seen["capacity"][None] / KP_UNIT).float(), mask[left][None])[0]
        return int(left[score.masked_fill(~mask[left], -torch.inf).argmax()])
    xy = unit_square(nodes[:, :2])
    extent = (nodes[:, :2].amax(0) - nodes[:, :2].amin(0)).amax()
    extra = {"cvrp": nodes[:, 2:] / seen.get("full_capacity", torch.tensor(1)), "op": nodes[:, 2:] / PRIZE_UNIT}.get(problem, nodes[:, 2:])
    token = torch.cat((xy, extra), 1)[torch.cat((seen["origin"][None], left, seen["dest"][None]))]
    room = {"cvrp": lambda: seen["capacity"] / seen["full_capacity"], "op": lambda: seen["budget"] / extent}.get(problem, lambda: torch.ones(()))()
    reach = mask[left] if problem == "op" else None
    score = net(token[None].float(), room[None].float(), None if reach is None else reach[None])[0]
    if problem == "cvrp":
        allowed = mask.view(-1, 2)[left]
        best = int(score.masked_fill(~allowed, -torch.inf).flatten().argmax())
        return 2 * int(left[best // 2]) + best % 2
    return int(left[(score if reach is None else score.masked_fill(~reach, -torch.inf)).argmax()])


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_index_buffer_is_plain_re_encoding(problem: str, relative: bool) -> None:
    net, found = awake(problem, relative), scenario(problem, 6)
    seen = given(problem, found)
    ours, theirs = greedy(net, seen, whole(seen), 250), plain(net, problem, found)
    n = ours.order.shape[1]
    assert torch.equal(ours.order, theirs.order[:, :n].long())  # type: ignore[attr-defined]
    assert problem != "cvrp" or torch.equal(ours.via[:, 1:], theirs.via[:, 1:n])  # type: ignore[attr-defined]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("width", [1, 5])
def test_batched_is_one_by_one(problem: str, width: int) -> None:
    net, found = awake(problem), scenario(problem, 8)
    together = solve(net, given(problem, found), width=width)
    for row in range(8):
        alone = solve(net, given(problem, found[row : row + 1]), width=width)
        assert torch.equal(together.order[row], alone.order[0]) and torch.equal(together.via[row], alone.via[0])


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_way_of_decoding_is_feasible_and_no_more_work_is_worse(problem: str) -> None:
    net, found = awake(problem), scenario(problem, 12)
    seen = given(problem, found)
    cost = {}
    for name, asked in {"greedy": {}, "beam": {"width": 16}, "views": {"views": 8}, "near": {"k": 5}, "near beam": {"k": 5, "width": 4}}.items():
        answer = solve(net, seen, **asked)
        judged = evaluate(problem, found, answer.order, answer.via)
        assert judged.feasible.all(), name
        cost[name] = worth(seen, answer)
    assert (cost["beam"] <= cost["greedy"]).all() and (cost["views"] <= cost["greedy"]).all()
    assert (cost["beam"] < cost["greedy"]).any() and not torch.equal(cost["near"], cost["greedy"])


@pytest.mark.parametrize("problem", PROBLEMS)
def test_drawing_as_many_as_there_are_gives_every_solution_with_its_chance(problem: str) -> None:
    net, n = awake(problem), 4 if problem == "cvrp" else 5
    found = cut(scenario(problem, 3), n, problem)
    seen = given(problem, found)
    kept = beam(net, seen, whole(seen), 250, 1000, torch.Generator().manual_seed(0))
    best = kept.score.view(3, -1).amax(1)
    for row in range(3):
        assert float(best[row]) == pytest.approx(likeliest(net, seen[row : row + 1]), abs=1e-4)
    total = kept.score.view(3, -1).double().exp().sum(1)
    assert torch.allclose(total, torch.ones(3, dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_beam_that_keeps_every_state_is_dynamic_programming(problem: str) -> None:
    """Merging equal states, it is Held and Karp's recursion: optimal, whatever the network thinks."""
    net, n = awake(problem), 7
    found = cut(scenario(problem, 5), n, problem)
    seen = given(problem, found)
    kept = worth(seen, beam(net, seen, whole(seen), 250, 20_000)).view(5, -1).amin(1)
    for row in range(5):
        if problem == "kp":
            best = -knapsack(found.prize[row].numpy(), found.demand[row].numpy(), int(found.capacity[row]))[0]
        else:
            lengths = torch.cdist(found.coords[row], found.coords[row]).numpy()
            if problem == "tsp":
                best = held_karp(lengths)[0]
            elif problem == "op":
                best = -orienteering(lengths, found.prize[row].numpy(), float(found.budget[row]))[0]
            else:
                best = vehicle_routing(lengths, found.demand[row].numpy(), int(found.capacity[row]))[0]
        assert float(kept[row]) == pytest.approx(best, abs=1e-6)


def likeliest(net: BqNet, seen: Given) -> float:
    """The highest summed log-probability, by depth-first enumeration."""

    def deeper(prefix: list[int], score: float) -> float:
        now = whole(seen)
        for action in prefix:
            choose(seen, now, torch.tensor([action]))
        may = legal(seen, now)
        if now.m == 0 or (seen.problem in ("op", "kp") and not bool(may.any())):  # type: ignore[union-attr]
            return score
        logp = scores(net, seen, now, may, 250)[0]
        return max(deeper([*prefix, action], score + float(logp[action])) for action in range(len(logp)) if logp[action] > -torch.inf)

    return deeper([], 0.0)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_prefixes_that_leave_the_same_instance_score_the_same(problem: str) -> None:
    """The quotient: what was done, and in which order, is forgotten (here the buffer's slots differ)."""
    net, found = awake(problem), scenario(problem, 4)
    seen, first, second = given(problem, found), None, None
    ways = ([3, 1, 2, 4], [1, 2, 3, 4]) if problem != "kp" else ([3, 1, 2, 4], [4, 2, 3, 1])
    left = torch.full((4,), 0.9, dtype=torch.float64) if problem == "op" else torch.full((4,), 17, dtype=torch.int64)
    for way in ways:
        now = whole(seen)
        for node in way:
            slot = (now.perm[0, : now.m] == node).nonzero()[0, 0]
            choose(seen, now, (slot * (2 if problem == "cvrp" else 1)).repeat(4))
        now.left = left if problem != "kp" else now.left
        by_node = told_by_node(net, seen, now)
        first, second = by_node, first
    assert first is not None and second is not None
    finite = torch.isfinite(first)
    assert torch.equal(finite, torch.isfinite(second)) and finite.any() and torch.allclose(first[finite], second[finite], atol=1e-5)


def told_by_node(net: BqNet, seen: Given, now: Rest) -> Tensor:
    logp = scores(net, seen, now, legal(seen, now), 250).view(4, now.m, -1)
    return torch.full((4, 60, logp.shape[2]), -torch.inf).scatter(1, now.perm[:, : now.m, None].expand_as(logp), logp)


def test_nearest_nodes_alone_are_asked() -> None:
    net, found = awake("tsp"), scenario("tsp", 5)
    seen = given("tsp", found)
    now = whole(seen)
    logp = scores(net, seen, now, None, 6)
    near = (found.coords[:, 1:] - found.coords[:, :1]).norm(dim=-1).argsort(1)[:, :6]
    asked = torch.isfinite(logp).nonzero()[:, 1].view(5, 6)
    assert torch.equal(asked.sort(1).values, near.sort(1).values)


def test_orienteering_asks_the_nearest_and_the_richest_in_reach() -> None:
    net, found = awake("op"), scenario("op", 5)
    seen = given("op", found)
    now = whole(seen)
    may = legal(seen, now)
    assert may is not None
    for row, told in enumerate(torch.isfinite(scores(net, seen, now, may, 6))):
        away = (found.coords[row, 1:] - found.coords[row, 0]).norm(dim=-1)
        reach = may[row].nonzero()[:, 0].tolist()
        near = sorted(reach, key=lambda j: float(away[j]))[:3]
        assert set(near) <= set(told.nonzero()[:, 0].tolist())
        assert int(found.prize[row, 1:][may[row]].max()) == int(found.prize[row, 1:][told].max())


def test_a_stretch_between_two_places_is_solved_as_given() -> None:
    """Sub-instances with an origin and a destination of their own: every order is drawn, none twice."""
    net, found = awake("tsp"), scenario("tsp", 2)
    seen = given("tsp", found)
    nodes = torch.tensor([[5, 7, 9], [2, 3, 4]])
    now = rest(seen, nodes, torch.tensor([1, 1]), torch.tensor([8, 9]), seen.full, torch.arange(2))
    kept = beam(net, seen, now, 250, 6, torch.Generator().manual_seed(0))
    assert {tuple(order) for order in kept.order[:6].tolist()} == set(permutations([5, 7, 9]))
    assert torch.allclose(kept.score.exp().view(2, 6).sum(1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_search_never_loses_and_pays(problem: str) -> None:
    net, found = Nearest(problem, Shape(1, 8, 2, 8)), scenario(problem, 10)
    seen = given(problem, found)
    start = solve(net, seen)
    seeds = torch.arange(10)
    after = improve(net, seen, start, 30, seeds, 250)
    assert evaluate(problem, found, after.order, after.via).feasible.all()
    before, better = worth(seen, start), worth(seen, after)
    assert (better <= before).all() and (better < before).sum() >= 3
    alone = improve(net, seen[3:4], solve(net, seen[3:4]), 30, seeds[3:4], 250)
    assert torch.equal(alone.order[0], after.order[3]) and torch.equal(alone.via[0], after.via[3])


def test_sorting_routes_changes_no_route() -> None:
    net, found = awake("cvrp"), scenario("cvrp", 10)
    seen = given("cvrp", found)
    now = solve(net, seen)
    luck = torch.rand(10, 20, generator=torch.Generator().manual_seed(0))
    order, via = routes_sorted(seen, now, torch.linspace(0, 0.9, 10), luck)
    before, after = evaluate("cvrp", found, now.order, now.via), evaluate("cvrp", found, order, via)
    assert torch.allclose(before.cost, after.cost) and torch.equal(before.routes, after.routes) and after.feasible.all()
    assert not torch.equal(order, now.order)


def test_rounded_distances_and_padding_are_respected() -> None:
    """A chunk of a task of files: integer coordinates, TSPLIB's distances, rows padded behind their last node."""
    rng = np.random.default_rng(0)
    coords = np.zeros((3, 30, 2))
    coords[:, :20] = rng.integers(0, 1000, (3, 20, 2))
    found = instances(coords=coords, metric=1, size=np.full(3, 20))
    short = given("tsp", replace(found, coords=found.coords[:, :20]))
    answer = solve(awake("tsp"), short, width=4)
    judged = evaluate("tsp", found, answer.order)
    assert judged.feasible.all() and torch.equal(judged.cost, judged.cost.round())
