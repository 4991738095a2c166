"""`arena solve`: one file of the user's (.tsp, .atsp, .vrp, .oplib, also .gz) as a task of one scenario, and what an agent made of it.

A .tsp that gives its distances as a matrix is played as `atsp`. The best solution known comes from a solution file beside the instance
(NAME.sol, NAME.opt.tour, NAME.tour), its value else from the table of known instances; where there is neither, the textbook rule is the measure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.making import validated
from arena.task import Task
from domains.combinatorial.checker import evaluate
from domains.combinatorial.figures_episode import View, pictures, view
from domains.combinatorial.figures_still import STILL, still
from domains.combinatorial.figures_style import plotted
from domains.combinatorial.files import best_known
from domains.combinatorial.kernel import MAXIMISED, Combinatorial, Instances, Problem
from domains.combinatorial.known import beside
from domains.combinatorial.references import references, textbook
from domains.combinatorial.solutions import Routes, check_solution, kernel_form, write_sol, write_tour
from domains.combinatorial.texts import Rounding
from domains.combinatorial.tsplib import RawInstance, instances_of, read

ENDINGS = (".tsp", ".atsp", ".vrp", ".oplib")
PICTURES = (".html", *STILL)
LIMITS = {"load_s": 120.0, "begin_s": 300.0, "bank_s": 300.0}  # for one instance, which may be large, on the user's own time


@dataclass(frozen=True, kw_only=True)
class OwnFile(Task):
    """The task of one instance file. raw: as it was read; value: of the best solution known and where that is from, None where none is

    known: that solution itself, where a file beside the instance holds it; measure: what the textbook rule comes to; warnings: what is odd
    """

    raw: RawInstance
    value: float | None
    source: str
    known: Routes | None
    measure: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Solved:
    """What came of it. value: cost (tsp, atsp, cvrp) or prizes (op) by a checker that shares nothing with the kernel; None where not feasible

    routes: indices into the instance, without the depot; reason: why it is no solution
    """

    task: OwnFile
    routes: Routes
    value: float | None
    reason: str
    drawn: View

    @property
    def feasible(self) -> bool:
        return self.value is not None

    @property
    def gap(self) -> float | None:
        """% worse than the best known; negative where that is beaten. None where nobody knows one, or a share of 0 would be told."""
        if self.value is None or self.task.value is None:
            return None
        worse = self.task.value - self.value if self.maximised else self.value - self.task.value
        return 0.0 if not worse else 100 * worse / abs(self.task.value) if self.task.value else None

    @property
    def maximised(self) -> bool:
        return self.task.raw.problem in MAXIMISED

    @property
    def nodes(self) -> list[list[int]]:
        """The routes in the file's own node ids, the depot (or the tour's first node) at their beginning."""
        ids = self.task.raw.ids
        return [[int(ids[0]), *(int(ids[node]) for node in route)] for route in self.routes]


# ---- the task ---------------------------------------------------------------------------------------------------------


def reads(path: Path) -> bool:
    """Whether the name is that of a file this domain solves."""
    return path.name.lower().removesuffix(".gz").endswith(ENDINGS)


def load(**parameters: Any) -> Task:
    """The task of `combinatorial/file(path=..., rounding=nint|none)`; path: a path or a file:// address.

    Raises ArenaError `data.missing`, `data.format`, `data.unsupported`, `data.solution` (a solution file beside it that is none), `task.parameters`.
    """
    return _load(**validated(_load, parameters, "combinatorial/file", "task.parameters"))


def _load(path: str, rounding: Rounding | None = None) -> OwnFile:
    place = Path(unquote(path.removeprefix("file://"))) if path.startswith("file://") else Path(path).expanduser()
    raw = read(place, rounding)
    scenario = instances_of([raw])
    explicit = raw.matrix is not None
    problem: Problem = "atsp" if explicit and raw.problem == "tsp" else raw.problem
    domain = Combinatorial(problem, raw.n, metrics=not explicit, explicit=explicit)
    built = textbook(domain, scenario)
    measure = float(evaluate(problem, scenario, built.order, built.via).cost)
    known, value, source, wrong = _best(place, raw, rounding is not None)
    scenario = replace(scenario, best=torch.tensor([measure if value is None else value], dtype=torch.float64))
    config = {
        "problem": problem, "n": raw.n - (problem in ("cvrp", "op")), "instance": raw.name, "rounding": raw.rounding,
        "best": {"status": "textbook" if value is None else "best known"},
    }  # fmt: skip

    def draw(split: str, indices: Any, seeds: Any) -> Instances:
        if split != "test":
            raise ArenaError("task.split", f"{place.name} is one instance: it has no training scenarios", "train on a task: arena list tasks")
        return scenario

    return OwnFile(
        id=f"combinatorial/{problem}-file-{_slug(raw.name)}-v1", domain=domain, tier="real", n=1, config=config, references=references, draw=draw,
        summary=f"{raw.name}: {_about(raw)}", bounded=False, chunk=1, limits=LIMITS,
        raw=raw, value=value, source=source, known=known, measure=measure, warnings=(*raw.warnings, *wrong),
    )  # fmt: skip


def _about(raw: RawInstance) -> str:
    """What kind of instance it is, in words."""
    if raw.problem == "cvrp":
        return f"cvrp, {raw.n - 1} customers, capacity {raw.capacity}, distances {_distances(raw)}"
    if raw.problem == "op":
        return f"op, {raw.n} nodes, budget {raw.budget:g}, distances {_distances(raw)}"
    matrix = raw.problem == "tsp" and raw.matrix is not None
    return f"{raw.problem}, {raw.n} nodes, distances {_distances(raw)}" + (": played as atsp" if matrix else "")


def _distances(raw: RawInstance) -> str:
    return {"EXPLICIT": "in a matrix", "euclid": "not rounded", "EUC_2D": "rounded"}.get(raw.metric, raw.metric)


def warnings(task: Task) -> tuple[str, ...]:
    """What is odd about the file and the solution beside it."""
    return cast(OwnFile, task).warnings


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "instance"


def _best(path: Path, raw: RawInstance, given: bool) -> tuple[Routes | None, float | None, str, tuple[str, ...]]:
    """The best solution known, its value, where it is from, and what is wrong with a solution file. given: the rounding was asked for, so
    what libraries state does not count."""
    wrong: tuple[str, ...] = ()
    try:
        found = beside(path, raw, stated=not given)
        if found is not None:
            return found[0], check_solution(raw, found[0]), found[1], ()
    except ArenaError as error:
        wrong = (f"the solution file beside it is not used: {error.line}",)
    listed = best_known().get(raw.name)
    if listed is None or (given and read(path).rounding != raw.rounding):
        return None, None, "", wrong
    return None, listed.value, f"listed under that name, {listed.status}", wrong


# ---- what came of it --------------------------------------------------------------------------------------------------


def judge(task: Task, actions: Mapping[str, NDArray[np.generic]]) -> Solved:
    """The solution that recorded actions {"planner": [T]} build, checked.

    Raises ArenaError `kernel.cost` where kernel and checker do not agree on what it costs: a bug here.
    """
    own = cast(OwnFile, task)
    raw, problem = own.raw, cast(Combinatorial, task.domain).problem
    known = None if own.known is None else kernel_form(own.known, raw.n - 1)
    drawn = view(task, 0, actions, known, raw.display if raw.matrix is not None else None)
    routes = tuple(tuple(node for node in route if node) for route in drawn.found.routes)
    value, reason = None, ""
    try:
        value = check_solution(raw, routes)
    except ArenaError as error:
        if error.code != "data.solution":
            raise
        reason = error.message
    if value is not None and abs(value - drawn.found.cost) > 1e-9 * max(1.0, abs(value)):
        raise ArenaError("kernel.cost", f"{raw.name}: the checker finds {value}, the {problem} kernel {drawn.found.cost}", "please report this")
    return Solved(own, routes, value, reason, drawn)


def told(task: Task, solved: Solved | None) -> dict[str, Any]:
    """What `arena solve` prints of it; None: the agent failed, there is nothing to judge."""
    own = cast(OwnFile, task)
    gap, source = None if solved is None else solved.gap, own.source
    if gap is not None and gap < -1e-6 and source.endswith("optimal"):
        source += ": beaten, so that is another instance"
    return {
        "instance": own.raw.name, "about": _about(own.raw), "problem": own.raw.problem, "size": own.raw.n, "maximise": own.raw.problem in MAXIMISED,
        "value": solved and solved.value, "gap": gap, "feasible": solved is not None and solved.feasible,
        "reason": solved.reason if solved else "", "best": own.value, "best_source": source, "textbook": own.measure,
        "solution": solved.nodes if solved and solved.feasible else None,
    }  # fmt: skip


def solution_name(task: Task, label: str) -> str:
    """Name of the file the solution is written to: NAME.AGENT.sol or NAME.AGENT.tour, which is never taken for the best known."""
    raw = cast(OwnFile, task).raw
    return f"{raw.name}.{label}.{'sol' if raw.problem in ('cvrp', 'op') else 'tour'}"


def write(solved: Solved, path: Path) -> None:
    """The solution as CVRPLIB (.sol) or TSPLIB (.tour) write it. Raises ArenaError `data.solution` where it is none."""
    raw = solved.task.raw
    if solved.value is None:
        raise ArenaError("data.solution", f"{raw.name}: {solved.reason}", "what solves nothing is not written down")
    if path.suffix == ".sol":
        write_sol(path, raw, solved.routes, solved.value)
    else:
        write_tour(path, raw, solved.routes[0])


def figures(solved: Solved) -> dict[str, go.Figure]:
    """The pictures of it by name, for a page."""
    return {name: plotted(picture) for name, picture in pictures(solved.drawn).items()}


def picture(solved: Solved, path: Path) -> None:
    """The pictures of it side by side in one .svg, .png or .pdf."""
    still(tuple(pictures(solved.drawn).values()), path)
