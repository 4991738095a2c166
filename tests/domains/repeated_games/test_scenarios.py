"""What is drawn of a match: the same in any batch, as the pairing says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from arena.errors import ArenaError
from domains.repeated_games.games import BOS_10, PD_8
from domains.repeated_games.scenarios import Pairing, matches, opponents


def test_a_match_is_a_function_of_its_seed_alone() -> None:
    pairings = [Pairing(PD_8, "tft", i % 2, 0.1) for i in range(5)]
    whole = matches(pairings, [0] * 5, 10, list(range(5)))
    for row in range(5):
        alone = matches(pairings[row : row + 1], [0], 10, [row])
        assert all(torch.equal(tensor[0], whole.tensors()[name][row]) for name, tensor in alone.tensors().items())


def test_steady_hands_have_the_luck_of_trembling_ones() -> None:
    steady, trembling = (matches([Pairing(PD_8, "tft", tremble=tremble)], [0], 50, [3]) for tremble in (0.0, 0.2))
    assert torch.equal(steady.luck, trembling.luck) and torch.equal(steady.labels, trembling.labels) and torch.equal(steady.order, trembling.order)
    assert steady.slip.shape == (1, 0, 2) and 5 <= int(trembling.slip.sum()) <= 35


def test_labels_are_two_letters_each_pair_alike_often() -> None:
    labels = matches([Pairing(PD_8)] * 3000, [-1] * 3000, 1, list(range(3000))).labels
    assert bool((labels[:, 0] != labels[:, 1]).all()) and int(labels.min()) == 0 and int(labels.max()) == 25
    for column in labels.long().unbind(1):
        assert torch.bincount(column, minlength=26).min() > 70, "115 expected"


def test_what_a_pairing_says_is_not_drawn() -> None:
    said = matches([Pairing(BOS_10, "tft", 1, labels="QX", first=1, framing=3, paraphrase=2)], [0], 10, [1])
    assert said.labels.tolist() == [[16, 23]] and said.order.tolist() == [[1] * 10]
    assert (said.framing.item(), said.paraphrase.item(), said.seat.item()) == (3, 2, 1)
    drawn = matches([Pairing(BOS_10, "tft")] * 100, [0] * 100, 10, list(range(100)))
    assert 350 < int(drawn.order.sum()) < 650 and set(drawn.paraphrase.tolist()) == {0, 1, 2, 3}


def test_a_strategy_in_a_game_and_seat_is_kept_once() -> None:
    pairings = [
        Pairing(PD_8, "tft"),
        Pairing(BOS_10, "myopic", 0),
        Pairing(BOS_10, "myopic", 1),
        Pairing(PD_8, "tft", 1),
        Pairing(BOS_10, "myopic", 1),
    ]
    library, index = opponents(pairings, 10)
    assert index == [0, 1, 2, 0, 2] and library.names == ("tft", "myopic", "myopic")
    first = library.play[library.start[[1, 2]]].tolist()
    assert first == [0, 1], "the opponent of the row player sits in the column seat, where F pays more"


@pytest.mark.parametrize("labels", ["J", "JJ", "JFX", "jf", "J1", "ÄB"])
def test_labels_that_are_no_two_letters_are_refused(labels: str) -> None:
    with pytest.raises(ArenaError, match="labels") as error:
        Pairing(PD_8, labels=labels)
    assert error.value.code == "game.labels"


@pytest.mark.parametrize("tremble", [-0.1, 1.1, float("nan")])
def test_a_tremble_is_a_probability(tremble: float) -> None:
    with pytest.raises(ArenaError, match="tremble with probability"):
        Pairing(PD_8, tremble=tremble)


@pytest.mark.parametrize("payoffs", [torch.zeros(2, 2), torch.full((2, 2, 2), torch.nan), [[[0.0]]]])
def test_payoffs_are_those_of_a_2x2_game(payoffs: Any) -> None:
    with pytest.raises(ArenaError) as error:
        Pairing(payoffs, "tft")
    assert error.value.code == "game.payoffs" and error.value.hint
    assert Pairing(PD_8.int(), "tft").payoffs.dtype == torch.float64


@pytest.mark.parametrize(("name", "value"), [("seat", 2), ("first", 2), ("framing", 4), ("paraphrase", -2)])
def test_what_is_counted_from_0_has_an_end(name: str, value: int) -> None:
    with pytest.raises(ArenaError, match=f"{name} = {value}") as error:
        Pairing(PD_8, "tft", **{name: value})  # type: ignore[arg-type]
    assert error.value.code == "game.pairing" and "whole number from" in error.value.hint


def test_nothing_asked_for_is_said() -> None:
    with pytest.raises(ArenaError, match="no scenario"):
        matches([], [], 10, [])
