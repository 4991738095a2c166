"""What is counted of a player, against plain loops over rounds; what wording changes, against players who follow words alone."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.repeated_games.behaviour import Rate, behaviour, framing_sensitivity, label_bias, order_bias, seen_from_column
from domains.repeated_games.games import PD_8, ordinal_games
from domains.repeated_games.metrics import cooperative
from domains.repeated_games.recorded import joined, load_matches

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))
here = pytest.mark.skipif(not (DATA / "repeated_games").is_dir(), reason=f"no released matches: {DATA} is absent (set ARENA_DATA)")


def counted(history, cooperate=(0, 0)):
    """Every rate of one match as (count, of), by walking through it."""
    moves = [(code >> 1, code & 1) for code in history if code >= 0]
    c = [own == cooperate[0] for own, _ in moves]
    o = [other == cooperate[1] for _, other in moves]
    length, found = len(moves), {}

    def tell(name, cases):
        cases = list(cases)
        found[name] = (sum(cases), len(cases))

    tell("cooperation", c)
    tell("first_move", c[:1])
    for name, state in (("cc", (True, True)), ("cd", (True, False)), ("dc", (False, True)), ("dd", (False, False))):
        tell(f"after_{name}", (c[t] for t in range(1, length) if (c[t - 1], o[t - 1]) == state))
    first = [next((t for t in range(length) if not x[t]), length) for x in (c, o)]  # round of the first D
    tell("nice", [not (first[0] < length and first[0] <= first[1])] if length else [])
    t = first[1]
    tell("provoked", [not c[t + 1]] if t + 1 < length and all(c[: t + 1]) else [])
    tell("forgives", (c[t] for t in range(2, length) if not o[t - 2] and o[t - 1]))
    tell("unforgiving", (not c[t] for t in range(2, length)) if length and not o[0] and all(o[1:]) else [])
    tell("exploits", (not x for x in c) if all(o) else [])
    tell("late", (not x for x in c[-2:]) if length >= 10 else [])
    tell("middle", (not x for x in c[4:8]) if length >= 10 else [])
    pairs = [(moves[t - 1], moves[t]) for t in range(1, length) if moves[t - 1][0] == moves[t - 1][1] and moves[t][0] == moves[t][1]]
    tell("alternates", (before != after for before, after in pairs))
    return found


HISTORY = st.integers(1, 13).flatmap(
    lambda t: st.lists(
        st.tuples(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), min_size=t, max_size=t), st.integers(0, t)).map(
            lambda both: both[0][: both[1]] + [-1] * (len(both[0]) - both[1])
        ),
        min_size=1,
        max_size=6,
    )
)


@settings(max_examples=150)
@given(HISTORY, st.data())
def test_counts_are_those_of_walking_through(histories, data):
    actions = data.draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=len(histories), max_size=len(histories)))
    history = torch.tensor(histories, dtype=torch.int8)
    found = behaviour(history, torch.tensor(actions))
    for row, (codes, cooperate) in enumerate(zip(histories, actions, strict=True)):
        assert {name: (int(rate.count[row]), int(rate.of[row])) for name, rate in found.items()} == counted(codes, cooperate)
    plain = behaviour(history)
    assert [int(x) for x in plain["cooperation"].count] == [counted(codes)["cooperation"][0] for codes in histories]
    assert torch.equal(seen_from_column(seen_from_column(history)), history)


def test_classic_players_are_told_apart():
    play = {
        "tft-against-once": [[1, 2] + [0] * 8],
        "grim-against-once": [[1] + [2] * 9],
        "alld-alld": [[3] * 10],
        "allc-alld": [[1] * 10],
        "turns": [[0, 3] * 5],
    }
    found = {name: behaviour(torch.tensor(codes, dtype=torch.int8)) for name, codes in play.items()}
    assert found["grim-against-once"]["unforgiving"].pooled == 1 and found["tft-against-once"]["unforgiving"].pooled == 0
    assert found["tft-against-once"]["provoked"].pooled == 1 and found["tft-against-once"]["forgives"].pooled == 1
    assert found["grim-against-once"]["forgives"].pooled == 0 and found["allc-alld"]["provoked"].pooled == 0
    assert found["alld-alld"]["nice"].pooled == 0 and found["tft-against-once"]["nice"].pooled == 1
    assert found["turns"]["alternates"].pooled == 1 and found["alld-alld"]["alternates"].pooled == 0
    assert math.isnan(found["alld-alld"]["exploits"].pooled)
    late = behaviour(torch.tensor([[0] * 8 + [2, 2]], dtype=torch.int8))
    assert late["late"].pooled == 1 and late["middle"].pooled == 0 and late["exploits"].pooled == 0.2


def test_rates_are_pooled_over_matches_not_averaged():
    rate = Rate(torch.tensor([1, 0, 3]), torch.tensor([1, 0, 9]))
    assert rate.pooled == 0.4 and rate.each.tolist()[::2] == [1, 3 / 9] and math.isnan(rate.each[1])


def test_cooperation_counts_only_where_it_is_defined():
    """Of the 144 games twelve are symmetric; there the column player's action may be numbered the other way."""
    payoffs = torch.stack([*(game.payoffs for game in ordinal_games()), PD_8])
    actions = cooperative(payoffs)
    history = torch.full((145, 10), 1, dtype=torch.int8)
    found = behaviour(history, actions)
    defined = actions[:, 0] >= 0
    assert defined.sum() == 13 and (found["cooperation"].of == torch.where(defined, 10, 0)).all() and found["nice"].of.sum() == 13
    assert (found["cooperation"].count[defined] == torch.where(actions[defined, 0] == 0, 10, 0)).all()


