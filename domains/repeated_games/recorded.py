"""The released matches of language models ("Playing repeated games with Large Language Models", arXiv 2305.16867): found, read, checked.

A folder is laid out as `arena data fetch repeated_games` leaves it, or is a checkout of that repository. Everything is kept as recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from arena.errors import ArenaError, unknown
from domains.repeated_games.games import DIAGONALS, PD_8, battle

FOLDER = "repeated_games"  # below a data root
EXPECTED = "`arena data fetch repeated_games` downloads the files; or name a checkout of github.com/eliaka/repeatedgames: --data FOLDER"
# {what: where it lies: as fetched, in a checkout}
PLACES: dict[str, tuple[str, ...]] = {
    "games": ("all_games/144_games_info.csv",),
    "experiments": ("all_games/experiments",),
    "pd": ("pd/experiment_pd.csv",),
    "bos": ("bos/experiment_bos.csv",),
    "tft": ("pd/tft/pd_base_gpt4_tfts.csv", "pd/tft/data/pd_base_gpt4_tfts.csv"),
    **{
        f"{game}-{framing}": tuple(f"{game}/variations_robustness/{place}experiment_robustness_checks_{framing}.csv" for place in ("", "data/"))
        for game in ("pd", "bos")
        for framing in ("project", "cooking", "game")
    },
    "humans": ("human_experiment/repgames.csv", "human_experiment/analysis/repgames.csv"),
    **{
        f"{game}-{variant}": tuple(f"human_experiment/{place}{game}_{infix}gpt4_lookup.json" for place in ("", "experiment/lookups/"))
        for game in ("pd", "bos")
        for variant, infix in (("base", ""), ("scot", "variation_predict_"))
    },
}
# {name in the files: ours; those of strategies are the names of opponents.RULES}
PLAYERS = {
    "act_gpt4": "gpt4", "GPT-4": "gpt4", "act_gpt4_predictfirst": "gpt4-scot", "act_gpt35": "gpt35", "act_gpt3": "gpt3", "act_claude": "claude",
    "act_claude1": "claude1", "act_claude2": "claude2", "act_llama2": "llama2", "act_j": "allc", "act_f": "alld", "act_defect_once": "defect-once",
    "act_false_defector": "defect-once", "Defect_once": "defect-once", "Alternate": "alternator", "act_jf": "alternator", "act_fj": "alternator-d",
    "act_tft": "tft", "act_tftt": "tf2t", "act_stft": "stft", "act_rtft": "reverse-tft", "act_htft": "released-htft",
    "act_np10": "naive-prober-0.1", "act_np20": "naive-prober-0.2", "act_grim_trigger": "grim",
}  # fmt: skip
INVALID = -9999  # points the released code gives an answer that is no label; none occurs
_TOTALS = ["points1", "points2", "total1", "total2"]
_PLAIN = ["round", "player1", "player2", "answer1", "answer2", *_TOTALS]
_GAME = ["game_number", "game_name", *_PLAIN, "choice_option1", "choice_option2", "option_order"]
_INFO = ["game_number", "game_row", "game_col", "game_name", "game_family", *(f"r{r}_c{c}_p{p}" for r in (1, 2) for c in (1, 2) for p in (1, 2))]


# {name: payoffs [2, 2, 2]}; of the Battle of the Sexes all diagonals that were tried
PUBLISHED = {"pd": PD_8.numpy(), **{f"bos-{a}-{b}": battle(a, b).numpy() for a, b in DIAGONALS}}


@dataclass(frozen=True)
class Games:
    """The released list of the 144 games, as recorded.

    number, row, column: [n] int64, of the table of Robinson and Goforth; name, family: [n] str
    payoffs: [n, 2, 2, 2] float64, [row's action, column's action, player]
    ordinal_ok: [n] bool, whether either player's four points are 1, 2, 3, 4
    """

    number: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    name: NDArray[np.object_]
    family: NDArray[np.object_]
    payoffs: NDArray[np.float64]
    ordinal_ok: NDArray[np.bool_]

    def where(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of games by number. Raises ArenaError `data.game`."""
        rows = np.searchsorted(self.number, numbers).clip(max=len(self.number) - 1)
        if (wrong := self.number[rows] != numbers).any():
            raise ArenaError("data.game", f"game {numbers[wrong][0]} is not in the list of games", f"its numbers are 1 to {self.number[-1]}")
        return np.asarray(rows)


