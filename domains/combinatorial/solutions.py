"""Solutions in files: CVRPLIB's `.sol`, TSPLIB's `.tour`, OPLib's node sequences; read, written, and checked against their instance.

Here a solution is its routes: indices into the instance's arrays in the order visited, index 0 (the depot, a tour's first node) left out.
A tour is one route. Files count otherwise: a `.tour` lists node ids, from 1; a `.sol` lists customers, and customer k is the node with id k + 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arena.errors import ArenaError
from domains.combinatorial.distances import apart, measure, tolerance
from domains.combinatorial.texts import bad, text_of
from domains.combinatorial.tsplib import RawInstance

Routes = tuple[tuple[int, ...], ...]
ROUTE = re.compile(r"route\s*#?\s*(\d+)\s*:?\s*(.*)", re.IGNORECASE)
STATED = re.compile(r"(cost|score|route_score)\s*:?\s*(\S+)", re.IGNORECASE)
SEQUENCES = ("TOUR_SECTION", "NODE_SEQUENCE_SECTION")


@dataclass(frozen=True)
class Solution:
    """Routes of a file and what it says they cost (op: collect), to within `slack`: half a unit of the last digit where there are decimals."""

    routes: Routes
    stated: float | None = None
    slack: float = 0.0


def read_solution(path: Path, raw: RawInstance) -> Solution:
    """The solution in a `.sol` or `.tour` file (plain or .gz) of an instance. Raises ArenaError `data.format` naming the line.

    Whether it solves the instance is said by `check_solution`; here numbers must only be those of nodes.
    """
    text = text_of(path)
    if any(line.split(":")[0].strip().upper() in SEQUENCES for line in text.split("\n")):
        return _tour(path, text, raw)
    return _sol(path, text, raw)


def write_sol(path: Path, raw: RawInstance, routes: Sequence[Sequence[int]], value: float) -> None:
    """Write a `.sol`: `Route #k: customers`, then what the solution costs, or `Score` where it collects."""
    lines = [f"Route #{k}: {' '.join(str(raw.ids[node] - 1) for node in route)}" for k, route in enumerate(routes, 1)]
    path.write_text("\n".join([*lines, f"{'Score' if raw.problem == 'op' else 'Cost'} {_shown(value)}"]) + "\n")


def write_tour(path: Path, raw: RawInstance, route: Sequence[int]) -> None:
    """Write a TSPLIB `.tour`: node ids, closed by -1. `DIMENSION` is the number of nodes on the tour."""
    name = path.name.removesuffix(".tour")
    ids = [int(raw.ids[node]) for node in (0, *route)]
    lines = [f"NAME : {name}", "TYPE : TOUR", f"COMMENT : tour of {raw.name}", f"DIMENSION : {len(ids)}", "TOUR_SECTION", *map(str, ids), "-1", "EOF"]
    path.write_text("\n".join(lines) + "\n")


def check_solution(raw: RawInstance, routes: Sequence[Sequence[int]], stated: float | None = None, slack: float = 0.0) -> float:
    """What routes cost, or collect (op), in float64 (integer distances exactly), where they solve the instance.

    Raises ArenaError `data.solution`: a customer missing or served twice, a load above the capacity (which route), a tour above the budget, a
    stated cost that is not the recomputed one.
    """
    _visited(raw, routes)
    if raw.demand is not None and raw.capacity is not None:
        for number, route in enumerate(routes, 1):
            load = int(raw.demand[list(route)].sum())
            if load > raw.capacity:
                raise _wrong(raw, f"route {number} carries {load}, the capacity is {raw.capacity}", "no vehicle may carry more")
    walked = length(raw, routes)
    if raw.prize is None:
        found, what = walked, "cost"
    else:
        assert raw.budget is not None
        if walked > raw.budget + tolerance(raw.budget):
            raise _wrong(raw, f"the tour is {_shown(walked)} long, the budget is {_shown(raw.budget)}", _rounding(raw))
        found, what = float(raw.prize[[0, *(node for route in routes for node in route)]].sum()), "collect"
    if stated is not None and not abs(found - stated) <= slack + 1e-9 * abs(found):  # also where it is no number
        said = f"the file says {_shown(stated)}, the routes {what} {_shown(found)}"
        raise _wrong(raw, said, "correct the file's number" if raw.prize is not None else f"{_rounding(raw, routes)}: correct the file's number")
    return found


def length(raw: RawInstance, routes: Sequence[Sequence[int]]) -> float:
    """Length of all routes, each from index 0 and back."""
    ends = [(a, b) for route in routes for a, b in pairwise((0, *route, 0))]
    a, b = np.array(ends, np.int64).reshape(-1, 2).T
    if raw.matrix is not None:
        return float(raw.matrix[a, b].sum())
    assert raw.coords is not None
    points = torch.from_numpy(raw.coords)
    return float(apart(measure(raw.metric, points[a], points[b]), *map(torch.from_numpy, (a, b))).sum())


def kernel_form(routes: Sequence[Sequence[int]], width: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Routes as the kernel records them: order [width] int16, -1 behind the end, and via [width] bool, set where a later route begins."""
    order, via = np.full(width, -1, np.int16), np.zeros(width, np.bool_)
    at = 0
    for route in routes:
        if len(route):
            order[at : at + len(route)] = route
            via[at] = at > 0
            at += len(route)
    return order, via


