"""The most that a player who is not told its opponent can score: the exact optimum over all rules that see what an observation shows.

The matches of one game differ in the opponent alone, so such a rule is one action for every joint history. With the luck of each match given, an
opponent's answers follow from the player's actions: enumerate the 2^T sequences of own actions, lay down the score of every match at (own
sequence, opponent's sequence), and go back: over an opponent's action sum up (it is not chosen), over an own one take the better.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arena.errors import ArenaError
from arena.task import Task
from domains.repeated_games.equilibria import seen_from
from domains.repeated_games.kernel import Matches, RepeatedGame

LONGEST = 12  # rounds: the table of joint histories has 4^T entries


@dataclass(frozen=True)
class Optimum:
    """The best a rule can do in one game against the opponents of some matches, each as likely.

    payoffs: [2, 2, 2] from the player's view; rows: [K] the matches; value: mean score over them, plays: [t] -> [2^t, 2^t] int8, the best
    action by (own, opponent's) actions so far, oldest first as the most significant bit (0 where no match gets there)
    """

    payoffs: Tensor
    rows: Tensor
    value: float
    plays: tuple[Tensor, ...]


def task_optima(task: Task) -> list[Optimum]:
    """One per game of the task's scenarios, by the score they are judged by: (return - ref0) / (ref1 - ref0).

    The mean over all scenarios of these values bounds the mean score of every agent, in expectation where it plays at random. Raises as `optima`.
    """
    domain, scenario = task.domain, task.scenarios
    assert isinstance(domain, RepeatedGame) and isinstance(scenario, Matches)
    low, high = (torch.from_numpy(task.vectors[name]) for name in ("ref0", "ref1"))
    return optima(domain, scenario, low, high)


@torch.no_grad()
def optima(domain: RepeatedGame, scenario: Matches, low: Tensor, high: Tensor) -> list[Optimum]:
    """One per game, as its player sees it, in order of payoffs; low, high: [B] totals that count as 0 and as 1.

    Raises ArenaError `game.hidden` where hands tremble (what is played then is not what was chosen) and for long matches.
    """
    if domain.horizon > LONGEST or scenario.slip.any():
        given = f"{domain.horizon} rounds" if domain.horizon > LONGEST else "hands that tremble"
        raise ArenaError("game.hidden", f"no optimum over joint histories for {given}", f"choose matches of at most {LONGEST} rounds without tremble")
    payoffs = seen_from(scenario.payoffs, scenario.seat)
    games, place = torch.unique(payoffs.flatten(1), dim=0, return_inverse=True)
    found = []
    for game, own in enumerate(games.view(-1, 2, 2, 2)):
        rows = (place == game).nonzero()[:, 0]
        answers, totals = _enumerated(domain, scenario[rows], own)
        scores = (totals - low[rows, None]) / (high - low)[rows, None]
        found.append(Optimum(own, rows, *_backwards(answers, scores / len(rows), domain.horizon)))
    return found


def _enumerated(domain: RepeatedGame, scenario: Matches, own: Tensor) -> tuple[Tensor, Tensor]:
    """[K, 2^T] the opponent's actions, as bits, and own totals under every sequence of own actions."""
    library, rows, rounds = domain.opponents, len(scenario.seat), domain.horizon
    state = library.start[scenario.opponent][:, None]
    answers, totals = torch.zeros(rows, 1, dtype=torch.int64), torch.zeros(rows, 1, dtype=torch.float64)
    for t in range(rounds):
        other = (scenario.luck[:, t, None] >= library.play[state]).long()
        branches = [(library.after[4 * state + 2 * other + action].long(), totals + own[action, :, 0][other]) for action in (0, 1)]
        state, totals = (torch.stack(both, 2).flatten(1) for both in zip(*branches, strict=True))
        answers = (2 * answers + other).repeat_interleave(2, 1)
    return answers, totals


def _backwards(answers: Tensor, scores: Tensor, rounds: int) -> tuple[float, tuple[Tensor, ...]]:
    """Value and plays; answers, scores: [K, 2^T]."""
    table = torch.zeros(2**rounds, 2**rounds, dtype=torch.float64)
    for answer, score in zip(answers, scores, strict=True):  # one entry per row each: nothing to sum within a match
        table[torch.arange(len(table)), answer] += score
    plays = []
    for t in reversed(range(rounds)):
        worth = table.view(2**t, 2, 2**t, 2).sum(3)  # [own so far, own action, opponent's so far]
        table, best = worth.max(1)
        plays.append(best.to(torch.int8))
    return float(table), tuple(reversed(plays))