@dataclass(frozen=True)
class Played:
    """Recorded matches of T rounds, one per row.

    row, column: [n] str, the players, named as in PLAYERS; game: [n] str, a game of PUBLISHED or a number of `Games`
    history: [n, T] int8, joint codes 2 * row's action + column's; points: [n, T, 2] float64
    payoffs: [n, 2, 2, 2] float64, [row's action, column's action, player]
    labels: [n, 2] str, letter of either action; order: [n, T] int8, the action listed first in the question, -1 where not recorded
    unit: [n] str, what the points were called, or ""
    """

    row: NDArray[np.object_]
    column: NDArray[np.object_]
    game: NDArray[np.object_]
    history: NDArray[np.int8]
    points: NDArray[np.float64]
    payoffs: NDArray[np.float64]
    labels: NDArray[np.object_]
    order: NDArray[np.int8]
    unit: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def totals(self) -> NDArray[np.float64]:
        """[n, 2] points of row and column over all rounds."""
        return np.asarray(self.points.sum(1))

    def select(self, rows: NDArray[np.bool_]) -> Played:
        return Played(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def between(self, row: str, column: str) -> Played:
        """The matches of one ordered pair. Raises ArenaError `unknown.player` for names that are not there."""
        for name, names in ((row, self.row), (column, self.column)):
            if name not in names:
                raise unknown("player", name, set(names))
        return self.select((self.row == row) & (self.column == column))


def joined(parts: Sequence[Played]) -> Played:
    """One set of the matches of several files, which must have equally many rounds."""
    return Played(**{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Played)})


def find(root: Path | None, what: str) -> Path:
    """Where a file of PLACES lies: below `repeated_games` of a data root, or right there. Raises ArenaError `data.missing`."""
    if root is None:
        raise ArenaError("data.missing", f"no data folder is given, so {PLACES[what][0]} is not there", EXPECTED)
    for folder in (root / FOLDER, root):
        for place in PLACES[what]:
            if (folder / place).exists():
                return folder / place
    raise ArenaError("data.missing", f"there is no {PLACES[what][0]} below {root}", EXPECTED)


def load_matches(root: Path | None, what: str) -> Played:
    """The matches of a file of PLACES (pd, bos, tft, pd-project, ...); `experiments`: of all games there. Raises ArenaError `data.*`."""
    if what != "experiments":
        return read_matches(find(root, what))
    games, folder = load_games(root), find(root, what)
    paths = sorted(folder.glob("game_*.csv"), key=lambda path: (len(path.name), path.name))
    if not paths:
        raise ArenaError("data.missing", f"{folder} holds no game_N.csv", EXPECTED)
    return joined([read_matches(path, games) for path in paths])


def load_games(root: Path | None) -> Games:
    """The list of the 144 games. Raises ArenaError `data.*`."""
    return read_games(find(root, "games"))


# ---- one file -------------------------------------------------------------------------------------------------------


def read_games(path: Path) -> Games:
    """144_games_info.csv. Raises ArenaError `data.columns`, `data.values`."""
    return _games(path, path.stat().st_mtime_ns)


