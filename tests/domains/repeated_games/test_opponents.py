"""The strategies: known totals head to head, their rules in every kind of game, and Axelrod-Python's own players move by move."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arena.errors import ArenaError
from domains.repeated_games.automata import Strategy, Table, recorded, tabulate
from domains.repeated_games.games import BOS_10, PD_5, PD_8, bimatrix, ordinal_games
from domains.repeated_games.opponents import ANY_GAME, CLASSICS, RULES, library, table, views

ROUNDS = 200
# strategy -> (class of Axelrod-Python, its parameters, whether it follows its own hand as ours does when that trembles)
PEERS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "allc": ("Cooperator", {}, True),
    "alld": ("Defector", {}, True),
    "random": ("Random", {}, True),
    "alternator": ("Alternator", {}, True),
    "alternator-d": ("CyclerDC", {}, False),  # counts rounds
    "tft": ("TitForTat", {}, True),
    "stft": ("SuspiciousTitForTat", {}, True),
    "gtft": ("GTFT", {}, True),
    "wsls": ("WinStayLoseShift", {}, True),
    "reverse-tft": ("Bully", {}, True),
    "joss": ("FirstByJoss", {}, True),
    "grim": ("Grudger", {}, True),
    "tf2t": ("TitFor2Tats", {}, True),
    "2tft": ("TwoTitsForTat", {}, True),
    "hard-tft": ("HardTitForTat", {}, True),
    "soft-majority": ("GoByMajority", {}, True),
    "hard-majority": ("HardGoByMajority", {}, True),
    "naive-prober-0.1": ("NaiveProber", {"p": 0.1}, True),
    "naive-prober-0.2": ("NaiveProber", {"p": 0.2}, True),
    "contrite-tft": ("ContriteTitForTat", {}, True),
    "gradual": ("Gradual", {}, True),
    "adaptive": ("Adaptive", {}, True),
    "prober": ("Prober", {}, True),
    "tullock": ("FirstByTullock", {}, True),
    "firm-but-fair": ("FirmButFair", {}, True),
    "zd-extort-2": ("ZDExtort2", {}, True),
    "zd-gtft-2": ("ZDGTFT2", {}, True),
    "equalizer": ("ZDSet2", {}, True),
}


def view_of(payoffs: torch.Tensor) -> Any:
    return views(payoffs[None])[0]


def walked(found: Table, other: list[int], luck: list[float], slips: list[bool]) -> list[int]:
    """What an automaton does against recorded actions, its own hand trembling now and then."""
    state, done = 0, []
    for action, u, slip in zip(other, luck, slips, strict=True):
        own = int(u >= found.play[state]) ^ slip
        done.append(own)
        state = int(found.after[state, 2 * own + action])
    return done


def played(first: str, second: str, payoffs: torch.Tensor = PD_8, rounds: int = 10) -> tuple[float, float]:
    """Totals of two deterministic strategies."""
    mirrored = payoffs.transpose(0, 1).flip(-1)
    tables = [table(name, view_of(game), rounds) for name, game in ((first, payoffs), (second, mirrored))]
    states, total = [0, 0], torch.zeros(2, dtype=torch.float64)
    for _ in range(rounds):
        a, b = (int(0.5 >= found.play[state]) for found, state in zip(tables, states, strict=True))
        total += payoffs[a, b]
        states = [int(tables[0].after[states[0], 2 * a + b]), int(tables[1].after[states[1], 2 * b + a])]
    return float(total[0]), float(total[1])


# ---- known totals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "totals"),
    [
        ("tft", "tft", (80, 80)),
        ("tft", "alld", (45, 55)),
        ("tft", "stft", (50, 50)),
        ("allc", "alld", (0, 100)),
        ("grim", "defect-once", (90, 10)),
        ("wsls", "alld", (25, 75)),
        ("alternator", "tft", (58, 48)),
        ("tft", "released-htft", (45, 55)),
        ("defect-last", "allc", (82, 72)),
    ],
)
def test_head_to_head_in_the_prisoners_dilemma(first: str, second: str, totals: tuple[float, float]) -> None:
    assert played(first, second) == totals and played(second, first) == totals[::-1]


def test_extortion_takes_twice_the_surplus_in_the_long_run() -> None:
    extort = table("zd-extort-2", view_of(PD_5), ROUNDS)
    assert extort.play[extort.after[0]].tolist() == pytest.approx([8 / 9, 1 / 2, 1 / 3, 0])
    rng = np.random.default_rng(0)
    for other in rng.uniform(0.05, 0.95, (20, 4)):
        p = np.array([extort.play[extort.after[0, code]] for code in range(4)])  # after CC, CD, DC, DD of its own
        q = other[[0, 2, 1, 3]]
        chain = np.stack([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)], 1)
        law = np.linalg.matrix_power(chain, 4096)[0]
        mine, theirs = law @ PD_5.reshape(4, 2).numpy()
        assert mine - 1 == pytest.approx(2 * (theirs - 1), abs=1e-9)


def test_the_equalizer_fixes_what_the_other_earns() -> None:
    found = table("equalizer", view_of(PD_5), ROUNDS)
    p = np.array([found.play[found.after[0, code]] for code in range(4)])
    paid = []
    for q in np.random.default_rng(1).uniform(0.05, 0.95, (10, 4)):
        swapped = q[[0, 2, 1, 3]]
        chain = np.stack([p * swapped, p * (1 - swapped), (1 - p) * swapped, (1 - p) * (1 - swapped)], 1)
        paid.append(float(np.linalg.matrix_power(chain, 4096)[0] @ PD_5[..., 1].flatten().numpy()))
    assert paid == pytest.approx([2.0] * 10, abs=1e-9)


def test_generosity_is_a_third_in_axelrods_game() -> None:
    found = table("gtft", view_of(PD_5), ROUNDS)
    assert found.play[found.after[0]].tolist() == pytest.approx([1, 1 / 3, 1, 1 / 3])


# ---- players of any game -----------------------------------------------------------------------------------------------


def test_what_the_players_of_any_game_do_in_known_games() -> None:
    always = [0] * 10
    luck, still = [0.5] * 10, [False] * 10

    def actions(name: str, payoffs: torch.Tensor, other: list[int]) -> str:
        return "".join("JF"[a] for a in walked(table(name, view_of(payoffs), 10), other, luck, still))

    assert actions("bully", PD_8, always) == actions("nash", PD_8, always) == actions("maximin", PD_8, always) == "F" * 10
    assert actions("myopic", BOS_10, [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]) == "JJJFFJJFFJ"
    assert actions("fictitious-play", BOS_10, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]) == "JFFFFJJJJJ", "1:1, then 1:2 .. 1:4, 2:4, 3:4 against 10:7"
    assert actions("reciprocator", PD_8, [0, 1, 1, 1, 0, 0, 1, 0, 0, 0]) == "JJFFJJJFFJ"
    assert actions("grim-efficient", PD_8, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]) == "JJJ" + "F" * 7
    assert actions("bully", BOS_10, always) == actions("nash", BOS_10, always) == actions("grim-efficient", BOS_10, always) == "J" * 10


def test_hedge_weighs_what_each_action_would_have_earned() -> None:
    found = table("hedge", view_of(PD_8), 10)
    eta = math.sqrt(8 * math.log(2) / 10) / 10
    after_a_j = found.play[found.after[0, 0]]
    assert found.play[0] == 0.5 and after_a_j == pytest.approx(1 / (1 + math.exp(2 * eta))), "F would have earned 2 more"
    assert found.after[0, 0] == found.after[0, 2], "what it did itself is not learned from"


def test_without_a_pure_equilibrium_nash_mixes() -> None:
    pennies = bimatrix((1, 0, 0, 1), (0, 1, 1, 0))
    assert table("nash", view_of(pennies), 10).play.tolist() == [0.5] and table("maximin", view_of(pennies), 10).play.tolist() == [0.5]


@pytest.mark.parametrize("name", ANY_GAME)
def test_every_general_player_plays_every_ordinal_game(name: str) -> None:
    found = library([(name, game.payoffs) for game in ordinal_games()], 10)
    assert len(found.tables) == 144 and all(1 <= len(one) <= 55 for one in found.tables)


# ---- automata ----------------------------------------------------------------------------------------------------------


@given(st.sampled_from(CLASSICS), st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=20, max_size=20))
def test_tables_follow_the_rules(name: str, moves: list[tuple[int, int]]) -> None:
    rule, found = RULES[name](view_of(PD_5), 20), table(name, view_of(PD_5), 20)
    state, number = rule.start, 0
    for own, other in moves:
        assert found.play[number] == rule.play(state)
        state, number = rule.after(state, own, other), int(found.after[number, 2 * own + other])


@given(st.lists(st.integers(0, 1), min_size=31, max_size=31), st.lists(st.integers(0, 1), min_size=5, max_size=5))
def test_a_recorded_player_is_its_table(moves: list[int], other: list[int]) -> None:
    done = walked(recorded(np.array(moves, np.uint8)), other, [0.5] * 5, [False] * 5)
    assert done == [moves[(1 << t) - 1 + int("".join(map(str, other[:t])) or "0", 2)] for t in range(5)]


@pytest.mark.parametrize("moves", [np.zeros(30), np.zeros((3, 1)), np.array([0, 1, 2])])
def test_what_is_no_table_of_a_recorded_player_is_refused(moves: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ArenaError, match="recorded player") as error:
        recorded(moves)
    assert error.value.code == "strategy.table"


@pytest.mark.parametrize(
    ("name", "payoffs", "parameters", "code", "said"),
    [
        ("memory-one", PD_8, {"vector": [1, 0, 1]}, "strategy.memory_one", "3 probabilities"),
        ("memory-one", PD_8, {"vector": [1, 0, 1, 1.5]}, "strategy.memory_one", "1.5 is no probability"),
        ("memory-one", PD_8, {"first": math.nan}, "strategy.memory_one", "nan is no probability"),
        ("naive-prober-0.1", PD_8, {"p": 2}, "strategy.memory_one", "p = 2 is no probability"),
        ("zd-extort-2", PD_5, {"phi": 0.2}, "strategy.extortion", "0 < phi <= 0.111111"),
        ("zd-extort-2", PD_5, {"chi": 0.5}, "strategy.extortion", "at least 1"),
        ("zd-extort-2", PD_5, {"chi": math.nan}, "strategy.extortion", "chi = nan"),
        ("gtft", BOS_10, {}, "game.dilemma", "T > R > P > S"),
        ("titfortat", PD_8, {}, "unknown.strategy", "titfortat"),
    ],
)
def test_bad_strategies_say_what_is_allowed(name: str, payoffs: torch.Tensor, parameters: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(ArenaError) as error:
        table(name, view_of(payoffs), 10, **parameters)
    assert error.value.code == code and said in str(error.value)


def test_an_automaton_with_an_impossible_probability_is_refused() -> None:
    with pytest.raises(ArenaError, match="probability 1.2"):
        tabulate(Strategy(0, lambda state: 1.2, lambda state, own, other: 0), 3)


# ---- the peer ----------------------------------------------------------------------------------------------------------


class Given:
    """Axelrod's source of luck, fed with our uniforms; `action`: its two actions."""

    def __init__(self, luck: list[float], action: Any) -> None:
        self.luck, self.t, self.action = luck, 0, action

    def random(self) -> float:
        return self.luck[self.t]

    def random_choice(self, p: float) -> Any:
        return self.action.C if self.luck[self.t] < p else self.action.D


