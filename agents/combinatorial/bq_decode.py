"""Building solutions with the network: what is left of every instance in an index buffer, greedily or by beam search.

The buffer holds the ids of the nodes that remain; a choice overwrites its slot with the last one (their order means nothing), so a step moves
no data and tsp and cvrp rows, which always have equally many left, need no padding. Legality is decided in exact arithmetic (integers, and
float64 lengths of the instance's own metric), never by the network. op and kp rows end at different steps; a finished row is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agents.combinatorial.bq_data import KP_UNIT, PRIZE_UNIT, symmetry
from agents.combinatorial.bq_net import BqNet
from arena.seeds import hash64
from domains.combinatorial.checker import evaluate
from domains.combinatorial.distances import distance, unit_square
from domains.combinatorial.kernel import MAXIMISED, Instances

TOKENS = {"cpu": 1 << 14, "cuda": 1 << 20}  # of one call of the network: what fits the cache, or fills the device


K = 250  # nodes that enter the network at most, unless said otherwise
VIEWS = 8
MORE = 3  # times the beam's width: candidates among which equal states are looked for


@dataclass(frozen=True)
class Given:
    """B instances as decoding wants them.

    token: [B, N, RAW] float32, the nodes as the network sees them; unit: [B] float64, what capacity or budget left is divided by for it
    """

    problem: str
    scenario: Instances
    token: Tensor
    unit: Tensor

    def __len__(self) -> int:
        return len(self.unit)

    def __getitem__(self, rows: Any) -> Given:
        return Given(self.problem, self.scenario[rows], self.token[rows], self.unit[rows])

    @property
    def full(self) -> Tensor:
        """[B] the budget (op) or capacity of the whole instance."""
        return self.scenario.budget if self.problem == "op" else self.scenario.capacity


def given(problem: str, scenario: Instances) -> Given:
    """Instances with x and y scaled into the unit square by one factor."""
    unit = torch.ones_like(scenario.budget)
    if problem == "kp":
        token = torch.stack((scenario.prize, scenario.demand), -1) / KP_UNIT
        unit = torch.full_like(unit, KP_UNIT)
    else:
        columns = [unit_square(scenario.coords)]
        if problem == "cvrp":
            columns.append((scenario.demand / scenario.capacity[:, None])[..., None])
            unit = scenario.capacity.double()
        if problem == "op":
            columns.append(scenario.prize[..., None] / PRIZE_UNIT)
            extent = (scenario.coords.amax(1) - scenario.coords.amin(1)).amax(1)
            unit = torch.where(extent > 0, extent, 1.0)
        token = torch.cat(columns, -1)
    return Given(problem, scenario, token.float(), unit)


@dataclass
class Rest:
    """What is left of each of R solutions being built, changed in place.

    row [R] the instance of each; perm [R, N] ids of the nodes left in slots 0..m-1; origin, dest [R]; left [R] capacity or budget
    order [R, T] int64 (-1 where nothing is chosen yet), via [R, T] bool, score [R] float32 summed log-probability, done [R]
    """

    row: Tensor
    perm: Tensor
    m: int
    origin: Tensor
    dest: Tensor
    left: Tensor
    order: Tensor
    via: Tensor
    score: Tensor
    done: Tensor
    step: int

    def take(self, index: Tensor) -> None:
        """Keep the solutions of `index`, in its order."""
        for name in ("row", "perm", "origin", "dest", "left", "order", "via", "score", "done"):
            setattr(self, name, getattr(self, name)[index])


def whole(instances: Given) -> Rest:
    """Nothing chosen yet. Rows of tsp and cvrp must agree in size."""
    rows, device = len(instances), instances.unit.device
    first, most = 0 if instances.problem == "kp" else 1, int(instances.scenario.size.max())
    perm = torch.arange(first, most, device=device).repeat(rows, 1)
    depot = torch.zeros(rows, dtype=torch.int64, device=device)
    return rest(instances, perm, depot, depot, instances.full, torch.arange(rows, device=device))


def rest(instances: Given, perm: Tensor, origin: Tensor, dest: Tensor, left: Tensor, row: Tensor) -> Rest:
    """Sub-instances: nodes `perm` [R, m] still to choose from `origin`, ending in `dest`, with `left` of capacity or budget, of instances `row`."""
    count, m = perm.shape
    order = torch.full((count, m), -1, dtype=torch.int64, device=perm.device)
    via = torch.zeros(count, m if instances.problem == "cvrp" else 0, dtype=torch.bool, device=perm.device)
    score, done = torch.zeros(count, device=perm.device), torch.zeros(count, dtype=torch.bool, device=perm.device)
    return Rest(row, perm.clone(), m, origin, dest, left.clone(), order, via, score, done, 0)


def legal(instances: Given, now: Rest) -> Tensor | None:
    """[R, m] which slots may be chosen (op, kp) or reached directly (cvrp), exactly as the kernel rules; None where all may be (tsp)."""
    if instances.problem == "tsp":
        return None
    scenario, nodes = instances.scenario, now.perm[:, : now.m]
    inside = nodes < scenario.size[now.row, None]
    if instances.problem == "op":
        metric, budget = scenario.metric[now.row], scenario.budget[now.row]
        points = _nodes(scenario.coords, now.row, nodes)
        here, home = (_nodes(scenario.coords, now.row, end[:, None]) for end in (now.origin, now.dest))
        detour = distance(metric, here, points) + distance(metric, points, home)
        return inside & (detour <= (now.left + 1e-9 * budget.abs().clamp(min=1.0))[:, None])
    return inside & (_nodes(scenario.demand, now.row, nodes) <= now.left[:, None])


def scores(net: BqNet, instances: Given, now: Rest, may: Tensor | None, k: int) -> Tensor:
    """[R, A] float32 log-probabilities of choices, A = m (cvrp 2 m: slot by slot direct, via depot); -inf for what is not legal.

    k: at most so many nodes enter the network, the nearest to the origin (op: half of them those of highest prize; kp: by value per weight)
    """
    count, width = now.perm.shape[0], 2 * now.m if instances.problem == "cvrp" else now.m
    if width == 1 and may is None:  # the last node of a tour
        return torch.zeros(count, 1, device=now.perm.device)
    found = torch.full((count, width), -torch.inf, device=now.perm.device)
    asked = torch.arange(count, device=now.perm.device) if not bool(now.done.any()) else (~now.done).nonzero()[:, 0]
    piece = max(1, TOKENS["cuda" if found.is_cuda else "cpu"] // (min(k, now.m) + 2))
    for part in asked.split(piece):
        found[part] = _scores(net, instances, now, part, None if may is None else may[part], k)
    return found


def _scores(net: BqNet, instances: Given, now: Rest, part: Tensor, may: Tensor | None, k: int) -> Tensor:
    row, nodes, problem = now.row[part], now.perm[part, : now.m], instances.problem
    chosen = None
    if now.m > k:
        chosen = _nearest(instances, now, part, nodes, may, k)
        nodes = nodes.gather(1, chosen)
        may = None if may is None else may.gather(1, chosen)
    token = _nodes(instances.token, row, nodes)
    if problem != "kp":
        ends = torch.stack((now.origin[part], now.dest[part]), 1)
        outer = _nodes(instances.token, row, ends)
        token = torch.cat((outer[:, :1], token, outer[:, 1:]), 1)
    left = (now.left[part] / instances.unit[row]).float()
    with torch.autocast("cuda", torch.bfloat16, enabled=token.is_cuda):
        score = net(token, left, may if problem in ("op", "kp") else None)
    if problem == "cvrp" and may is not None:
        allowed = torch.stack((may, torch.ones_like(may)), -1)
        logp = score.masked_fill(~allowed, -torch.inf).flatten(1).log_softmax(1).view_as(allowed)
    else:
        logp = (score if may is None else score.masked_fill(~may, -torch.inf)).log_softmax(1)
    if chosen is not None:
        shape = (len(part), now.m, *logp.shape[2:])
        index = chosen if logp.dim() == 2 else chosen[..., None].expand_as(logp)
        logp = torch.full(shape, -torch.inf, device=logp.device).scatter(1, index, logp)
    return logp.flatten(1)


def _nearest(instances: Given, now: Rest, part: Tensor, nodes: Tensor, may: Tensor | None, k: int) -> Tensor:
    """[P, k] slots of the nodes that enter the network."""
    row, problem = now.row[part], instances.problem
    barred = torch.zeros_like(nodes, dtype=torch.bool) if may is None or problem == "cvrp" else ~may
    token = _nodes(instances.token, row, nodes)
    if problem == "kp":
        ratio = token[..., 0] / token[..., 1].clamp(min=1e-9)
        return ratio.masked_fill(barred, -torch.inf).topk(k, 1).indices
    here = _nodes(instances.token, row, now.origin[part][:, None])
    away = (token[..., :2] - here[..., :2]).square().sum(-1).masked_fill(barred, torch.inf)
    if problem != "op":
        return away.topk(k, 1, largest=False).indices
    near = away.topk(k - k // 2, 1, largest=False).indices
    rich = token[..., 2].masked_fill(barred, -1.0).scatter(1, near, -2.0)
    return torch.cat((near, rich.topk(k // 2, 1).indices), 1)


def choose(instances: Given, now: Rest, action: Tensor) -> None:
    """Carry out choices [R] (numbered as in `scores`) in place; finished rows stay as they are."""
    every, problem, scenario = torch.arange(len(action), device=action.device), instances.problem, instances.scenario
    slot = action >> 1 if problem == "cvrp" else action
    node, running = now.perm[every, slot], ~now.done
    now.order[:, now.step] = torch.where(running, node, -1)
    if problem == "cvrp":
        through = (action & 1).bool()
        now.via[:, now.step] = through & (now.origin != now.dest)  # from the depot itself both ways are one
        now.left = torch.where(through, scenario.capacity[now.row], now.left) - scenario.demand[now.row, node]
    elif problem == "kp":
        now.left = torch.where(running, now.left - scenario.demand[now.row, node], now.left)
    elif problem == "op":
        here, there = (_nodes(scenario.coords, now.row, end[:, None])[:, 0] for end in (now.origin, node))
        now.left = torch.where(running, now.left - distance(scenario.metric[now.row], here, there), now.left)
    if problem != "kp":
        now.origin = torch.where(running, node, now.origin)
    now.perm[every, slot] = torch.where(running, now.perm[:, now.m - 1], node)
    now.m, now.step = now.m - 1, now.step + 1


@torch.inference_mode()
def greedy(net: BqNet, instances: Given, now: Rest, k: int) -> Rest:
    """Complete the solutions, always by the likeliest choice; `now` itself, changed."""
    while now.m and (may := _open(instances, now)) is not DONE:
        logp = scores(net, instances, now, may, k)
        best, action = logp.max(1)
        now.score = torch.where(now.done, now.score, now.score + best)
        choose(instances, now, torch.where(now.done, 0, action))
    return now


@torch.inference_mode()
def beam(net: BqNet, instances: Given, now: Rest, k: int, width: int, luck: torch.Generator | None = None) -> Rest:
    """The `width` likeliest completions that are kept step by step: rows r * width + w, those of score -inf void; `now` itself, changed.

    Partial solutions that leave the same instance are one (the quotient): the cheapest is kept, with the highest score among them. With `luck`
    solutions are drawn from the network's distribution instead, without replacement: the beam of perturbed scores of Kool, van Hoof and Welling
    (stochastic beams, arXiv 1903.06059, algorithm 1).
    """
    starts, perturbed = len(now.row), torch.zeros_like(now.score)
    trail = Trail(torch.zeros_like(now.row), torch.zeros(starts, dtype=torch.float64, device=now.row.device))
    while now.m and (may := _open(instances, now)) is not DONE:
        logp = scores(net, instances, now, may, k)
        logp[now.done, 0] = 0.0  # a finished solution stays in the race as it is
        total = (now.score[:, None] + logp).view(starts, -1)
        kept, actions = min(width, total.shape[1]), logp.shape[1]
        first = len(now.row) // starts * torch.arange(starts, device=now.row.device)[:, None]
        if luck is None:
            score, flat = total.topk(min(MORE * kept, total.shape[1]), 1)
            after = trail.after(instances, now, first + flat // actions, flat % actions)
            score, chosen = merged(after, score).topk(kept, 1)
            flat, trail = flat.gather(1, chosen), Trail(*(part.gather(1, chosen).flatten() for part in (after.key, after.spent)))
        else:
            noisy = _perturbed(now.score[:, None] + logp, perturbed, luck).view(starts, -1)
            perturbed, flat = noisy.topk(kept, 1)
            score, perturbed = total.gather(1, flat), perturbed.flatten()
        now.take((first + flat // actions).flatten())
        now.score = score.flatten()
        now.done = now.done | (now.score == -torch.inf)
        choose(instances, now, torch.where(now.done, 0, flat.flatten() % actions))
    return now


@dataclass
class Trail:
    """What beams know of the way that led to them. key: int64 hash of the set of nodes chosen (Zobrist); spent: float64 length so far (kp: 0)"""

    key: Tensor
    spent: Tensor

    def after(self, instances: Given, now: Rest, parent: Tensor, action: Tensor) -> States:
        """Of the choices `action` [R, C] of solutions `parent` [R, C]."""
        problem, scenario = instances.problem, instances.scenario
        row, origin = now.row[parent], now.origin[parent]
        node = now.perm[parent, action >> 1 if problem == "cvrp" else action]
        running = ~now.done[parent]
        key = self.key[parent] ^ torch.where(running, hash64(node + 1), 0)
        if problem == "kp":
            return States(key, self.spent[parent], key)
        points = scenario.coords[row[..., None], torch.stack((origin, now.dest[parent], node), -1)]
        metric = scenario.metric[row.flatten()]
        here, home, there = (points[:, :, end].flatten(0, 1) for end in range(3))
        way = distance(metric, here, there).view_as(row)
        state = hash64(key ^ hash64(-1 - torch.where(running, node, origin)))
        if problem == "cvrp":
            through = (action & 1).bool()
            way = torch.where(through, (distance(metric, here, home) + distance(metric, home, there)).view_as(row), way)
            left = torch.where(through, scenario.capacity[row], now.left[parent]) - scenario.demand[row, node]
            state = hash64(state ^ hash64(left))
        return States(key, self.spent[parent] + torch.where(running, way, 0.0), state)


@dataclass
class States(Trail):
    """Trails of choices, and a hash of the instance each leaves: `state`."""

    state: Tensor


def merged(found: States, score: Tensor) -> Tensor:
    """[R, C] scores, -inf but for the cheapest of each state of a row, which gets the highest score of its state."""
    spent = torch.where(score > -torch.inf, found.spent, torch.inf)
    order = spent.argsort(dim=1, stable=True)
    order = order.gather(1, found.state.gather(1, order).argsort(dim=1, stable=True))
    state = found.state.gather(1, order)
    begins = torch.ones_like(state, dtype=torch.bool)
    begins[:, 1:] = state[:, 1:] != state[:, :-1]
    group = begins.long().cumsum(1) - 1
    most = torch.full_like(score, -torch.inf).scatter_reduce(1, group, score.gather(1, order), "amax")
    return torch.full_like(score, -torch.inf).scatter(1, order, torch.where(begins, most.gather(1, group), -torch.inf))


def _perturbed(logp: Tensor, perturbed: Tensor, luck: torch.Generator) -> Tensor:
    """[R, A] Gumbel-perturbed scores of children, given that the highest of each row is the parent's [R]; -inf stays."""
    uniform = torch.rand(logp.shape, generator=luck).to(logp.device).clamp(1e-20, 1 - 1e-7)
    gumbel = logp - (-uniform.log()).log()
    most = gumbel.amax(1, keepdim=True)
    gap = (gumbel - most).clamp(max=-1e-12)
    v = perturbed[:, None] - gumbel + torch.where(gap > -0.693, (-torch.expm1(gap)).log(), torch.log1p(-gap.exp()))
    drawn = perturbed[:, None] - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))
    drawn = torch.where(gumbel == most, perturbed[:, None], drawn)
    return torch.where(torch.isfinite(logp), drawn, -torch.inf)


