"""Matches: what a task lists, and the luck of each, drawn from its seed. The same match on every machine, in any batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.errors import ArenaError
from domains.repeated_games.automata import Library
from domains.repeated_games.equilibria import seen_from
from domains.repeated_games.games import checked
from domains.repeated_games.kernel import FRAMINGS, LETTERS, PARAPHRASES, Matches
from domains.repeated_games.opponents import library

DRAWN = -1


@dataclass(frozen=True)
class Pairing:
    """One match of a task, but for its luck.

    payoffs: [2, 2, 2] (row, column); opponent: name of the strategy (empty in cross-play); seat: the candidate's, 0 row, 1 column
    tremble: probability that a hand plays the other action, of both players in every round
    labels: letters of action 0 and action 1, such as JF (empty: drawn); first: the action that is listed first (DRAWN: drawn for each round)
    Raises ArenaError game.payoffs, game.labels, game.tremble, game.pairing.
    """

    payoffs: Tensor
    opponent: str = ""
    seat: int = 0
    tremble: float = 0.0
    labels: str = ""
    first: int = DRAWN
    framing: int = 0
    paraphrase: int = DRAWN

    def __post_init__(self) -> None:
        object.__setattr__(self, "payoffs", checked(self.payoffs))
        for name, least, most in (("seat", 0, 1), ("first", DRAWN, 1), ("framing", 0, len(FRAMINGS) - 1), ("paraphrase", DRAWN, PARAPHRASES - 1)):
            if getattr(self, name) not in range(least, most + 1):
                raise ArenaError("game.pairing", f"{name} = {getattr(self, name)!r}", f"give a whole number from {least} to {most}")
        if self.labels and (len(set(self.labels)) != 2 or len(self.labels) != 2 or not all("A" <= letter <= "Z" for letter in self.labels)):
            raise ArenaError("game.labels", f"labels {self.labels!r}", "give two different letters A to Z, such as JF")
        if not 0 <= self.tremble <= 1:
            raise ArenaError("game.tremble", f"hands that tremble with probability {self.tremble!r}", "a probability lies between 0 and 1")


def opponents(pairings: Sequence[Pairing], rounds: int) -> tuple[Library, list[int]]:
    """The automata that these matches need, and which of them each meets. The same strategy in the same game and seat is kept once."""
    places: dict[tuple[object, ...], int] = {}
    cells: list[tuple[str, Tensor]] = []
    index = []
    for pairing in pairings:
        own = seen_from(pairing.payoffs[None], torch.tensor([1 - pairing.seat]))[0]
        key = (pairing.opponent, *own.flatten().tolist())
        if key not in places:
            places[key] = len(cells)
            cells.append((pairing.opponent, own))
        index.append(places[key])
    return library(cells, rounds), index


def matches(pairings: Sequence[Pairing], opponent: Sequence[int], rounds: int, seeds: Sequence[int]) -> Matches:
    """One match per pairing and seed; `opponent`: places in the library, all -1 in cross-play (no luck is drawn for opponents then).

    Raises ArenaError `task.index` where nothing is asked for.
    """
    if not pairings:
        raise ArenaError("task.index", "no scenario was asked for", "give at least one index")
    drawn = [_luck(pairing, rounds, seed) for pairing, seed in zip(pairings, seeds, strict=True)]
    luck, slip, labels, order, paraphrase = (np.stack(column) for column in zip(*drawn, strict=True))
    trembling, alone = any(pairing.tremble for pairing in pairings), all(place >= 0 for place in opponent)
    return Matches(
        payoffs=torch.stack([pairing.payoffs for pairing in pairings]),
        seat=torch.tensor([pairing.seat for pairing in pairings]),
        opponent=torch.tensor(list(opponent)),
        luck=torch.from_numpy(luck.T.copy() if alone else luck.T[:0].copy()).T,  # a round is contiguous: what a step reads
        slip=torch.from_numpy(slip if trembling else slip[:, :0]),
        labels=torch.from_numpy(labels),
        order=torch.from_numpy(order),
        framing=torch.tensor([pairing.framing for pairing in pairings], dtype=torch.int8),
        paraphrase=torch.from_numpy(paraphrase),
    )


def _luck(pairing: Pairing, rounds: int, seed: int) -> tuple[NDArray[Any], ...]:
    """What is drawn of one match, always in this order: opponent's uniforms, trembles, labels, order, paraphrase."""
    rng = np.random.Generator(np.random.Philox(seed))
    luck, slip = rng.random(rounds), rng.random((rounds, 2)) < pairing.tremble
    one = int(rng.integers(LETTERS))
    other = int(rng.integers(LETTERS - 1))
    letters = [ord(letter) - ord("A") for letter in pairing.labels] or [one, other + (other >= one)]
    order, paraphrase = rng.integers(0, 2, rounds), int(rng.integers(PARAPHRASES))
    if pairing.first != DRAWN:
        order[:] = pairing.first
    paraphrase = paraphrase if pairing.paraphrase == DRAWN else pairing.paraphrase
    return luck, slip, np.array(letters, np.int8), order.astype(np.int8), np.array(paraphrase, np.int8)
