"""Combinatorial optimisation, built step by step: TSP, ATSP, CVRP, OP and KP as one batched kernel.

The state is the smaller instance that is left (Drakulic et al., BQ-NCO, NeurIPS 2023, arXiv 2301.03313, section 3): where one stands, what
remains, what may still be carried or walked. Two partial solutions that leave the same instance are one state. B scenarios, N nodes of
the array (items in KP; index 0 is the depot in CVRP and OP); rows with fewer than N nodes are padded at the end, see `Instances.size`.

problem  action        illegal                            reward                              ends
tsp      next node     visited                            -d(o, j), the last also -d(j, e)     all visited, size - 1 steps
atsp     next node     visited                            the same on the matrix               all visited
cvrp     2 j + b       b = 0 and demand > capacity left   -d(o, j), or via depot (b = 1)       all served; the last adds the way home
op       next node     no way home within the budget      prize of j                           nothing reachable
kp       item          heavier than the capacity left     value of j                           nothing fits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from arena.domain import Domain, Metric, Mode, Outcome, Record, Role
from domains.combinatorial.checker import evaluate
from domains.combinatorial.distances import METRICS, distance

Problem = Literal["tsp", "atsp", "cvrp", "op", "kp"]
PROBLEMS: tuple[Problem, ...] = ("tsp", "atsp", "cvrp", "op", "kp")
MAXIMISED = ("op", "kp")
OPTIMAL = 1e-3  # %: solvers see lengths rounded at 1e-6, tours are recomputed in float64


@dataclass(frozen=True, slots=True)
class Instances(Record):
    """The scenario: an instance of one problem. What a problem does not have has width 0."""

    size: Tensor  # [B] int64, nodes of the row (items in KP), the depot included; at most N
    coords: Tensor  # [B, N, 2] float64 (tsp, cvrp, op), else [B, 0, 2]
    metric: Tensor  # [B] int64, how distances follow from coords: index into distances.METRICS
    matrix: Tensor  # [B, N, N] float64 (atsp; diagonal 0), else [B, 0, 0]
    demand: Tensor  # [B, N] int64 (cvrp; depot 0) or the items' weights (kp), else [B, 0]
    capacity: Tensor  # [B] int64 (cvrp: of a vehicle; kp: of the knapsack), else 0
    prize: Tensor  # [B, N] int64 (op; also of the depot) or the items' values (kp), else [B, 0]
    budget: Tensor  # [B] float64, most length of the tour (op), else inf
    best: Tensor  # [B] float64, cost (tsp, atsp, cvrp) or value (op, kp) of the best solution known


@dataclass(frozen=True, slots=True)
class Partial(Record):
    """The state: the instance that remains, and how one came to it."""

    free: Tensor  # [B, N] bool, not yet chosen
    mask: Tensor  # [B, A] bool, legal actions
    origin: Tensor  # [B] int64, where one stands
    left: Tensor  # [B] capacity int64 (cvrp, kp) or budget float64 (op) left; zeros where there is none
    order: Tensor  # [B, T] int16, nodes in the order chosen, -1 where none is yet
    via: Tensor  # [B, T] bool, reached through the depot (cvrp), else [B, 0]
    done: Tensor  # [B] bool, terminated
    step: int


class Combinatorial(Domain):
    """Build a shortest tour, cheapest routes or the most valuable choice, one node at a time.

    problem: which of the five; n: length N of the node array; metrics: whether rows may have rounded distances (files), told in `metric`
    """

    name = "combinatorial"
    version = 1

    def __init__(self, problem: Problem, n: int, metrics: bool = False) -> None:
        self.problem, self.n, self.metrics_told = problem, n, metrics
        self.maximise = problem in MAXIMISED
        self.objectives = ("value",) if self.maximise else ("cost",)
        self.actions = 2 * n if problem == "cvrp" else n
        self.horizon = n if problem == "kp" else n - 1
        self.rtol = 0.0
        seen = self._spaces()
        self.roles = (Role("planner", (Mode("step", seen, spaces.Discrete(self.actions)),)),)
        self.metrics_spec = metrics_of(problem)

    def _spaces(self) -> spaces.Dict:
        n, big = self.n, float(2**53)
        far = spaces.Box(-np.inf, np.inf, (n, {"tsp": 2, "kp": 2}.get(self.problem, 3)), np.float64)
        place = {name: spaces.Discrete(n) for name in ("origin", "dest")}
        whole = spaces.Box(0, int(big), (), np.int64)
        entries: dict[str, spaces.Space[Any]] = {"matrix": spaces.Box(0.0, np.inf, (n, n), np.float64)} if self.problem == "atsp" else {"nodes": far}
        if self.problem != "kp":
            entries |= place
        if self.problem in ("cvrp", "kp"):
            entries["capacity"] = whole
        if self.problem == "cvrp":
            entries["full_capacity"] = whole
        if self.problem == "op":
            entries["budget"] = spaces.Box(-1.0, np.inf, (), np.float64)
        if self.metrics_told:
            entries["metric"] = spaces.Discrete(len(METRICS))
        return spaces.Dict({**entries, "action_mask": spaces.MultiBinary(self.actions)})

    # ---- the world ------------------------------------------------------------------------------------------------

    def reset(self, scenario: Instances) -> Partial:
        rows, device = len(scenario.size), scenario.size.device
        free = torch.arange(self.n, device=device) < scenario.size[:, None]
        if self.problem != "kp":
            free[:, 0] = False
        left = scenario.budget if self.problem == "op" else scenario.capacity
        origin = torch.zeros(rows, dtype=torch.int64, device=device)
        order = torch.full((rows, self.horizon), -1, dtype=torch.int16, device=device)
        via = torch.zeros(rows, self.horizon if self.problem == "cvrp" else 0, dtype=torch.bool, device=device)
        mask = self._mask(scenario, free, origin, left)
        mask[:, 0] |= ~mask.any(1)  # nothing is feasible: the first step says so
        return Partial(free, mask, origin, left, order, via, torch.zeros(rows, dtype=torch.bool, device=device), 0)

    def observe(self, scenario: Instances, state: Partial) -> dict[str, Tensor]:
        """The instance, whole and constant, and what remains of it: `action_mask` tells which nodes. Raw units, node 0 the depot."""
        seen = {"matrix": scenario.matrix} if self.problem == "atsp" else {"nodes": self.nodes(scenario)}
        if self.problem != "kp":
            seen |= {"origin": state.origin, "dest": torch.zeros_like(state.origin)}
        if self.problem in ("cvrp", "kp"):
            seen["capacity"] = state.left
        if self.problem == "cvrp":
            seen["full_capacity"] = scenario.capacity
        if self.problem == "op":
            seen["budget"] = state.left
        if self.metrics_told:
            seen["metric"] = scenario.metric
        return {**seen, "action_mask": state.mask}

    def nodes(self, scenario: Instances) -> Tensor:
        """[B, N, F] float64: x, y and demand (cvrp) or prize (op); value and weight (kp)."""
        if self.problem == "kp":
            return torch.stack((scenario.prize, scenario.demand), -1).double()
        extra = {"cvrp": scenario.demand, "op": scenario.prize}.get(self.problem)
        return scenario.coords if extra is None else torch.cat((scenario.coords, extra[..., None].double()), -1)

    def step(self, scenario: Instances, state: Partial, action: Tensor) -> tuple[Partial, Outcome]:
        """Go to a node, or pack an item. Raises ValueError for an action that is no legal one of a row still running."""
        self._check(state, action)
        playing, rows = ~state.done & state.mask.any(1), torch.arange(len(action), device=action.device)
        if self.problem in MAXIMISED:  # a first state without a feasible choice shows entry 0, which is not one
            playing = playing & self._feasible(state, action, scenario)
        whole = bool(playing.all())
        node, through = (action >> 1, (action & 1).bool()) if self.problem == "cvrp" else (action, None)
        node = node.long()
        free, order = state.free.clone(), state.order.clone()
        free[rows, node] = False if whole else free[rows, node] & ~playing
        order[:, state.step] = node.to(torch.int16) if whole else torch.where(playing, node, -1).to(torch.int16)
        origin, left, via = node if self.problem != "kp" else state.origin, state.left, state.via
        if self.problem == "cvrp":
            assert through is not None
            load = scenario.demand[rows, node]
            left = torch.where(through, scenario.capacity, left) - load
            via = via.clone()
            via[:, state.step] = through & playing
        elif self.problem == "kp":
            left = left - scenario.demand[rows, node]
        elif self.problem == "op":
            left = left - self._between(scenario, state.origin, node)
        if not whole:
            origin = torch.where(playing, origin, state.origin)
            left = torch.where(playing, left, state.left)
        mask = self._mask(scenario, free, origin, left)
        done = ~mask.any(1)
        mask[:, 0] |= done
        reward = self._reward(scenario, state, node, through, done)
        reward = reward if whole else torch.where(playing, reward, 0.0)
        after = Partial(free, mask, origin, left, order, via, done, state.step + 1)
        return after, Outcome(reward[:, None], reward.new_empty(len(reward), 0), done)

    def metrics(self, scenario: Instances, state: Partial) -> dict[str, Tensor]:
        """What the solution so far is worth, recomputed in float64 from the order of the nodes by a checker that shares no code with `step`."""
        found = evaluate(self.problem, scenario, state.order, state.via)
        worse = scenario.best - found.cost if self.maximise else found.cost - scenario.best
        gap = 100.0 * worse / scenario.best.abs().clamp(min=1e-300)
        gap = torch.where(worse == 0, 0.0, gap)
        report = {"gap": gap, "value" if self.maximise else "cost": found.cost, "feasible": found.feasible.double()}
        report["optimal"] = ((gap < OPTIMAL) & found.feasible).double()
        if self.problem == "cvrp":
            report["routes"] = found.routes.double()
        if self.problem == "op":
            report["length"] = found.length
        return report

    # ---- its rules ------------------------------------------------------------------------------------------------

    def _mask(self, scenario: Instances, free: Tensor, origin: Tensor, left: Tensor) -> Tensor:
        """[B, A] legal actions where some node is left; nothing where none is feasible."""
        if self.problem == "cvrp":
            direct = free & (scenario.demand <= left[:, None])
            return torch.stack((direct, free), -1).flatten(1)
        if self.problem == "kp":
            return free & (scenario.demand <= left[:, None])
        if self.problem == "op":
            here = scenario.coords[torch.arange(len(origin), device=origin.device), origin]
            detour = distance(scenario.metric, here[:, None], scenario.coords) + distance(scenario.metric, scenario.coords, scenario.coords[:, :1])
            slack = 1e-9 * scenario.budget.abs().clamp(min=1.0)
            return free & (detour <= (left + slack)[:, None])
        return free.clone()

    def _feasible(self, state: Partial, action: Tensor, scenario: Instances) -> Tensor:
        if state.step:
            return torch.ones_like(state.done)
        return self._mask(scenario, state.free, state.origin, state.left).gather(1, action.long()[:, None])[:, 0]

    def _between(self, scenario: Instances, a: Tensor, b: Tensor) -> Tensor:
        """[B] float64, the way from node a [B] to node b [B]."""
        rows = torch.arange(len(a), device=a.device)
        if self.problem == "atsp":
            return scenario.matrix[rows, a, b]
        return distance(scenario.metric, scenario.coords[rows, a], scenario.coords[rows, b])

    def _reward(self, scenario: Instances, state: Partial, node: Tensor, through: Tensor | None, done: Tensor) -> Tensor:
        if self.maximise:
            prize = scenario.prize.gather(1, node[:, None])[:, 0].double()
            return prize + scenario.prize[:, 0] if self.problem == "op" and state.step == 0 else prize
        home = torch.zeros_like(node)
        way = self._between(scenario, state.origin, node)
        if through is not None and bool(through.any()):
            detour = self._between(scenario, state.origin, home) + self._between(scenario, home, node)
            way = torch.where(through, detour, way)
        return -torch.where(done, way + self._between(scenario, node, home), way) if bool(done.any()) else -way

    def _check(self, state: Partial, action: Tensor) -> None:
        if action.shape != state.origin.shape or action.dtype.is_floating_point or action.dtype == torch.bool:
            raise ValueError(f"actions must be {len(state.origin)} integers, one per scenario; got {action.dtype} {tuple(action.shape)}")
        legal = (action >= 0) & (action < self.actions)
        legal &= state.mask.gather(1, action.long().clamp(0, self.actions - 1)[:, None])[:, 0] | state.done
        if not bool(legal.all()):
            row = int((~legal).nonzero()[0])
            chosen = int(action[row])
            if not 0 <= chosen < self.actions:
                raise ValueError(f"action[{row}] = {chosen} lies outside the legal range 0..{self.actions - 1}")
            allowed = state.mask[row].nonzero()[:8, 0].tolist()
            raise ValueError(f"action[{row}] = {chosen} is not legal at step {state.step}; legal are {', '.join(map(str, allowed))}, ...")


def metrics_of(problem: Problem) -> tuple[Metric, ...]:
    """What a solution is measured by."""
    better = problem in MAXIMISED
    found = [
        Metric("gap", "%", -1, "primary", help="100 (cost - best) / best, or 100 (best - value) / best; negative where the best known is beaten"),
        Metric("value", "", 1, help="prizes or values collected, integers") if better else Metric("cost", "", -1, help="length of all routes"),
        Metric("feasible", "share", 1, help="1 where the independent checker accepts the solution"),
        Metric("optimal", "share", 1, help=f"1 where the gap is below {OPTIMAL:g} %"),
    ]
    if problem == "cvrp":
        found.append(Metric("routes", "routes", 0))
    if problem == "op":
        found.append(Metric("length", "", 0, help="length of the tour, within the budget"))
    return tuple(found)