DONE = object()


def _open(instances: Given, now: Rest) -> Any:
    """The legal slots; rows without any are done (op, kp), and DONE says that all are."""
    may = legal(instances, now)
    if instances.problem in ("op", "kp"):
        now.done = now.done | ~may.any(1)
        if bool(now.done.all()):
            return DONE
    return may


def worth(instances: Given, now: Rest) -> Tensor:
    """[R] float64 cost of whole solutions, lower is better: their length, or minus what they collect; inf where void or infeasible."""
    found = evaluate(instances.problem, instances.scenario[now.row], now.order, now.via)
    cost = -found.cost if instances.problem in MAXIMISED else found.cost
    return torch.where(found.feasible & (now.score > -torch.inf), cost, torch.inf)


def solve(net: BqNet, instances: Given, *, width: int = 1, k: int = K, views: int = 1) -> Rest:
    """The best solution of each instance: greedy ones of every view, and with `width` > 1 those of a beam."""
    views = 1 if instances.problem == "kp" else views  # there are no others
    found = [_view(net, instances, view, k, 1) for view in range(views)]
    if width > 1:
        found += [_view(net, instances, view, k, width) for view in range(views)]
    return best_of(instances, found)


def _view(net: BqNet, instances: Given, view: int, k: int, width: int) -> Rest:
    """Solutions of the instances seen under symmetry `view`; tours begin at a node of the view's own, and are told from node 0."""
    seen, start = instances, 0
    if view:
        which = torch.full((len(instances),), view, device=instances.unit.device)
        seen = replace(instances, token=torch.cat((symmetry(instances.token[..., :2], which), instances.token[..., 2:]), -1))
    now = whole(seen)
    if instances.problem == "tsp" and view:
        n = now.m + 1
        start = view * n // VIEWS
        perm = torch.cat((torch.arange(start, device=now.perm.device), torch.arange(start + 1, n, device=now.perm.device))).expand(len(now.row), -1)
        here = torch.full_like(now.origin, start)
        now = rest(seen, perm, here, here, now.left, now.row)
    now = beam(net, seen, now, k, width) if width > 1 else greedy(net, seen, now, k)
    if start:
        tour = torch.cat((torch.full_like(now.origin, start)[:, None], now.order), 1)
        home = (tour == 0).long().argmax(1, keepdim=True)
        turned = (home + torch.arange(1, tour.shape[1], device=tour.device)) % tour.shape[1]
        now.order = tour.gather(1, turned)
    return now


def best_of(instances: Given, found: list[Rest]) -> Rest:
    """The cheapest solution of each instance among several per row; of equal ones the first."""
    row = torch.cat([now.row for now in found])
    ranked = torch.cat([worth(instances, now) for now in found]).argsort(stable=True)
    rank = torch.empty_like(ranked).scatter(0, ranked, torch.arange(len(row), device=row.device))
    first = torch.full((len(instances),), len(row), device=row.device).scatter_reduce(0, row, rank, "amin")
    best = whole(instances)
    best.order, best.via = (torch.cat([getattr(now, name) for now in found])[ranked[first]] for name in ("order", "via"))
    return best


def _nodes(values: Tensor, row: Tensor, nodes: Tensor) -> Tensor:
    return values[row[:, None], nodes]
