"""Where the best solution known of an instance is kept: frozen with its task, or in a solution file beside the instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from arena import settings
from arena.errors import ArenaError
from arena.task import Task
from domains.combinatorial import DOMAIN
from domains.combinatorial.best import load_best
from domains.combinatorial.files import SETS, find
from domains.combinatorial.solutions import Routes, check_solution, kernel_form, read_solution
from domains.combinatorial.tasks import DRAWN
from domains.combinatorial.texts import stem
from domains.combinatorial.tsplib import RawInstance, read

Moves = tuple[NDArray[Any], NDArray[Any]]  # order [T], -1 behind the end, and via [T] ([0] but in cvrp), as the kernel holds them
ENDINGS = (".sol", ".opt.tour", ".tour")


def best_of(task: Task, index: int) -> Moves | None:
    """The best solution known of a test scenario; None where the task has no more than its value."""
    name = task.id.split("/", 1)[1]
    if name in DRAWN:
        best = load_best(name)
        return best.order[index], best.via[index]
    data = next((spec.needs for spec in DOMAIN.tasks if spec.name == name), "")
    if data not in SETS:
        return None
    try:
        (path,) = find(settings.data_root(), data, [SETS[data][index]])
        raw = read(path)
        found = beside(path, raw)
    except ArenaError:  # a picture without it is still one
        return None
    return None if found is None else kernel_form(found[0], raw.n - 1)


def beside(path: Path, raw: RawInstance, stated: bool = True) -> tuple[Routes, str] | None:
    """The solution in NAME.sol, NAME.opt.tour or NAME.tour (plain or .gz) beside an instance, and the file's name; None where there is none.

    stated: the cost that the file states must be the recomputed one. Raises ArenaError `data.format`, `data.solution` for a file that is wrong.
    """
    for ending in ENDINGS:
        for place in (path.with_name(f"{stem(path)}{ending}"), path.with_name(f"{stem(path)}{ending}.gz")):
            if place.is_file():
                found = read_solution(place, raw)
                check_solution(raw, found.routes, found.stated if stated else None, found.slack)
                return found.routes, place.name
    return None
