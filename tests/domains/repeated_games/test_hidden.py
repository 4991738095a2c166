"""The optimum against a hidden opponent: published figures, its rule played in the kernel, enumeration of all rules where possible."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from arena import registry
from arena.errors import ArenaError
from arena.task import Task
from domains.repeated_games.games import BOS_10, PD_8, ordinal_games
from domains.repeated_games.hidden import Optimum, optima, task_optima
from domains.repeated_games.kernel import Matches, RepeatedGame
from domains.repeated_games.opponents import ANY_GAME
from domains.repeated_games.references import values
from domains.repeated_games.scenarios import Pairing, matches, opponents


def tiny() -> Task:
    return registry.task("repeated_games/tiny-v1")


def played(domain: RepeatedGame, scenario: Matches, optimum: Optimum) -> Tensor:
    """[K] own totals of the optimum's rule in its matches, through the kernel's observations."""
    scenario = scenario[optimum.rows]
    state = domain.reset(scenario)
    own, other = (torch.zeros(len(optimum.rows), dtype=torch.int64) for _ in range(2))
    for t in range(domain.horizon):
        state, _ = domain.step(scenario, state, optimum.plays[t][own, other].long())
        seen = domain.observe(scenario, state)
        own, other = (2 * code + seen[name][:, t] for code, name in ((own, "own"), (other, "other")))
    return state.totals[:, 0]


def test_rg_tiny_has_the_published_optima():
    found = {tuple(map(tuple, optimum.payoffs[..., 0].tolist())): optimum for optimum in task_optima(tiny())}
    assert set(found) == {((8, 0), (10, 5)), ((10, 0), (0, 7)), ((7, 0), (0, 10))}
    assert found[(8, 0), (10, 5)].value == pytest.approx(0.8924, abs=5e-5)
    assert found[(10, 0), (0, 7)].value == pytest.approx(0.8582, abs=5e-5)  # battle of the sexes, row seat
    assert found[(7, 0), (0, 10)].value == pytest.approx(0.8158, abs=5e-5)  # column seat
    assert sorted(len(optimum.rows) for optimum in found.values()) == [5, 5, 10]  # both seats of the dilemma are one game to a player


@pytest.mark.parametrize("name", ["tiny", "llm-small"])
def test_the_rule_earns_in_the_kernel_what_the_optimum_says(name: str):
    task = registry.task(f"repeated_games/{name}-v1")
    low, high = (torch.from_numpy(task.vectors[which]) for which in ("ref0", "ref1"))
    for optimum in task_optima(task):
        scores = (played(task.domain, task.scenarios, optimum) - low[optimum.rows]) / (high - low)[optimum.rows]
        assert float(scores.mean()) == pytest.approx(optimum.value, abs=1e-12)
        assert float(scores.max()) <= 1 + 1e-12


def test_always_defecting_is_a_long_way_from_it():
    task = tiny()
    dilemma = next(optimum for optimum in task_optima(task) if optimum.payoffs[0, 0, 0] == 8)
    scenario = task.scenarios[dilemma.rows]
    state = task.domain.reset(scenario)
    for _ in range(10):
        state, _ = task.domain.step(scenario, state, torch.ones(len(dilemma.rows), dtype=torch.int64))
    low, high = (torch.from_numpy(task.vectors[which])[dilemma.rows] for which in ("ref0", "ref1"))
    assert float(((state.totals[:, 0] - low) / (high - low)).mean()) == pytest.approx(0.7459, abs=5e-5)


@pytest.mark.parametrize("payoffs", [PD_8, BOS_10, ordinal_games()[57].payoffs])
def test_no_rule_of_two_rounds_does_better(payoffs: Tensor):
    """All 32 rules of a match of two rounds, an action for every joint history, against opponents with luck among them."""
    pairings = [Pairing(payoffs, name) for name in (*ANY_GAME, "tft", "defect-once")]
    library, index = opponents(pairings, 2)
    domain, scenario = RepeatedGame(2, library), matches(pairings, index, 2, range(len(pairings)))
    zero = torch.zeros(len(pairings), dtype=torch.float64)
    (found,) = optima(domain, scenario, zero, zero + 1)
    rules = torch.tensor(list(product((0, 1), repeat=5))).repeat_interleave(len(pairings), 0)  # first action, then one per joint action
    scenario = scenario[torch.arange(len(rules)) % len(pairings)]
    state, _ = domain.step(scenario, domain.reset(scenario), rules[:, 0])
    state, _ = domain.step(scenario, state, rules.gather(1, 1 + state.history[:, :1].long())[:, 0])
    means = state.totals[:, 0].view(32, -1).mean(1)
    assert found.value == pytest.approx(float(means.max()), abs=1e-12) and float(means.min()) < float(means.max())


def test_one_opponent_is_not_hidden():
    """Against a single match the optimum is the best response, whatever the luck."""
    task = registry.task("repeated_games/144-v1")
    scenario = task.scenarios[::288]
    low, high = values(task.domain, scenario)
    for row in range(len(scenario)):
        (found,) = optima(task.domain, scenario[[row]], low[[row]], high[[row]])
        assert found.value == pytest.approx(1.0, abs=1e-12)


def test_long_matches_and_trembling_hands_are_refused():
    with pytest.raises(ArenaError, match="200 rounds") as refused:
        task_optima(registry.task("repeated_games/axelrod-v1"))
    assert refused.value.code == "game.hidden"
    pairings = [Pairing(PD_8, "tft", tremble=1.0)]
    library, index = opponents(pairings, 4)
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ArenaError, match="tremble"):
        optima(RepeatedGame(4, library), matches(pairings, index, 4, [0]), 0 * one, one)
