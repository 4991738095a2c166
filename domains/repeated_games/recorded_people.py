"""The released games of people against GPT-4, and what the publication reports of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import cauchy, nct, t

from arena.errors import ArenaError
from domains.repeated_games.recorded import bad, find, needed, table, whole_numbers
from domains.repeated_games.recorded_policy import ROUNDS, position

GAMES, VARIANTS = ("PD", "BoS"), ("Base", "Prompted")
# {game: {points of the person: joint code, GPT-4 first}}; 0 in BoS is a failure to meet, either way
_BY_SCORE = {"PD": {8: 0, 10: 1, 0: 2, 5: 3}, "BoS": {7: 0, 10: 3, 0: -1}}


@dataclass(frozen=True)
class People:
    """P people, each 10 rounds of both games (axis of 2: PD, BoS) against one GPT-4, which prefers J where the person prefers F.

    id: [P] int64; scot: [P] bool, whether GPT-4 predicted first; human: [P, 2] bool, whether they took it for a human
    actions: [P, 2, 10] int8, 0 = J; points: [P, 2, 10] float64
    history: [P, 2, 10] int8, joint codes 2 * GPT-4's action + person's, as the points say
    odd: lines of the file where action and points disagree
    """

    id: NDArray[np.int64]
    scot: NDArray[np.bool_]
    human: NDArray[np.bool_]
    actions: NDArray[np.int8]
    points: NDArray[np.float64]
    history: NDArray[np.int8]
    odd: tuple[int, ...]

    @property
    def met(self) -> NDArray[np.bool_]:
        """[P, 2, 10]: both at J in the Prisoner's Dilemma, both at the same option in the Battle of the Sexes."""
        return np.stack([self.points[:, 0] == 8, self.points[:, 1] > 0], 1)


def load_people(root: Path | None) -> People:
    """repgames.csv. Raises ArenaError `data.*`."""
    return read_people(find(root, "humans"))


def read_people(path: Path) -> People:
    """repgames.csv, whose column `coordination` is wrong in places and not read. Raises ArenaError `data.columns`, `data.values`."""
    rows = table(path)
    needed(path, rows, ["id", "game", "action", "score", "opponent", "guess"])
    for name, known in (("game", GAMES), ("action", ("0", "1")), ("opponent", VARIANTS), ("guess", ("Human", "LLM"))):
        if (wrong := ~rows[name].isin(known)).any():
            line = int(wrong.to_numpy().argmax())
            raise bad(path, line, f"{name} is {rows[name].iloc[line]!r}", f"it is one of {', '.join(known)}")
    ids, game = whole_numbers(path, rows, ["id"])[:, 0], (rows["game"] == "BoS").to_numpy().astype(int)
    rank = np.lexsort((np.arange(len(rows)), game, ids))
    count = len(rows) // (2 * ROUNDS)
    wanted = np.repeat(np.unique(ids), 2 * ROUNDS), np.tile(np.repeat([0, 1], ROUNDS), len(np.unique(ids)))
    if not count or len(wanted[0]) != len(rows) or (ids[rank] != wanted[0]).any() or (game[rank] != wanted[1]).any():
        counts = {(person, name): ((ids == person) & (game == k)).sum() for person in np.unique(ids) for k, name in enumerate(GAMES)}
        odd = [f"person {person} has {count} rows of {name}" for (person, name), count in counts.items() if count != ROUNDS]
        said = f"{path}: {odd[0]}" if odd else f"{path} holds no people"
        raise ArenaError("data.values", said, f"every person has {ROUNDS} rows of {' and of '.join(GAMES)}")
    shape = (count, 2, ROUNDS)
    points = whole_numbers(path, rows, ["score"])[:, 0]
    chosen = (rows["action"] == "0").to_numpy().astype(np.int8)
    joint = _joint(path, game, points, chosen)
    odd = tuple(int(line) + 2 for line in np.flatnonzero(joint % 2 != chosen))
    scot, human = (rows["opponent"] == "Prompted").to_numpy()[rank].reshape(shape), (rows["guess"] == "Human").to_numpy()[rank].reshape(shape)
    for name, values in (("opponent", scot.reshape(count, -1)), ("guess", human.reshape(2 * count, -1))):
        if (mixed := (values != values[:, :1]).any(1)).any():
            raise bad(path, int(rank[mixed.argmax() * values.shape[1]]), f"{name} changes within a match", "it is one for all rounds")
    return People(
        np.unique(ids), scot[:, 0, 0], human[:, :, 0], chosen[rank].reshape(shape), points[rank].astype(np.float64).reshape(shape),
        joint[rank].reshape(shape), odd,
    )  # fmt: skip


