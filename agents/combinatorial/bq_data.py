"""From solved instances to batches of sub-instances: any end of an optimal solution solves the instance that its beginning leaves.

Per batch one length, so that nothing is padded; per row one sub-instance of that length and what the solution does next in it (Drakulic et
al., arXiv 2301.03313, section 4). tsp: windows of the tour, either way round; the whole tour too, which has two right answers. cvrp: what is
left behind a prefix of the routes, the fullest first (appendix E: ascending by unused capacity), each in either direction; where a route
begins, both its ends are right. op: the rest of the tour with all nodes not on it. kp: items not packed and packed items not
yet taken; every one of the latter is right. Points are turned by one of the 8 symmetries of the square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GRID = 65535
SHORTEST = 4  # tokens of the shortest sub-instance, both ends included (kp: items left)
KP_UNIT = 1000.0
PRIZE_UNIT = 100.0


@dataclass(frozen=True)
class Batch:
    """token [B, L, RAW] float32, left [B] float32, legal [B, m] bool or None: inputs of BqNet; target [B, A] float32: the share of each right
    answer, A = m (cvrp 2 m, node by node); allowed [B, A] bool: answers that are legal; beside [B, L, 2] int64: the tokens before and behind each
    token in the solution, -1 for none (kp: width 0)"""

    token: Tensor
    left: Tensor
    legal: Tensor | None
    target: Tensor
    allowed: Tensor
    beside: Tensor


class Labels:
    """Solved instances of one problem and size, whole on one device; `batch` draws sub-instances from them.

    arrays: as bq_labels stores them
    """

    def __init__(self, problem: str, arrays: dict[str, NDArray[Any]], device: torch.device) -> None:
        self.problem, self.device, self.count = problem, device, len(arrays["order"])
        prepared = {"cvrp": _routed, "kp": _packed_first}[problem](arrays) if problem in ("cvrp", "kp") else dict(arrays)
        if problem == "op":
            prepared["visited"] = (arrays["order"] >= 0).sum(1).astype(np.int16)
            prepared["order"] = _with_rest(arrays["order"])
        self.parts = {name: torch.from_numpy(np.ascontiguousarray(_plain(array))).to(device) for name, array in prepared.items()}
        self.n, self.taken = arrays["order"].shape[1], (arrays["order"] >= 0).sum(1)
        self.lengths = self._lengths()

    def _lengths(self) -> NDArray[np.float64]:
        """[steps] the chance of each number of choices made before the sub-instance begins."""
        steps = np.arange(self.n)
        weight = np.array([self._weights(step).sum() for step in steps]) if self.problem in ("op", "kp") else np.ones(self.n)
        weight[max(1, self.n - SHORTEST + 3) :] = 0.0  # at least two nodes to choose from
        return weight / weight.sum()

    def _weights(self, step: int) -> NDArray[np.float64]:
        """[C] how often each solution is looked at behind `step` of its choices; op and kp, whose solutions end at different steps.

        kp: in inverse proportion to the items it still packs, since the last ones are what is hard.
        """
        rest = self.taken - step
        return np.where(rest > 0, 1.0 / np.maximum(rest, 1) if self.problem == "kp" else 1.0, 0.0)

    def batch(self, size: int, rng: np.random.Generator, step: int | None = None, tokens: int | None = None) -> Batch:
        """`size` sub-instances (fewer where they would have more than `tokens` in all), `step` choices into their solutions (by default drawn)."""
        step = int(rng.choice(self.n, p=self.lengths)) if step is None else step
        if tokens is not None:
            size = max(1, min(size, tokens // (self.n - step + 2)))
        if self.problem in ("op", "kp"):
            rows = self._running(size, rng, step)
        else:
            rows = rng.integers(0, self.count, size)
        build = {"tsp": self._tsp, "cvrp": self._cvrp, "op": self._op, "kp": self._kp}[self.problem]
        return build(torch.from_numpy(rows).to(self.device), rng, step)

    def _running(self, size: int, rng: np.random.Generator, step: int) -> NDArray[np.int64]:
        """Rows whose solution goes on behind `step` choices, at random."""
        weight = self._weights(step).cumsum()
        return np.searchsorted(weight, rng.random(size) * weight[-1], side="right")

    def _tsp(self, rows: Tensor, rng: np.random.Generator, step: int) -> Batch:
        size, n = len(rows), self.n + 1
        tour = torch.cat((torch.zeros(size, 1, dtype=torch.int64, device=self.device), self.parts["order"][rows].long()), 1)
        shift, way = (torch.from_numpy(rng.integers(0, most, (size, 1))).to(self.device) for most in (n, 2))
        tokens = n + 1 - step  # the whole tour shows its start twice
        place = (shift + (2 * way - 1) * torch.arange(tokens, device=self.device)) % n
        token = self._points(rows, tour.gather(1, place), rng)
        target = torch.zeros(size, tokens - 2, device=self.device)
        target[:, 0] += 1.0 if step else 0.5
        if not step:
            target[:, -1] += 0.5
        beside = self._chain(tokens).expand(size, -1, -1)
        return Batch(token, torch.ones(size, device=self.device), None, target, torch.ones_like(target, dtype=torch.bool), beside)

    def _cvrp(self, rows: Tensor, rng: np.random.Generator, step: int) -> Batch:
        size, n, parts = len(rows), self.n, self.parts
        route, demand, at = parts["route"][rows].long(), parts["demand"][rows].long(), torch.arange(n, device=self.device)
        capacity, order = parts["capacity"][rows], parts["order"][rows].long()
        unused = capacity[:, None] - torch.zeros_like(route).scatter_add(1, route, demand.gather(1, order))
        tie, turn = torch.from_numpy(rng.random((2, size, n))).to(self.device)
        place, start, length = arranged(route, unused + tie, turn < 0.5)
        order, unused = order.gather(1, place), unused.gather(1, route.gather(1, place))
        loads = torch.nn.functional.pad(demand.gather(1, order).cumsum(1), (1, 0))  # before each position
        begins = start[:, step] == step
        if step:
            begun = start[:, step - 1]
            room = capacity - (loads[:, step] - loads.gather(1, begun[:, None])[:, 0])
            origin, through = order[:, step - 1], begins
        else:
            room, origin, through = capacity, torch.zeros_like(rows), torch.zeros_like(begins)
        rest = order[:, step:]
        nodes = torch.cat((origin[:, None], rest, torch.zeros_like(origin)[:, None]), 1)
        carried = demand.gather(1, nodes) / capacity[:, None]
        token = torch.cat((self._points(rows, nodes, rng), carried[..., None].float()), -1)
        first, last = (start == at)[:, step:], (start + length - 1 == at)[:, step:]
        equal = unused[:, step:] == unused[:, step : step + 1]  # routes as full as the next may be next
        share = torch.where(begins[:, None], equal * (first.float() + last.float()), (at[step:] == step).float())
        target = torch.zeros(size, n - step, 2, device=self.device)
        target.scatter_(2, through.long()[:, None, None].expand(-1, n - step, 1), (share / share.sum(1, keepdim=True))[..., None])
        direct = demand.gather(1, rest) <= room[:, None]
        allowed = torch.stack((direct, torch.ones_like(direct)), -1)
        tokens = n - step + 2
        beside = self._chain(tokens).repeat(size, 1, 1)
        beside[:, 1:-1, 0] = torch.where(first, tokens - 1, beside[:, 1:-1, 0])
        beside[:, 1:-1, 1] = torch.where(last, tokens - 1, beside[:, 1:-1, 1])
        beside[:, 0, 1] = torch.where(through, tokens - 1, 1)
        beside[:, -1] = -1  # the depot is beside many
        return Batch(token, (room / capacity).float(), None, target.flatten(1), allowed.flatten(1), beside)

    def _op(self, rows: Tensor, rng: np.random.Generator, step: int) -> Batch:
        order, visited = self.parts["order"][rows].long(), self.parts["visited"][rows].long()
        back = torch.from_numpy(rng.integers(0, 2, (len(rows), 1))).to(self.device).bool()
        at = torch.arange(self.n, device=self.device)
        on_tour = at < visited[:, None]
        order = order.gather(1, torch.where(back & on_tour, visited[:, None] - 1 - at, at))
        home = torch.zeros_like(order[:, :1])
        xy = self.parts["coords"][rows].double() / GRID
        way = torch.cat((home, order), 1)
        legs = (_at(xy, way[:, 1:]) - _at(xy, way[:, :-1])).norm(dim=-1)
        left = self.parts["budget"][rows] - legs[:, :step].sum(1)
        rest = order[:, step:]
        nodes = torch.cat((way[:, step : step + 1], rest, home), 1)
        places = _at(xy, nodes)
        detour = (places[:, 1:-1] - places[:, :1]).norm(dim=-1) + (places[:, 1:-1] - places[:, -1:]).norm(dim=-1)
        legal = detour <= left[:, None] * (1 + 1e-9)
        legal[:, 0] = True
        prize = self.parts["prize"][rows].gather(1, nodes).float() / PRIZE_UNIT
        token = torch.cat((self._points(rows, nodes, rng), prize[..., None]), -1)
        target = torch.zeros(legal.shape, device=self.device)
        target[:, 0] += 1.0 if step else 0.5
        if not step:
            target[torch.arange(len(rows), device=self.device), visited - 1] += 0.5
        tokens = self.n - step + 2
        beside = self._chain(tokens).repeat(len(rows), 1, 1)
        off = (at[step:] >= visited[:, None])[..., None]
        beside[:, 1:-1] = torch.where(off, -1, beside[:, 1:-1])
        last = (visited - step)[:, None]  # token of the last node on the tour
        beside[:, :, 1] = beside[:, :, 1].scatter(1, last, tokens - 1)
        beside[:, -1] = torch.cat((last, torch.full_like(last, -1)), 1)
        return Batch(token, left.float(), legal, target, legal, beside)

    def _kp(self, rows: Tensor, rng: np.random.Generator, step: int) -> Batch:
        """`step` of the packed items, drawn at random, are taken already."""
        order, packed = self.parts["order"][rows].long(), self.parts["packed"][rows].long()
        at = torch.arange(order.shape[1], device=self.device)
        chance = torch.from_numpy(rng.random(order.shape)).to(self.device)
        shuffled = torch.where(at < packed[:, None], chance, 2.0).argsort(1)
        order = order.gather(1, shuffled)
        weight, value = (self.parts[name][rows].long().gather(1, order) for name in ("demand", "prize"))
        left = self.parts["capacity"][rows] - weight[:, :step].sum(1)
        rest = torch.stack((value[:, step:], weight[:, step:]), -1)
        legal = weight[:, step:] <= left[:, None]
        right = (at[step:] < packed[:, None]).float()
        beside = torch.zeros(*legal.shape, 0, dtype=torch.int64, device=self.device)
        return Batch(rest.float() / KP_UNIT, left.float() / KP_UNIT, legal, right / right.sum(1, keepdim=True), legal, beside)

    def _chain(self, tokens: int) -> Tensor:
        """[tokens, 2]: each beside its neighbours in line."""
        at = torch.arange(tokens, device=self.device)
        return torch.stack((at - 1, torch.where(at == tokens - 1, -1, at + 1)), -1)

    def _points(self, rows: Tensor, nodes: Tensor, rng: np.random.Generator) -> Tensor:
        """[B, L, 2] where the nodes are, each row turned by a symmetry of the square."""
        xy = _at(self.parts["coords"][rows].float() / GRID, nodes)
        which = torch.from_numpy(rng.integers(0, 8, len(rows))).to(self.device)
        return symmetry(xy, which)


def symmetry(xy: Tensor, which: Tensor) -> Tensor:
    """Points [B, L, 2] of the unit square under one of its 8 symmetries, `which` [B] of 0..7 (0 leaves them)."""
    swap, first, second = (which & 4).bool(), (which & 1).bool(), (which & 2).bool()
    x, y = xy.unbind(-1)
    x, y = torch.where(first[:, None], 1 - x, x), torch.where(second[:, None], 1 - y, y)
    return torch.where(swap[:, None, None], torch.stack((y, x), -1), torch.stack((x, y), -1))


def _at(points: Tensor, nodes: Tensor) -> Tensor:
    return points.gather(1, nodes[..., None].expand(-1, -1, 2))


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """torch gathers no uint16."""
    return array.astype(np.int32) if array.dtype == np.uint16 else array


def _with_rest(order: NDArray[np.int16]) -> NDArray[np.int16]:
    """[C, n] orders of nodes 1..n completed by those not in them."""
    rows, n = order.shape
    missing = np.ones((rows, n + 1), bool)
    np.put_along_axis(missing, np.where(order < 0, 0, order), False, 1)
    missing[:, 0] = False
    rest = np.argsort(~missing[:, 1:], axis=1, kind="stable").astype(np.int16) + 1
    visited = (order >= 0).sum(1, keepdims=True)
    at = np.arange(n)
    return np.where(at < visited, order, np.take_along_axis(rest, np.maximum(at - visited, 0), 1)).astype(np.int16)


def arranged(route: Tensor, key: Tensor, turned: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Routes by ascending `key`, those that are `turned` the other way round: positions [B, n] to gather by, and of the route at each place its
    start and its length [B, n]. route: [B, n] the route of each position, numbered from 0 as they come; key and turned: [B, n] by route."""
    n = route.shape[1]
    at = torch.arange(n, device=route.device)
    length = torch.zeros_like(route).scatter_add(1, route, torch.ones_like(route))
    begins = torch.ones_like(route, dtype=torch.bool)
    begins[:, 1:] = route[:, 1:] != route[:, :-1]
    within = at - torch.where(begins, at, 0).cummax(1).values
    within = torch.where(turned.gather(1, route), length.gather(1, route) - 1 - within, within)
    rank = torch.where(length > 0, key, torch.inf).argsort(dim=1, stable=True).argsort(1)
    place = (rank.gather(1, route) * n + within).argsort(1)
    return place, at - within.gather(1, place), length.gather(1, route.gather(1, place))


def _routed(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """`route` of each position, numbered from 0 as they come."""
    via = arrays["via"].astype(bool)
    via[:, 0] = True
    return {**{name: arrays[name] for name in ("coords", "demand", "capacity", "order")}, "route": (via.cumsum(1) - 1).astype(np.int16)}


def _packed_first(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """All items, the packed ones first, and how many those are."""
    order = arrays["order"]
    packed = (order >= 0).sum(1)
    whole = _with_rest(np.where(order >= 0, order + 1, -1).astype(np.int16)) - 1
    return {**{name: arrays[name] for name in ("demand", "prize", "capacity")}, "order": whole.astype(np.int16), "packed": packed.astype(np.int16)}
