"""The user's folders: which instances of the known sets are there, and what is right or wrong with every file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arena.domain import FileReport
from arena.errors import ArenaError
from domains.combinatorial.kernel import Instances
from domains.combinatorial.solutions import Routes, Solution, check_solution, read_solution, routes_of
from domains.combinatorial.texts import EXPECTED, SUFFIXES, bad, stem, text_of
from domains.combinatorial.tsplib import RawInstance, arrays_of, instances_of, read, read_batch

LIST = "best_known.csv"
KINDS: dict[str, str] = {**SUFFIXES, ".npz": "batch", ".tour": "tour", ".sol": "solution"}
SETS = {  # the instances of the tasks on files
    "tsplib": (
        "ulysses16", "att48", "eil51", "berlin52", "st70", "gr96", "kroA100", "rd100", "lin105", "ch130", "gr202", "tsp225", "a280", "pcb442",
        "rat783", "dsj1000", "pr1002",
    ),
    "cvrplib": (
        "X-n101-k25", "X-n106-k14", "X-n120-k6", "X-n143-k7", "X-n157-k13", "X-n200-k36", "X-n256-k16", "X-n303-k21", "X-n393-k38", "X-n502-k39",
        "X-n701-k44", "X-n1001-k43",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """The best solution known of an instance: its cost, or what it collects (op), and how sure that is (optimal, best known, ...)."""

    value: float
    status: str


@cache
def best_known() -> dict[str, Known]:
    """Best known values by name: TSPLIB95's optima, Uchoa et al.'s X, OPLib's (one heuristic's), as listed in their libraries."""
    table = json.loads((Path(__file__).parent / "best_known.json").read_text())
    return {name: Known(float(value), status) for name, (value, status) in table.items()}


def find(root: Path | None, data: str, names: Sequence[str]) -> list[Path]:
    """The files of instances below a data root: in combinatorial/DATA, in DATA or right there. Raises ArenaError `data.missing`."""
    found, missing = [], []
    for name in names:
        places = [] if root is None else [root / "combinatorial" / data, root / data, root]
        path = next((path for place in places for path in _named(place, name) if path.is_file()), None)
        found.append(path) if path else missing.append(name)
    if missing:
        where = f"below {root}" if root is not None else "as no data folder is given"
        listed = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        suffix = ".vrp" if data == "cvrplib" else ".tsp"
        hint = f"`arena data fetch {data}` downloads them; or put {missing[0]}{suffix} and the others into combinatorial/{data} of the data folder"
        raise ArenaError("data.missing", f"no {data} files of {listed} {where}", hint, data=data, missing=missing)
    return [path for path in found if path is not None]


def benchmark(root: Path | None, data: str) -> tuple[list[RawInstance], Instances]:
    """The instances of a set of SETS in its order, and as one padded record with `best`. Raises ArenaError where files are absent or damaged."""
    raws = [read(path) for path in find(root, data, SETS[data])]
    best = [best_known()[raw.name].value for raw in raws]
    return raws, replace(instances_of(raws), best=torch.tensor(best, dtype=torch.float64))


def check_folder(folder: Path) -> list[FileReport]:
    """Read every file below a folder to its end: instances, batches, and solutions against the instance beside them and the best known value.

    `rows` of a report: nodes of an instance or tour, customers of routes, instances of a batch, lines of a list.
    """
    if not folder.is_dir():
        raise ArenaError("data.missing", f"{folder} is not a folder", EXPECTED)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    lists: dict[Path, dict[str, Known]] = {}
    reports: dict[Path, FileReport] = {}
    for path in files:
        if path.name == LIST:
            try:
                lists[path.parent] = _list(path)
                reports[path] = FileReport(path, "best known", True, len(lists[path.parent]), "best known values")
            except ArenaError as error:
                reports[path] = FileReport(path, "best known", False, 0, error.line)

    def known(instance: Path) -> Known | None:
        above, name = [place for place in instance.parents if place == folder or folder in place.parents], stem(instance)
        return next((lists[place][name] for place in above if name in lists.get(place, ())), best_known().get(name))

    return [reports.get(path) or _report(path, known) for path in files]


def _report(path: Path, known: Callable[[Path], Known | None]) -> FileReport:
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    kind = KINDS.get(suffix, "other")
    if kind == "other" or (kind == "batch" and path.suffix == ".gz"):
        return FileReport(path, "other", True, 0, "no instance or solution; ignored")
    try:
        if kind == "batch":
            raws = read_batch(path)
            said = f"{raws[0].problem}, {raws[0].n} nodes each" if raws else "empty"
            return FileReport(path, kind, True, len(raws), said + _stored(path, raws))
        if kind in ("tour", "solution"):
            return _solution(path, kind, known)
        raw = read(path)
    except ArenaError as error:
        return FileReport(path, kind, False, 0, error.line)
    limit = f", capacity {raw.capacity}" if raw.capacity is not None else f", budget {raw.budget:g}" if raw.budget is not None else ""
    distances = "explicit" if raw.metric == "EXPLICIT" else "EUC_2D unrounded" if raw.metric == "euclid" else raw.metric
    best = f"; {fact.status}: {fact.value:.10g}" if (fact := known(path)) else ""
    return FileReport(path, kind, True, raw.n, "; ".join([f"{distances} distances{limit}{best}", *raw.warnings]))


def _solution(path: Path, kind: str, known: Callable[[Path], Known | None]) -> FileReport:
    instance = next((other for name in _names(path) for other in _named(path.parent, name) if other.is_file()), None)
    if instance is None:
        text_of(path)
        return FileReport(path, kind, False, 0, f"{path}: no instance {stem(path)} beside it to check against; put it there")
    raw = read(instance)
    found = read_solution(path, raw)
    try:
        value = check_solution(raw, found.routes, found.stated, found.slack)
    except ArenaError as error:
        return FileReport(path, kind, False, _visited(raw, found), f"{path}: {error.message.removeprefix(f'{raw.name}: ')}; {error.hint}")
    ok, said = _judged(raw, value, known(instance), ".opt." in path.name)
    routes = f" with {len(found.routes)} routes" if raw.problem == "cvrp" else ""
    return FileReport(path, kind, ok, _visited(raw, found), f"{'score' if raw.problem == 'op' else 'cost'} {value:.10g}{routes}{said}")


def _judged(raw: RawInstance, value: float, known: Known | None, named_optimal: bool) -> tuple[bool, str]:
    """Whether a value can be, and how it stands to the best known one."""
    if known is None:
        return True, ""
    if abs(value - known.value) <= 1e-9 * abs(known.value):
        return True, f", {known.status}"
    better = (value > known.value) == (raw.problem == "op")
    if better and known.status == "optimal":
        return False, f" is better than the optimum {known.value:.10g}: another instance, or another rounding"
    if better:
        return True, f" beats the best known {known.value:.10g}"
    share = f"{100 * abs(value - known.value) / abs(known.value):.3g} % " if known.value else ""
    gap = f"{share}off {known.value:.10g} ({known.status})"
    return (False, f", called optimal, is {gap}") if named_optimal else (True, f", {gap}")


def _stored(path: Path, raws: Sequence[RawInstance]) -> str:
    """Check the solutions a batch holds beside its instances: `tour`, or `order` and `via_depot`, with their `length` [B]."""
    arrays = arrays_of(path)
    if "length" not in arrays or not {"tour", "order"} & set(arrays):
        return ""
    names = [name for name in ("tour", "order", "via_depot", "length") if name in arrays]
    if any(len(np.atleast_1d(arrays[name])) != len(raws) for name in names):
        raise bad(path, f"{', '.join(names)} do not have the {len(raws)} rows of the instances", "store one solution per instance")
    for i, raw in enumerate(raws):
        try:
            check_solution(raw, _routes({name: arrays[name][i] for name in names}), float(arrays["length"][i]))
        except (ArenaError, IndexError, TypeError, ValueError) as error:
            raise bad(path, f"solution of row {i}: {error}", "store node indices in the order visited") from error
    return f"; solutions right, mean length {arrays['length'].mean():.6f}"


def _routes(row: Mapping[str, NDArray[Any]]) -> Routes:
    if "order" in row:
        return routes_of(row["order"], row.get("via_depot"))
    nodes = [int(node) for node in row["tour"]]
    start = nodes.index(0)
    return (tuple(nodes[start + 1 :] + nodes[:start]),)


def _list(path: Path) -> dict[str, Known]:
    """A list of best known values: columns `instance` and `best_known`, perhaps `status`."""
    rows = csv.DictReader(text_of(path).splitlines())
    if not {"instance", "best_known"} <= set(rows.fieldnames or ()):
        raise bad(path, f"its columns are {', '.join(rows.fieldnames or ()) or 'none'}", "wanted are instance, best_known and perhaps status")
    found = {}
    for line, row in enumerate(rows, 2):
        try:
            value = float(row["best_known"])
        except (TypeError, ValueError):
            value = np.nan
        if not np.isfinite(value):
            raise bad(path, f"line {line}: best_known of {row['instance']} is {row['best_known']!r}", "give a number")
        found[row["instance"]] = Known(value, row.get("status") or "best known")
    return found


def _named(folder: Path, name: str) -> Iterable[Path]:
    """Where the instance of that name may lie in a folder."""
    return (folder / f"{name}{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz"))


def _names(path: Path) -> Iterable[str]:
    """What the instance of a file may be called: NAME for NAME.AGENT.sol too, as `arena solve` writes it."""
    name = stem(path)
    yield name
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _visited(raw: RawInstance, solution: Solution) -> int:
    """Customers served, or nodes of a tour."""
    return sum(len(route) for route in solution.routes) + (raw.problem != "cvrp")