def _joint(path: Path, game: NDArray[np.int64], points: NDArray[np.int64], chosen: NDArray[np.int8]) -> NDArray[np.int8]:
    """[rows] joint codes by the points, and by the action where they missed each other in the Battle of the Sexes."""
    joint = np.full(len(points), -2, np.int8)
    for k, name in enumerate(GAMES):
        for score, code in _BY_SCORE[name].items():
            joint[(game == k) & (points == score)] = code
    if (wrong := joint == -2).any():
        line = int(wrong.argmax())
        raise bad(path, line, f"score is {points[line]}", f"{GAMES[game[line]]} pays {', '.join(map(str, sorted(_BY_SCORE[GAMES[game[line]]])))}")
    return np.where(joint == -1, 2 * (1 - chosen) + chosen, joint).astype(np.int8)


# ---- what the publication reports ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """Means over people of base GPT-4 and of the one that predicts first, standard errors between people, and the evidence for more of it.

    bayes: one-sided Bayes factor for scot > base against equality (`bayes_factor`)
    """

    base: float
    base_se: float
    scot: float
    scot_se: float
    bayes: float


def compared(people: People) -> dict[str, Compared]:
    """PD score, BoS score, PD mutual cooperation, BoS coordination (per round), guesses that the other is human (per game)."""
    met, points = people.met.mean(2), people.points.mean(2)
    values = {
        "PD score": points[:, 0], "PD mutual cooperation": met[:, 0], "BoS score": points[:, 1], "BoS coordination": met[:, 1],
        "took it for a human": people.human.mean(1),
    }  # fmt: skip
    found = {}
    for name, value in values.items():
        base, scot = value[~people.scot], value[people.scot]
        errors = [float(part.std(ddof=1) / np.sqrt(len(part))) for part in (base, scot)]
        found[name] = Compared(float(base.mean()), errors[0], float(scot.mean()), errors[1], bayes_factor(scot, base))
    return found


def bayes_factor(more: NDArray[np.float64], less: NDArray[np.float64], scale: float = np.sqrt(0.5)) -> float:
    """Of mean(more) > mean(less) against equality, two independent samples: the t test with half a Cauchy prior on the effect size.

    Rouder, Speckman, Sun, Morey and Iverson, Psychonomic Bulletin & Review 16:225-237 (2009); `scale` as R's BayesFactor has it.
    """
    n, m = len(more), len(less)
    freedom, weight = n + m - 2, n * m / (n + m)
    pooled = (more.var(ddof=1) * (n - 1) + less.var(ddof=1) * (m - 1)) / freedom
    found = float((more.mean() - less.mean()) / np.sqrt(pooled / weight))
    area, _ = quad(lambda d: nct.pdf(found, freedom, d * np.sqrt(weight)) * 2 * cauchy.pdf(d, scale=scale), 0, np.inf)
    return float(area / t.pdf(found, freedom))


def replayed(people: People, policies: Mapping[tuple[str, bool], NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """[P, 2, 10]: whether the other's recorded move is the one its policy {(pd or bos, scot)} has after the person's moves."""
    length = np.arange(ROUNDS)
    same = np.empty(people.actions.shape, bool)
    for k, game in enumerate(("pd", "bos")):
        for scot in (False, True):
            who = people.scot == scot
            past = np.repeat(people.actions[who, k], ROUNDS, axis=0)
            entry = position(past, np.tile(length, int(who.sum()))).reshape(-1, ROUNDS)
            same[who, k] = policies[game, scot][entry] == people.history[who, k] // 2
    return same
