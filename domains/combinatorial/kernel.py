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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from arena.domain import Domain, Metric, Mode, Outcome, Record, Role
from domains.combinatorial.checker import evaluate, gap
from domains.combinatorial.distances import METRICS, apart, distance, measure
from domains.combinatorial.loops import advance

Array = np.ndarray[Any, Any]
Arrays = list[Array]
Problem = Literal["tsp", "atsp", "cvrp", "op", "kp"]
PROBLEMS: tuple[Problem, ...] = ("tsp", "atsp", "cvrp", "op", "kp")
MAXIMISED = ("op", "kp")
OPTIMAL = 1e-3  # %: solvers see lengths rounded at 1e-6, tours are recomputed in float64


@dataclass(frozen=True, slots=True)
class Instances(Record):
    """The scenario: an instance of one problem. What a problem does not have has width 0."""

    size: Tensor  # [B] int64, nodes of the row (items in KP), the depot included; at most N
    coords: Tensor  # [B, N, 2] float64 (tsp, cvrp, op) unless distances are explicit, else [B, 0, 2]
    metric: Tensor  # [B] int64, how distances follow from coords: index into distances.METRICS
    matrix: Tensor  # [B, N, N] float64 (atsp, and where distances are explicit; diagonal 0), else [B, 0, 0]
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
    done: Tensor  # [B] bool, over: nothing is left to choose
    count: Tensor  # [B] int64, nodes chosen so far: rows end at different steps, so each has its own clock


