"""`arena data check`: every file of the released matches read to its end; the faults it is known to have are told, others are errors.

Known, and harmless as the readers treat them: 15 games whose payoffs are not ranks; seat 2 of the games was shown its two off-diagonal
payoffs exchanged; hard tit for tat and once tit for two tats begin round 2 with moves of the match before; lists of answers mix the two
seats of a player that meets itself; four choices of people contradict their points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from arena.domain import FileReport
from arena.errors import ArenaError
from domains.repeated_games.behaviour import seen_from_column
from domains.repeated_games.fitting import intended
from domains.repeated_games.games import canonical, ordinal_games
from domains.repeated_games.opponents import RULES, table, views
from domains.repeated_games.recorded import EXPECTED, PLAYERS, Games, Played, once, read_games, read_matches
from domains.repeated_games.recorded_people import read_people, replayed
from domains.repeated_games.recorded_policy import load_policy, read_policy

KNOWN_GAMES = (*range(17, 25), *range(58, 61), 83, 84, 95, 96)  # not strict ordinal
KNOWN_LINES = (334, 339, 750, 3061)  # of repgames.csv: action and score disagree
_CARRIED = ("released-htft", "tf2t")  # their memory of earlier moves outlived the match in the released code
_LUCKY = ("naive-prober-0.1", "naive-prober-0.2", "grim")  # by chance; and the released grim, whose anger outlives the match
_GAME = re.compile(r"game_(\d+)\.csv")
_POLICY = re.compile(r"(pd|bos)_(variation_predict_)?gpt4_lookup\.json")


@dataclass(frozen=True)
class _Found:
    """What a file holds, in words; wrong: the first fault that is none of the known ones."""

    rows: int
    said: list[str]
    wrong: str = ""


def check_folder(folder: Path) -> list[FileReport]:
    """One report per file below a folder. `rows`: games of the list, matches, lines of people, entries of a policy, lists of answers."""
    if not folder.is_dir():
        raise ArenaError("data.missing", f"{folder} is not a folder", EXPECTED)
    return [_report(path) for path in sorted(folder.rglob("*"), key=_by_number) if path.is_file() and not path.name.startswith(".")]


def _by_number(path: Path) -> list[tuple[bool, int, str]]:
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", str(path))]


def _report(path: Path) -> FileReport:
    kind, read = _kind(path)
    if read is None:
        return FileReport(path, "other", True, 0, "none of the released files that are read; ignored")
    try:
        found = read(path)
    except ArenaError as error:
        return FileReport(path, kind, False, 0, error.line)
    return FileReport(path, kind, not found.wrong, found.rows, "; ".join([found.wrong] if found.wrong else found.said))


def _kind(path: Path) -> tuple[str, Callable[[Path], _Found] | None]:
    """What a file is, by its name or, for matches of other names, by its columns; and what reads it."""
    if path.name in _BY_NAME:
        return _BY_NAME[path.name]
    if _POLICY.fullmatch(path.name):
        return "policy", _policy
    if path.suffix == ".csv" and (_GAME.fullmatch(path.name) or path.name.startswith("experiment_") or _has_players(path)):
        return "matches", _matches
    return "other", None


def _has_players(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return {"player1", "answer1"} <= {name.strip(" \"'\r\n") for name in re.split("[,;\t]", file.readline(4096))}


# ---- the list of games -----------------------------------------------------------------------------------------------


def _games(path: Path) -> _Found:
    games = read_games(path)
    odd = games.number[~games.ordinal_ok].tolist()
    said = [f"{len(games.number)} games"]
    if odd:
        said.append(f"{len(odd)} are not strict ordinal, kept as recorded: {_listed(odd)}")
    return _Found(len(games.number), said, next(_strange_games(path, games), ""))


def _strange_games(path: Path, games: Games) -> Iterator[str]:
    """Faults that are none of the known ones."""
    places = {(game.row + 1, game.column + 1): game for game in ordinal_games()}
    if lost := sorted(set(range(1, len(places) + 1)) - set(games.number.tolist())):
        yield f"{path} lacks game{'s' if len(lost) > 1 else ''} {_listed(lost)}"
    for i, number in enumerate(games.number.tolist()):
        where, place = f"{path}, line {i + 2}: game {number}", (int(games.row[i]), int(games.column[i]))
        first, second = (tuple(map(int, games.payoffs[i, :, :, player].reshape(4))) for player in (0, 1))
        game = places.get(place)
        if game is None:
            yield f"{where} stands in row {place[0]}, column {place[1]} of a table of 12 by 12"
        elif not games.ordinal_ok[i] and number not in KNOWN_GAMES:
            yield f"{where} does not pay each player the ranks 1 to 4"
        elif games.ordinal_ok[i] and canonical(first, second) != (game.first, game.second):  # type: ignore[arg-type]
            yield f"{where} is not the one of row {place[0]}, column {place[1]} of the table of games ({game.slug})"
        elif games.family[i] != game.family:
            yield f"{where} is called {games.family[i]}; by its equilibria it is {game.family}"


def _listed(numbers: list[int]) -> str:
    """1-3, 5."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


# ---- matches ---------------------------------------------------------------------------------------------------------