def routes_of(order: NDArray[Any], via: NDArray[Any] | None = None) -> Routes:
    """Routes from what the kernel records of one scenario: order [T] and, of a CVRP, via [T]."""
    nodes = [int(node) for node in order if node >= 0]
    starts = [k for k in range(1, len(nodes)) if via is not None and len(via) and via[k]]
    return tuple(tuple(nodes[a:b]) for a, b in zip([0, *starts], [*starts, len(nodes)], strict=True) if b > a)


# ---- reading -----------------------------------------------------------------------------------------------------------


def _sol(path: Path, text: str, raw: RawInstance) -> Solution:
    if raw.problem not in ("cvrp", "op"):
        raise bad(path, f"holds no TOUR_SECTION, and {raw.name} is a {raw.problem}", "a tour is a .tour file: TOUR_SECTION, node ids, -1")
    index, depot = {int(i) - 1: k for k, i in enumerate(raw.ids)}, int(raw.ids[0]) - 1
    routes: list[tuple[int, ...]] = []
    found: list[int] = []
    stated: tuple[float, float] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if match := ROUTE.fullmatch(line.strip()):
            customers = [_integer(path, number, word) for word in match[2].split()]
            if depot in customers:
                hint = f"a .sol counts customers, without the depot: customer k is the node with id k + 1, so {depot} is the depot"
                raise bad(path, f"line {number}: route {match[1]} visits {depot}, the depot", hint)
            found += customers
            for customer in customers:
                if customer not in index:
                    said = f"line {number}: route {match[1]} visits {customer}; {raw.name} has customers 1..{raw.n - 1}"
                    raise bad(path, said, _ids_hint(found, raw))
            routes.append(tuple(index[customer] for customer in customers))
        elif match := STATED.match(line.strip()):
            stated = _number(path, number, match[2])
        elif line.strip() and routes and not re.match(r"\s*[A-Za-z]", line):
            raise bad(path, f"line {number}: {line.strip()[:40]!r} is neither `Route #k: ...` nor `Cost ...`", "put each route on one line")
    if not routes:
        raise bad(path, "holds no route", "write `Route #1: customers` for each route, then `Cost number`")
    return Solution(tuple(routes), *(stated or (None, 0.0)))