class Combinatorial(Domain):
    """Build a shortest tour, cheapest routes or the most valuable choice, one node at a time.

    problem: which of the five; n: length N of the node array; metrics: whether rows may have rounded distances (files), told in `metric`
    explicit: whether distances are a matrix (always in atsp); then nobody is told where nodes lie
    """

    name = "combinatorial"
    version = 1

    def __init__(self, problem: Problem, n: int, metrics: bool = False, explicit: bool = False) -> None:
        self.problem, self.n, self.metrics_told, self.explicit = problem, n, metrics, explicit or problem == "atsp"
        self.columns = (0 if self.explicit or problem == "kp" else 2) + {"cvrp": 1, "op": 1, "kp": 2}.get(problem, 0)  # of `nodes`
        self.maximise = problem in MAXIMISED
        self.objectives = ("value",) if self.maximise else ("cost",)
        self.actions = 2 * n if problem == "cvrp" else n
        self.horizon = n if problem == "kp" else n - 1
        self.rtol = 1e-9  # sums of float64 lengths: their order differs between builds and devices
        seen = self._spaces()
        self.roles = (Role("planner", (Mode("step", seen, spaces.Discrete(self.actions)),)),)
        self.metrics_spec = metrics_of(problem)
        self._instance: tuple[Instances, Arrays] | None = None
        self._state: tuple[Partial, Arrays] | None = None

    def _spaces(self) -> spaces.Dict:
        n, big = self.n, float(2**53)
        entries: dict[str, spaces.Space[Any]] = {"matrix": spaces.Box(0.0, np.inf, (n, n), np.float64)} if self.explicit else {}
        if self.columns:
            entries["nodes"] = spaces.Box(-np.inf, np.inf, (n, self.columns), np.float64)
        place = {name: spaces.Box(0, n - 1, (), np.int64) for name in ("origin", "dest")}
        whole = spaces.Box(0, int(big), (), np.int64)
        if self.problem != "kp":
            entries |= place
        if self.problem in ("cvrp", "kp"):
            entries["capacity"] = whole
        if self.problem == "cvrp":
            entries["full_capacity"] = whole
        if self.problem == "op":
            entries["budget"] = spaces.Box(-1.0, np.inf, (), np.float64)
        if self.metrics_told:
            entries["metric"] = spaces.Box(0, len(METRICS) - 1, (), np.int64)
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
        done = ~mask.any(1)  # nothing is feasible: the first step says so
        return Partial(free, _shown(mask, done), origin, left, order, via, done, torch.zeros_like(origin))

    def observe(self, scenario: Instances, state: Partial) -> dict[str, Tensor]:
        """The instance, whole and constant, and what remains of it: `action_mask` tells which nodes. Raw units, node 0 the depot."""
        seen = {"matrix": scenario.matrix} if self.explicit else {}
        if self.columns:
            seen["nodes"] = self.nodes(scenario)
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
        """[B, N, F] float64: x and y unless distances are explicit, then demand (cvrp) or prize (op); value and weight (kp)."""
        if self.problem == "kp":
            return torch.stack((scenario.prize, scenario.demand), -1).double()
        if self.problem == "tsp":
            return scenario.coords
        last = (scenario.demand if self.problem == "cvrp" else scenario.prize)[..., None].double()
        return last if self.explicit else torch.cat((scenario.coords, last), -1)

    def step(self, scenario: Instances, state: Partial, action: Tensor) -> tuple[Partial, Outcome]:
        """Go to a node, or pack an item. Raises ValueError for an action that is no legal one of a row still running."""
        if action.shape != state.origin.shape or action.dtype.is_floating_point or action.dtype == torch.bool:
            raise ValueError(f"actions must be {len(state.origin)} integers, one per scenario; got {action.dtype} {tuple(action.shape)}")
        compiled = action.device.type == "cpu" and not self.metrics_told
        return (self._compiled_step if compiled else self._step)(scenario, state, action.long())

    def _step(self, scenario: Instances, state: Partial, action: Tensor) -> tuple[Partial, Outcome]:
        playing = self._playing(state, action)
        whole = bool(playing.all())
        node = action >> 1 if self.problem == "cvrp" else action
        column, place = node[:, None], state.count[:, None]
        if not whole:
            place = place.clamp(max=self.horizon - 1)  # rows that are over have no place left, and what follows is undone for them below
        free = state.free.scatter(1, column, False)
        order = state.order.scatter(1, place, column.to(torch.int16))
        origin, left, via, through = node, state.left, state.via, None
        if self.problem == "cvrp":
            through = (action & 1).bool()
            left = torch.where(through, scenario.capacity, left) - scenario.demand.gather(1, column)[:, 0]
            via = via.scatter(1, place, through[:, None])
        elif self.problem == "kp":
            origin, left = state.origin, left - scenario.demand.gather(1, column)[:, 0]
        elif self.problem == "op":
            left = left - self._between(scenario, state.origin, node)
        count = state.count + 1
        mask = self._mask(scenario, free, origin, left)
        if self.maximise:
            done = mask.sum(1, dtype=torch.int32) == 0  # many times as fast as any(1)
        else:
            done = count >= scenario.size - 1
        ending = bool(done.any())
        reward = self._reward(scenario, state, node, through, done if ending else None)
        after = Partial(free, _shown(mask, done) if ending else mask, origin, left, order, via, done, count)
        if not whole:
            after, reward = after.where(playing, state), torch.where(playing, reward, 0.0)
        return after, Outcome(reward[:, None], reward.new_empty(len(reward), 0), after.done)

    def _compiled_step(self, scenario: Instances, state: Partial, action: Tensor) -> tuple[Partial, Outcome]:
        """`_step` in one call instead of torch's forty: what a step of few rows costs is calls.

        For the same reason the arrays of the last instance and state are kept: a view of a tensor's memory costs as much as moving a row.
        """
        instance, own = self._instance, self._state
        if instance is None or instance[0] is not scenario:
            place, limit = "matrix" if self.explicit else "coords", "budget" if self.problem == "op" else "capacity"
            self._instance = instance = scenario, _arrays(scenario, ("size", place, "demand", limit, "prize"))
        if own is None or own[0] is not state:
            own = state, _arrays(state, Partial.__slots__)
        found = advance(PROBLEMS.index(self.problem), self.explicit, _array(action), *own[1], *instance[1])
        if found is None:
            self._playing(state, action)  # raises: says which action of which row
        reward, *arrays = found
        after = Partial(*map(torch.from_numpy, arrays))
        self._state = after, arrays
        return after, Outcome(torch.from_numpy(reward), torch.empty(len(reward), 0, dtype=torch.float64), after.done)

    def metrics(self, scenario: Instances, state: Partial) -> dict[str, Tensor]:
        """What the solution so far is worth, recomputed in float64 from the order of the nodes by a checker that shares no code with `step`."""
        found = evaluate(self.problem, scenario, state.order, state.via)
        worse = gap(found.cost, scenario.best, self.maximise)
        report = {"gap": worse, "value" if self.maximise else "cost": found.cost, "feasible": found.feasible.double()}
        report["optimal"] = ((worse < OPTIMAL) & found.feasible).double()
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
            rows = torch.arange(len(origin), device=origin.device)
            if self.explicit:
                detour = scenario.matrix[rows, origin] + scenario.matrix[:, :, 0]
            else:
                here = scenario.coords[rows, origin][:, None]
                detour = self._distance(scenario, here, scenario.coords) + self._distance(scenario, scenario.coords, scenario.coords[:, :1])
            slack = 1e-9 * scenario.budget.abs().clamp(min=1.0)
            return free & (detour <= (left + slack)[:, None])
        return free

    def _between(self, scenario: Instances, a: Tensor, b: Tensor) -> Tensor:
        """[B] float64, the way from node a [B] to node b [B]."""
        rows = torch.arange(len(a), device=a.device)
        if self.explicit:
            return scenario.matrix[rows, a, b]
        return apart(self._distance(scenario, scenario.coords[rows, a], scenario.coords[rows, b]), a, b)

    def _distance(self, scenario: Instances, a: Tensor, b: Tensor) -> Tensor:
        """[B, ...] float64, the distance between points [B, ..., 2]."""
        return distance(scenario.metric, a, b) if self.metrics_told else measure("euclid", a, b)

    def _reward(self, scenario: Instances, state: Partial, node: Tensor, through: Tensor | None, done: Tensor | None) -> Tensor:
        """[B] float64; done: rows that close their tour with this step, None where no row does."""
        if self.maximise:
            prize = scenario.prize.gather(1, node[:, None])[:, 0].double()
            return torch.where(state.count == 0, prize + scenario.prize[:, 0], prize) if self.problem == "op" else prize
        way = self._between(scenario, state.origin, node)
        home = torch.zeros_like(node)
        if through is not None and bool(through.any()):
            way = torch.where(through, self._between(scenario, state.origin, home) + self._between(scenario, home, node), way)
        if done is not None:
            way = torch.where(done, way + self._between(scenario, node, home), way)
        return -way

    def _playing(self, state: Partial, action: Tensor) -> Tensor:
        """[B] bool, the rows that are not over. Raises ValueError for what is no action, or no legal one of these rows."""
        if action.shape != state.origin.shape or action.dtype.is_floating_point or action.dtype == torch.bool:
            raise ValueError(f"actions must be {len(state.origin)} integers, one per scenario; got {action.dtype} {tuple(action.shape)}")
        outside = (action < 0) | (action >= self.actions)
        if bool(outside.any()):
            row = int(outside.nonzero()[0])
            raise ValueError(f"action[{row}] = {int(action[row])} lies outside the legal range 0..{self.actions - 1}")
        legal = state.mask.gather(1, action.long()[:, None])[:, 0]
        playing = ~state.done
        if not bool((legal | state.done).all()):
            row = int((playing & ~legal).nonzero()[0])
            allowed = state.mask[row].nonzero()[:9, 0].tolist()
            names = ", ".join(map(str, allowed[:8])) + (", ..." if len(allowed) > 8 else "")
            raise ValueError(f"action[{row}] = {int(action[row])} is not legal at step {int(state.count[row])}; legal: {names}")
        return playing


def _array(tensor: Tensor) -> Array:
    """Its memory, in the one layout that the loops are compiled for."""
    return tensor.contiguous().numpy()


def _arrays(record: Record, names: Sequence[str]) -> Arrays:
    return [_array(getattr(record, name)) for name in names]


def _shown(mask: Tensor, done: Tensor) -> Tensor:
    """The mask with entry 0, and only this, in rows that are over."""
    mask = mask.clone()
    mask[:, 0] |= done
    return mask


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
