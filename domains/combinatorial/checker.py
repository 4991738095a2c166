"""What a solution is worth and whether it is one: recomputed from the order of the nodes alone, in float64 (integers exactly)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from domains.combinatorial.distances import apart, distance

if TYPE_CHECKING:
    from domains.combinatorial.kernel import Instances


@dataclass(frozen=True)
class Evaluation:
    """Of [B] solutions. cost: length of the tour or all routes (tsp, atsp, cvrp), value collected (op, kp); length: of the tour (0 in kp)

    feasible: a solution of the problem: nodes at most once (tsp, atsp, cvrp: all of them), loads within the capacity, length within the budget
    routes: vehicles used (cvrp), else 1
    """

    cost: Tensor
    length: Tensor
    feasible: Tensor
    routes: Tensor


def evaluate(problem: str, scenario: Instances, order: Tensor, via: Tensor | None = None) -> Evaluation:
    """Judge solutions `order` [B, T] (node ids as chosen, -1 behind the last) and `via` [B, T] bool (cvrp: reached through the depot)."""
    order = order.long()
    chosen = order >= 0
    node = order.clamp(min=0)
    counts = torch.zeros(len(order), max(_width(scenario), 1), dtype=torch.int64, device=order.device).scatter_add(1, node, chosen.long())
    once = (counts <= 1).all(1)
    if problem == "kp":
        weight, value = (torch.where(chosen, series.gather(1, node), 0).sum(1) for series in (scenario.demand, scenario.prize))
        nothing = torch.zeros_like(value)
        return Evaluation(value.double(), nothing.double(), once & (weight <= scenario.capacity), nothing + 1)
    through = via.bool() & chosen if via is not None and via.shape[1] else torch.zeros_like(chosen)
    length = _length(scenario, node, chosen, through)
    inside = torch.where(chosen, (node < scenario.size[:, None]) & (node > 0), True).all(1)
    if problem == "op":
        value = torch.where(chosen, scenario.prize.gather(1, node), 0).sum(1) + scenario.prize[:, 0]
        within = length <= scenario.budget + 1e-9 * scenario.budget.abs().clamp(min=1.0)
        return Evaluation(value.double(), length, once & inside & within, torch.ones_like(value))
    feasible = once & inside & (counts.sum(1) == scenario.size - 1)
    routes = torch.ones_like(scenario.size)
    if problem == "cvrp":
        later = through.clone()
        later[:, :1] = False  # the first customer is reached from the depot either way
        route = later.long().cumsum(1)
        load = torch.zeros_like(route).scatter_add(1, route, torch.where(chosen, scenario.demand.gather(1, node), 0))
        feasible = feasible & (load <= scenario.capacity[:, None]).all(1)
        routes = later.sum(1) + chosen.any(1)
    return Evaluation(length, length, feasible, routes)


def gap(found: Tensor, best: Tensor, maximise: bool) -> Tensor:
    """[B] %, how much worse costs (or values) are than the best known; 0 where they agree, also where both are 0."""
    worse = best - found if maximise else found - best
    return torch.where(worse == 0, 0.0, 100.0 * worse / best.abs().clamp(min=1e-300))


def _width(scenario: Instances) -> int:
    return max(scenario.coords.shape[1], scenario.matrix.shape[1], scenario.demand.shape[1])


def _length(scenario: Instances, node: Tensor, chosen: Tensor, through: Tensor) -> Tensor:
    """[B] the closed way from node 0 along the chosen nodes, by way of node 0 where `through` says so."""
    if not node.shape[1]:  # one node, or none in reach of a planner's cut: nowhere to go
        return torch.zeros(len(node), dtype=torch.float64, device=node.device)
    home = torch.zeros_like(node[:, :1])
    last = torch.where(chosen, torch.arange(node.shape[1], device=node.device), -1).amax(1)  # position of the last choice
    before, here = torch.cat((home, node[:, :-1]), 1), node
    end = torch.where(last >= 0, node.gather(1, last.clamp(min=0)[:, None])[:, 0], 0)[:, None]

    def edge(a: Tensor, b: Tensor) -> Tensor:
        if scenario.matrix.shape[1]:
            rows = torch.arange(len(a), device=a.device)[:, None]
            return scenario.matrix[rows, a, b]
        first, second = (scenario.coords.gather(1, ends[..., None].expand(-1, -1, 2)) for ends in (a, b))
        return apart(distance(scenario.metric, first, second), a, b)

    zero = torch.zeros_like(node)
    direct = edge(before, here)
    if bool(through.any()):
        direct = torch.where(through, edge(before, zero) + edge(zero, here), direct)
    return torch.where(chosen, direct, 0.0).sum(1) + edge(end, home)[:, 0]
