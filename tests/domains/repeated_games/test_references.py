"""The anchors against all sequences of actions, played in the kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from arena import registry
from domains.repeated_games.games import PD_5, PD_8
from domains.repeated_games.kernel import Matches, RepeatedGame
from domains.repeated_games.opponents import ANY_GAME, CLASSICS
from domains.repeated_games.references import values
from domains.repeated_games.scenarios import Pairing, matches, opponents


def every_course(domain: RepeatedGame, scenario: Matches) -> tuple[Tensor, Tensor]:
    """([B], [B]) mean and largest total over all 2^T sequences of actions."""
    rounds = domain.horizon
    rows, codes = torch.arange(len(scenario)).repeat_interleave(1 << rounds), torch.arange(1 << rounds).repeat(len(scenario))
    many = scenario[rows]
    state = domain.reset(many)
    for t in range(rounds):
        state, _ = domain.step(many, state, (codes >> t) & 1)
    totals = state.totals[:, 0].view(len(scenario), -1)
    return totals.mean(1), totals.amax(1)


def compared(domain: RepeatedGame, scenario: Matches) -> None:
    for found, known in zip(values(domain, scenario), every_course(domain, scenario), strict=True):
        torch.testing.assert_close(found, known, rtol=1e-12, atol=1e-12)


def test_every_general_opponent_in_some_of_the_144_games() -> None:
    task = registry.task("repeated_games/144-v1")
    rows = torch.arange(0, task.n, 7)  # 7 and 12 have no common factor: every opponent comes
    assert isinstance(task.domain, RepeatedGame) and isinstance(task.scenarios, Matches)
    assert {int(row) % len(ANY_GAME) for row in rows} == set(range(len(ANY_GAME)))
    compared(task.domain, task.scenarios[rows])


@pytest.mark.parametrize("tremble", [0.0, 0.25])
def test_every_classic_opponent_with_steady_and_trembling_hands(tremble: float) -> None:
    pairings = [Pairing(PD_5, name, seat, tremble) for name in CLASSICS for seat in (0, 1)]
    library, index = opponents(pairings, 9)
    compared(RepeatedGame(9, library), matches(pairings, index, 9, range(len(pairings))))


def test_long_matches_against_opponents_one_can_do_the_sums_for() -> None:
    pairings = [Pairing(PD_8, name) for name in ("allc", "alld", "grim", "tft")]
    library, index = opponents(pairings, 200)
    random, best = values(RepeatedGame(200, library), matches(pairings, index, 200, range(4)))
    assert best.tolist() == [2000, 1000, 199 * 8 + 10, 199 * 8 + 10]
    grim = 4 + 5 + sum(0.5**t * 9 + (1 - 0.5**t) * 2.5 for t in range(1, 200))
    assert random.tolist() == pytest.approx([1800, 500, grim, 9 + 199 * 5.75])


def test_best_responses_to_a_sample_of_the_long_task_are_those_frozen() -> None:
    task = registry.task("repeated_games/axelrod-v1")
    gradual = task.config["opponents"].index("gradual")
    rows = torch.arange(3, task.n, 97)
    rows = rows[(rows // 20) % 30 != gradual]  # 20,000 states: left to the freezing
    assert isinstance(task.domain, RepeatedGame) and isinstance(task.scenarios, Matches)
    for found, name in zip(values(task.domain, task.scenarios[rows]), ("ref0", "ref1"), strict=True):
        np.testing.assert_allclose(found.numpy(), task.vectors[name][rows.numpy()], rtol=1e-12)
