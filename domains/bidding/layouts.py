"""Layouts of auction logs, told apart by their first two lines; every row checked, errors by file and line.

log         make-ipinyou-data `*.log.txt`: TAB, header line; price is the column named `payprice`. No theta.
yzx         make-ipinyou-data `*.yzx.txt`: SPACE `click payprice index:1 ...`. No theta.
theta       rlb-dp `train.theta.txt`, `test.theta.txt`: SPACE `click price theta`.
episodes    rlb-dp, older: first line `dim TAB T`, then per episode a line with its number and T lines `click TAB price TAB theta`.
rtbcontrol  `train.txt`, `test.txt`: TAB `click price theta slot`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.errors import ArenaError
from domains.bidding.history import Floats, Integers
from domains.bidding.profiles import MAX_PRICE

EXPECTED = (
    "expected, for example: info.json (imp_train, cost_train, clk_train, price_counter_train) with test.theta.txt, lines `click price theta` "
    "separated by spaces, and optionally train.theta.txt; or train.txt and test.txt, lines `click price theta slot` separated by TABs. "
    "Look at a folder with `arena data check FOLDER`, name another with `--data FOLDER`"
)


@dataclass(frozen=True)
class Layout:
    """How rows lie in a file: `columns` are those of click, price and (where given) theta; `width` fixes the number of all columns."""

    kind: str
    separator: str
    columns: tuple[int, ...]
    width: int | None = None
    header: bool = False
    episode: int = 0  # rows per episode, each after a line with its number


@dataclass(frozen=True, eq=False)
class Rows:
    """Auctions of one file in its order: click [N], price [N] integer, theta [N] or None where the layout has none."""

    path: Path
    kind: str
    click: NDArray[np.uint8]
    price: Integers
    theta: Floats | None


def layout(path: Path) -> Layout | None:
    """The layout of a file from its first two lines; None where it is none of the known ones. ArenaError for a log without its header."""
    with path.open(encoding="latin-1") as lines:
        first, second = (next(lines, "").rstrip("\r\n") for _ in range(2))
    tabs, spaces = first.split("\t"), first.split(" ")
    if "payprice" in tabs:
        if "click" not in tabs:
            raise ArenaError("data.header", f"{path}:1: the header has no column `click`", "the log's first line must name its columns")
        return Layout("log", "\t", (tabs.index("click"), tabs.index("payprice")), header=True)
    if len(tabs) >= 20:
        raise ArenaError(
            "data.header",
            f"{path}:1: {len(tabs)} columns, none of them named `payprice`",
            "a log keeps its header line: the market price is found by the name payprice, the click by click",
        )
    if _integers(tabs, 2) and _integers([second], 1):
        return Layout("episodes", "\t", (0, 1, 2), width=3, header=True, episode=int(tabs[1]))
    if len(tabs) == 4 and _numeric(tabs):
        return Layout("rtbcontrol", "\t", (0, 1, 2), width=4)
    if len(spaces) == 3 and _numeric(spaces):
        return Layout("theta", " ", (0, 1, 2), width=3)
    if len(spaces) >= 3 and _numeric(spaces[:2]) and all(":" in field for field in spaces[2:] if field):
        return Layout("yzx", " ", (0, 1))
    return None


def read_rows(path: Path, max_price: int = MAX_PRICE) -> Rows:
    """All rows of a file, checked: click 0 or 1, price an integer in 0..max_price, theta in [0, 1] and not all 0. ArenaError by file and line."""
    found = layout(path)
    if found is None:
        raise unknown_layout(path)
    source: Any = [text for _, text in _data_lines(path, found)] if found.episode else path
    usecols = None if found.width else found.columns
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "no data": reported below
            table = np.loadtxt(
                source, delimiter=found.separator, comments=None, usecols=usecols, ndmin=2, encoding="latin-1",
                skiprows=int(found.header and not found.episode),
            )  # fmt: skip
    except (ValueError, IndexError) as error:
        raise _unreadable(path, found) from error
    if not len(table):
        raise ArenaError("data.empty", f"{path}: no rows", EXPECTED, path=str(path))
    if found.width and table.shape[1] != found.width:
        raise _unreadable(path, found)
    if found.width:
        table = table[:, found.columns]
    _check(path, found, table, max_price)
    theta = np.ascontiguousarray(table[:, 2]) if table.shape[1] > 2 else None
    return Rows(path, found.kind, table[:, 0].astype(np.uint8), table[:, 1].astype(np.int64), theta)


def unknown_layout(path: Path) -> ArenaError:
    with path.open(encoding="latin-1") as lines:
        first = next(lines, "").rstrip("\r\n")
    what = f"{first[:60]!r} is the first line of none of the known layouts" if first else "no rows"
    return ArenaError("data.format", f"{path}:1: {what}", EXPECTED, path=str(path), line=1)


def is_feature_index(path: Path) -> bool:
    """`col:value TAB index`; its first line may be the bias, `truncate TAB 0`."""
    with path.open(encoding="latin-1") as lines:
        name, tab, index = next(lines, "").rstrip("\r\n").partition("\t")
    return bool(tab) and (":" in name or name == "truncate") and index.isdigit()


def check_feature_index(path: Path) -> int:
    number = 0
    with path.open(encoding="latin-1") as lines:
        for number, line in enumerate(lines, 1):
            if not line.rstrip("\r\n").rpartition("\t")[2].isdigit():
                raise ArenaError("data.format", f"{path}:{number}: expected `col:value TAB index`", EXPECTED)
    return number


def _check(path: Path, found: Layout, table: Floats, max_price: int) -> None:
    """Refuse the first row that cannot be an auction."""
    click, price = table[:, 0], table[:, 1]
    faults = [
        ("data.click", (click != 0) & (click != 1), "click {0:g} is neither 0 nor 1", "the first column is the click"),
        ("data.price", ~(price == np.rint(price)), "price {1!r} is not an integer", "prices are integers in CPM units"),
        ("data.price", price < 0, "price {1:g} is negative", "prices are integers >= 0 in CPM units"),
        ("data.price", price > max_price, "price {1:g} is above " + str(max_price), f"raise max_price (now {max_price}) if this is a real price"),
    ]
    if table.shape[1] > 2:
        theta = table[:, 2]
        faults.append(("data.theta", ~((theta >= 0) & (theta <= 1)), "theta {2!r} is outside [0, 1]", "theta is a click probability"))
    bad = np.logical_or.reduce([mask for _, mask, _, _ in faults])
    if bad.any():
        row = int(bad.argmax())
        code, _, text, hint = next(fault for fault in faults if fault[1][row])
        line, _ = next(islice(_data_lines(path, found), row, None))
        raise ArenaError(code, f"{path}:{line}: {text.format(*table[row].tolist())}", hint, path=str(path), line=line, row=row)
    if table.shape[1] > 2 and not theta.any():
        raise ArenaError("data.theta", f"{path}: theta is 0 in all {len(table)} rows", "single zeros are legal, but nothing here has any value")


def _data_lines(path: Path, found: Layout) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line that holds an auction."""
    rows = found.episode
    with path.open(encoding="latin-1") as lines:
        for number, line in enumerate(lines, 1):
            text = line.rstrip("\r\n")
            if not text or (found.header and number == 1):
                continue
            if found.episode and "\t" not in text:
                if rows != found.episode:
                    expected = f"the first line announces {found.episode} auctions per episode"
                    raise ArenaError("data.format", f"{path}:{number}: a new episode after {rows} auctions", expected)
                rows = 0
                continue
            rows += 1
            yield number, text


def _unreadable(path: Path, found: Layout) -> ArenaError:
    """The error for the first line that is not made of numbers, or not of as many as the layout has."""
    hint = f"read as layout `{found.kind}`: see the columns with `arena data check FOLDER`"
    for number, text in _data_lines(path, found):
        fields = text.split(found.separator)
        if len(fields) <= max(found.columns) or (found.width and len(fields) != found.width):
            expected = found.width or f"at least {max(found.columns) + 1}"
            return ArenaError("data.format", f"{path}:{number}: {len(fields)} columns, expected {expected}", hint, path=str(path), line=number)
        used = fields if found.width else [fields[column] for column in found.columns]
        if not _numeric(used):
            return ArenaError("data.format", f"{path}:{number}: {' '.join(used)!r} is not made of numbers", hint, path=str(path), line=number)
    return ArenaError("data.format", f"{path}: unreadable", hint, path=str(path))


def _integers(fields: list[str], count: int) -> bool:
    return len(fields) == count and all(field.strip().isdigit() for field in fields)


def _numeric(fields: list[str]) -> bool:
    if any("_" in field for field in fields):
        return False  # Python's 1_000, of which a file knows nothing
    try:
        for field in fields:
            float(field)
    except ValueError:
        return False
    return True