def _tour(path: Path, text: str, raw: RawInstance) -> Solution:
    if raw.problem == "cvrp":
        raise bad(path, f"is a tour, but {raw.name} is a cvrp", "routes are a .sol file: Route #k: customers")
    index = {int(i): k for k, i in enumerate(raw.ids)}
    ids: list[tuple[int, int]] = []  # line, id
    stated: tuple[float, float] | None = None
    reading = ended = False
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        key = words[0].rstrip(":").upper() if words else ""
        if key in SEQUENCES:
            reading = True
        elif key == "EOF":
            break
        elif key.endswith("_SECTION"):
            reading = False
        elif key == "ROUTE_SCORE" and (match := STATED.match(line.strip())):
            stated = _number(path, number, match[2])
        elif reading:
            for word in words:
                node = _integer(path, number, word)
                if node == -1:
                    ended = True
                elif ended:
                    raise bad(path, f"line {number}: a second tour", "give one tour, closed by -1")
                else:
                    ids.append((number, node))
    if not ids:
        raise bad(path, "holds an empty tour", "list the node ids behind TOUR_SECTION, then -1")
    for number, node in ids:
        if node not in index:
            hint = "the ids count from 0; a .tour counts from 1: add 1 to every id" if node == 0 else f"ids of {raw.name} are 1..{raw.n}"
            raise bad(path, f"line {number}: {node} is no node of {raw.name}", hint)
    nodes = [index[node] for _, node in ids]
    if raw.problem == "op" and len(nodes) > 1 and nodes[0] == nodes[-1]:
        nodes.pop()  # some list the depot at both ends
    if 0 not in nodes:
        raise bad(path, f"the tour does not visit node {raw.ids[0]}", "every tour passes it: in an op it is the depot")
    if nodes.count(0) > 1:
        raise bad(path, f"the tour visits node {raw.ids[0]} {nodes.count(0)} times", "list each node once: a tour closes by itself")
    start = nodes.index(0)
    return Solution((tuple(nodes[start + 1 :] + nodes[:start]),), *(stated or (None, 0.0)))


def _integer(path: Path, line: int, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise bad(path, f"line {line}: {word!r} is no node", "list whole numbers") from None


def _number(path: Path, line: int, word: str) -> tuple[float, float]:
    """A stated number, and half a unit of its last digit where it has decimals."""
    try:
        value = float(word)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise bad(path, f"line {line}: {word!r} is no number", "give what the solution costs")
    decimals = len(word.partition(".")[2])
    return value, 0.5 * 10.0**-decimals if decimals else 0.0


def _ids_hint(found: Sequence[int], raw: RawInstance) -> str:
    if raw.n in found and min(found) > 1:
        return "these look like node ids: a .sol counts customers, node id minus 1"
    return "customer k is the node with id k + 1"


# ---- checking ----------------------------------------------------------------------------------------------------------


def _visited(raw: RawInstance, routes: Sequence[Sequence[int]]) -> None:
    """Refuse nodes that are none, visited twice or, where all must be, not at all; and, outside cvrp, more than one route."""
    if raw.problem != "cvrp" and len(routes) != 1:
        raise _wrong(raw, f"{len(routes)} routes", f"a {raw.problem} is solved by one tour")
    where: dict[int, int] = {}
    for number, route in enumerate(routes, 1):
        if not len(route) and raw.problem == "cvrp":
            raise _wrong(raw, f"route {number} is empty", "leave it away")
        for node in route:
            if not 0 < node < raw.n:
                raise _wrong(raw, f"route {number} visits index {node}", f"indices are 1..{raw.n - 1}; the depot, 0, is left out")
            if node in where:
                both = f"in route {number}" if where[node] == number else f"in routes {where[node]} and {number}"
                raise _wrong(raw, f"{_named(raw, node)} is visited twice {both}", "visit each once")
            where[node] = number
    missing = [node for node in range(1, raw.n) if node not in where]
    if missing and raw.problem != "op":
        listed = ", ".join(_named(raw, node) for node in missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise _wrong(raw, f"{listed} {'is' if len(missing) == 1 else 'are'} not visited", "visit every one")


def _rounding(raw: RawInstance, routes: Sequence[Sequence[int]] = ()) -> str:
    """How distances were rounded, and what routes would be long the other way."""
    used = {"euclid": "unrounded", "EUC_2D": "rounded by nint"}
    if raw.metric not in used:
        return f"distances are {raw.metric}"
    other = "EUC_2D" if raw.metric == "euclid" else "euclid"
    added = f" ({used[other]}: {_shown(length(replace(raw, metric=other), routes))})" if routes else ""
    return f"distances are {used[raw.metric]}{added}"


def _named(raw: RawInstance, node: int) -> str:
    return f"customer {raw.ids[node] - 1} (node id {raw.ids[node]})" if raw.problem == "cvrp" else f"node {raw.ids[node]}"


def _shown(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.10g}"


def _wrong(raw: RawInstance, what: str, hint: str) -> ArenaError:
    return ArenaError("data.solution", f"{raw.name}: {what}", hint, instance=raw.name)

