"""Instances from files: TSPLIB95 (Reinelt 1995), CVRPLIB and OPLib texts (`texts.py`), also gzipped, and batches in `.npz`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.errors import ArenaError
from domains.combinatorial.distances import EUCLID, METRICS
from domains.combinatorial.kernel import Instances
from domains.combinatorial.scenarios import instances
from domains.combinatorial.texts import EXACT, EXPECTED, LARGEST, Numbers, Problem, Rounding, Text, bad, cleared, stem, whole

LONGEST = 2**15 - 1  # nodes: the kernel keeps their order in int16
COARSE = 5.0  # extent of places in fractions whose rounded distances are a handful of numbers
LEAST: dict[Problem, int] = {"tsp": 3, "atsp": 3, "cvrp": 2, "op": 2}  # nodes, the depot included


@dataclass(frozen=True, eq=False)
class RawInstance:
    """One instance of a file, N nodes, the depot (or a tour's first node) at index 0.

    metric: one of distances.METRICS, or EXPLICIT: then `matrix` [N, N] tells all distances, diagonal 0; coords: [N, 2] float64
    ids: [N] the file's id of each index; display: [N, 2], only to draw; rounding: how EUC_2D was read
    demand, prize: [N] int64, capacity: int (cvrp), budget: most length of the tour (op)
    """

    name: str
    problem: Problem
    n: int
    ids: NDArray[np.int64]
    metric: str
    coords: Numbers | None = None
    matrix: NDArray[Any] | None = None
    demand: NDArray[np.int64] | None = None
    capacity: int | None = None
    prize: NDArray[np.int64] | None = None
    budget: float | None = None
    comment: str = ""
    display: Numbers | None = None
    rounding: Rounding = "nint"
    warnings: tuple[str, ...] = ()


def read(path: Path, rounding: Rounding | None = None) -> RawInstance:
    """The instance of a text file. rounding: how EUC_2D is meant; none given: `none` for CMT, Golden, Li and tai, else `nint`.

    Raises ArenaError `data.missing`, `data.format` (what is wrong, with its line) or `data.unsupported` (no instance of these problems).
    """
    text = Text(path)
    problem = text.problem()
    n = text.integer("DIMENSION")
    if n < LEAST[problem]:
        text.fail(f"DIMENSION is {n}", f"a {problem} has at least {LEAST[problem]} nodes", "DIMENSION")
    metric, rounding = text.metric(problem, rounding)
    explicit = metric == "EXPLICIT"
    if problem == "atsp" and not explicit:
        text.warnings.append(f"TYPE is ATSP, but {metric} distances are the same both ways: played as tsp")
        problem = "tsp"
    points, drawn = (text.table(name, n, 3) if name in text.sections else None for name in ("NODE_COORD_SECTION", "DISPLAY_DATA_SECTION"))
    matrix = text.matrix(n) if explicit else None
    if points is None and not explicit:
        text.fail(f"{metric} distances, but no NODE_COORD_SECTION", "give each node's id, x and y")
    depot = text.depot(n) if problem in ("cvrp", "op") else 1
    order = np.concatenate(([depot - 1], np.delete(np.arange(n), depot - 1)))

    def placed(values: NDArray[Any] | None) -> Any:
        return None if values is None else values[order]

    raw = RawInstance(
        name=stem(path),
        problem=problem,
        n=n,
        ids=order + 1,
        metric=metric,
        coords=None if explicit else placed(points),
        matrix=None if matrix is None else matrix[np.ix_(order, order)],
        demand=placed(text.integers("DEMAND_SECTION", n)) if problem == "cvrp" else None,
        capacity=text.integer("CAPACITY") if problem == "cvrp" else None,
        prize=placed(text.integers("NODE_SCORE_SECTION", n)) if problem == "op" else None,
        budget=text.number("COST_LIMIT") if problem == "op" else None,
        comment=text.value("COMMENT"),
        display=placed(drawn if drawn is not None or not explicit else points),
        rounding=rounding,
    )
    if problem == "cvrp":
        text.limits(n, _extent(raw))
    return replace(raw, warnings=(*text.warnings, *_warnings(raw, str(path))))


def read_batch(path: Path) -> list[RawInstance]:
    """The instances of an `.npz` without pickled objects: coords [B, n, 2] (tsp), with demand and capacity (cvrp) or prize and budget (op);
    matrix [B, n, n] (atsp). Unrounded Euclidean distances, the depot at index 0. Raises ArenaError as `read`."""
    arrays = arrays_of(path)
    problem: Problem = "atsp" if "matrix" in arrays else "cvrp" if "demand" in arrays else "op" if "prize" in arrays else "tsp"
    n = max((arrays[name].shape[1] for name in ("coords", "matrix") if name in arrays and arrays[name].ndim == 3), default=0)
    batches: dict[Problem, dict[str, tuple[int, ...]]] = {
        "tsp": {"coords": (n, 2)},
        "atsp": {"matrix": (n, n)},
        "cvrp": {"coords": (n, 2), "demand": (n,), "capacity": ()},
        "op": {"coords": (n, 2), "prize": (n,), "budget": ()},
    }
    shapes = batches[problem]  # of each row
    if absent := sorted(set(shapes) - set(arrays)):
        raise bad(path, f"no array {absent[0]!r} among {', '.join(sorted(arrays)) or 'none'}", f"a {problem} batch holds {', '.join(shapes)}")
    rows = len(np.atleast_1d(arrays[next(iter(shapes))]))
    for name, shape in shapes.items():
        if arrays[name].shape != (rows, *shape) or arrays[name].dtype.kind not in "iuf":
            said = f"{name} is {arrays[name].dtype} {arrays[name].shape}"
            raise bad(path, said, f"a {problem} batch of {rows} instances of {n} nodes wants numbers of shape {(rows, *shape)}")
    if n < LEAST[problem]:
        raise bad(path, f"instances of {n} nodes", f"a {problem} has at least {LEAST[problem]} nodes")
    return [_row(path, problem, n, {name: arrays[name][i] for name in shapes}, i) for i in range(rows)]


def _row(path: Path, problem: Problem, n: int, row: dict[str, Any], i: int) -> RawInstance:
    """Instance i of a batch."""
    where = f"{path}, row {i}"
    raw = RawInstance(
        name=f"{stem(path)}-{i}",
        problem=problem,
        n=n,
        ids=np.arange(1, n + 1),
        metric="EXPLICIT" if "matrix" in row else "euclid",
        coords=row["coords"].astype(np.float64) if "coords" in row else None,
        matrix=cleared(row["matrix"]) if "matrix" in row else None,
        demand=whole(row["demand"], "demand", where) if "demand" in row else None,
        capacity=int(whole(row["capacity"], "capacity", where)) if "capacity" in row else None,
        prize=whole(row["prize"], "prize", where) if "prize" in row else None,
        budget=float(row["budget"]) if "budget" in row else None,
        display=row.get("coords"),
        rounding="none",
    )
    return replace(raw, warnings=tuple(_warnings(raw, where)))


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz`. Raises ArenaError `data.format` for a damaged file, for pickled objects and for one too large."""
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(part.file_size for part in packed.infolist())
        if size > LARGEST:
            raise bad(path, f"unpacks to {size:,} bytes", f"at most {LARGEST:,} are read")
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except FileNotFoundError as error:
        raise ArenaError("data.missing", f"there is no file {path}", EXPECTED) from error
    except ValueError as error:
        reason = "holds pickled objects, which are never loaded" if "pickle" in str(error) else f"cannot be read: {error}"
        raise bad(path, reason, "save plain arrays with numpy.savez") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise bad(path, f"is no readable .npz: {error}", "save it again with numpy.savez") from error


def instances_of(raws: Sequence[RawInstance], n: int | None = None) -> Instances:
    """The kernel's record of instances of one problem, padded at the end to n nodes (the longest, where none is given); `best` is NaN.

    Explicit distances become `matrix`: such a tsp is played as atsp. Raises ArenaError `data.mixed` or `data.size`.
    """
    kinds = {(raw.problem if raw.problem != "atsp" else "tsp", raw.matrix is not None) for raw in raws}
    if len(kinds) != 1:
        names = ", ".join(sorted(f"{problem}{' with a matrix' if explicit else ''}" for problem, explicit in kinds)) or "no instance"
        raise ArenaError("data.mixed", f"one batch of {names}", "give instances of one problem, all with coordinates or all with a matrix")
    ((_, explicit),) = kinds
    longest = max(raw.n for raw in raws)
    width = n or longest
    if longest > LONGEST:
        raise ArenaError("data.size", f"{max(raws, key=lambda raw: raw.n).name} has {longest} nodes", f"at most {LONGEST} can be played")
    if not longest <= width <= LONGEST:
        raise ArenaError("data.size", f"an instance of {longest} nodes in a batch of width {width}", f"use at least {longest}, at most {LONGEST}")

    def padded(name: str, dims: int = 1) -> NDArray[Any] | None:
        values = [getattr(raw, name) for raw in raws]
        if values[0] is None:
            return None
        out = np.zeros((len(raws), *[width] * dims, *values[0].shape[dims:]), np.result_type(*values))
        for row, value in zip(out, values, strict=True):
            row[tuple(slice(size) for size in value.shape)] = value
        return out

    return instances(
        size=np.array([raw.n for raw in raws]),
        coords=padded("coords"),
        metric=np.array([EUCLID if explicit else METRICS.index(raw.metric) for raw in raws]),
        matrix=padded("matrix", 2),
        demand=padded("demand"),
        capacity=np.array([raw.capacity or 0 for raw in raws]),
        prize=padded("prize"),
        budget=np.array([np.inf if raw.budget is None else raw.budget for raw in raws]),
    )


# ---- what is wrong with an instance -------------------------------------------------------------------------------------


def _extent(raw: RawInstance) -> float:
    """No way between two nodes is longer."""
    if raw.matrix is not None:
        return float(raw.matrix.max())
    assert raw.coords is not None
    return float(np.hypot(*np.ptp(raw.coords, axis=0))) + 1.0 if raw.metric in ("euclid", "EUC_2D") else np.inf


def _warnings(raw: RawInstance, where: str) -> list[str]:
    """Warnings about an instance that can be played. Raises ArenaError `data.format` naming the node where it cannot."""

    def refuse(bad: NDArray[np.bool_], said: str, hint: str, values: NDArray[Any]) -> None:
        if bad.any():
            at = tuple(int(k) for k in np.argwhere(bad)[0])
            nodes = f"node {raw.ids[at[0]]}" if len(at) == 1 or bad.shape[1] == 2 else f"nodes {raw.ids[at[0]]} and {raw.ids[at[1]]}"
            raise ArenaError("data.format", f"{where}: {said.format(nodes=nodes, value=f'{values[at]:g}')}", hint)

    notes = []
    if raw.coords is not None:
        refuse(~(np.abs(raw.coords) <= EXACT), "coordinate {value} of {nodes}", "give finite numbers, below 2^53", raw.coords)
        if raw.metric == "GEO":
            limit = np.array([90.0, 180.0])
            hint = "GEO wants latitude (-90..90) first, then longitude (-180..180), in degrees.minutes: are the columns swapped?"
            refuse(np.abs(raw.coords) > limit, "{value} of {nodes} is no latitude or longitude", hint, raw.coords)
            if (np.abs(raw.coords - np.trunc(raw.coords)) >= 0.6).any():
                notes.append("GEO coordinates with more than 59 minutes: they look like decimal degrees, TSPLIB means degrees.minutes")
        if (raw.coords == raw.coords[0]).all():
            notes.append("all nodes lie at one point")
        across, fractions = float(np.ptp(raw.coords, axis=0).max()), (raw.coords != np.rint(raw.coords)).any()
        if raw.metric not in ("euclid", "GEO") and fractions and 0 < across < COARSE:
            wide = f"the nodes lie within {across:.3g} of each other and distances are rounded to whole numbers"
            notes.append(f"{wide}: most is lost; multiply the coordinates, or read EUC_2D with rounding none")
    if raw.matrix is not None:
        refuse(~np.isfinite(raw.matrix), "distance {value} between {nodes}", "give finite numbers", raw.matrix)
        refuse(raw.matrix < 0, "distance {value} between {nodes}", "distances must not be negative", raw.matrix)
        if raw.problem != "atsp":
            hint = "both directions must cost the same; if they do not, it is an ATSP: TYPE : ATSP"
            refuse(raw.matrix != raw.matrix.T, "distance {value} between {nodes} differs from the way back", hint, raw.matrix)
    if raw.demand is not None and raw.capacity is not None:
        if raw.capacity <= 0:
            raise ArenaError("data.format", f"{where}: CAPACITY is {raw.capacity}", "a vehicle carries something")
        if raw.demand[0]:
            raise ArenaError("data.format", f"{where}: the depot, node {raw.ids[0]}, demands {raw.demand[0]}", "a depot demands 0")
        refuse(raw.demand < 0, "demand {value} of {nodes}", "demands must not be negative", raw.demand)
        hint = f"no vehicle of capacity {raw.capacity} can serve it: split the customer or raise CAPACITY"
        refuse(raw.demand > raw.capacity, "demand {value} of {nodes} exceeds the capacity", hint, raw.demand)
    if raw.prize is not None and raw.budget is not None:
        if not 0 <= raw.budget <= EXACT:
            raise ArenaError("data.format", f"{where}: COST_LIMIT is {raw.budget:g}", "the tour's limit must be 0 or more, and finite")
        refuse(raw.prize < 0, "score {value} of {nodes}", "scores must not be negative", raw.prize)
    return notes
