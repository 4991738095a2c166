"""Strategies as agents: the same players as the tasks' opponents, from the observation alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.repeated_games import AGENTS
from agents.repeated_games.strategies import Strategist
from arena import registry
from arena.agent import Agent, Brief
from arena.contract import check_agent
from arena.errors import ArenaError
from arena.rollout import players, rollout
from arena.task import Task, TaskView
from domains.repeated_games.games import BOS_10, PD_5, PD_8, bimatrix
from domains.repeated_games.kernel import CrossPlay, RepeatedGame
from domains.repeated_games.opponents import CLASSICS, RULES, table, views
from domains.repeated_games.scenarios import Pairing, matches, opponents

STRATEGIES = [spec for spec in AGENTS if spec.target.endswith(":Strategist")]
STEADY = [name for name in CLASSICS if table(name, views(PD_5[None])[0], 200).sure]


def view(domain: Any) -> TaskView:
    def nothing(split: str, indices: Any) -> Any:
        raise NotImplementedError

    return TaskView("repeated_games/trial", domain, {}, nothing)


def met(row: Agent, column: Agent, payoffs: torch.Tensor = PD_8, rounds: int = 10) -> tuple[float, float]:
    """Totals of two agents."""
    domain = CrossPlay(rounds, (1.0, 1.0))
    lineup = players(domain, {"row": row, "column": column})
    found = rollout(domain, matches([Pairing(payoffs)], [-1], rounds, [0]), lineup, task=view(domain), ids=torch.arange(1))
    assert not found.failures, found.failures
    return float(found.metrics["return_row"][0]), float(found.metrics["return_column"][0])


def earned(task: Task, agent: Agent, rows: slice = slice(None)) -> np.ndarray[Any, Any]:
    """[n] the candidate's totals."""
    scenario = task.scenarios[rows]
    found = rollout(task.domain, scenario, players(task.domain, {"player": agent}), task=task.view, ids=torch.arange(task.n)[rows])
    assert not found.failures, found.failures
    return found.metrics["return"]


def test_every_strategy_is_an_agent_and_every_agent_a_strategy() -> None:
    assert {spec.parameters["strategy"] for spec in STRATEGIES} == set(RULES) - {"random"} == {spec.name for spec in STRATEGIES}
    assert "random" in registry.agents(), "uniform random play is the platform's"


@pytest.mark.parametrize("spec", STRATEGIES, ids=lambda spec: spec.name)
def test_agents_keep_the_contract(spec: Any) -> None:
    task = registry.task("repeated_games/tiny-v1" if spec.plays("repeated_games/tiny-v1") else "repeated_games/pd-unforgiving-v1")
    report = check_agent(registry.candidate(spec.name).make, task)
    assert report.ok, report.checks


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
        ("tft", "tf2t", (80, 80)),
        ("tft", "reverse-tft", (51, 61)),
        ("tft", "released-htft", (45, 55)),
    ],
)
def test_known_totals_of_the_prisoners_dilemma(first: str, second: str, totals: tuple[float, float]) -> None:
    assert met(Strategist(first), Strategist(second)) == totals


@pytest.mark.parametrize("other", ["gradual", "wsls"])
def test_an_agent_plays_as_the_opponent_of_that_name(other: str) -> None:
    library, index = opponents([Pairing(PD_5, name) for name in STEADY], 16)
    domain, scenario = RepeatedGame(16, library), matches([Pairing(PD_5, name) for name in STEADY], index, 16, range(len(STEADY)))
    lineup = players(domain, {"player": Strategist(other)})
    mine = rollout(domain, scenario, lineup, task=view(domain), ids=torch.arange(len(STEADY))).metrics
    totals = [met(Strategist(other), Strategist(name), PD_5, 16) for name in STEADY]
    assert totals == list(zip(mine["return"].tolist(), mine["other_return"].tolist(), strict=True)) and len(STEADY) == 20


def test_players_of_any_game_see_it_from_their_own_seat() -> None:
    assert met(Strategist("nash"), Strategist("nash"), BOS_10) == (0, 0), "each plays for the equilibrium it likes best"
    assert met(Strategist("bully"), Strategist("myopic"), BOS_10) == (90, 63), "it gives in from round 2"
    assert met(Strategist("myopic"), Strategist("bully"), BOS_10) == (63, 90)
    assert met(Strategist("reciprocator"), Strategist("reciprocator")) == (80, 80)
    assert met(Strategist("grim-efficient"), Strategist("defect-last")) == (72, 82)