# ---- wording ---------------------------------------------------------------------------------------------------------


def test_players_who_follow_words_alone_are_found():
    labels = torch.tensor([[9, 5], [5, 9]] * 20)  # J F, F J
    lover = (labels[:, 1] == 9).long()[:, None].expand(-1, 10)  # always J, whatever it names
    assert label_bias(lover, labels, 9) == 0.5 and label_bias(lover, labels, 5) == -0.5
    assert label_bias(torch.zeros(40, 10), labels, 9) == 0 and math.isnan(label_bias(lover, labels, 0))
    order = torch.arange(10).remainder(2).expand(40, -1)
    assert order_bias(order, order) == 0.5 and order_bias(1 - order, order) == -0.5 and order_bias(torch.ones(40, 10), order) == 0
    framing = torch.arange(40) % 4
    assert framing_sensitivity((framing == 2).long()[:, None].expand(-1, 10), framing) == 1
    assert framing_sensitivity(torch.zeros(40, 10), framing) == 0


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(-0.4, 0.4))
def test_biases_are_those_put_in(seed, p, bias):
    """P(action 0) = p; the first option, or a letter, adds `bias` to the probability of what it names."""
    rng = np.random.default_rng(seed)
    low, high = abs(bias), 1 - abs(bias)
    p = low + p * (high - low)
    order, swapped = rng.integers(0, 2, (400, 50)), rng.integers(0, 2, 400)
    own = (rng.random((400, 50)) >= np.where(order == 0, p + bias, p - bias)).astype(int)
    assert order_bias(torch.from_numpy(own), torch.from_numpy(order)) == pytest.approx(bias, abs=0.025)
    own = (rng.random((400, 50)) >= np.where(swapped == 0, p + bias, p - bias)[:, None]).astype(int)
    labels = torch.from_numpy(np.where(swapped[:, None] == 0, [9, 5], [5, 9]))
    assert label_bias(torch.from_numpy(own), labels, 9) == pytest.approx(bias, abs=0.025)


@here
def test_recorded_gpt4_is_unforgiving_and_hardly_minds_words():
    pd = load_matches(DATA, "pd")
    index = {name: behaviour(torch.from_numpy(pd.between(name, "defect-once").history))["unforgiving"].pooled for name in ("gpt4", "gpt3", "llama2")}
    assert index == {"gpt4": 1.0, "gpt3": 0.0, "llama2": 0.0}
    parts = [load_matches(DATA, f"pd-{framing}") for framing in ("project", "cooking", "game")]
    framing = torch.tensor([k for k, part in enumerate(parts) for _ in range(len(part))])
    own = torch.from_numpy(joined(parts).history) >> 1
    assert 0 < framing_sensitivity(own, framing) < 0.2
    played = load_matches(DATA, "experiments")
    found = {}
    for name in ("gpt4", "llama2"):
        mine = played.row == name
        found[name] = order_bias(torch.from_numpy(played.history[mine] >> 1), torch.from_numpy(played.order[mine]))
    assert all(abs(bias) < 0.03 for bias in found.values())  # gpt4 -.008, llama2 .021
