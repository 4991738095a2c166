"""Closed forms against definitions, linear programming and enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from domains.repeated_games import equilibria
from domains.repeated_games.games import BOS_10, PD_8, bimatrix, ordinal_games

GAMES = st.lists(st.integers(-3, 6), min_size=8, max_size=8).map(lambda numbers: torch.tensor(numbers, dtype=torch.float64).view(2, 2, 2))
ALL = ordinal_games()
BY_SLUG = {game.slug: game.payoffs for game in ALL}


@given(GAMES)
def test_security_is_the_value_of_the_zero_sum_game(payoffs: torch.Tensor) -> None:
    own = payoffs[..., 0].numpy()
    solved = linprog([0, 0, -1], A_ub=np.c_[-own.T, np.ones(2)], b_ub=[0, 0], A_eq=[[1, 1, 0]], b_eq=[1], bounds=[(0, 1), (0, 1), (None, None)])
    value, chance = equilibria.security(payoffs[..., 0])
    assert float(value) == pytest.approx(-solved.fun, abs=1e-9) and 0 <= chance <= 1
    assert float((chance * payoffs[0, :, 0] + (1 - chance) * payoffs[1, :, 0]).min()) == pytest.approx(float(value), abs=1e-12)


@given(GAMES)
def test_nobody_gains_by_leaving_an_equilibrium_alone(payoffs: torch.Tensor) -> None:
    first, second = payoffs.unbind(-1)
    for a, b in product((0, 1), (0, 1)):
        stable = first[a, b] >= first[1 - a, b] and second[a, b] >= second[a, 1 - b]
        assert bool(equilibria.pure_equilibria(payoffs)[a, b]) == bool(stable)
    chosen = equilibria.equilibrium(payoffs)
    assert bool(chosen.isfinite().all()), "every game has one"
    p, q = (torch.stack((chance, 1 - chance)) for chance in chosen)
    assert float(p @ first @ q) == pytest.approx(float((first @ q).max()), abs=1e-9)
    assert float(p @ second @ q) == pytest.approx(float((p @ second).max()), abs=1e-9)


@given(GAMES)
def test_what_the_players_of_any_game_choose(payoffs: torch.Tensor) -> None:
    cells = payoffs.view(4, 2)
    best = max(range(4), key=lambda c: (float(cells[c].sum()), float(cells[c, 0]), -c))
    assert int(equilibria.efficient_cell(payoffs)) == best
    replies = [max((0, 1), key=lambda b: (float(payoffs[a, b, 1]), -b)) for a in (0, 1)]
    assert int(equilibria.commitment(payoffs)) == max((0, 1), key=lambda a: (float(payoffs[a, replies[a], 0]), -a))
    assert int(equilibria.punishment(payoffs)) == min((0, 1), key=lambda a: (float(payoffs[a, :, 1].max()), a))


@given(GAMES, st.integers(1, 5))
def test_the_bargain_is_the_best_of_all_courses(payoffs: torch.Tensor, rounds: int) -> None:
    least = (rounds * equilibria.securities(payoffs)).tolist()
    outcomes = {tuple(map(float, payoffs.view(4, 2)[list(cells)].sum(0))) for cells in product(range(4), repeat=rounds)}
    fair = [points for points in outcomes if all(p >= s - 1e-9 for p, s in zip(points, least, strict=True))]
    found = equilibria.bargain(payoffs, rounds).tolist()
    if not fair:  # no course of single rounds gives both what mixing makes sure of
        assert all(np.isnan(found))
        return
    product_of = {points: round((points[0] - least[0]) * (points[1] - least[1]), 6) for points in fair}
    tied = [points for points in fair if product_of[points] == max(product_of.values())]
    tied = [points for points in tied if sum(points) == max(map(sum, tied))]
    apart = {points: round(abs(points[0] - least[0] - points[1] + least[1]), 6) for points in tied}
    tied = [points for points in tied if apart[points] == min(apart.values())]
    assert found == pytest.approx(np.mean(tied, 0).tolist(), abs=1e-6)


def test_alternating_is_the_bargain_in_the_battle_of_the_sexes() -> None:
    assert equilibria.bargain(BOS_10, 10).tolist() == [85, 85] and equilibria.bargain(PD_8, 10).tolist() == [80, 80]


def test_mirrored_ties_are_averaged() -> None:
    assert equilibria.bargain(BY_SLUG["og-1234-3412"], 10).tolist() == pytest.approx([35, 25]), "36/24 and 34/26"


def test_in_ten_of_the_144_somebody_gains_nothing() -> None:
    payoffs = torch.stack([game.payoffs for game in ALL])
    surplus = equilibria.bargain(payoffs, 10) - 10 * equilibria.securities(payoffs)
    flat = (surplus < 1e-9).any(1)
    assert int(flat.sum()) == 10
    assert [game.slug for game, none in zip(ALL, flat, strict=True) if none and game.symmetric] == ["og-1234-4231", "og-1243-1423"]


def test_a_cell_that_costs_both_is_no_pact() -> None:
    payoffs = bimatrix((1, 4, 3, 2), (4, 1, 2, 3))  # strictly competitive: every cell costs somebody, none costs both
    assert int(equilibria.bargaining_cell(payoffs)) == 2
    both_lose = bimatrix((-9, 4, 3, 2), (-9, 1, 2, 3))
    assert int(equilibria.bargaining_cell(both_lose)) != 0


def test_seats_are_mirrors_of_each_other() -> None:
    one, two = equilibria.seen_from(BOS_10.expand(2, 2, 2, 2), torch.tensor([0, 1]))
    assert one.tolist() == BOS_10.tolist() and two.tolist() == [[[7, 10], [0, 0]], [[0, 0], [10, 7]]]
    again = equilibria.seen_from(two[None], torch.tensor([1]))[0]
    assert torch.equal(again, BOS_10)