@cache
def _games(path: Path, changed: int) -> Games:
    rows = table(path, ";")
    needed(path, rows, _INFO)
    payoffs = whole_numbers(path, rows, _INFO[5:]).reshape(-1, 2, 2, 2).astype(np.float64)
    number, row, column = whole_numbers(path, rows, _INFO[:3]).T
    if not len(number):
        raise ArenaError("data.values", f"{path} lists no games", EXPECTED)
    if (np.diff(number) <= 0).any():
        raise bad(path, int(np.diff(number).argmin()) + 1, f"game {number[np.diff(number).argmin() + 1]} is out of order", "sort by game_number")
    ordinal = (np.sort(payoffs.reshape(-1, 4, 2), 1) == np.arange(1, 5)[:, None]).all((1, 2))
    return Games(number, row, column, rows["game_name"].to_numpy(object), rows["game_family"].to_numpy(object), payoffs, ordinal)


def read_matches(path: Path, games: Games | None = None) -> Played:
    """One csv file of matches; which of the three kinds it is follows from its columns. `games` is needed for game_N.csv.

    Raises ArenaError `data.columns` (missing ones are listed), `data.values` and `data.points` (which line), `unknown.player`.
    """
    rows = table(path)
    own_game, framed = "choice_option1" in rows or "game_number" in rows, "outcomes" in rows
    needed(path, rows, _GAME if own_game else _PLAIN + (["option1", "option2", "outcomes"] if framed else []))
    n, length = _shape(path, rows)
    block = {name: rows[name].to_numpy(object).reshape(n, length) for name in rows.columns}
    answers = np.stack([block["answer1"], block["answer2"]], 2)
    points, totals = (whole_numbers(path, rows, names).astype(np.float64).reshape(n, length, 2) for names in (_TOTALS[:2], _TOTALS[2:]))
    if (invalid := (points == INVALID).any(2)).any():
        raise bad(path, int(invalid.argmax()), f"points are {INVALID}: an answer was none of the labels", "leave out its whole match")
    order, unit = np.full((n, length), -1, np.int8), np.full(n, "", object)
    if own_game:
        if games is None:
            raise ArenaError("data.missing", f"{path.name} has no payoffs: the list 144_games_info.csv is not beside its folder", EXPECTED)
        labels = _labels(path, block, "choice_option1", "choice_option2")
        number = whole_numbers(path, rows, ["game_number"]).reshape(n, length)[:, 0]
        payoffs, game = games.payoffs[games.where(number)], number.astype(str).astype(object)
        order = _choice(path, rows, "option_order", {"[0, 1]": 0, "[1, 0]": 1}).reshape(n, length)
    else:
        labels = np.stack([np.full(n, "J", object), np.full(n, "F", object)], 1)
        if framed:
            labels, unit = np.sort(_labels(path, block, "option1", "option2"), 1), block["outcomes"][:, 0]
        labels, game = _recognised(labels, answers, points, framed)
        payoffs = np.stack([PUBLISHED[name] for name in game])
        order = (block["option1"] != labels[:, :1]).astype(np.int8) if framed else order
    actions = _actions(path, answers, labels)
    paid = payoffs[np.arange(n)[:, None], actions[..., 0], actions[..., 1]]
    for said, wanted, name in ((points, paid, "points"), (totals, points.cumsum(1), "totals")):
        if (wrong := (said != wanted).any(2).reshape(-1)).any():
            line, pair = int(wrong.argmax()), answers.reshape(-1, 2)[wrong.argmax()]
            given, right = (" and ".join(f"{x:g}" for x in values.reshape(-1, 2)[line]) for values in (said, wanted))
            hint = f"{'-'.join(pair)} pays that in this game ({game[line // length]})" if name == "points" else "totals add up the points so far"
            raise ArenaError("data.points", f"{path}, line {line + 2}: {name} are {given}, should be {right}", hint, line=line + 2)
    row, column = (_players(path, block[name], game) for name in ("player1", "player2"))
    if own_game:
        once(path, length, row, column, game)
    return Played(row, column, game, (2 * actions[..., 0] + actions[..., 1]).astype(np.int8), points, payoffs, labels, order, unit)


