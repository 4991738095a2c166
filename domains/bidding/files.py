"""A real campaign from a folder: its history from training rows or info.json, its evaluation rows from the test file with theta."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.domain import FileReport
from arena.errors import ArenaError
from domains.bidding import CAMPAIGNS
from domains.bidding.history import Floats, History, Integers
from domains.bidding.layouts import EXPECTED, check_feature_index, is_feature_index, layout, read_rows, unknown_layout
from domains.bidding.profiles import MAX_PRICE

CALIBRATED = (0.2, 5.0)  # mean theta / CTR outside this is reported: the values were fitted to other data


@dataclass(frozen=True, eq=False)
class Campaign:
    """A real campaign: its history (training rows) and the auctions to evaluate on, theta, price, click [N] in time order."""

    history: History
    theta: Floats
    price: Integers
    click: NDArray[np.uint8]
    source: Path
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Episodes:
    """Auctions cut into episodes [E, n]; the last one holds `last` real auctions, the rest of it nobody can win."""

    theta: Floats
    price: Integers
    click: NDArray[np.uint8]
    last: int


def load_campaign(folder: Path, max_price: int = MAX_PRICE, episode: int = 1000, campaign: str = "") -> Campaign:
    """Read a campaign's folder: history from info.json and training rows, evaluation rows from the test file with theta.

    `campaign` defaults to the folder's name; `episode` is the length of the history's tuning episodes. ArenaError: data.missing where files are
    absent, data.theta where only files without theta are there, data.leak where training and evaluation file are the same.
    """
    name = campaign or folder.name
    train, test = _split_files(folder, name)
    _refuse_leak(train, test)
    evaluation = _with_theta(test)
    if evaluation is None:
        raise _no_theta(folder, name, train + test)
    rows = read_rows(evaluation, max_price)
    history, notes = _history(folder, name, train, max_price, episode)
    assert rows.theta is not None
    ratio = rows.theta.mean() / history.ctr if history.clicks else 1.0
    if not CALIBRATED[0] <= ratio <= CALIBRATED[1]:
        notes.append(f"{evaluation.name}: mean theta is {ratio:.3g} times the history's CTR {history.ctr:.3g}; the values look miscalibrated")
    if rows.kind == "episodes":
        notes.append(f"{evaluation.name}: files of this layout may keep only episodes with a click; do not read a CTR from them")
    return Campaign(history, rows.theta, rows.price, rows.click, evaluation, tuple(notes))


def cut_episodes(
    theta: Floats, price: Integers, click: NDArray[np.uint8], n: int, drop_partial: bool = False, limit: int | None = None, max_price: int = MAX_PRICE
) -> Episodes:
    """Cut auctions [N], or the first `limit` of them, into episodes of `n` in time order.

    A partial last episode is kept (the published convention) and filled with auctions nobody can win: price max_price + 1, theta 0; or dropped.
    """
    if n < 1 or (limit is not None and limit < 1):
        raise ArenaError("data.episodes", f"episodes of {n} auctions from the first {limit}", "both must be at least 1")
    theta, price, click = theta[:limit], price[:limit], click[:limit]
    whole, rest = divmod(len(theta), n)
    keep = rest > 0 and not drop_partial
    episodes = whole + keep
    if not episodes:
        raise ArenaError("data.episodes", f"{len(theta)} auctions do not fill an episode of {n}", "use shorter episodes or keep the partial one")

    def cut(series: NDArray[Any], fill: int, dtype: type) -> NDArray[Any]:
        out: NDArray[Any] = np.full(episodes * n, fill, dtype)
        out[: len(series)] = series[: len(out)]
        return out.reshape(episodes, n)

    return Episodes(cut(theta, 0, np.float64), cut(price, max_price + 1, np.int32), cut(click, 0, np.uint8), rest if keep else n)


def find_folder(root: Path | None, dataset: str, campaign: str) -> Path:
    """The folder of a campaign of `dataset` ("ipinyou" or "rtbcontrol") below a data root, or the root itself where it is that folder."""
    if root is not None:
        tails = (f"{dataset}/{campaign}", f"{dataset}-{campaign}", campaign)
        places = [root / base / tail for base in ("bidding", "") for tail in tails]
        if root.name == campaign or root.name not in CAMPAIGNS:
            places.append(root)
        for place in places:
            if place.is_dir() and any(_is_data(path, dataset, campaign) for path in place.iterdir()):
                return place
    where = f"below {root}" if root is not None else "as no data folder is given"
    raise ArenaError(
        "data.missing",
        f"no {dataset} files of campaign {campaign} {where}",
        f"{EXPECTED}; ARENA_DATA names a root with bidding/{dataset}/{campaign}",
        dataset=dataset,
        campaign=campaign,
    )


def check_folder(folder: Path, max_price: int = MAX_PRICE) -> list[FileReport]:
    """Read every file below a folder to its end and say what it is, how many rows it has and what is wrong with it."""
    if not folder.is_dir():
        raise ArenaError("data.missing", f"{folder} is not a folder", EXPECTED)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    reports = {path: _report(path, max_price) for path in files}
    for place in {path.parent for path in files}:
        train, test = ([path for path in files if path.parent == place and role in path.name] for role in ("train", "test"))
        try:
            _refuse_leak(train, test)
        except ArenaError as error:
            for path in test:
                if str(path) == error.context.get("path"):
                    reports[path] = replace(reports[path], ok=False, message=error.message)
    return list(reports.values())


def _report(path: Path, max_price: int) -> FileReport:
    kind = "unknown"
    try:
        if path.name == "info.json":
            info = _read_info(path, max_price)
            return FileReport(path, "info", True, 1, f"{info['imp_train']:,} impressions, {info['clk_train']:,} clicks, cost {info['cost_train']:,}")
        if path.suffix != ".txt":
            return FileReport(path, "other", True, 0, "not a file of auctions; ignored")
        if is_feature_index(path):
            kind = "featindex"
            return FileReport(path, kind, True, check_feature_index(path), "feature names; not needed to play")
        kind = found.kind if (found := layout(path)) else kind
        rows = read_rows(path, max_price)
    except ArenaError as error:
        return FileReport(path, kind, False, 0, error.message)
    value = "no theta" if rows.theta is None else f"mean theta {rows.theta.mean():.3e}"
    summary = f"{int(rows.click.sum()):,} clicks, mean price {rows.price.mean():.2f}, {value}"
    return FileReport(path, kind, True, len(rows.price), summary)


def _history(folder: Path, name: str, train: list[Path], max_price: int, episode: int) -> tuple[History, list[str]]:
    """Totals from info.json where it is there, else from the training rows; pairs from training rows with theta."""
    pairs = _with_theta(train)
    info = folder / "info.json"
    source = pairs or (None if info.is_file() or not train else train[0])
    rows = read_rows(source, max_price) if source else None
    notes: list[str] = []
    if info.is_file():
        totals = _read_info(info, max_price)
        impressions, cost, clicks = totals["imp_train"], totals["cost_train"], totals["clk_train"]
        counts = np.zeros(max_price + 1, np.int64)
        counts[: len(totals["price_counter_train"])] = totals["price_counter_train"][: max_price + 1]
        if rows is not None and len(rows.price) != impressions:
            notes.append(f"{rows.path.name}: {len(rows.price):,} rows, but info.json counts {impressions:,} training impressions")
    elif rows is not None:
        impressions, cost, clicks = len(rows.price), int(rows.price.sum()), int(rows.click.sum())
        counts = np.bincount(rows.price, minlength=max_price + 1)
    else:
        raise ArenaError("data.missing", f"no history of campaign {name} in {folder}: neither info.json nor training rows", EXPECTED)
    if clicks == 0:
        notes.append("the history has no click: agents that need a cost per click will refuse")
    if rows is None or rows.theta is None:
        empty = np.zeros(0)
        return History(name, impressions, cost, clicks, counts, empty, empty.astype(np.int64), episode, max_price), notes
    return History(name, impressions, cost, clicks, counts, rows.theta, rows.price, episode, max_price, rows.click), notes


def _read_info(path: Path, max_price: int) -> dict[str, Any]:
    """The totals of rlb-dp's info.json, checked against its own price histogram."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArenaError("data.format", f"{path}: not JSON: {error}", EXPECTED) from error
    keys = ("imp_train", "cost_train", "clk_train", "price_counter_train")
    absent = [key for key in keys if not isinstance(info, dict) or key not in info]
    if absent:
        raise ArenaError("data.format", f"{path}: no key {', '.join(absent)}", EXPECTED)
    counts = info["price_counter_train"]
    if not isinstance(counts, list) or not all(isinstance(number, int) and number >= 0 for number in [*counts, *(info[key] for key in keys[:3])]):
        raise ArenaError("data.format", f"{path}: {', '.join(keys)} must be counts, whole numbers >= 0", EXPECTED)
    if not info["clk_train"] <= info["imp_train"] > 0:
        raise ArenaError("data.format", f"{path}: {info['clk_train']} clicks in {info['imp_train']} impressions", "fetch it again")
    if any(counts[max_price + 1 :]):
        raise ArenaError("data.price", f"{path}: prices above {max_price} in price_counter_train", f"raise max_price (now {max_price})")
    seen, spent = sum(counts), sum(price * count for price, count in enumerate(counts))
    if (seen, spent) != (info["imp_train"], info["cost_train"]):
        totals = f"imp_train {info['imp_train']} and cost_train {info['cost_train']}"
        raise ArenaError("data.format", f"{path}: price_counter_train holds {seen} impressions at a cost of {spent}, not {totals}", "fetch it again")
    return info