def test_a_best_reply_to_a_constant_player_earns_the_best_response() -> None:
    task = registry.task("repeated_games/tiny-v1")
    constant = [2, 3, 10, 11, 12, 13]  # alld in both games, allc in the battle of the sexes
    fictitious = earned(task, Strategist("fictitious-play"))
    assert fictitious[[2, 3]].tolist() == [50, 50], "D against who always defects"
    assert (fictitious[constant] <= task.vectors["ref1"][constant]).all() and fictitious[10] == 100 == task.vectors["ref1"][10]


def test_different_games_share_a_batch() -> None:
    task = registry.task("repeated_games/144-v1")
    whole = earned(task, Strategist("fictitious-play"))
    for row in (5, 700, 1727):
        assert earned(task, Strategist("fictitious-play"), slice(row, row + 1))[0] == whole[row]
    assert (whole <= task.vectors["ref1"] + 1e-9).all()


def test_luck_is_the_agents_own() -> None:
    pairings, ids = [Pairing(PD_5, "allc")] * 60, torch.arange(60)
    library, index = opponents(pairings, 40)
    domain, scenario = RepeatedGame(40, library), matches(pairings, index, 40, range(60))
    lineup = players(domain, {"player": registry.candidate("joss").make()})
    runs = [rollout(domain, scenario, lineup, task=view(domain), ids=ids, seed=seed).actions["player"] for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    assert 0.08 < runs[0][1:].mean() < 0.12, "a tenth of its answers to C are D"


def test_parameters_are_those_of_the_rule() -> None:
    plain, given = registry.candidate("zd-extort-2"), registry.candidate("zd-extort-2(chi=3, phi=0.02)")
    assert plain.digest != given.digest and given.make().parameters == {"chi": 3, "phi": 0.02}  # type: ignore[attr-defined]
    reverse = Strategist("memory-one", first=0, vector=[0, 1, 0, 1])
    assert met(Strategist("tft"), reverse) == met(Strategist("tft"), Strategist("reverse-tft"))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("tft(p=1)", "tft: parameter p = 1: extra inputs are not permitted\n  parameters: none"),
        ("zd-extort-2(chi=x)", "parameter chi = 'x'"),
        ("memory-one(vectr=[1, 0, 1, 0])", "parameters: first, vector"),
        ("memory-one(vector=[1, 0, 1])", "3 probabilities"),
        ("memory-one(vector=[1, 0, 1, 2])", "2.0 is no probability"),
        ("zd-extort-2(chi=0.5)", "chi = 0.5"),
        ("zd-extort-2(phi=0.5)", "0 < phi <= 0.333333"),  # of PD-8
        ("naive-prober-0.1(p=3)", "p = 3.0 is no probability"),
    ],
)
def test_parameters_that_are_none_are_refused_before_a_run(reference: str, said: str) -> None:
    with pytest.raises(ArenaError) as error:
        registry.candidate(reference).make().check(registry.task("repeated_games/pd-unforgiving-v1").view)
    assert said in str(error.value)


def test_who_knows_no_such_strategy_says_so() -> None:
    with pytest.raises(ArenaError, match="no strategy is called 'tat'"):
        Strategist("tat")


def test_strategies_of_dilemmas_leave_other_games_alone() -> None:
    assert not registry.candidate("gtft").plays("repeated_games/144-v1") and registry.candidate("gtft").plays("repeated_games/axelrod-v1")
    pennies = bimatrix((1, 0, 0, 1), (0, 1, 1, 0))
    domain = CrossPlay(3, (1.0, 1.0))
    lineup = players(domain, {"row": Strategist("gtft"), "column": Strategist("tft")})
    found = rollout(domain, matches([Pairing(pennies)], [-1], 3, [0]), lineup, task=view(domain), ids=torch.arange(1))
    assert [failure.role for failure in found.failures] == ["row"] and "prisoner's dilemma" in found.failures[0].detail


def test_an_unknown_end_is_refused() -> None:
    domain = CrossPlay(3, (1.0, 1.0))
    scenario = matches([Pairing(PD_8)], [-1], 3, [0])
    seen = {name: tensor[:, 0] for name, tensor in domain.observe(scenario, domain.reset(scenario))["row"].items()}
    agent = Strategist("tft")
    agent.begin(_brief(domain))
    with pytest.raises(ArenaError, match="how many rounds"):
        agent.act({**seen, "rounds": torch.zeros(1, dtype=torch.int64)})


def _brief(domain: CrossPlay) -> Any:
    mode = domain.role("row").modes[0]
    return Brief(view(domain), "row", mode.name, mode.observation_space, mode.action_space, 3, torch.arange(1), torch.device("cpu"), 0)
