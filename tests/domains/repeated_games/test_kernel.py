"""The rounds: against a plain loop, both ways of stepping, both seats, trembling hands; what players see; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from arena import registry
from arena.faces.gymnasium import ArenaEnv
from domains.repeated_games.equilibria import seen_from
from domains.repeated_games.games import BOS_10, PD_5, PD_8, bimatrix, ordinal_games
from domains.repeated_games.kernel import BLOCK, CrossPlay, Match, Matches, RepeatedGame
from domains.repeated_games.metrics import METRICS, cooperative
from domains.repeated_games.opponents import RULES, views
from domains.repeated_games.references import cross_play
from domains.repeated_games.scenarios import Pairing, matches, opponents

NAMES = ("tft", "random", "gradual", "contrite-tft", "hedge", "reciprocator", "alternator", "joss")
GAMES = (PD_8, BOS_10, bimatrix((1, 2, 3, 4), (2, 4, 1, 3)))


def world(pairings: list[Pairing], rounds: int = 10, seed: int = 0) -> tuple[RepeatedGame, Matches]:
    library, index = opponents(pairings, rounds)
    return RepeatedGame(rounds, library), matches(pairings, index, rounds, [seed * 1000 + i for i in range(len(pairings))])


def played(domain: RepeatedGame, scenario: Matches, actions: Tensor) -> tuple[Match, Tensor]:
    """The last state, and rewards [B, T, 2], of actions [B, T]."""
    state, rewards = domain.reset(scenario), []
    for action in actions.unbind(1):
        state, outcome = domain.step(scenario, state, action)
        assert isinstance(outcome.reward, Tensor)
        rewards.append(outcome.reward)
    return state, torch.stack(rewards, 1)


PAIRINGS = st.lists(
    st.builds(Pairing, st.sampled_from(GAMES), st.sampled_from(NAMES), st.integers(0, 1), st.sampled_from([0.0, 0.3])), min_size=1, max_size=6
)


@settings(max_examples=30)
@given(PAIRINGS, st.sampled_from([10, 2 * BLOCK + 3]), st.integers(0, 100))
def test_a_batch_is_many_plain_matches(pairings: list[Pairing], rounds: int, seed: int) -> None:
    domain, scenario = world(pairings, rounds, seed)
    actions = torch.randint(0, 2, (len(pairings), rounds), generator=torch.Generator().manual_seed(seed))
    state, rewards = played(domain, scenario, actions)
    for b, pairing in enumerate(pairings):
        own_view = seen_from(pairing.payoffs[None], torch.tensor([1 - pairing.seat]))
        rule = RULES[pairing.opponent](views(own_view)[0], rounds)
        theirs, total = rule.start, [0.0, 0.0]
        for t in range(rounds):
            meant = [int(actions[b, t]), 0]
            meant[1] = 0 if scenario.luck[b, t] < rule.play(theirs) else 1
            slips = scenario.slip[b, t].tolist() if scenario.slip.shape[1] else [False, False]
            mine, other = meant[0] ^ slips[pairing.seat], meant[1] ^ slips[1 - pairing.seat]
            row, column = (mine, other) if pairing.seat == 0 else (other, mine)
            points = pairing.payoffs[row, column].tolist()
            paid = points if pairing.seat == 0 else points[::-1]
            total = [a + p for a, p in zip(total, paid, strict=True)]
            theirs = rule.after(theirs, other, mine)
            assert int(state.history[b, t]) == 2 * row + column and rewards[b, t].tolist() == paid
        assert state.totals[b].tolist() == total
    assert state.history.shape == (len(pairings), rounds) and bool((state.history >= 0).all())


@settings(max_examples=25)
@given(PAIRINGS, st.integers(0, 100))
def test_the_compiled_round_is_the_round(pairings: list[Pairing], seed: int) -> None:
    domain, scenario = world(pairings, 6, seed)
    one = two = domain.reset(scenario)
    for t in range(6):
        action = torch.randint(0, 2, (len(pairings),), generator=torch.Generator().manual_seed(seed + t))
        (one, a), (two, b) = domain._compiled_step(scenario, one, action), domain._step(scenario, two, action)
        for mine, other in ((one, two), (a, b)):
            theirs = other.tensors()
            assert all(torch.equal(tensor, theirs[name]) and tensor.dtype == theirs[name].dtype for name, tensor in mine.tensors().items())


def test_a_step_changes_nothing_it_was_given() -> None:
    domain, scenario = world([Pairing(PD_8, name, seat, 0.2) for name in NAMES for seat in (0, 1)])
    state = domain.reset(scenario)
    state, _ = domain.step(scenario, state, torch.ones(16, dtype=torch.int64))
    before = {name: tensor.clone() for name, tensor in {**scenario.tensors("scenario"), **state.tensors("state")}.items()}
    after, _ = domain.step(scenario, state, torch.zeros(16, dtype=torch.int64))
    domain.metrics(scenario, after)
    now = {**scenario.tensors("scenario"), **state.tensors("state")}
    assert all(torch.equal(tensor, now[name]) for name, tensor in before.items())
    assert after.history.data_ptr() != state.history.data_ptr() and state.t == 1


def test_a_match_is_the_same_alone_and_among_others() -> None:
    domain, scenario = world([Pairing(PD_5, name, i % 2, 0.1) for i, name in enumerate(NAMES)])
    actions = torch.randint(0, 2, (8, 10), generator=torch.Generator().manual_seed(1))
    whole, _ = played(domain, scenario, actions)
    for row in range(8):
        alone, _ = played(domain, scenario[[row]], actions[[row]])
        assert torch.equal(alone.history[0], whole.history[row]) and torch.equal(alone.totals[0], whole.totals[row])


# ---- what is seen ------------------------------------------------------------------------------------------------------


def test_both_seats_see_the_game_from_their_own_side() -> None:
    domain, scenario = world([Pairing(BOS_10, "alternator", seat, labels="JF", first=1) for seat in (0, 1)])
    state, _ = played(domain, scenario, torch.tensor([[0, 0, 1]] * 2))
    assert state.history[:, :4].tolist() == [[0, 1, 2, -1], [0, 2, 1, -1]]
    seen = domain.observe(scenario, state)
    assert seen["own"][:, :4].tolist() == [[0, 0, 1, -1]] * 2 and seen["other"][:, :4].tolist() == [[0, 1, 0, -1]] * 2
    assert seen["payoffs"][0].tolist() == BOS_10.tolist() and seen["payoffs"][1].tolist() == [[[7, 10], [0, 0]], [[0, 0], [10, 7]]]
    assert seen["round"].tolist() == [3, 3] and seen["rounds"].tolist() == [10, 10] and seen["seat"].tolist() == [0, 1]
    assert seen["labels"].tolist() == [[9, 5]] * 2 and seen["order"].tolist() == [1, 1]
    assert state.totals.tolist() == [[10, 7], [7, 10]]


@pytest.mark.parametrize("mode", ["history", "features"])
def test_nothing_of_the_future_is_seen(mode: str) -> None:
    domain, scenario = world([Pairing(PD_5, name, i % 2, 0.2) for i, name in enumerate(NAMES)])
    other = Matches(**{name: tensor for name, tensor in scenario.tensors().items()})
    actions = torch.randint(0, 2, (8, 10), generator=torch.Generator().manual_seed(2))
    state = domain.reset(scenario)
    for t in range(10):
        luck, slip, order = scenario.luck.clone(), scenario.slip.clone(), scenario.order.clone()
        luck[:, t:], slip[:, t:], order[:, t + 1 :] = 1 - luck[:, t:], ~slip[:, t:], 1 - order[:, t + 1 :]
        other = Matches(**{**scenario.tensors(), "luck": luck, "slip": slip, "order": order})
        chosen = {"player": domain.role("player").mode(mode)}
        here, there = domain.views(scenario, state, chosen)["player"], domain.views(other, state, chosen)["player"]
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())
        state, _ = domain.step(scenario, state, actions[:, t])


def test_features_are_the_last_three_rounds_the_clock_and_the_payoffs() -> None:
    domain, scenario = world([Pairing(BOS_10, "alternator", 1)])
    assert domain.features(scenario, domain.reset(scenario), scenario.seat)["features"][0].tolist()[:14] == [0.0] * 13 + [1.0]
    state, _ = played(domain, scenario, torch.tensor([[1, 0, 1, 1]]))
    found = domain.features(scenario, state, scenario.seat)["features"][0]
    rounds = found[:12].view(3, 4).argmax(1).tolist()
    assert rounds == [3, 2, 1] and found[:12].sum() == 3, "own first, latest first: FF, FJ, JF"
    assert found[12:14].tolist() == pytest.approx([0.4, 1]) and found[14:].tolist() == pytest.approx([0.7, 0, 0, 1, 1, 0, 0, 0.7])
    assert domain.role("player").mode("features").observation_space["features"].contains(found.numpy())


def test_features_reach_back_into_an_older_block() -> None:
    domain, scenario = world([Pairing(PD_8, "alld")], 2 * BLOCK)
    actions = torch.zeros(1, BLOCK + 1, dtype=torch.int64)
    actions[0, BLOCK - 2] = 1
    state, _ = played(domain, scenario, actions)
    assert domain.features(scenario, state, scenario.seat)["features"][0, :12].view(3, 4).argmax(1).tolist() == [1, 1, 3]
    assert len(state.blocks) == 2 and state.blocks[1].shape == (1, BLOCK)


@pytest.mark.parametrize("mode", ["history", "features"])
def test_gymnasium_finds_no_fault(mode: str) -> None:
    env: Any = ArenaEnv("repeated_games/tiny-v1", mode=mode)
    check_env(env, skip_render_check=True)


# ---- trembling hands ---------------------------------------------------------------------------------------------------


def test_a_trembling_hand_is_paid_and_remembered_as_it_played() -> None:
    domain, scenario = world([Pairing(PD_8, "tft", seat, 1.0) for seat in (0, 1)])
    state, rewards = played(domain, scenario, torch.tensor([[0, 1]] * 2))
    seen = domain.observe(scenario, state)
    assert seen["own"][:, :2].tolist() == [[1, 0]] * 2, "it always plays the other action"
    assert seen["other"][:, :2].tolist() == [[1, 0]] * 2, "C was meant first and D came; then D was meant, as D was seen, and C came"
    assert rewards[..., 0].tolist() == [[5, 8]] * 2


def test_a_replay_shows_what_was_played_from_the_players_side() -> None:
    domain, scenario = world([Pairing(BOS_10, "alternator", 1, labels="JF")])
    assert domain.shown(scenario, domain.reset(scenario)) == {}
    state, _ = played(domain, scenario, torch.tensor([[0, 0]]))
    shown = {"round": 2, "own_move": 0, "other_move": 1, "letters": "J F", "own_points": 0, "other_points": 0, "own_total": 7, "other_total": 10}
    assert domain.shown(scenario, state) == shown
    domain, scenario = world([Pairing(PD_8, "tft", 0, 1.0, labels="JF")], BLOCK + 1)
    state, _ = played(domain, scenario, torch.zeros(1, BLOCK + 1, dtype=torch.int64))
    shown = domain.shown(scenario, state)
    assert (shown["round"], shown["own_move"], shown["letters"][0]) == (BLOCK + 1, 1, "F"), "the hand trembles"


# ---- two agents --------------------------------------------------------------------------------------------------------


def test_two_players_are_paid_crosswise_and_see_each_other() -> None:
    pairings = [Pairing(BOS_10), Pairing(PD_8)]
    domain, scenario = CrossPlay(3, (1.0, 1.0)), matches(pairings, [-1, -1], 3, [1, 2])
    assert not scenario.luck.shape[1] and not scenario.slip.shape[1]
    state = domain.reset(scenario)
    for row, column in (([0, 1], [0, 0]), ([1, 1], [0, 1]), ([1, 0], [1, 0])):
        actions = {"row": torch.tensor(row)[:, None], "column": torch.tensor(column)[:, None]}
        state, outcome = domain.step(scenario, state, actions)
    assert outcome.reward["row"].tolist() == [[[7, 10]], [[8, 8]]] and outcome.reward["column"].tolist() == [[[10, 7]], [[8, 8]]]  # type: ignore[index]
    assert outcome.terminated.tolist() == [True, True] and state.totals.tolist() == [[17, 17], [23, 13]]
    shown = domain.shown(scenario[:1], state[:1])
    assert (shown["row_move"], shown["column_move"], shown["row_points"], shown["column_points"], shown["row_total"]) == (1, 1, 7, 10, 17)
    seen = domain.observe(scenario, state)
    assert seen["row"]["own"][:, 0].tolist() == seen["column"]["other"][:, 0].tolist() == [[0, 1, 1], [1, 1, 0]]
    assert seen["column"]["seat"].tolist() == [[1], [1]] and seen["column"]["payoffs"][0, 0].tolist() == [[[7, 10], [0, 0]], [[0, 0], [10, 7]]]
    both = domain.views(scenario, state, {name: domain.role(name).mode("features") for name in ("row", "column")})
    assert both["row"]["features"].shape == (2, 1, 22) and not torch.equal(both["row"]["features"], both["column"]["features"])


def test_scores_of_cross_play_are_0_at_minmax_and_1_at_the_bargain_on_average() -> None:
    payoffs = torch.stack([PD_8, BOS_10])
    domain, scenario = cross_play(payoffs, 10), matches([Pairing(PD_8), Pairing(BOS_10)], [-1, -1], 10, [1, 2])
    state = domain.reset(scenario)
    for t in range(10):
        both = torch.tensor([[0], [t % 2]])
        state, _ = domain.step(scenario, state, {"row": both, "column": both})
    found = domain.metrics(scenario, state)
    assert found["return_row"].tolist() == [80, 85] and found["return_column"].tolist() == [80, 85]
    assert float(found["score_row"].mean()) == pytest.approx(1) and float(found["score_column"].mean()) == pytest.approx(1)


# ---- metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_of_a_match_by_hand() -> None:
    domain, scenario = world([Pairing(PD_8, "tft")])
    actions = torch.tensor([[0, 1, 0, 0, 1, 1, 0, 0, 0, 1]])  # tft plays C C D C C D D C C C
    state, rewards = played(domain, scenario, actions)
    found = {name: float(value) for name, value in domain.metrics(scenario, state).items()}
    assert set(found) == {metric.name for metric in METRICS}
    assert found["return"] == rewards[..., 0].sum() == 8 + 10 + 0 + 8 + 10 + 5 + 0 + 8 + 8 + 10
    assert found["other_return"] == 8 + 0 + 10 + 8 + 0 + 5 + 10 + 8 + 8 + 0
    assert found["paper_score"] == pytest.approx(67 / 100) and found["welfare_share"] == pytest.approx(124 / 160)
    assert found["security_gap"] == 50 - 67 and found["regret"] == 7 * 10 + 3 * 5 - 67
    assert (found["cooperation"], found["cooperation_of"], found["first_move"], found["nice"]) == (6, 10, 1, 0)
    after = {state: (found[f"after_{state}"], found[f"after_{state}_of"]) for state in ("cc", "cd", "dc", "dd")}
    assert after == {"cc": (1, 4), "cd": (2, 2), "dc": (1, 2), "dd": (1, 1)}


def test_cooperation_is_defined_where_a_game_is_symmetric() -> None:
    listed = ordinal_games()
    found = cooperative(torch.stack([game.payoffs for game in listed]))
    assert [bool((pair >= 0).all()) for pair in found] == [game.symmetric for game in listed]
    for game, (a, b) in zip(listed, found.tolist(), strict=True):
        if game.symmetric:
            cells = game.payoffs
            assert cells[a, b, 0] == cells[a, b, 1] > cells[1 - a, 1 - b, 0] == cells[1 - a, 1 - b, 1]
    assert cooperative(torch.stack([PD_8, PD_5, BOS_10])).tolist() == [[0, 0], [0, 0], [-1, -1]], "both diagonal cells of BoS pay nothing"


# ---- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (torch.tensor([0, 2]), r"round 2, player in the column seat: action\[1\] = 2, allowed are 0 and 1"),
        (torch.tensor([-1, 0]), r"action\[0\] = -1"),
        (torch.tensor([0, 1, 1]), "2 integers, one per match"),
        (torch.tensor([0.0, 1.0]), "torch.float32"),
        (torch.tensor([True, False]), "torch.bool"),
    ],
)
@pytest.mark.parametrize("step", ["_step", "_compiled_step"])
def test_what_is_no_action_is_refused(step: str, action: Tensor, said: str) -> None:
    domain, scenario = world([Pairing(PD_8, "tft"), Pairing(PD_8, "tft", seat=1)])
    state, _ = played(domain, scenario, torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match=said):
        getattr(domain, step)(scenario, state, action)


def test_cross_play_says_whose_action_it_refuses() -> None:
    domain, scenario = CrossPlay(3, (1.0, 1.0)), matches([Pairing(PD_8)], [-1], 3, [1])
    good, bad = torch.tensor([[0]]), torch.tensor([[5]])
    with pytest.raises(ValueError, match=r"round 1, column: action\[0\] = 5"):
        domain.step(scenario, domain.reset(scenario), {"row": good, "column": bad})


def test_a_match_has_a_round() -> None:
    for rounds in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=f"{rounds} rounds: a match has at least one"):
            CrossPlay(rounds, (1.0, 1.0))  # type: ignore[arg-type]


def test_a_task_draws_for_faces_by_seed() -> None:
    domain = registry.task("repeated_games/144-v1").domain
    drawn = domain.sample([5, 6, 7])
    assert len(drawn) == 3 and np.array_equal(domain.sample([6]).luck, drawn.luck[1:2])