def _split_files(folder: Path, name: str) -> tuple[list[Path], list[Path]]:
    """Training and evaluation files of a campaign, by name; where file names begin with a campaign's number, only this campaign's."""
    if not folder.is_dir():
        raise ArenaError("data.missing", f"{folder} is not a folder", EXPECTED, campaign=name)
    files = sorted(path for path in folder.glob("*.txt") if (prefix := path.name.split(".")[0]) == name or not prefix.isdigit())
    train, test = ([path for path in files if role in path.name and not is_feature_index(path)] for role in ("train", "test"))
    return train, test


def _with_theta(files: list[Path]) -> Path | None:
    """The file whose layout has theta, rlb-dp's own first."""
    ranked = [(kind, path) for path in files if (found := layout(path)) and (kind := found.kind) in ("theta", "rtbcontrol", "episodes")]
    return min(ranked, key=lambda pair: ("theta", "rtbcontrol", "episodes").index(pair[0]))[1] if ranked else None


def _no_theta(folder: Path, name: str, files: list[Path]) -> ArenaError:
    if any((found := layout(path)) and len(found.columns) == 2 for path in files):
        hint = "theta comes from a click model trained on train.yzx.txt: write test.theta.txt, lines `click price theta`, beside them"
        return ArenaError("data.theta", f"campaign {name} in {folder}: the files hold prices and clicks but no theta", hint, campaign=name)
    for path in files:
        if path.name.startswith("test") and layout(path) is None:
            return unknown_layout(path)
    names = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    return ArenaError("data.missing", f"no evaluation rows of campaign {name} in {folder}, which holds {names}", EXPECTED, campaign=name)


def _refuse_leak(train: list[Path], test: list[Path]) -> None:
    """ArenaError where an evaluation file is, byte for byte, also a training file."""
    for evaluation in test:
        for history in train:
            if evaluation.stat().st_size == history.stat().st_size and _sha256(evaluation) == _sha256(history):
                raise ArenaError(
                    "data.leak",
                    f"{evaluation} has the same sha256 as {history.name}",
                    "history and evaluation must be different auctions: one of the two is a copy",
                    path=str(evaluation),
                )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_data(path: Path, dataset: str, campaign: str) -> bool:
    if dataset == "rtbcontrol":
        return path.name == "test.txt"
    return path.name in ("info.json", "test.txt") or path.name.endswith((".theta.txt", ".log.txt", ".yzx.txt")) or path.match(f"{campaign}.*.txt")
