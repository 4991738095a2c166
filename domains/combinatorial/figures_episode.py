"""One recorded episode as a picture beside the best solution known, drawn from instance and recorded actions alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.rollout import states
from arena.task import Task
from domains.combinatorial.checker import evaluate
from domains.combinatorial.distances import METRICS
from domains.combinatorial.figures_style import BLUE, GREEN, GREY, LEGEND, ORANGE, PURPLE, VERMILLION, Floats, Layer, Picture, look, plotted, ways
from domains.combinatorial.kernel import MAXIMISED, Combinatorial, Instances
from domains.combinatorial.known import Moves, best_of

Edges = set[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Solution:
    """A solution of one instance. nodes: in the order chosen; routes: from node 0 on and, where whole, back to it (none in kp)

    cost: length (tsp, atsp, cvrp) or value (op, kp), used: length of the tour (op) or weight (kp), feasible: as the checker finds them
    """

    nodes: list[int]
    routes: list[list[int]]
    cost: float
    used: float
    feasible: bool

    def edges(self, directed: bool = False) -> Edges:
        """Pairs of neighbours; undirected ones with the smaller node first."""
        pairs = {pair for route in self.routes for pair in zip(route, route[1:], strict=False)}
        return pairs if directed else {(min(pair), max(pair)) for pair in pairs}


@dataclass(frozen=True, eq=False)
class View:
    """An episode ready to be drawn. xy: [N, 2] where nodes are shown, None where there is no place for them; title: its lines"""

    problem: str
    scenario: Instances
    found: Solution
    best: Solution | None
    best_name: str
    xy: Floats | None
    names: tuple[str, ...]
    title: tuple[str, ...]

    @property
    def size(self) -> int:
        return int(self.scenario.size)


def solution(problem: str, scenario: Instances, order: NDArray[Any], via: NDArray[Any]) -> Solution:
    """A solution of an instance (batch of one) from order [T] (-1 behind the end) and via [T] or [0]."""
    moves, through = torch.from_numpy(order.astype(np.int64))[None], torch.from_numpy(via.astype(bool))[None]
    judged = evaluate(problem, scenario, moves, through)
    chosen = order >= 0
    nodes = [int(node) for node in order[chosen]]
    used = float(judged.length)
    if problem == "kp":
        return Solution(nodes, [], float(judged.cost), float(scenario.demand[0, nodes].sum()), bool(judged.feasible))
    routes: list[list[int]] = [[0]]
    for place, node in enumerate(nodes):
        if place and problem == "cvrp" and via[chosen][place]:
            routes[-1].append(0)
            routes.append([0])
        routes[-1].append(node)
    if problem == "op" or len(set(nodes)) == int(scenario.size) - 1:  # what was broken off does not go home
        routes[-1].append(0)
    return Solution(nodes, routes, float(judged.cost), used, bool(judged.feasible))


def played(task: Task, scenario: Instances, index: int, actions: Mapping[str, NDArray[np.generic]]) -> Solution:
    """The solution that recorded actions["planner"] [T] build. Raises ArenaError `figure.actions`, and `verify.actions` where they are illegal."""
    domain = task.domain
    assert isinstance(domain, Combinatorial)
    moves = np.asarray(actions.get("planner", np.zeros(0, np.int16)))
    if moves.ndim != 1 or not 0 < len(moves) <= domain.horizon:
        raise ArenaError(
            "figure.actions",
            f"scenario {index} of {task.id}: the recorded actions have shape {moves.shape}",
            f"give actions['planner'] of one episode, shape (1..{domain.horizon},): one column of the recording",
        )
    ((_, state),) = deque(states(domain, scenario, {"planner": moves[:, None]}), maxlen=1)
    return solution(domain.problem, scenario, state.order[0].numpy(), state.via[0].numpy())


def draw(task: Task, index: int, actions: Mapping[str, NDArray[np.generic]]) -> dict[str, go.Figure]:
    """Figures of one recorded episode by name: `tour` (tsp, op), `routes` and `difference` (cvrp), `matrix` (nodes without a place), `packing` (kp).

    Raises ArenaError `task.index`, `figure.actions`, `verify.actions`.
    """
    return {name: plotted(picture) for name, picture in pictures(view(task, index, actions)).items()}


def view(task: Task, index: int, actions: Mapping[str, NDArray[np.generic]], known: Moves | None = None, xy: Floats | None = None) -> View:
    """An episode with the best solution known (`known`; default: the task's own), its nodes at `xy` [N, 2] (default: their coordinates)."""
    domain, scenario = task.domain, task.sample("test", [index])
    assert isinstance(domain, Combinatorial) and isinstance(scenario, Instances)
    found, problem = played(task, scenario, index, actions), domain.problem
    known = known or best_of(task, index)
    best = None if known is None else solution(problem, scenario, *known)
    if xy is None and scenario.coords.shape[1]:
        xy = scenario.coords[0].numpy()
        if METRICS[int(scenario.metric)] == "GEO":  # the first column is the latitude
            xy = xy[:, ::-1]
    told = task.config["best"]  # of all instances, or of each
    status = told["status"] if isinstance(told, Mapping) else told[index]
    name = task.config.get("instance") or next(iter(task.config.get("instances", ())[index : index + 1]), "")
    best_name = {"optimal": "optimum", "textbook": "textbook rule"}.get(status, "best known")
    return View(problem, scenario, found, best, best_name, xy, _names(problem, scenario), _title(problem, scenario, found, best_name, name))


def number(value: float) -> str:
    """A length, prize or weight as it is read: whole numbers whole, others with four decimals."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def percent(gap: float) -> str:
    """A gap in %: nothing below a thousandth is told from zero, as in the metric `optimal`."""
    return "0 %" if abs(gap) < 1e-3 else f"{gap:.{2 if abs(gap) >= 0.1 else 3}f} %"


def _title(problem: str, scenario: Instances, found: Solution, best_name: str, name: str) -> tuple[str, ...]:
    best, more = float(scenario.best), problem in MAXIMISED
    worse = best - found.cost if more else found.cost - best
    gap = 100 * worse / abs(best) if best else 0.0
    beaten = "" if worse and not best else f": {percent(-gap)} better" if gap < -1e-3 else f": gap {percent(gap)}"
    first = f"{'value' if more else 'cost'} {number(found.cost)}, {best_name} {number(best)}{beaten}"
    size, visited = int(scenario.size), len(found.nodes)
    second = {
        "tsp": f"{size} nodes", "atsp": f"{size} nodes",
        "cvrp": f"{size - 1} customers, {len(found.routes)} routes, capacity {int(scenario.capacity)}",
        "op": f"{visited} of {size - 1} nodes, length {number(found.used)} of {number(float(scenario.budget))}",
        "kp": f"{visited} of {size} items, weight {number(found.used)} of {number(float(scenario.capacity))}",
    }[problem]  # fmt: skip
    if problem not in MAXIMISED and visited < size - 1:
        second += f"; broken off after {visited} nodes"
    second = f"{name}: {second}" if name else second
    return first, second if found.feasible else f"{second}; not feasible"


def _names(problem: str, scenario: Instances) -> tuple[str, ...]:
    """What is said of each node."""
    size = int(scenario.size)
    if problem == "cvrp":
        return ("depot", *(f"customer {node}, demand {int(scenario.demand[0, node])}" for node in range(1, size)))
    if problem == "op":
        return (f"depot, prize {int(scenario.prize[0, 0])}", *(f"node {node}, prize {int(scenario.prize[0, node])}" for node in range(1, size)))
    if problem == "kp":
        rows = zip(scenario.prize[0].tolist(), scenario.demand[0].tolist(), strict=True)
        return tuple(f"item {item}: value {value}, weight {weight}" for item, (value, weight) in enumerate(rows))
    return tuple(f"node {node}" for node in range(size))


# ---- pictures ---------------------------------------------------------------------------------------------------------


def pictures(view: View) -> dict[str, Picture]:
    """The pictures of an episode by name."""
    if view.problem == "kp":
        return {"packing": packing(view)}
    if view.xy is None:
        return {"matrix": matrix(view)}
    if view.problem == "cvrp":
        compared = {"difference": tour(view)} if view.best is not None else {}
        return {"routes": routes(view), **compared}
    return {"tour": tour(view)}


def tour(view: View) -> Picture:
    """The way through the nodes: edges shared with the best known solution, and where the two differ."""
    assert view.xy is not None
    directed, name = view.problem == "atsp", view.best_name
    here = view.found.edges(directed)
    layers: list[Layer] = []
    alt = view.title
    if view.best is None:
        layers.append(_ways(view, here, "this solution", BLUE, 2))
    else:
        there = view.best.edges(directed)
        layers += [
            _ways(view, there - here, f"only in the {name} ({len(there - here)})", GREEN, 2.5, "dash"),
            _ways(view, here & there, f"in both ({len(here & there)} edges)", BLUE, 1.5),
            _ways(view, here - there, f"only here ({len(here - there)})", VERMILLION, 2.5),
        ]
        alt = (*alt, f"{len(here & there)} edges in both, {len(here - there)} only here")
    return Picture(view.title, (*layers, *_nodes(view)), _axes(view), alt="; ".join(alt))


def routes(view: View) -> Picture:
    """CVRP: every route in its own colour, dash and symbol; of many routes the legs from and to the depot are thin and grey."""
    assert view.xy is not None
    demand, capacity, many = view.scenario.demand[0].tolist(), int(view.scenario.capacity), len(view.found.routes) > LEGEND
    layers = []
    if many:
        x, y = ways(view.xy, [leg for route in view.found.routes for leg in (route[:2], route[-2:])])
        layers.append(Layer("from and to the depot", x, y, GREY, 0.5))
    for kind, route in enumerate(view.found.routes):
        colour, symbol, dash = look(kind)
        load, shown = sum(demand[node] for node in route), [node for node in route if node] if many else route
        x, y = ways(view.xy, [shown])
        said = tuple(f"route {kind + 1}, load {load} of {capacity}<br>{view.names[node]}" for node in shown)
        name = f"route {kind + 1}: {load} of {capacity}"
        layers.append(Layer(name, x, y, colour, 1.5, dash, _node_size(view), symbol, text=(*said, ""), minor=True))
    return Picture(view.title, (*layers, _depot(view)), _axes(view), alt="; ".join(view.title))


def _ways(view: View, edges: Edges, name: str, colour: str, width: float, dash: str = "solid") -> Layer:
    assert view.xy is not None
    x, y = ways(view.xy, [list(edge) for edge in sorted(edges)])
    return Layer(name, x, y, colour, width, dash)


def _axes(view: View) -> tuple[str, str]:
    return ("longitude", "latitude") if METRICS[int(view.scenario.metric)] == "GEO" else ("x", "y")


def _node_size(view: View) -> float:
    return 7.0 if view.size <= 150 else 5.0 if view.size <= 400 else 3.5


def _nodes(view: View) -> list[Layer]:
    """All nodes: in OP as large as their prize and hollow where nobody comes by."""
    assert view.xy is not None
    if view.problem != "op":
        others = np.arange(0 if view.problem == "atsp" else 1, view.size)
        return [_marks(view, others, "nodes", GREY, _node_size(view), minor=True), _depot(view)]
    prize = view.scenario.prize[0].numpy().astype(np.float64)
    diameter = 3 + 13 * np.sqrt(prize / max(prize[1 : view.size].max(initial=0.0), 1.0))  # areas are prizes
    reached = np.isin(np.arange(view.size), view.found.nodes)
    groups = (("visited", reached, ORANGE, False), ("not visited", ~reached, GREY, True))
    return [
        *(_marks(view, rows, f"{name} ({len(rows)})", colour, diameter[rows], hollow=hollow)
          for name, mask, colour, hollow in groups for rows in [1 + np.flatnonzero(mask[1:])]),
        _depot(view),
    ]  # fmt: skip


def _marks(view: View, rows: NDArray[np.intp], name: str, colour: str, size: float | Floats, hollow: bool = False, minor: bool = False) -> Layer:
    assert view.xy is not None
    said = tuple(view.names[row] for row in rows)
    return Layer(name, view.xy[rows, 0], view.xy[rows, 1], colour, size=size, hollow=hollow, text=said, minor=minor)


def _depot(view: View) -> Layer:
    assert view.xy is not None
    name = "start" if view.problem in ("tsp", "atsp") else "depot"
    return Layer(name, view.xy[:1, 0], view.xy[:1, 1], PURPLE, size=15, symbol="star", text=view.names[:1])


def matrix(view: View) -> Picture:
    """Costs with rows and columns in the order of the tour, so that its arcs lie beside the diagonal; those of the best known as discs."""
    order = [0, *view.found.nodes]
    costs = view.scenario.matrix[0].numpy()[np.ix_(order, order)].copy()
    np.fill_diagonal(costs, np.nan)
    place = {node: position for position, node in enumerate(order)}
    here = view.found.edges(directed=True)
    groups = [("arcs of this tour", here, VERMILLION, "square", 5.0, True)]
    alt = view.title
    if view.best is not None:
        there = view.best.edges(directed=True)
        groups = [(f"arcs of this tour ({len(here & there)} of {len(here)} shared)", here, VERMILLION, "square", 6.0, True),
                  (f"arcs of the {view.best_name}", there, PURPLE, "circle", 5.0, False)]  # fmt: skip
        alt = (*alt, f"{len(here & there)} of {len(here)} arcs shared")
    layers = []
    for name, arcs, colour, symbol, size, hollow in groups:
        drawn = sorted((a, b) for a, b in arcs if a in place and b in place)
        x, y = (np.array([place[arc[end]] for arc in drawn], np.float64) for end in (1, 0))
        said = tuple(f"{a} to {b}: {number(float(view.scenario.matrix[0, a, b]))}" for a, b in drawn)
        layers.append(Layer(name, x, y, colour, size=size, symbol=symbol, hollow=hollow, text=said))
    axes = ("to: place in the tour", "from: place in the tour")
    return Picture(view.title, tuple(layers), axes, alt="; ".join(alt), heat=costs, scale="cost of the arc")


def packing(view: View) -> Picture:
    """KP: the items over weight and value, packed or not, here and in the best known packing."""
    weight, value = (tensor[0].numpy().astype(np.float64) for tensor in (view.scenario.demand, view.scenario.prize))
    here = np.isin(np.arange(view.size), view.found.nodes)
    there = here if view.best is None else np.isin(np.arange(view.size), view.best.nodes)
    groups = [
        ("left out", ~here & ~there, GREY, "circle", 6.0, True),
        ("packed" if view.best is None else "packed in both", here & there, BLUE, "circle", 7.0, False),
        ("packed only here", here & ~there, VERMILLION, "diamond", 10.0, False),
        (f"packed only in the {view.best_name}", ~here & there, GREEN, "square", 9.0, True),
    ]
    layers, alt = [], list(view.title)
    for name, mask, colour, symbol, size, hollow in groups:
        rows = np.flatnonzero(mask)
        if view.best is None and symbol != "circle":
            continue
        said = tuple(view.names[row] for row in rows)
        layers.append(Layer(f"{name} ({len(rows)})", weight[rows], value[rows], colour, size=size, symbol=symbol, hollow=hollow, text=said))
        alt.append(f"{len(rows)} {name}")
    return Picture(view.title, tuple(layers), ("weight", "value"), equal=False, alt="; ".join(alt))
