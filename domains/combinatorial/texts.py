"""The syntax of TSPLIB95, CVRPLIB and OPLib texts: a header of `KEY : value` lines and sections of numbers that may flow over lines.

Node ids count from 1. What cannot be played as written (three dimensions, X-ray weights, fixed edges, limits on a route's duration, time
windows) is refused by name, never read as something else. Every error names the file, the line and the remedy.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from arena.errors import ArenaError
from domains.combinatorial.distances import METRICS

Problem = Literal["tsp", "atsp", "cvrp", "op"]
Rounding = Literal["nint", "none"]
Numbers = NDArray[np.float64]
SUFFIXES: dict[str, Problem] = {".tsp": "tsp", ".atsp": "atsp", ".vrp": "cvrp", ".oplib": "op"}
EXPECTED = "wanted are TSPLIB (.tsp, .atsp), CVRPLIB (.vrp) or OPLib (.oplib) texts, plain or .gz, or .npz with coords"
UNROUNDED = re.compile(r"(cmt|golden|li|tai)[_-]?\d", re.IGNORECASE)  # CVRP sets whose EUC_2D means unrounded distances
LARGEST = 1 << 29  # bytes of an unpacked file
EXACT = 2.0**53  # float64 holds the integers up to it
SCALED = "; multiply fractions by one number, demands and capacity together"
SQUARE = ("FULL_MATRIX",)
UPPER = ("UPPER_ROW", "LOWER_COL", "UPPER_DIAG_ROW", "LOWER_DIAG_COL")  # read in the order of the upper triangle's rows
LOWER = ("LOWER_ROW", "UPPER_COL", "LOWER_DIAG_ROW", "UPPER_DIAG_COL")
READ = ("NODE_COORD_SECTION", "EDGE_WEIGHT_SECTION", "DEMAND_SECTION", "DEPOT_SECTION", "DISPLAY_DATA_SECTION", "NODE_SCORE_SECTION")
REFUSED = {
    "FIXED_EDGES_SECTION": "edges that every tour must hold",
    "TIME_WINDOW_SECTION": "time windows",
    "SERVICE_TIME_SECTION": "service times",
    "BACKHAUL_SECTION": "backhauls",
    "PICKUP_AND_DELIVERY_SECTION": "pick-ups and deliveries",
    "EDGE_DATA_SECTION": "a graph that is not complete",
}
KEYS = {"NAME", "TYPE", "COMMENT", "DIMENSION", "CAPACITY", "EDGE_WEIGHT_TYPE", "EDGE_WEIGHT_FORMAT", "NODE_COORD_TYPE", "DISPLAY_DATA_TYPE"}
KEYS |= {"DISTANCE", "SERVICE_TIME", "VEHICLES", "COST_LIMIT"}


def stem(path: Path) -> str:
    """Name of the instance a file is about: a280 for a280.tsp, a280.tsp.gz, a280.opt.tour."""
    return re.sub(r"(\.opt)?\.(tsp|atsp|vrp|oplib|tour|sol|npz)(\.gz)?$", "", path.name, flags=re.IGNORECASE)


@dataclass
class Section:
    line: int
    rows: list[tuple[int, str]] = field(default_factory=list)  # line number, text

    def line_of(self, position: int) -> int:
        """Line of the number at a position."""
        for line, text in self.rows:
            position -= len(text.split())
            if position < 0:
                return line
        return self.rows[-1][0] if self.rows else self.line


class Text:
    """A file taken apart into header and sections."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: dict[str, tuple[str, int]] = {}
        self.sections: dict[str, Section] = {}
        self.warnings: list[str] = []
        self._parse(text_of(path))
        for name in self.sections:
            if name in REFUSED:
                self.fail(f"{name}: {REFUSED[name]} are not supported", "take it out, if that is the instance you mean", name, "data.unsupported")
            if name not in READ:
                self.fail(f"{name} is not known", f"sections that are read: {', '.join(READ)}", name, "data.unsupported")
        for key in sorted(set(self.header) - KEYS):
            self.warnings.append(f"{key} is not known and was ignored")

    def _parse(self, text: str) -> None:
        section: Section | None = None
        for number, line in enumerate(text.split("\n"), 1):
            words = line.split()
            if not words:
                continue
            first = words[0].rstrip(":").upper()
            if not first[:1].isalpha() or first in ("NAN", "INF", "INFINITY"):
                if section is None:
                    self.fail(f"{line.strip()[:40]!r} before any section", "a header line is KEY : value", number)
                section.rows.append((number, line))
            elif first == "EOF":
                break
            elif first.endswith("_SECTION") and ":" not in first:
                if first in self.sections:
                    self.fail(f"{first} comes twice", "keep one", number)
                section = self.sections[first] = Section(number)
                if beside := line.strip()[len(words[0]) :].lstrip(" \t:"):
                    section.rows.append((number, beside))
            else:
                key, colon, value = (part.strip() for part in line.partition(":"))
                if not colon or " " in key:
                    self.fail(f"{line.strip()[:40]!r} is neither a number nor KEY : value", "correct the line", number)
                if key.upper() in self.header and key.upper() != "COMMENT":
                    self.fail(f"{key} comes twice", "keep one", number)
                before = self.value("COMMENT") if key.upper() == "COMMENT" else ""
                self.header[key.upper()] = (f"{before}\n{value}".strip(), number)

    def fail(self, what: str, hint: str, where: int | str = 0, code: str = "data.format") -> NoReturn:
        """Raise what is wrong. where: a line, or the name of a header key or section."""
        if isinstance(where, str):
            where = self.header[where][1] if where in self.header else self.sections[where].line if where in self.sections else 0
        raise ArenaError(code, f"{self.path}{f', line {where}' if where else ''}: {what}", hint, path=str(self.path), line=where or None)

    # ---- header

    def value(self, key: str) -> str:
        return self.header[key][0] if key in self.header else ""

    def number(self, key: str) -> float:
        if key not in self.header:
            self.fail(f"no {key}", f"add a header line {key} : number")
        try:
            found = float(self.value(key))
        except ValueError:
            found = np.nan
        if np.isnan(found):
            self.fail(f"{key} is {self.value(key)!r}", "give a number", key)
        return found

    def integer(self, key: str) -> int:
        found = self.number(key)
        if not found.is_integer() or abs(found) > EXACT:
            self.fail(f"{key} is {self.value(key)}", f"give a whole number{SCALED if key == 'CAPACITY' else ''}", key)
        return int(found)

    def problem(self) -> Problem:
        name = (self.value("TYPE").split() or [""])[0].upper()
        suffix = Path(self.path.name.lower().removesuffix(".gz")).suffix
        if not name and suffix in SUFFIXES:
            self.warnings.append(f"no TYPE; taken for {SUFFIXES[suffix]} by its name")
            name = SUFFIXES[suffix].upper()
        if name == "TOUR":
            self.fail("is a tour, no instance", "give its instance: NAME.tour is read where it lies beside NAME.tsp", "TYPE", "data.unsupported")
        if name.lower() not in SUFFIXES.values():
            self.fail(f"TYPE is {name or 'not given'}", "played are TSP, ATSP, CVRP and OP", "TYPE", "data.unsupported")
        return name.lower()  # type: ignore[return-value]

    def metric(self, problem: str, rounding: Rounding | None) -> tuple[str, Rounding]:
        kind = self.value("EDGE_WEIGHT_TYPE").upper()
        if kind == "EXACT_2D":  # as LKH says that EUC_2D is not rounded
            kind, rounding = "EUC_2D", rounding or "none"
        if kind not in (*METRICS[1:], "EXPLICIT"):
            said = f"EDGE_WEIGHT_TYPE {kind} is not supported" if kind else "no EDGE_WEIGHT_TYPE"
            self.fail(said, f"supported: {', '.join(METRICS[1:])}, EXPLICIT", "EDGE_WEIGHT_TYPE", "data.unsupported" if kind else "data.format")
        if self.value("NODE_COORD_TYPE").upper() == "THREED_COORDS":
            self.fail("nodes of three dimensions are not supported", "give x and y", "NODE_COORD_TYPE", "data.unsupported")
        if rounding == "none" and kind != "EUC_2D":
            self.fail(f"rounding 'none' for {kind} distances", "only EUC_2D comes in both conventions", "EDGE_WEIGHT_TYPE")
        unrounded = problem == "cvrp" and kind == "EUC_2D" and UNROUNDED.match(stem(self.path))
        chosen: Rounding = rounding or ("none" if unrounded else "nint")
        return ("euclid" if chosen == "none" else kind), chosen

    def limits(self, n: int, across: float) -> None:
        """Refuse a limit on the length of a route that could bind, `across` being the longest way; say that VEHICLES is no limit here."""
        if "VEHICLES" in self.header:
            self.warnings.append(f"VEHICLES {self.value('VEHICLES')} is not a limit here: any number of routes may be used")
        if "DISTANCE" not in self.header:
            return
        limit, service = self.number("DISTANCE"), self.number("SERVICE_TIME") if "SERVICE_TIME" in self.header else 0.0
        if limit < n * (across + service):  # no route is longer
            said = f"DISTANCE {self.value('DISTANCE')} limits the length of a route, which is not supported"
            self.fail(said, "take an instance without such a limit", "DISTANCE", "data.unsupported")

    # ---- sections

    def numbers(self, name: str) -> Numbers:
        """All numbers of a section, finite."""
        if name not in self.sections:
            self.fail(f"no {name}", "add it")
        rows = self.sections[name].rows
        try:
            found = np.array(" ".join(text for _, text in rows).split(), np.float64)
        except ValueError:
            for line, text in rows:
                for word in text.split():
                    try:
                        float(word)
                    except ValueError:
                        self.fail(f"{word!r} in {name} is no number", "correct the line", line)
            raise
        if not np.isfinite(found).all():
            at = int(np.flatnonzero(~np.isfinite(found))[0])
            self.fail(f"{found[at]} in {name}", "give finite numbers", self.sections[name].line_of(at))
        return found

    def table(self, name: str, n: int, width: int) -> Numbers:
        """[n, width - 1] the values of nodes 1..n in the order of their ids."""
        found, section = self.numbers(name), self.sections[name]
        if len(found) != n * width:
            uneven = [(line, len(text.split())) for line, text in section.rows if len(text.split()) != width]
            if uneven and len(section.rows) == n:
                self.fail(f"{uneven[0][1]} numbers in a row of {name}", f"{width} are wanted: the id and {width - 1} more", uneven[0][0])
            hint = "correct one of the two" if len(found) % width == 0 else f"each row has {width} numbers"
            self.fail(f"DIMENSION is {n}, but {name} has {len(found) / width:g} rows", hint, name)
        rows = found.reshape(n, width)
        ids = rows[:, 0]
        order = np.argsort(ids, kind="stable")
        wrong = np.flatnonzero(ids[order] != np.arange(1, n + 1))
        if len(wrong):
            at = int(order[wrong[0]])
            line = section.line_of(at * width)
            if ids[order[0]] == 0:
                self.fail(f"node ids in {name} count from 0", "TSPLIB counts from 1: add 1 to every id", section.line_of(int(order[0]) * width))
            if wrong[0] and ids[at] == ids[order[wrong[0] - 1]]:
                self.fail(f"id {ids[at]:g} comes twice in {name}", f"ids are 1..{n}, each once", line)
            self.fail(f"id {ids[at]:g} in {name} where {wrong[0] + 1} is missing", f"ids are 1..{n} without a gap", line)
        return rows[order, 1:]

    def integers(self, name: str, n: int) -> NDArray[np.int64]:
        return whole(self.table(name, n, 2)[:, 0], name, str(self.path))

    def depot(self, n: int) -> int:
        """Id of the depot."""
        found = self.numbers("DEPOT_SECTION")
        ends = np.flatnonzero(found == -1)
        ids = found[: ends[0]] if len(ends) else found
        if len(ids) != 1:
            listed = f"{len(ids)} depots: {', '.join(f'{i:g}' for i in ids[:5])}" if len(ids) else "no depot"
            self.fail(f"{listed} in DEPOT_SECTION", "give the id of the one depot, then -1", "DEPOT_SECTION")
        if not ids[0].is_integer() or not 1 <= ids[0] <= n:
            self.fail(f"depot {ids[0]:g} in DEPOT_SECTION is no node", f"ids are 1..{n}", "DEPOT_SECTION")
        return int(ids[0])

    def matrix(self, n: int) -> NDArray[Any]:
        """[n, n] explicit distances, diagonal 0."""
        kind = self.value("EDGE_WEIGHT_FORMAT").upper()
        if kind not in SQUARE + UPPER + LOWER:
            said = f"EDGE_WEIGHT_FORMAT {kind} is not supported" if kind else "EXPLICIT weights, but no EDGE_WEIGHT_FORMAT"
            self.fail(said, f"supported: {', '.join(SQUARE + UPPER + LOWER)}", "EDGE_WEIGHT_FORMAT")
        found = self.numbers("EDGE_WEIGHT_SECTION")
        expected = n * n if kind in SQUARE else n * (n + 1) // 2 if "DIAG" in kind else n * (n - 1) // 2
        if len(found) != expected:
            said = f"EDGE_WEIGHT_SECTION has {len(found)} numbers, {kind} of {n} nodes wants {expected}"
            self.fail(said, "DIMENSION, format or numbers are wrong", "EDGE_WEIGHT_SECTION")
        if kind in SQUARE:
            return cleared(found.reshape(n, n))
        inner = 0 if "DIAG" in kind else 1
        out = np.zeros((n, n))
        at = np.triu_indices(n, inner) if kind in UPPER else np.tril_indices(n, -inner)
        out[at] = found
        return cleared(np.where(out == 0, out.T, out))