def _shape(path: Path, rows: pd.DataFrame) -> tuple[int, int]:
    """Matches and rounds: matches stand one after the other, rounds 1 to T each, between the same two players."""
    rounds, rule = whole_numbers(path, rows, ["round"])[:, 0], "every match has its rounds 1 to T in order, and all of a file the same T"
    due = np.append(0, rounds)[: len(rounds)] + 1
    if (wrong := (rounds != due) & ((rounds != 1) | (due == 1))).any():
        line = int(wrong.argmax())
        raise bad(path, line, f"round {rounds[line]} where {due[line]} was due", rule)
    ends = np.append(np.flatnonzero(rounds == 1)[1:], len(rounds))
    lengths = np.diff(ends, prepend=0)
    if not len(rounds):
        raise bad(path, -1, "no rounds", rule)
    times = np.bincount(lengths)
    length = int(np.flatnonzero(times == times.max())[-1])
    if (odd := lengths != length).any():
        match = int(odd.argmax())
        said = f"the match {'breaks off' if lengths[match] < length else 'ends'} after {lengths[match]} rounds, others have {length}"
        raise bad(path, int(ends[match]) - 1, said, rule)
    for name in ("player1", "player2", *{"game_number", "choice_option1", "choice_option2", "outcomes"} & set(rows.columns)):
        block = rows[name].to_numpy(object).reshape(-1, length)
        if (other := (block != block[:, :1]).reshape(-1)).any():
            raise bad(path, int(other.argmax()), f"{name} changes within a match", "every match has its rounds together")
    return len(rounds) // length, length


