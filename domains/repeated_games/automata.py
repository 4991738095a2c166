"""Strategies as automata: told by rules, made into tables, looked up many at a time.

A strategy is told as it is thought of: a state of any kind, the probability of action 0 in it, the state that follows a joint action. What can
be reached within T rounds is numbered, so that a match is three look-ups per round whatever is played, mixed in one batch as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.errors import ArenaError

Integers = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Strategy:
    """start: the first state; play: state -> probability of action 0; after: (state, own action, other's action) -> state, as they were done"""

    start: Hashable
    play: Callable[[Any], float]
    after: Callable[[Any, int, int], Hashable]


@dataclass(frozen=True)
class Table:
    """An automaton of S states, the first of which is 0.

    play: [S] float64, probability of action 0
    after: [S, 4] int32, the next state by 2 * own action + other's action
    reach: [T] int32, how many states there are within t rounds: those of smaller number
    """

    play: Floats
    after: Integers
    reach: Integers

    def __len__(self) -> int:
        return len(self.play)

    @property
    def sure(self) -> bool:
        """Whether no luck decides its actions."""
        return bool(((self.play == 0) | (self.play == 1)).all())


def tabulate(strategy: Strategy, rounds: int) -> Table:
    """The states that a match of `rounds` rounds can reach before its last action, numbered as they are found.

    Raises ArenaError `strategy.probability` for a probability outside [0, 1].
    """
    number: dict[Hashable, int] = {strategy.start: 0}
    after: list[list[int]] = []
    reach = []
    frontier = [strategy.start]
    for depth in range(rounds):
        reach.append(len(number))
        found = []
        for state in frontier:
            here = number[state]
            row = [here] * 4  # behind the last round nothing is asked
            if depth + 1 < rounds:
                for code in range(4):
                    then = strategy.after(state, code >> 1, code & 1)
                    if then not in number:
                        number[then] = len(number)
                        found.append(then)
                    row[code] = number[then]
            after.append(row)
        frontier = found
    play = np.array([strategy.play(state) for state in number], np.float64)
    if not ((play >= 0) & (play <= 1)).all():
        worst = float(play[~((play >= 0) & (play <= 1))][0])
        raise ArenaError("strategy.probability", f"action 0 has probability {worst:g}", "probabilities lie between 0 and 1")
    return Table(play, np.array(after, np.int32), np.array(reach, np.int32))


def recorded(moves: NDArray[Any]) -> Table:
    """The automaton of a recorded player: `moves` [2^T - 1], its action after every sequence of the other's actions.

    Entry (2^t - 1) + code, where code is the other's t actions, oldest first as the most significant bit. Raises ArenaError `strategy.table`.
    """
    states = len(moves)
    if moves.ndim != 1 or states & (states + 1) or not np.isin(moves, (0, 1)).all():
        raise ArenaError("strategy.table", f"a recorded player of shape {moves.shape}", "give 2^T - 1 actions 0 or 1")
    here = np.arange(states)
    follow = 2 * here + 1  # index of the first of two longer sequences: (2^(t+1) - 1) + 2 code
    after = np.stack((follow, follow + 1, follow, follow + 1), 1)
    within = np.where(after < states, after, here[:, None]).astype(np.int32)
    return Table(1.0 - np.asarray(moves, np.float64), within, np.array([2**t - 1 for t in range(1, states.bit_length() + 1)], np.int32))


@dataclass(frozen=True)
class Library:
    """Automata side by side: state numbers run on from one to the next.

    names: K; start: [K] int64, the first state of each; play: [N] float64; after: [N * 4] int32
    """

    names: tuple[str, ...]
    tables: tuple[Table, ...]
    start: Tensor
    play: Tensor
    after: Tensor

    @classmethod
    def of(cls, names: Sequence[str], tables: Sequence[Table]) -> Library:
        start = [0, *accumulate(len(table) for table in tables)][: len(tables)]
        play = np.concatenate([table.play for table in tables]) if tables else np.zeros(0)
        after = [table.after.reshape(-1) + first for table, first in zip(tables, start, strict=True)]
        joined = np.concatenate(after).astype(np.int32) if after else np.zeros(0, np.int32)
        return cls(tuple(names), tuple(tables), torch.tensor(start, dtype=torch.int64), torch.from_numpy(play), torch.from_numpy(joined))

    def to(self, device: torch.device) -> Library:
        return Library(self.names, self.tables, *(tensor.to(device) for tensor in (self.start, self.play, self.after)))
