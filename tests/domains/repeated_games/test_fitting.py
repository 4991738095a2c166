"""Strategies fitted to what was played: against the formula, at the maximum, and back to what synthetic players really were."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arena.errors import ArenaError
from domains.repeated_games.behaviour import seen_from_column
from domains.repeated_games.fitting import MOST, fit, gamma_of, intended
from domains.repeated_games.games import PD_8
from domains.repeated_games.opponents import table, views
from domains.repeated_games.recorded import load_matches

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))
NAMES = ("allc", "alld", "tft", "stft", "wsls", "grim", "tf2t")


def tables(*names, rounds=10):
    view = views(PD_8[None])[0]
    return [table(name, view, rounds) for name in names]


def played(name, rng, matches, rounds=10, noise=0.0):
    """[n, T] joint codes of a strategy whose choices are flipped with probability `noise`, against fair coins."""
    play, after = tables(name, rounds=rounds)[0].play, tables(name, rounds=rounds)[0].after
    found = np.empty((matches, rounds), np.int8)
    for match in range(matches):
        state = 0
        for t in range(rounds):
            own = int(rng.random() >= play[state]) ^ int(rng.random() < noise)
            code = 2 * own + int(rng.integers(2))
            found[match, t], state = code, after[state, code]
    return torch.from_numpy(found)


def test_two_hundred_matches_of_tit_for_tat_with_noise_are_found():
    history = played("tft", np.random.default_rng(1), 200, noise=0.05)
    found = fit(history >> 1, intended(tables(*NAMES), history))
    assert found.weights[NAMES.index("tft")] > 0.93 and found.weights.sum() == pytest.approx(1)
    assert found.beta == pytest.approx(0.95, abs=0.015) and found.gamma == pytest.approx(1 / math.log(0.95 / 0.05), abs=0.03)
    low, high = found.gamma_interval.tolist()
    assert low < found.gamma < high and high - low < 0.1
    interval = found.weights_interval[NAMES.index("tft")]
    assert interval[0] > 0.85 and interval[0] <= found.weights[2] <= interval[1]
    assert found.bic_random == pytest.approx(2 * 2000 * math.log(2)) and found.bic < found.bic_random - 1000
    assert (found.posterior.argmax(1) == NAMES.index("tft")).double().mean() > 0.85


def test_a_mixture_is_found_and_coins_are_not_mistaken_for_strategies():
    rng = np.random.default_rng(2)
    history = torch.cat([played("tft", rng, 90, noise=0.04), played("alld", rng, 60, noise=0.04), played("grim", rng, 50, noise=0.04)])
    found = fit(history >> 1, intended(tables(*NAMES), history), draws=50)
    assert found.weights[[2, 1, 5]].tolist() == pytest.approx([0.45, 0.3, 0.25], abs=0.08)
    coins = played("random", rng, 100)
    found = fit(coins >> 1, intended(tables(*NAMES), coins), draws=0)
    assert found.bic > found.bic_random and found.beta < 0.65


def likelihood(own, said, weights, beta, player):
    """The log likelihood as it is written down, one factor after the other."""
    total = 0.0
    for who in set(player):
        mixture = 0.0
        for k, weight in enumerate(weights):
            product = float(weight)
            for match in range(len(own)):
                if player[match] == who:
                    for t in range(own.shape[1]):
                        if own[match, t] >= 0:
                            p = float(said[k, match, t]) if own[match, t] == 0 else 1 - float(said[k, match, t])
                            product *= p * beta + (1 - p) * (1 - beta)
            mixture += product
        total += math.log(mixture)
    return total


CASES = st.tuples(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 5), st.integers(1, 4))


def drawn(seed, matches, rounds, k):
    rng = np.random.default_rng(seed)
    own = rng.integers(0, 2, (matches, rounds))
    own = np.where(np.arange(rounds) < rng.integers(1, rounds + 1, (matches, 1)), own, -1)
    said = rng.choice([0.0, 1.0, 0.5, 0.3], (k, matches, rounds), p=[0.4, 0.4, 0.1, 0.1])
    return torch.from_numpy(own), torch.from_numpy(said), torch.from_numpy(rng.integers(0, 3, matches)), rng


@settings(max_examples=30)
@given(CASES)
def test_the_likelihood_is_the_formulas_and_no_step_aside_raises_it(case):
    own, said, player, rng = drawn(*case)
    found = fit(own, said, player, draws=0)
    who = player.tolist()
    assert found.log_likelihood == pytest.approx(likelihood(own, said, found.weights, found.beta, who), abs=1e-6)
    assert found.bic == pytest.approx(-2 * found.log_likelihood + len(said) * math.log(int((own >= 0).sum())))
    assert found.posterior.shape == (len(set(who)), len(said)) and found.posterior.sum(1).tolist() == pytest.approx([1] * len(set(who)))
    aside = 0.95 * found.weights + 0.05 * torch.from_numpy(rng.dirichlet(np.ones(len(said))))
    for weights, beta in ((aside, found.beta), (found.weights, max(0.5, found.beta - 0.03)), (found.weights, min(MOST, found.beta + 0.03))):
        assert likelihood(own, said, weights, beta, who) <= found.log_likelihood + 1e-3


@settings(max_examples=20)
@given(CASES)
def test_the_order_of_strategies_matches_and_names_of_players_change_nothing(case):
    own, said, player, rng = drawn(*case)
    first = fit(own, said, player, draws=0)
    rows, kinds = torch.from_numpy(rng.permutation(len(own))), torch.from_numpy(rng.permutation(len(said)))
    second = fit(own[rows], said[kinds][:, rows], 7 - player[rows], draws=0)
    assert second.log_likelihood == pytest.approx(first.log_likelihood, abs=1e-5)
    assert second.bic_random == first.bic_random


@settings(max_examples=20)
@given(CASES)
@example((334972594, 5, 2, 3))  # all starts end at one likelihood with other weights
def test_matches_of_a_player_count_as_one_long_match(case):
    own, said, _, _ = drawn(*case)
    double, twice = torch.cat([own, own.flip(0)]), torch.cat([said, said.flip(1)], 1)
    player = torch.cat([torch.arange(len(own)), torch.arange(len(own)).flip(0)])
    many = fit(double, twice, player, draws=0)
    one = fit(torch.cat([own, own], 1), torch.cat([said, said], 2), draws=0)
    assert many.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-6)
    assert torch.allclose(many.posterior, one.posterior, atol=1e-2)  # where the likelihood is flat, weights settle from where they began


def test_a_single_strategy_errs_as_often_as_it_was_broken():
    history = played("tft", np.random.default_rng(3), 40, noise=0.2)
    said = intended(tables("tft"), history)
    found = fit(history >> 1, said, draws=20)
    agreed = ((history >> 1 == 0).double() == said[0]).double().mean().item()
    assert found.weights.tolist() == [1.0] and found.beta == pytest.approx(agreed) and found.weights_interval.tolist() == [[1.0, 1.0]]
    never = fit(history >> 1, 1 - said, draws=0)  # the opposite of what was done: at best a coin
    assert never.beta == 0.5 and math.isinf(never.gamma) and never.log_likelihood == pytest.approx(-400 * math.log(2))
    always = fit(history >> 1, (history >> 1 == 0)[None].double(), draws=0)
    assert always.beta == pytest.approx(MOST) and always.gamma == pytest.approx(float(gamma_of(torch.tensor(MOST, dtype=torch.float64))))


def test_the_bootstrap_is_repeatable_and_narrows_with_matches():
    rng = np.random.default_rng(4)
    few, many = (torch.cat([played("tft", rng, n, noise=0.1), played("alld", rng, n, noise=0.1)]) for n in (10, 160))
    widths = []
    for history in (few, many):
        said = intended(tables("tft", "alld"), history)
        first, again, other = (fit(history >> 1, said, draws=100, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first.weights_interval, again.weights_interval) and not torch.equal(first.weights_interval, other.weights_interval)
        widths.append(float(first.weights_interval[0, 1] - first.weights_interval[0, 0]))
    assert widths[1] < 0.5 * widths[0]


def test_intended_follows_the_history_that_was_played():
    history = torch.tensor([[0, 1, 2, 3, 0], [3, 0, 0, -1, -1]], dtype=torch.int8)
    said = intended(tables("tft", "grim", "naive-prober-0.1", rounds=5), history)
    assert said[0].tolist()[0] == [1, 1, 0, 1, 0] and said[0].tolist()[1][:3] == [1, 0, 1]
    assert said[1].tolist()[0] == [1, 1, 0, 0, 0] and said[2, 0].tolist() == [1, 0.9, 0, 0.9, 0]


@pytest.mark.parametrize(
    ("own", "said", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(4, 2, 2), r"\[2, 3\] and probabilities \[4, 2, 2\]"),
        (torch.zeros(2, 3), torch.zeros(0, 2, 3), r"probabilities \[0, 2, 3\]"),
        (torch.tensor([[0, 1], [-1, -1]]), torch.zeros(1, 2, 2), "match 1 has no rounds"),
        (torch.tensor([[0, 2]]), torch.zeros(1, 1, 2), "action 2"),
        (torch.tensor([[0, 1]]), torch.full((1, 1, 2), 1.5), "probability is 1.5"),
        (torch.tensor([[0, 1]]), torch.full((1, 1, 2), math.nan), "probability is nan"),
    ],
)
def test_bad_input_is_refused(own, said, message):
    with pytest.raises(ArenaError, match=message) as caught:
        fit(own, said)
    assert caught.value.code == "fit.input" and caught.value.hint


@pytest.mark.skipif(not (DATA / "repeated_games").is_dir(), reason=f"no released matches: {DATA} is absent (set ARENA_DATA)")
def test_recorded_gpt4_is_grim():
    played = load_matches(DATA, "pd")
    rows, columns = torch.from_numpy(played.row == "gpt4"), torch.from_numpy(played.column == "gpt4")
    history = torch.from_numpy(played.history)
    history = torch.cat([history[rows], seen_from_column(history[columns])])
    found = fit(history >> 1, intended(tables(*NAMES), history), torch.zeros(len(history)), draws=0)
    assert NAMES[int(found.posterior[0].argmax())] == "grim" and found.beta > 0.9