def text_of(path: Path) -> str:
    """The text of a file, plain or gzipped, UTF-8 or Latin-1; lines end in \\n alone, and no Ctrl-Z of DOS is left. Raises ArenaError."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise ArenaError("data.missing", f"there is no file {path}", EXPECTED) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise bad(path, f"is a damaged .gz: {error}", "fetch it again") from error
    except OSError as error:
        raise ArenaError("data.read", f"{path} cannot be read: {error.strerror or error}", "look at its permissions") from error
    if len(content) > LARGEST:
        raise bad(path, f"is larger than {LARGEST:,} bytes", "that is no instance of these libraries")
    if b"\0" in content:
        raise bad(path, "is no text file", EXPECTED)
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\x1a")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def bad(path: Path, what: str, hint: str) -> ArenaError:
    """The error for a file that cannot be read as what it should be."""
    return ArenaError("data.format", f"{path}: {what}", hint, path=str(path))


def whole(values: Any, name: str, where: str) -> NDArray[np.int64]:
    """Values as int64. Raises ArenaError `data.format` where one is no whole number."""
    found = np.asarray(values)
    wrong = np.atleast_1d(~np.isfinite(found) | (found != np.floor(found)) | (np.abs(found) > EXACT))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        said = f"{where}: {name}{f' of node {at + 1}' if found.ndim else ''} is {np.atleast_1d(found)[at]:g}"
        raise ArenaError("data.format", said, f"give whole numbers{SCALED}")
    return found.astype(np.int64)


def cleared(values: NDArray[Any]) -> NDArray[Any]:
    """A matrix of its own with diagonal 0, integers where all are."""
    out = np.array(values, np.float64)
    np.fill_diagonal(out, 0.0)
    return out.astype(np.int64) if (out == np.floor(out)).all() and (np.abs(out) <= EXACT).all() else out
