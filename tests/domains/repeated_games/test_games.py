"""The 144 ordinal games: their numbers are those of the literature."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arena.errors import ArenaError
from domains.repeated_games.equilibria import pure_equilibria, securities
from domains.repeated_games.games import (
    BOS_10,
    COLUMNS,
    FAMILIES,
    PD_5,
    PD_8,
    ROWS,
    Ranks,
    bimatrix,
    canonical,
    checked,
    family,
    mirror,
    ordinal_games,
    smallest_asymmetric,
)

GAMES = ordinal_games()
PAYOFFS = torch.stack([game.payoffs for game in GAMES])
RANKS = st.permutations([1, 2, 3, 4]).map(tuple)


def test_there_are_144_of_which_78_differ_and_12_are_symmetric() -> None:
    assert len(GAMES) == len({game.slug for game in GAMES}) == 144
    assert (GAMES[0].slug, GAMES[-1].slug) == ("og-1234-1234", "og-1432-4321") and [game.slug for game in GAMES] == sorted(g.slug for g in GAMES)
    keys = {(game.first, game.second) for game in GAMES}
    assert {canonical(*mirror(*key)) for key in keys} == keys, "closed under a swap of the players"
    assert len({frozenset((key, canonical(*mirror(*key)))) for key in keys}) == 78 and sum(game.symmetric for game in GAMES) == 12


def test_families_have_the_sizes_of_the_literature() -> None:
    found = Counter(game.family for game in GAMES)
    assert found == {"Win-win": 36, "Biased": 44, "Second Best": 12, "Unfair": 19, "PD Family": 7, "Tragic": 8, "Cyclic": 18}
    assert set(found) == set(FAMILIES)
    assert family(bimatrix((3, 1, 4, 2), (3, 4, 1, 2))) == "PD Family" and next(g for g in GAMES if g.slug == "og-1324-4321").family == "PD Family"


def test_equilibria_and_dominance_are_counted_as_in_the_literature() -> None:
    assert Counter(pure_equilibria(PAYOFFS).flatten(1).sum(1).tolist()) == {1: 108, 2: 18, 0: 18}
    row, column = PAYOFFS[..., 0], PAYOFFS[..., 1]
    dominant = [((row[:, 0] > row[:, 1]).all(1) | (row[:, 0] < row[:, 1]).all(1)).int()]
    dominant.append(((column[..., 0] > column[..., 1]).all(1) | (column[..., 0] < column[..., 1]).all(1)).int())
    assert Counter((dominant[0] + dominant[1]).tolist()) == {2: 36, 1: 72, 0: 36}


def test_what_the_games_pay() -> None:
    joint = PAYOFFS.sum(-1).flatten(1).amax(1)
    assert joint.sum() == 990 and securities(PAYOFFS).sum(0).tolist() == pytest.approx([360, 360])
    means = {name: joint[[game.family == name for game in GAMES]].mean().item() for name in FAMILIES}
    assert means == pytest.approx(
        {"Win-win": 8, "Biased": 7, "PD Family": 6.857, "Cyclic": 6.222, "Unfair": 6.211, "Second Best": 6, "Tragic": 5.5}, abs=5e-4
    )


def test_every_game_has_its_place_in_the_table() -> None:
    assert {(game.row, game.column) for game in GAMES} == {(r, c) for r in range(12) for c in range(12)}
    for game in GAMES:
        ranks = [tuple(map(int, text)) for text in (ROWS[game.row], COLUMNS[game.column])]
        assert canonical(*ranks) == (game.first, game.second)  # type: ignore[arg-type]
    prisoners = next(game for game in GAMES if game.slug == "og-1324-4321")
    assert prisoners.symmetric


@given(RANKS, RANKS, st.booleans(), st.booleans())
def test_swapping_rows_or_columns_is_the_same_game(first: Ranks, second: Ranks, rows: bool, columns: bool) -> None:
    order = torch.tensor([[0, 1], [2, 3]])
    swapped = (order.flip(0) if rows else order).flip(1) if columns else order.flip(0) if rows else order
    places = swapped.flatten().tolist()
    again = [tuple(ranks[i] for i in places) for ranks in (first, second)]
    assert canonical(*again) == canonical(first, second)  # type: ignore[arg-type]
    assert family(bimatrix(*again)) == family(bimatrix(first, second))
    assert mirror(*mirror(first, second)) == (first, second)


def test_named_games_pay_what_they_are_known_for() -> None:
    assert PD_8.tolist() == [[[8, 8], [0, 10]], [[10, 0], [5, 5]]] and PD_5.tolist() == [[[3, 3], [0, 5]], [[5, 0], [1, 1]]]
    assert BOS_10.tolist() == [[[10, 7], [0, 0]], [[0, 0], [7, 10]]]


def test_the_smallest_asymmetric_of_each_family() -> None:
    found = smallest_asymmetric(2)
    assert [game.family for game in found] == [name for name in FAMILIES for _ in range(2)] and not any(game.symmetric for game in found)
    assert smallest_asymmetric(1) == found[::2] and found[0].slug == "og-1234-1234"


@pytest.mark.parametrize(
    ("payoffs", "said"),
    [(torch.zeros(2, 2), r"shape \(2, 2\)"), (torch.full((2, 2, 2), torch.nan), "is nan"), (torch.full((2, 2, 2), torch.inf), "is inf")],
)
def test_what_is_no_game_is_refused(payoffs: torch.Tensor, said: str) -> None:
    with pytest.raises(ArenaError, match=said) as error:
        checked(payoffs)
    assert error.value.code == "game.payoffs"


def test_a_bimatrix_wants_four_points_each() -> None:
    with pytest.raises(ArenaError, match="shape"):
        bimatrix((1, 2, 3), (1, 2, 3))
