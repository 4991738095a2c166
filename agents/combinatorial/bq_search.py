"""Search by re-construction: a stretch of a solution is itself an instance, so the network solves it again; what is better is kept.

Random re-construction (Luo et al., LEHD, arXiv 2310.07985) in the terms of this domain. tsp: a window of the tour, between its ends. cvrp: the
routes are put in an order in which neighbours (by the angle of their centre) come last, each in a random direction, and the end of that list
is built again from where it begins. op: the end of the tour, either way round, with all nodes not on it. kp: some packed items stay, the rest
is packed again. One length per round for all rows, which have equal size; the place is each row's own luck.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.combinatorial.bq_data import arranged
from agents.combinatorial.bq_decode import Given, Rest, greedy, rest, whole, worth
from agents.combinatorial.bq_net import BqNet
from arena.seeds import stream_key, uniforms
from domains.combinatorial.checker import evaluate
from domains.combinatorial.distances import distance

LONGEST = 1000  # nodes of a stretch, at most
GAIN = 1e-12


def improve(net: BqNet, instances: Given, found: Rest, rounds: int, seeds: Tensor, k: int) -> Rest:
    """`rounds` re-constructions of whole solutions `found` of all instances; never worse. seeds: [B] int64, each row's luck."""
    build = {"tsp": _tour, "cvrp": _routes, "op": _end, "kp": _packing}[instances.problem]
    now = whole(instances)
    now.order, now.via = found.order.clone(), found.via.clone()
    most = min(now.order.shape[1], LONGEST)
    if not most:  # nothing is in reach
        return now
    for step in range(rounds):
        shared = float(uniforms(stream_key("bq-search"), torch.zeros(1, dtype=torch.int64), step, 1))
        size = min(most, 2 + int(shared * (most - 1)))
        luck = uniforms(stream_key("bq-search", "row"), seeds, step, 3 + now.order.shape[1])
        other = build(net, instances, now, size, luck, k)
        better = worth(instances, other) < worth(instances, now) - GAIN
        if instances.problem == "op":  # as much prize on a shorter tour: room for more
            better |= (worth(instances, other) <= worth(instances, now)) & (_length(instances, other) < _length(instances, now) - GAIN)
        now.order = torch.where(better[:, None], other.order, now.order)
        now.via = torch.where(better[:, None], other.via, now.via)
    return now


def _like(instances: Given, order: Tensor, via: Tensor) -> Rest:
    other = whole(instances)
    other.order, other.via = order, via
    return other


def _tour(net: BqNet, instances: Given, now: Rest, size: int, luck: Tensor, k: int) -> Rest:
    """`size` nodes between two neighbours of the tour, visited anew."""
    tour = torch.cat((torch.zeros_like(now.order[:, :1]), now.order), 1)
    n = tour.shape[1]
    size = min(size, n - 2)
    start, way = (luck[:, :1] * n).long(), torch.where(luck[:, 1:2] < 0.5, 1, -1)
    turned = tour.gather(1, (start + way * torch.arange(n, device=tour.device)) % n)
    part = rest(instances, turned[:, 1 : size + 1], turned[:, 0], turned[:, size + 1], now.left, now.row)
    anew = torch.cat((turned[:, :1], greedy(net, instances, part, k).order, turned[:, size + 1 :]), 1)
    home = (anew == 0).long().argmax(1, keepdim=True)
    return _like(instances, anew.gather(1, (home + torch.arange(1, n, device=tour.device)) % n), now.via)


def _routes(net: BqNet, instances: Given, now: Rest, size: int, luck: Tensor, k: int) -> Rest:
    """The last `size` customers of the routes, those put last that lie in one direction, served anew."""
    order, via = routes_sorted(instances, now, luck[:, 0], luck[:, 3:])
    n = order.shape[1]
    t = n - min(size, n)
    demand = instances.scenario.demand[now.row[:, None], order]
    at = torch.arange(n, device=order.device)
    if t:
        begun = torch.where(via & (at < t), at, 0).amax(1, keepdim=True)
        left = instances.full[now.row] - torch.where((at >= begun) & (at < t), demand, 0).sum(1)
        origin = order[:, t - 1]
    else:
        left, origin = instances.full[now.row], torch.zeros_like(order[:, 0])
    part = greedy(net, instances, rest(instances, order[:, t:], origin, torch.zeros_like(origin), left, now.row), k)
    via = torch.cat((via[:, :t], part.via), 1)
    via[:, 0] = False
    return _like(instances, torch.cat((order[:, :t], part.order), 1), via)