def _recognised(
    labels: NDArray[np.object_], answers: NDArray[np.object_], points: NDArray[np.float64], free: bool
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The game of PUBLISHED whose points most rounds of a match have, and, where labels are free, which letter is action 0.

    A tie (a match that met a single cell of both games) goes to the game most matches of the file have.
    """
    ways = [(name, flip) for name in PUBLISHED for flip in ((False, True) if free else (False,))]
    fits = np.empty((len(ways), len(labels)))
    for k, (name, flip) in enumerate(ways):
        actions = (answers != (labels[:, ::-1] if flip else labels)[:, None, :1]).astype(int)
        fits[k] = (PUBLISHED[name][actions[..., 0], actions[..., 1]] == points).all(2).mean(1)
    file = np.array([sum(fits[k].sum() for k, (name, _) in enumerate(ways) if name == way[0]) for way in ways])
    best = (fits + 1e-3 * file[:, None] / file.max(initial=1)).argmax(0)
    flipped = np.array([ways[k][1] for k in best])[:, None]
    return np.where(flipped, labels[:, ::-1], labels), np.array([ways[k][0] for k in best], object)


def _labels(path: Path, block: Mapping[str, NDArray[np.object_]], *names: str) -> NDArray[np.object_]:
    """[n, 2]: two different letters."""
    labels = np.stack([block[name][:, 0] for name in names], 1)
    for match, (one, other) in enumerate(labels):
        if one == other or not all(len(label) == 1 and label.isalpha() for label in (one, other)):
            line = match * block[names[0]].shape[1]
            raise bad(path, line, f"{' and '.join(names)} are {one!r} and {other!r}", "the labels of a match are two different letters")
    return labels


def once(path: Path, length: int, *names: Sequence[object] | NDArray[np.object_]) -> None:
    """Raises ArenaError `data.values` where a match, known by these names of it, comes twice: it would count twice."""
    first: dict[tuple[object, ...], int] = {}
    for match, key in enumerate(zip(*names, strict=True)):
        if (before := first.setdefault(key, match)) != match:
            said = f"the match of {key[0]} and {key[1]} is there for the second time, first in line {before * length + 2}"
            raise bad(path, match * length, said, "leave one of them out")


def _actions(path: Path, answers: NDArray[np.object_], labels: NDArray[np.object_]) -> NDArray[np.int64]:
    """[n, T, 2]: 0 or 1, which of the two labels the answers are."""
    actions = np.select([answers == labels[:, None, :1], answers == labels[:, None, 1:]], [0, 1], -1)
    if (wrong := (actions < 0).reshape(-1)).any():
        at = int(wrong.argmax())
        match = at // (2 * answers.shape[1])
        said = f"answer{at % 2 + 1} is {answers.reshape(-1)[at]!r}"
        raise bad(path, at // 2, said, f"the labels of its match are {labels[match, 0]} and {labels[match, 1]}")
    return actions


def _players(path: Path, names: NDArray[np.object_], game: NDArray[np.object_]) -> NDArray[np.object_]:
    """[n] our names; who is called Defect_once in the files of the Battle of the Sexes is the alternator."""
    for match, name in enumerate(names[:, 0]):
        if name not in PLAYERS:
            raise unknown("player", str(name), PLAYERS, f"{path}, line {match * names.shape[1] + 2}: players are named as in the release")
    bos = np.array([name.startswith("bos") for name in game])
    return np.where((names[:, 0] == "Defect_once") & bos, "alternator", [PLAYERS[name] for name in names[:, 0]]).astype(object)


# ---- tables ---------------------------------------------------------------------------------------------------------


def table(path: Path, separator: str = ",") -> pd.DataFrame:
    """A csv file as text. Raises ArenaError `data.missing`, `data.values`."""
    try:
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except OSError as error:
        raise ArenaError("data.missing", f"{path} cannot be read: {error.strerror or error}", EXPECTED) from error
    except (ValueError, pd.errors.ParserError) as error:  # empty files and text that is no utf-8 among them
        raise ArenaError("data.values", f"{path} is no table: {str(error).strip()}", f"a csv file with {separator!r} between its columns") from error


def needed(path: Path, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises ArenaError `data.columns` that lists the missing ones, `data.values` where rows have more fields than there are columns."""
    if missing := [name for name in columns if name not in rows]:
        said = f"{path} lacks {'column' if len(missing) == 1 else 'columns'} {', '.join(missing)}"
        raise ArenaError("data.columns", said, f"it has {', '.join(map(str, rows.columns))}", missing=missing)
    if not isinstance(rows.index, pd.RangeIndex):  # pandas took what came first for names of rows
        raise bad(path, 0, f"more fields than the {len(rows.columns)} columns of line 1", "one value per column, no separator behind the last")


def whole_numbers(path: Path, rows: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """[rows, columns], also of 8.0. Raises ArenaError `data.values`, which names the first that is none."""
    text = rows[list(columns)].to_numpy(dtype=object)
    try:
        return np.asarray(text.astype(np.int64))
    except (ValueError, OverflowError, TypeError):
        pass
    text = rows[list(columns)].replace(r"\.0+$", "", regex=True).to_numpy(dtype=object)
    try:
        return np.asarray(text.astype(np.int64))
    except (ValueError, OverflowError, TypeError):
        line, column = next(_no_integers(text))
        raise bad(path, line, f"{columns[column]} is {text[line, column]!r}", "give a whole number") from None


def _no_integers(text: NDArray[np.object_]) -> Iterator[tuple[int, int]]:
    for (line, column), value in np.ndenumerate(text):
        try:
            np.int64(value)
        except (ValueError, OverflowError, TypeError):
            yield line, column


def _choice(path: Path, rows: pd.DataFrame, name: str, values: dict[str, int]) -> NDArray[np.int8]:
    found = rows[name].str.replace(r",\s*", ", ", regex=True).map(values)
    if found.isna().any():
        line = int(found.isna().to_numpy().argmax())
        raise bad(path, line, f"{name} is {rows[name].iloc[line]!r}", f"it is one of {', '.join(values)}")
    return np.asarray(found.to_numpy(np.int8))


def bad(path: Path, row: int, said: str, hint: str) -> ArenaError:
    """An error that names the line of a row counted from 0 (line 1 is the header)."""
    return ArenaError("data.values", f"{path}, line {row + 2}: {said}", hint, line=row + 2)
