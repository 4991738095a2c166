"""What commands print: one JSON document, CSV rows or text; numbers and names as people read them."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100  # columns of text that goes to a file or a pipe
FOLD = 26  # columns that a folded cell has at least

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document (schemas: arena/cli/schemas).")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices.")]


def deliver(
    schema: str, document: Mapping[str, Any], as_json: bool, text: Callable[[], None], as_csv: bool = False, rows: Sequence[Mapping[str, Any]] = ()
) -> None:
    """A command's result on stdout in the form that was asked for. A reader that has seen enough (`| head`) is no error."""
    try:
        if as_json:
            print_json(schema, document)
        elif as_csv:
            print_csv(rows)
        else:
            text()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(schema: str, document: Mapping[str, Any]) -> None:
    """One document with its `schema`; NaN and infinity become null, which JSON has instead of them."""
    print(json.dumps({"schema": schema, **plain(document)}, allow_nan=False, ensure_ascii=False, indent=2))


def plain(value: Any) -> Any:
    """Data as JSON knows it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "tolist"):  # arrays and NumPy scalars
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows under the keys of the first one; lists and mappings as JSON."""
    if not rows:
        return
    writer = csv.DictWriter(sys.stdout, list(rows[0]), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = {key: plain(value) for key, value in row.items()}
        writer.writerow({key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in values.items()})


# ---- text ----------------------------------------------------------------------------------------------------------


def console(stderr: bool = False) -> Console:
    """Where text goes: coloured on a terminal only, and not even there where NO_COLOR is set; nothing in it is read as markup."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    colour: Any = "auto" if terminal and not os.environ.get("NO_COLOR") else None
    width = None if terminal else int(os.environ.get("COLUMNS") or WIDTH)
    return Console(
        file=stream, force_terminal=terminal, color_system=colour, width=width, highlight=False, markup=False, emoji=False, legacy_windows=False
    )


def notice(text: str, quiet: bool = False) -> None:
    """A remark on stderr that is no result."""
    if not quiet:
        print("\n".join(map(literal, text.split("\n"))), file=sys.stderr, flush=True)


def literal(text: str) -> str:
    """Text without control characters: a name cannot move the cursor or colour the screen."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Column(NamedTuple):
    title: str
    right: bool = False
    fold: bool = False  # may be broken over several lines; all others stay whole


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], marked: Iterable[int] = ()) -> None:
    """Aligned columns on stdout; `marked` rows stand out. Where even the folded ones do not fit, lines become longer than the screen."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    cells = [[literal(cell) for cell in row] for row in rows]
    out = console()
    titled = any(column.title for column in columns)
    sheet = Table(box=None, pad_edge=False, show_header=titled, header_style="bold" if out.color_system else "", padding=(0, 2, 0, 0))
    needed = 2 * (len(columns) - 1)
    for index, column in enumerate(columns):
        natural = max([cell_len(row[index]) for row in cells] + [cell_len(column.title)])
        needed += min(natural, FOLD) if column.fold else natural
        sheet.add_column(
            Text(column.title), justify="right" if column.right else "left", no_wrap=not column.fold, overflow="fold",
            min_width=min(natural, FOLD) if column.fold else natural,
        )  # fmt: skip
    strong = set(marked)
    for number, row in enumerate(cells):
        sheet.add_row(*(Text(cell) for cell in row), style="bold" if number in strong and out.color_system else "")
    out.width = max(out.width, needed)
    with out.capture() as shown:
        out.print(sheet)
    print("\n".join(line.rstrip() if not out.is_terminal else line for line in shown.get().rstrip("\n").split("\n")))


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values below each other."""
    table([Column(""), Column("", fold=True)], [(name, str(value)) for name, value in rows])


def score(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def span(value: float | None, lo: float | None, hi: float | None, sign: str = "") -> str:
    """A value with its interval: 0.412 [0.398, 0.427]."""
    if value is None:
        return "-"
    return f"{value:{sign}.3f}" + ("" if lo is None or hi is None else f" [{lo:{sign}.3f}, {hi:{sign}.3f}]")


def figure(value: float | None, digits: int = 3) -> str:
    """A number with 3 significant digits."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def share(rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{100 * rate:.2g} %" if rate < 0.995 else f"{100 * rate:.0f} %"


def size(n: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def moment(microseconds: int | None) -> str | None:
    """A time of the store as ISO 8601, UTC, to the second."""
    return None if microseconds is None else datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown_path(path: Path | str) -> str:
    """A path as short as it can be written from here."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
