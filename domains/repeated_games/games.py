"""2x2 games: the 144 of strict ordinal payoffs, generated and classified, and the named ones with real payoffs.

An ordinal game gives each player the ranks 1..4, each once. Games that differ by a swap of rows or of columns are one game: 576 bimatrices
make 144 games, 78 where the players may change places too, 12 of them symmetric (Robinson and Goforth 2005; Bruns, Games 6, 2015).
Payoffs are tensors [2, 2, 2] float64: [row's action, column's action, (row's points, column's points)].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import torch
from torch import Tensor

from arena.errors import ArenaError
from domains.repeated_games.equilibria import pure_equilibria

Ranks = tuple[int, int, int, int]  # r1c1, r1c2, r2c1, r2c2
FAMILIES = ("Win-win", "Biased", "Second Best", "Unfair", "PD Family", "Tragic", "Cyclic")
# the table of games: which A stands in a row, which B in a column (their products are the 144 classes)
ROWS = ("3241", "2341", "1342", "1243", "2143", "3142", "4132", "4123", "4213", "4312", "4321", "4231")
COLUMNS = ("4321", "4231", "4132", "4123", "4213", "4312", "3412", "2413", "1423", "1432", "2431", "3421")


@dataclass(frozen=True)
class Ordinal:
    """One of the 144: ranks of both players in canonical form, the family by its best pure equilibrium, the place in the table of games.

    slug: og-<row's ranks>-<column's ranks>; row, column: 0..11; symmetric: the same game seen from both seats.
    It is played as it stands in the table: in canonical form row's worst cell is always (0, 0), and "always 1" would be a good player.
    """

    first: Ranks
    second: Ranks
    family: str
    row: int
    column: int
    symmetric: bool

    @property
    def slug(self) -> str:
        return "og-" + "-".join("".join(map(str, ranks)) for ranks in (self.first, self.second))

    @property
    def payoffs(self) -> Tensor:
        return bimatrix(_digits(ROWS[self.row]), _digits(COLUMNS[self.column]))


def bimatrix(first: tuple[float, ...], second: tuple[float, ...]) -> Tensor:
    """Payoffs from both players' points in row-major order of the cells. Raises ArenaError for anything but four finite numbers each."""
    return checked(torch.tensor([first, second], dtype=torch.float64).T.reshape(2, 2, 2) if len(first) == len(second) == 4 else torch.zeros(0))


def checked(payoffs: Tensor) -> Tensor:
    """The payoffs themselves, float64. Raises ArenaError `game.payoffs` where they are not 2x2x2 finite numbers."""
    if not isinstance(payoffs, Tensor):
        raise ArenaError("game.payoffs", f"payoffs are a {type(payoffs).__name__}", "give a tensor: torch.tensor(...), or bimatrix(first, second)")
    if tuple(payoffs.shape) != (2, 2, 2):
        raise ArenaError(
            "game.payoffs", f"payoffs have shape {tuple(payoffs.shape)}", "give [row's action, column's action, player]: 2 x 2 x 2 numbers"
        )
    if not bool(payoffs.isfinite().all()):
        cell = tuple((~payoffs.isfinite()).nonzero()[0].tolist())
        raise ArenaError("game.payoffs", f"payoff {list(cell)} is {payoffs[cell].item()}", "every payoff is a finite number")
    return payoffs.double()


PD_8 = bimatrix((8, 0, 10, 5), (8, 10, 0, 5))  # the prisoner's dilemma of Akata et al., action 0 is J
PD_5 = bimatrix((3, 0, 5, 1), (3, 5, 0, 1))  # Axelrod's: (R, S, T, P) = (3, 0, 5, 1)
DIAGONALS = ((10, 7), (9, 8), (8, 8), (8, 9), (7, 10))  # battles of the sexes: what (J, J) pays row and column; (F, F) pays them the other way round


def battle(row: float, column: float) -> Tensor:
    """A battle of the sexes: both are paid where they agree, nothing elsewhere."""
    return bimatrix((row, 0, 0, column), (column, 0, 0, row))


BOS_10 = battle(10, 7)


@cache
def ordinal_games() -> tuple[Ordinal, ...]:
    """The 144 games, sorted by slug."""
    found = sorted({canonical(first, second) for first in permutations((1, 2, 3, 4)) for second in permutations((1, 2, 3, 4))})  # type: ignore[arg-type]
    places = {canonical(_digits(a), _digits(b)): (r, c) for (r, a), (c, b) in product(enumerate(ROWS), enumerate(COLUMNS))}
    return tuple(
        Ordinal(
            first, second, family(bimatrix(first, second)), *places[first, second], symmetric=canonical(*mirror(first, second)) == (first, second)
        )
        for first, second in found
    )


def _digits(text: str) -> Ranks:
    a, b, c, d = map(int, text)
    return a, b, c, d


def canonical(first: Ranks, second: Ranks) -> tuple[Ranks, Ranks]:
    """The least of the four forms that swapping rows and columns gives."""
    orders = ((0, 1, 2, 3), (2, 3, 0, 1), (1, 0, 3, 2), (3, 2, 1, 0))
    return min(tuple((x[a], x[b], x[c], x[d]) for x in (first, second)) for a, b, c, d in orders)  # type: ignore[return-value]


def mirror(first: Ranks, second: Ranks) -> tuple[Ranks, Ranks]:
    """The game with its players in each other's place."""
    return (second[0], second[2], second[1], second[3]), (first[0], first[2], first[1], first[3])


def family(payoffs: Tensor) -> str:
    """The family of an ordinal game: what its best pure equilibrium pays."""
    cells = [tuple(int(points) for points in cell) for cell in payoffs.reshape(4, 2).tolist()]
    stable = [cell for cell, pure in zip(cells, pure_equilibria(payoffs).flatten().tolist(), strict=True) if pure]
    if not stable:
        return "Cyclic"
    paid = {tuple(sorted(cell)) for cell in stable}
    for family, points in (("Win-win", (4, 4)), ("Biased", (3, 4)), ("Unfair", (2, 4)), ("Second Best", (3, 3))):
        if points in paid:
            return family
    beaten = any(a > x and b > y for x, y in stable for a, b in cells)
    return "PD Family" if beaten else "Tragic"


def smallest_asymmetric(count: int) -> list[Ordinal]:
    """The first `count` games by slug of each family that look different from the two seats, family by family."""
    own = {name: [game for game in ordinal_games() if game.family == name and not game.symmetric] for name in FAMILIES}
    return [game for games in own.values() for game in games[:count]]
