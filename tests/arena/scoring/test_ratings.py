"""Bradley-Terry ratings: closed forms, invariances, and pools that cannot be rated."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.special import expit

from arena.errors import ArenaError
from arena.scoring import Ratings, rate

POOL = "ace" + "0" * 61


def duel(wins: int, losses: int, ridge: float = 0.1, ties: int = 0) -> Ratings:
    games = wins + losses + ties
    outcome = [1.0] * wins + [0.0] * losses + [0.5] * ties
    return rate(["a", "b"], np.zeros(games, int), np.ones(games, int), outcome, reference="b", pool_digest=POOL, ridge=ridge)


@pytest.mark.parametrize(
    ("wins", "losses", "ridge", "elo"), [(72, 28, 0.0, 164.07), (72, 28, 0.1, 163.66), (20, 0, 0.1, 778.3), (20, 0, 0.01, 1117.2)]
)
def test_two_agents(wins: int, losses: int, ridge: float, elo: float) -> None:
    result = duel(wins, losses, ridge)
    assert result.rating[0] - result.rating[1] == pytest.approx(elo, abs=0.05 if elo > 200 else 0.005)
    assert result.rating[1] == 1000.0 == result.lo[1] == result.hi[1]


def test_a_tie_is_half_a_win_for_both() -> None:
    assert duel(62, 18, ties=20).rating[0] == pytest.approx(duel(72, 28).rating[0], abs=1e-3)
    assert duel(0, 0, ties=10).rating[0] == pytest.approx(1000.0, abs=1e-3)


def tournament(theta: np.ndarray, games: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(theta), games)
    second = (first + rng.integers(1, len(theta), games)) % len(theta)
    return first, second, (rng.random(games) < expit(theta[first] - theta[second])).astype(float)


def test_ratings_are_found_again_and_the_gradient_vanishes() -> None:
    theta = np.array([0.0, 0.5, 1.0, -1.0])
    i, j, o = tournament(theta, 4000, 0)
    result = rate(list("abcd"), i, j, o, reference="a", pool_digest=POOL)
    fitted = (result.rating - 1000) * np.log(10) / 400
    np.testing.assert_allclose(fitted, theta, atol=0.2)
    assert ((result.lo <= result.rating) & (result.rating <= result.hi)).all()
    centred = fitted - fitted.mean()
    slope = np.zeros(4)
    surprise = o - expit(centred[i] - centred[j])
    np.add.at(slope, i, surprise)
    np.add.at(slope, j, -surprise)
    np.testing.assert_allclose(slope, 0.1 * centred, atol=1e-3)
    np.testing.assert_array_equal(result.games, np.bincount(np.concatenate([i, j])))


def test_seats_order_of_games_and_names_do_not_matter() -> None:
    i, j, o = tournament(np.array([0.0, 0.8, -0.3]), 300, 1)
    cluster = np.arange(300)
    straight = rate(list("abc"), i, j, o, reference="a", pool_digest=POOL, clusters=cluster)
    swapped = rate(list("abc"), j, i, 1 - o, reference="a", pool_digest=POOL, clusters=cluster)
    np.testing.assert_allclose(swapped.draws, straight.draws, atol=0.01)
    turn = np.random.default_rng(2).permutation(300)
    shuffled = rate(list("abc"), i[turn], j[turn], o[turn], reference="a", pool_digest=POOL, clusters=cluster[turn])
    np.testing.assert_allclose(shuffled.draws, straight.draws, atol=0.01)
    for order in permutations(range(3)):
        renamed = rate(
            [list("abc")[k] for k in order], np.argsort(order)[i], np.argsort(order)[j], o, reference="a", pool_digest=POOL, clusters=cluster
        )
        np.testing.assert_allclose(renamed.rating, straight.rating[list(order)], atol=0.01)


def test_the_interval_covers_and_is_wider_for_clustered_games() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(12):
        i, j, o = tournament(np.array([0.0, 0.5]), 150, 100 + seed)
        result = rate(["a", "b"], i, j, o, reference="a", pool_digest=POOL)
        hits += result.lo[1] <= 1000 + 400 / np.log(10) * 0.5 <= result.hi[1]
    assert hits >= 9
    base = (rng.random(40) < 0.6).astype(float)
    games = (np.zeros(400, int), np.ones(400, int), np.repeat(base, 10))
    loose = rate(["a", "b"], *games, reference="a", pool_digest=POOL)
    tight = rate(["a", "b"], *games, reference="a", pool_digest=POOL, clusters=np.repeat(np.arange(40), 10))
    assert tight.hi[1] - tight.lo[1] > 2 * (loose.hi[1] - loose.lo[1])


def test_rock_paper_scissors_rates_all_alike_and_only_the_payoff_matrix_tells() -> None:
    i, j = np.array([0, 1, 2] * 30), np.array([2, 0, 1] * 30)
    result = rate(["rock", "paper", "scissors"], i, j, np.ones(90), reference="rock", pool_digest=POOL)
    np.testing.assert_allclose(result.rating, 1000.0, atol=1e-3)
    np.testing.assert_array_equal(result.payoff[[0, 1, 2], [2, 0, 1]], 1.0)
    np.testing.assert_array_equal(result.payoff[[2, 0, 1], [0, 1, 2]], 0.0)
    assert np.isnan(np.diag(result.payoff)).all()


def test_a_pool_that_falls_apart_is_not_rated() -> None:
    with pytest.raises(ArenaError) as error:
        rate(list("abcde"), [0, 2, 3], [1, 3, 2], [1, 0, 0.5], reference="a", pool_digest=POOL)
    assert error.value.code == "rating.disconnected"
    assert error.value.context["components"] == [["a", "b"], ["c", "d"], ["e"]]
    assert "a, b | c, d | e" in error.value.message


@pytest.mark.parametrize(("games", "reference"), [(([0], [0], [1.0]), "a"), (([], [], []), "a"), (([0], [1], [1.5]), "a"), (([0], [1], [1.0]), "x")])
def test_unusable_games_are_refused(games: tuple[list, list, list], reference: str) -> None:
    with pytest.raises(ArenaError) as error:
        rate(["a", "b"], *games, reference=reference, pool_digest=POOL)
    assert error.value.code == "rating.games"
