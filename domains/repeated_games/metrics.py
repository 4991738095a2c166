"""What a match is measured by. Rates that may be undefined are stored as two counts: what happened, out of how many chances.

Cooperation is defined in symmetric games only: the action of the better cell of the diagonal on which both are paid alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from arena.domain import Metric
from domains.repeated_games.equilibria import securities, security

BEHIND = ("cc", "cd", "dc", "dd")  # own action first
METRICS = (
    Metric("return", "points", 1, "primary", help="own points, summed over the rounds"),
    Metric("other_return", "points", 0, help="the opponent's points"),
    Metric("paper_score", "of maximum", 1, help="return / (rounds * largest own payoff), the published normalisation; 0 where nothing can be earned"),
    Metric("welfare_share", "of maximum", 1, help="points of both / (rounds * largest joint payoff of a cell); 0 where nothing can be earned"),
    Metric("security_gap", "points", -1, help="rounds * minmax value - return: how much was given away; negative where more was earned"),
    Metric("regret", "points", -1, help="what the best constant action would have earned against the same actions - return"),
    Metric("chances", "rounds", 0, help="rounds in which cooperation is defined (symmetric games)"),
    Metric("cooperated", "rounds", 0, help="of them with the cooperative action"),
    Metric("opened", "rounds", 0, help="1 where the first action was the cooperative one"),
    Metric("defected_first", "rounds", 0, help="1 where the player defected before the opponent ever had"),
    *(Metric(f"after_{state}", "rounds", 0, help=f"rounds that followed {state.upper()} (own action first)") for state in BEHIND),
    *(Metric(f"c_after_{state}", "rounds", 0, help=f"of them with the cooperative action, after {state.upper()}") for state in BEHIND),
)
CROSS_METRICS = (
    Metric("return_row", "points", 1, "primary", help="the row player's points, summed over the rounds"),
    Metric("return_column", "points", 1, help="the column player's points"),
    Metric("score_row", "", 1, help="0: the row player's minmax value, 1: its part of the Nash bargain; over the task's mean gap"),
    Metric("score_column", "", 1, help="the same of the column player"),
    Metric("welfare_share", "of maximum", 1, help="points of both / (rounds * largest joint payoff of a cell)"),
)


def measured(payoffs: Tensor, seen: Mapping[str, Tensor], totals: Tensor) -> dict[str, Tensor]:
    """METRICS, [B] float64 each, of the rounds played so far.

    payoffs: [B, 2, 2, 2] and seen: `own`, `other` [B, T], from the candidate's view; totals: [B, 2] points (own, other's)
    """
    own, other = seen["own"], seen["other"]
    played = own >= 0
    rounds = played.sum(1).double()
    mine, theirs = totals.unbind(1)
    zeros = (other == 0).sum(1).double()
    constant = payoffs[..., 0, 0] * zeros[:, None] + payoffs[..., 1, 0] * (rounds - zeros)[:, None]  # [B, own action]
    first, second = cooperative(payoffs).unbind(1)
    defined = (first >= 0)[:, None] & played
    c, d = defined & (own == first[:, None]), defined & (own != first[:, None])
    their_c, their_d = defined & (other == second[:, None]), defined & (other != second[:, None])
    unprovoked = d & (their_d.int().cumsum(1) - their_d.int() == 0)
    found = {
        "return": mine,
        "other_return": theirs,
        "paper_score": _share(mine, rounds * payoffs[..., 0].flatten(1).amax(1)),
        "welfare_share": _share(mine + theirs, rounds * payoffs.sum(-1).flatten(1).amax(1)),
        "security_gap": rounds * security(payoffs[..., 0])[0] - mine,
        "regret": constant.amax(1) - mine,
        "chances": defined.sum(1),
        "cooperated": c.sum(1),
        "opened": c[:, 0],
        "defected_first": unprovoked.any(1),
    }
    for name, before in zip(BEHIND, (c & their_c, c & their_d, d & their_c, d & their_d), strict=True):
        found[f"after_{name}"] = (before[:, :-1] & defined[:, 1:]).sum(1)
        found[f"c_after_{name}"] = (before[:, :-1] & c[:, 1:]).sum(1)
    return {name: value.double() for name, value in found.items()}


def both_measured(payoffs: Tensor, rounds: int, totals: Tensor, gap: tuple[float, float]) -> dict[str, Tensor]:
    """CROSS_METRICS, [B] float64 each; totals: [B, 2] points of (row, column)."""
    row, column = totals.unbind(1)
    scores = (totals - rounds * securities(payoffs)) / totals.new_tensor(gap)
    welfare = _share(row + column, rounds * payoffs.sum(-1).flatten(1).amax(1))
    return {"return_row": row, "return_column": column, "score_row": scores[:, 0], "score_column": scores[:, 1], "welfare_share": welfare}


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