@pytest.mark.parametrize("name", PEERS)
def test_axelrods_players_play_the_same_move_by_move(name: str) -> None:
    axelrod = pytest.importorskip("axelrod", reason="the peer is not installed: pip install axelrod==4.14.0")
    kind, parameters, trembles = PEERS[name]
    found, rng = table(name, view_of(PD_5), ROUNDS), np.random.default_rng(7)
    for match in range(12):
        other = (rng.random(ROUNDS) < (0.1, 0.5, 0.9)[match % 3]).astype(int).tolist()
        luck = rng.random(ROUNDS).tolist()
        slips = (rng.random(ROUNDS) < (0.1 if trembles and match >= 6 else 0.0)).tolist()
        player, opponent = getattr(axelrod, kind)(**parameters), axelrod.Cooperator()
        player.set_match_attributes(length=ROUNDS, game=axelrod.Game(), noise=0)
        player._random = given_luck = Given(luck, axelrod.Action)
        done = []
        for t in range(ROUNDS):
            given_luck.t = t
            meant = player.strategy(opponent)
            action = meant.flip() if slips[t] else meant
            done.append(0 if action is axelrod.Action.C else 1)
            reply = axelrod.Action.D if other[t] else axelrod.Action.C
            player.update_history(action, reply)
            opponent.update_history(reply, action)
        assert walked(found, other, luck, slips) == done, f"{name}, match {match}"
