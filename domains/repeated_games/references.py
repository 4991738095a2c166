"""The 0 and the 1: uniform random play, and the best response of one who knows the opponent and all its luck.

Both are exact for every automaton, by dynamic programming over (round, state): with the scenario's uniforms and trembles given, the
opponent's action in a state is known, so a match is a deterministic decision problem. In cross-play: what each can make sure of alone, and its
part of the Nash bargain over T rounds.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from arena.task import Task, Vector
from domains.repeated_games.equilibria import bargain, securities, seen_from
from domains.repeated_games.kernel import CrossPlay, Matches, RepeatedGame

CELLS = 2_000_000  # values at most that are worked on at once


@torch.no_grad()
def values(domain: RepeatedGame, scenario: Matches) -> tuple[Tensor, Tensor]:
    """([B], [B]) float64: the candidate's expected total of uniform random play, and of the best response."""
    random, best = (scenario.payoffs.new_zeros(len(scenario.seat)) for _ in range(2))
    alike = defaultdict(list)  # rows by the number of states of their opponent
    for row, place in enumerate(scenario.opponent.tolist()):
        alike[len(domain.opponents.tables[place])].append(row)
    for states, rows in alike.items():
        size = max(1, CELLS // states)
        for start in range(0, len(rows), size):
            part = torch.tensor(rows[start : start + size])
            random[part], best[part] = _backwards(domain, scenario[part])
    return random, best


def _backwards(domain: RepeatedGame, scenario: Matches) -> tuple[Tensor, Tensor]:
    """`values` of matches whose opponents have equally many states S."""
    tables = [domain.opponents.tables[place] for place in scenario.opponent.tolist()]
    play = torch.from_numpy(np.stack([table.play for table in tables]))  # [B, S]
    after = torch.from_numpy(np.stack([table.after for table in tables])).long()  # [B, S, 4]
    reach = np.max([table.reach for table in tables], 0)
    own = seen_from(scenario.payoffs, scenario.seat)[..., 0]
    rows = torch.arange(len(tables))[:, None]
    random, best = torch.zeros_like(play), torch.zeros_like(play)
    for t in reversed(range(domain.horizon)):
        within = int(reach[t])
        other = (scenario.luck[:, t, None] >= play[:, :within]).long()
        if scenario.slip.shape[1]:
            other = other ^ scenario.slip[:, t].gather(1, 1 - scenario.seat[:, None]).long()
        # the candidate's hand that trembles plays the other action: the two that are possible are the same, and so are their mean and the better one
        then = [after[:, :within].gather(2, (2 * other + action)[..., None])[..., 0] for action in (0, 1)]
        paid = [own[rows, action, other] for action in (0, 1)]
        random = (paid[0] + random.gather(1, then[0]) + paid[1] + random.gather(1, then[1])) / 2
        best = torch.maximum(paid[0] + best.gather(1, then[0]), paid[1] + best.gather(1, then[1]))
    return random[:, 0], best[:, 0]


def references(task: Task) -> dict[str, Vector]:
    """0 is the expected total of uniform random play, 1 the best response; both against that opponent, with its uniforms and trembles."""
    domain, scenario = task.domain, task.scenarios
    assert isinstance(domain, RepeatedGame) and isinstance(scenario, Matches)
    random, best = values(domain, scenario)
    return {"ref0": random.numpy(), "ref1": best.numpy()}


def cross_references(task: Task) -> dict[str, Vector]:
    """0 is rounds * minmax value of the own matrix, 1 the own points at the Nash bargain over all rounds (ref0, ref1: row; ref0_column, ...)."""
    scenario = task.scenarios
    assert isinstance(scenario, Matches)
    low, high = anchors(scenario.payoffs, task.domain.horizon)
    row, column = ({f"ref0{end}": low[:, k].numpy(), f"ref1{end}": high[:, k].numpy()} for k, end in enumerate(("", "_column")))
    return {**row, **column}


def anchors(payoffs: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """[..., 2] points of (row, column) at 0 and at 1 of cross-play."""
    return rounds * securities(payoffs), bargain(payoffs, rounds)


def cross_play(payoffs: Tensor, rounds: int) -> CrossPlay:
    """The domain of these games [B, 2, 2, 2]: scores over the mean gap of each role, as single gaps may be 0."""
    low, high = anchors(payoffs, rounds)
    row, column = (high - low).mean(0).tolist()
    return CrossPlay(rounds, (row, column))
