"""What a match is measured by. Rates that may be undefined are stored as two counts: what happened, out of how many chances.

Cooperation is defined in symmetric games only: the action of the better cell of the diagonal on which both are paid alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from arena.domain import Metric
from domains.repeated_games.behaviour import behaviour
from domains.repeated_games.equilibria import securities, security

RATES = {  # of behaviour.behaviour; what is out of how many is stored as two counts
    "cooperation": "rounds with the cooperative action",
    "first_move": "first rounds with it",
    "after_cc": "rounds with it after CC (own action first)",
    "after_cd": "rounds with it after CD",
    "after_dc": "rounds with it after DC",
    "after_dd": "rounds with it after DD",
    "nice": "matches in which the player did not defect before the opponent had",
    "unforgiving": "defections in rounds 3 and later against who defected in the first round only",
    "alternates": "pairs of coordinated rounds running that are not twice the same",
}
METRICS = (
    Metric("return", "points", 1, "primary", help="own points, summed over the rounds"),
    Metric("other_return", "points", 0, help="the opponent's points"),
    Metric("paper_score", "of maximum", 1, help="return / (rounds * largest own payoff), the published normalisation; 0 where nothing can be earned"),
    Metric("welfare_share", "of maximum", 1, help="points of both / (rounds * largest joint payoff of a cell); 0 where nothing can be earned"),
    Metric("security_gap", "points", -1, help="rounds * minmax value - return: how much was given away; negative where more was earned"),
    Metric("regret", "points", -1, help="what the best constant action would have earned against the same actions - return"),
    *(Metric(name, "count", 0, help=said) for name, said in RATES.items()),
    *(Metric(f"{name}_of", "count", 0, help=f"how many there could have been: {said}") for name, said in RATES.items()),
)
CROSS_METRICS = (
    Metric("return_row", "points", 1, "primary", help="the row player's points, summed over the rounds"),
    Metric("return_column", "points", 1, help="the column player's points"),
    Metric("score_row", "", 1, help="0: the row player's minmax value, 1: its part of the Nash bargain; over the task's mean gap"),
    Metric("score_column", "", 1, help="the same of the column player"),
    Metric("welfare_share", "of maximum", 1, help="points of both / (rounds * largest joint payoff of a cell)"),
)


def measured(payoffs: Tensor, own: Tensor, other: Tensor, totals: Tensor) -> dict[str, Tensor]:
    """METRICS, [B] float64 each, of the rounds played so far.

    payoffs: [B, 2, 2, 2], own, other: [B, T] actions (-1 = not played) from the candidate's view; totals: [B, 2] points (own, other's)
    """
    rounds, zeros = (own >= 0).sum(1).double(), (other == 0).sum(1).double()
    mine, theirs = totals.unbind(1)
    constant = payoffs[..., 0, 0] * zeros[:, None] + payoffs[..., 1, 0] * (rounds - zeros)[:, None]  # [B, own action]
    rates = behaviour(torch.where(own < 0, own, 2 * own + other), cooperative(payoffs))
    return {
        "return": mine,
        "other_return": theirs,
        "paper_score": _share(mine, rounds * payoffs[..., 0].flatten(1).amax(1)),
        "welfare_share": _share(mine + theirs, rounds * payoffs.sum(-1).flatten(1).amax(1)),
        "security_gap": rounds * security(payoffs[..., 0])[0] - mine,
        "regret": constant.amax(1) - mine,
        **{name: rates[name].count.double() for name in RATES},
        **{f"{name}_of": rates[name].of.double() for name in RATES},
    }


def both_measured(payoffs: Tensor, rounds: int, totals: Tensor, gap: tuple[float, float]) -> dict[str, Tensor]:
    """CROSS_METRICS, [B] float64 each; totals: [B, 2] points of (row, column)."""
    row, column = totals.unbind(1)
    scores = (totals - rounds * securities(payoffs)) / totals.new_tensor(gap)
    welfare = _share(row + column, rounds * payoffs.sum(-1).flatten(1).amax(1))
    return {"return_row": row, "return_column": column, "score_row": scores[:, 0], "score_column": scores[:, 1], "welfare_share": welfare}


def latest(seen: Mapping[str, Tensor], totals: Tensor, names: tuple[str, str]) -> dict[str, float | str]:
    """The last round of one match, for a replay: what both hands played, the letters of it, points, points so far; {} before the first.

    seen: `view` of a player [1, ...]; totals: [1, 2] points of this player and the other; names: of the two
    """
    played = int(seen["round"][0])
    if not played:
        return {}
    moves = [int(seen[side][0, played - 1]) for side in ("own", "other")]
    letters = " ".join(chr(ord("A") + int(seen["labels"][0, move])) for move in moves)
    points = seen["payoffs"][0, moves[0], moves[1]]
    found: dict[str, float | str] = {"round": played}
    found |= {f"{name}_move": move for name, move in zip(names, moves, strict=True)} | {"letters": letters}
    for what, values in (("points", points), ("total", totals[0])):
        found |= {f"{name}_{what}": value for name, value in zip(names, values.tolist(), strict=True)}
    return found


def cooperative(payoffs: Tensor) -> Tensor:
    """[B, 2] int64, the cooperative action of both players; -1 where the game is not symmetric or its diagonal pays both cells alike."""
    first, second = payoffs.unbind(-1)
    straight = (second == first.transpose(-1, -2)).flatten(1).all(1)
    crossed = (second.flip(-1) == first.flip(-1).transpose(-1, -2)).flatten(1).all(1)  # the second player's actions in the other order
    own = torch.where(straight[:, None], first.diagonal(dim1=-2, dim2=-1), first.flip(-1).diagonal(dim1=-2, dim2=-1))  # [B, own action]
    better = own.argmax(1)
    defined = (straight | crossed) & (own[:, 0] != own[:, 1])
    both = torch.stack((better, torch.where(straight, better, 1 - better)), 1)
    return torch.where(defined[:, None], both, -1)


def _share(amount: Tensor, most: Tensor) -> Tensor:
    return torch.where(most > 0, amount / most.clamp(min=1e-300), 0.0)