def _matches(path: Path) -> _Found:
    named = _GAME.fullmatch(path.name)
    listed = path.parent.parent / "144_games_info.csv"
    games = read_games(listed) if named and listed.is_file() else None
    played = read_matches(path, games)
    said = [f"{len(played)} matches of {played.history.shape[1]} rounds"]
    if named and games is not None:
        if (other := played.game != named[1]).any():
            return _Found(len(played), said, f"{path}, line {int(other.argmax()) * played.history.shape[1] + 2}: is of game {played.game[other][0]}")
        row = int(games.where(np.array([int(named[1])]))[0])
        said += [] if games.ordinal_ok[row] else ["the game is not strict ordinal"]
        said.append("seat 2 was shown its off-diagonal payoffs exchanged")
        for seat, (most, best) in enumerate(zip(played.points.max((0, 1)), played.payoffs[0].max((0, 1)), strict=True), 1):
            if most < best:
                said.append(f"seat {seat} never won more than {most:g} of {best:g}: do not normalise by what was won")
        return _Found(len(played), said)
    words = ["".join(labels) for labels in played.labels]
    moves = [block.tobytes() for block in np.concatenate([played.history, played.order], 1)]
    once(path, played.history.shape[1], played.row, played.column, words, played.unit, moves)
    kept, strange = _rules(path, played)
    said += [f"{name} begins {count} {'match' if count == 1 else 'matches'} with moves remembered from the last one" for name, count in kept.items()]
    if (opens := played.row == "released-htft").any() and (played.history[opens, 0] >> 1 == 1).all():
        said.append("released-htft opens with F, not with J as its description says")
    return _Found(len(played), said, strange)


def _rules(path: Path, played: Played) -> tuple[dict[str, int], str]:
    """{strategy: matches whose second round it played by the match before}, and the first other move that breaks a strategy's rule."""
    kept: dict[str, int] = {}
    rounds = played.history.shape[1]
    for seat, names in enumerate((played.row, played.column)):
        for name in sorted(set(names) & set(RULES) - set(_LUCKY)):
            mine = np.flatnonzero(names == name)
            history = torch.from_numpy(played.history[mine])
            history = seen_from_column(history) if seat else history
            payoffs = torch.from_numpy(played.payoffs[mine[0]])  # the rules of these strategies do not look at them
            said = intended([table(name, views(payoffs[None])[0], rounds)], history)[0]
            wrong = ((history >> 1) == said).numpy()  # said: 1 where action 0 is due
            if name in _CARRIED and rounds > 1:
                kept[name] = kept.get(name, 0) + int(wrong[:, 1].sum())
                wrong[:, 1] = False
            if wrong.any():
                match, at = divmod(int(wrong.argmax()), rounds)
                return kept, f"{path}, line {mine[match] * rounds + at + 2}: {name}, in seat {seat + 1}, does not play by its rule in round {at + 1}"
    return {name: count for name, count in kept.items() if count}, ""


def _answers(path: Path) -> _Found:
    """{player: its answers, match by match} beside the matches themselves; both seats' moves in turn where it met itself."""
    beside = path.parent / f"experiment_{path.parent.name}.csv"
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArenaError("data.values", f"{path} is no JSON: {error}", EXPECTED) from error
    if not isinstance(found, dict) or not beside.is_file():
        said = "is no table of players" if beside.is_file() else f"has no {beside.name} beside it to check against"
        raise ArenaError("data.values", f"{path} {said}", EXPECTED)
    played = read_matches(beside)
    wanted: dict[str, list[list[str]]] = {}
    mixed = 0
    for match in range(len(played)):
        both = [played.labels[match][(played.history[match] >> bit) & 1].tolist() for bit in (1, 0)]
        names = played.row[match], played.column[match]
        if names[0] == names[1]:
            turns = [move for pair in zip(*both, strict=True) for move in pair]
            mixed += both != [turns[: len(turns) // 2], turns[len(turns) // 2 :]]
            both = [turns[: len(turns) // 2], turns[len(turns) // 2 :]]
        for name, moves in zip(names, both, strict=True):
            wanted.setdefault(name, []).append(moves)
    count = sum(map(len, wanted.values()))
    given: dict[str, object] = {str(PLAYERS.get(name, name)): lists for name, lists in found.items()}
    if wrong := [name for name in dict.fromkeys([*wanted, *given]) if given.get(name) != wanted.get(name)]:
        return _Found(count, [], f"{path}: the answers of {wrong[0]} are not those of {beside.name}")
    return _Found(count, [f"answers of {len(wanted)} players as in {beside.name}", f"both seats mixed in {mixed} where a player meets itself"])


# ---- people ----------------------------------------------------------------------------------------------------------


def _people(path: Path) -> _Found:
    people = read_people(path)
    lines = 2 * people.actions.shape[2] * len(people.id)
    said = [f"{len(people.id)} people, {int((~people.scot).sum())} against base GPT-4, {int(people.scot.sum())} against SCoT"]
    if people.odd:
        said.append(f"action and score disagree in lines {', '.join(map(str, people.odd))}; kept as recorded")
    if new := [line for line in people.odd if line not in KNOWN_LINES]:
        return _Found(lines, said, f"{path}, line {new[0]}: action and score disagree ({len(new)} such lines that the release does not have)")
    for root in path.resolve().parents[1:3]:  # as fetched, as in a checkout
        try:
            policies = {(game, scot): load_policy(root, game, "scot" if scot else "base") for game in ("pd", "bos") for scot in (False, True)}
        except ArenaError:
            continue
        other = int((~replayed(people, policies)).sum())
        return _Found(lines, [*said, f"in {other:,} rounds the other's move is not that of the policy released"])
    return _Found(lines, said)


def _policy(path: Path) -> _Found:
    policy = read_policy(path)
    return _Found(len(policy), [f"plays F after {policy.mean():.1%} of all pasts"])


_BY_NAME: dict[str, tuple[str, Callable[[Path], _Found]]] = {
    "144_games_info.csv": ("games", _games), "repgames.csv": ("people", _people), "player_answers_list.json": ("answers", _answers),
}  # fmt: skip