def routes_sorted(instances: Given, now: Rest, angle: Tensor, luck: Tensor) -> tuple[Tensor, Tensor]:
    """The same routes, those whose centre lies in direction `angle` [B] (turns) of the depot last; luck [B, n]: which are turned round."""
    order, n = now.order, now.order.shape[1]
    begins = now.via.clone()
    begins[:, 0] = True
    route = begins.long().cumsum(1) - 1
    places = instances.token[now.row[:, None], order][..., :2] - instances.token[now.row, :1, :2]
    centre = torch.zeros(*order.shape, 2, device=order.device).scatter_add(1, route[..., None].expand(-1, -1, 2), places)
    away = torch.remainder(torch.atan2(centre[..., 1], centre[..., 0]) / (2 * torch.pi) - angle[:, None].float() + 0.5, 1.0) - 0.5
    place, start, _ = arranged(route, -away.abs(), luck < 0.5)
    return order.gather(1, place), start == torch.arange(n, device=order.device)


def _end(net: BqNet, instances: Given, now: Rest, size: int, luck: Tensor, k: int) -> Rest:
    """The end of the tour, walked anew with all that was not visited: `size` of n nodes are still to choose from."""
    order, n = now.order, now.order.shape[1]
    visited = (order >= 0).sum(1, keepdim=True)
    at = torch.arange(n, device=order.device)
    back = torch.where((luck[:, :1] < 0.5) & (at < visited), visited - 1 - at, at)
    tour = order.gather(1, back)
    t = n - min(size, n)
    few = visited < t  # nothing to do where a tour is shorter than what would stay of it
    if bool(few.all()):
        return now
    free = torch.ones(len(order), n + 1, dtype=torch.bool, device=order.device)
    kept = torch.where(at < t, tour, -1)
    free.scatter_(1, kept.clamp(min=0), False)
    free[:, 0] = False
    perm = (~free[:, 1:]).long().argsort(dim=1, stable=True)[:, : n - t] + 1
    way = torch.cat((torch.zeros_like(tour[:, :1]), kept[:, :t]), 1).clamp(min=0)
    scenario = instances.scenario
    points = scenario.coords[now.row[:, None], way]
    left = instances.full[now.row].clone()
    for i in range(t):  # one by one, as the kernel subtracts
        left = left - distance(scenario.metric[now.row], points[:, i], points[:, i + 1])
    part = rest(instances, perm, way[:, -1], torch.zeros_like(way[:, 0]), left, now.row)
    part.done = few[:, 0]
    part = greedy(net, instances, part, k)
    anew = torch.cat((kept[:, :t], part.order), 1)
    return _like(instances, torch.where(few, order, anew), now.via)


def _packing(net: BqNet, instances: Given, now: Rest, size: int, luck: Tensor, k: int) -> Rest:
    """All but some packed items are unpacked, one of them is left out, and the knapsack is filled again.

    A rule that ranks items would otherwise pack the same ones.
    """
    order, n = now.order, now.order.shape[1]
    t = n - min(size, n)
    few = (order >= 0).sum(1, keepdim=True) <= t
    if bool(few.all()):
        return now
    shuffled = order.gather(1, torch.where(order >= 0, luck[:, 3 : 3 + n], 2.0).argsort(1))
    kept = shuffled[:, :t]
    free = torch.ones(len(order), n, dtype=torch.bool, device=order.device)
    free.scatter_(1, shuffled[:, : t + 1].clamp(min=0), False)
    perm = (~free).long().argsort(dim=1, stable=True)[:, : n - t - 1]
    weight = torch.where(kept >= 0, instances.scenario.demand[now.row[:, None], kept.clamp(min=0)], 0).sum(1)
    nothing = torch.zeros_like(now.origin)
    part = rest(instances, perm, nothing, nothing, instances.full[now.row] - weight, now.row)
    part.done = few[:, 0]
    anew = torch.cat((kept, greedy(net, instances, part, k).order, torch.full_like(order[:, :1], -1)), 1)
    return _like(instances, torch.where(few, order, anew), now.via)


def _length(instances: Given, now: Rest) -> Tensor:
    return evaluate(instances.problem, instances.scenario[now.row], now.order, now.via).length
