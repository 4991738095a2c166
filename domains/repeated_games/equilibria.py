"""Solution concepts of 2x2 games in closed form, for many games at once.

payoffs [..., 2, 2, 2] float64: [first player's action, second player's action, (first's points, second's points)]. Probabilities are those of
action 0. Ties go to action 0, of cells to the first in row-major order, unless said otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLOSE = 1e-9  # two products of surpluses, computed from fractions, that count as equal


def seen_from(payoffs: Tensor, seat: Tensor) -> Tensor:
    """[B, 2, 2, 2] [own action, other's action, (own points, other's points)] of the player in `seat` [B] (0 first, 1 second)."""
    mirrored = payoffs.transpose(-3, -2).flip(-1)
    return torch.where(seat.view(-1, 1, 1, 1) == 0, payoffs, mirrored)


def pure_equilibria(payoffs: Tensor) -> Tensor:
    """[..., 2, 2] bool: cells from which nobody gains by moving alone."""
    first, second = payoffs.unbind(-1)
    return (first >= first.amax(-2, keepdim=True)) & (second >= second.amax(-1, keepdim=True))


def mixed_equilibrium(payoffs: Tensor) -> Tensor:
    """[..., 2] the equilibrium in which both players mix, NaN where there is none: each makes the other indifferent."""
    first, second = payoffs.unbind(-1)
    both = torch.stack((_indifferent(second.transpose(-1, -2)), _indifferent(first)), -1)
    inside = ((both > 0) & (both < 1)).all(-1, keepdim=True)
    return torch.where(inside, both, torch.nan)


def _indifferent(own: Tensor) -> Tensor:
    """[...] the other's probability of its action 0 that makes the owner of `own` [..., own action, other's action] indifferent."""
    return (own[..., 1, 1] - own[..., 0, 1]) / (own[..., 0, 0] - own[..., 0, 1] - own[..., 1, 0] + own[..., 1, 1])


def equilibrium(payoffs: Tensor) -> Tensor:
    """[..., 2] the pure equilibrium of largest joint payoff, then of largest payoff to the first player; the mixed one where none is pure."""
    pure = pure_equilibria(payoffs)
    cell = _best(pure, payoffs.sum(-1), payoffs[..., 0])
    actions = torch.stack((cell // 2, cell % 2), -1)
    return torch.where(pure.flatten(-2).any(-1)[..., None], 1.0 - actions.double(), mixed_equilibrium(payoffs))


def security(own: Tensor) -> tuple[Tensor, Tensor]:
    """What a player of `own` [..., own action, other's action] can make sure of by mixing (its minmax value), and how: values, probabilities [...].

    The least over the other's actions is concave and piecewise linear in the probability: its greatest value is at an end or at the kink.
    """
    left, right = own.unbind(-1)  # [..., own action]
    kink = (right[..., 1] - left[..., 1]) / (left[..., 0] - left[..., 1] - right[..., 0] + right[..., 1])
    one = torch.ones_like(kink)
    chance = torch.stack((one, kink.nan_to_num(1.0, 1.0, 0.0).clamp(0.0, 1.0), 0.0 * one), -1)
    least = torch.minimum(*(chance * side[..., :1] + (1.0 - chance) * side[..., 1:] for side in (left, right)))
    value, best = least.max(-1)
    return value, chance.gather(-1, best[..., None])[..., 0]


def securities(payoffs: Tensor) -> Tensor:
    """[..., 2] the minmax values of both players."""
    first, second = payoffs.unbind(-1)
    return torch.stack((security(first)[0], security(second.transpose(-1, -2))[0]), -1)


def punishment(payoffs: Tensor) -> Tensor:
    """[...] the first player's pure action against which the second's best reply pays it least."""
    return payoffs[..., 1].amax(-1).argmin(-1)


def commitment(payoffs: Tensor) -> Tensor:
    """[...] the first player's pure action that pays it most when the second replies its best (the bully of Littman and Stone, 2001)."""
    reply = payoffs[..., 1].argmax(-1, keepdim=True)
    return payoffs[..., 0].gather(-1, reply)[..., 0].argmax(-1)


def efficient_cell(payoffs: Tensor) -> Tensor:
    """[...] the cell 0..3 of largest joint payoff; ties to the larger payoff of the first player."""
    return _best(torch.ones_like(payoffs[..., 0], dtype=torch.bool), payoffs.sum(-1), payoffs[..., 0])


def bargaining_cell(payoffs: Tensor) -> Tensor:
    """[...] the cell 0..3 of largest product of surpluses over the minmax values; ties to the larger payoff of the first player.

    A cell that costs both is none to agree on, though its product is positive.
    """
    surplus = payoffs - securities(payoffs)[..., None, None, :]
    return _best(~(surplus < 0).all(-1), surplus.prod(-1), payoffs[..., 0])


def _best(allowed: Tensor, *keys: Tensor) -> Tensor:
    """[...] the allowed cell (row-major, of [..., 2, 2]) of largest key, ties by the next key, then the first cell; 0 where none is allowed."""
    left = allowed.flatten(-2)
    for key in keys:
        value = torch.where(left, key.flatten(-2), -torch.inf)
        left = left & (value >= value.amax(-1, keepdim=True) - CLOSE)
    return left.to(torch.uint8).argmax(-1)


def bargain(payoffs: Tensor, rounds: int) -> Tensor:
    """[..., 2] total points of both at the Nash bargaining outcome over `rounds` rounds (Nash, Econometrica 18, 1950).

    Every round has one of the four cells, so an outcome is how often each comes. Of those that leave nobody below rounds * minmax value: the
    largest product of surpluses, then the largest welfare; the two give the pair of surpluses but for its order, so what still ties is one
    pair of points or two mirrored ones, and of two the middle is taken. NaN where there is no such outcome.
    """
    n = torch.arange(rounds + 1, dtype=torch.float64, device=payoffs.device)
    three = torch.cartesian_prod(n, n, n)
    three = three[three.sum(1) <= rounds]
    counts = torch.cat((three, rounds - three.sum(1, keepdim=True)), 1)
    points = counts @ payoffs.flatten(-3, -2)  # [..., K, 2]
    surplus = points - rounds * securities(payoffs)[..., None, :]
    left = (surplus >= -CLOSE).all(-1)
    for key in (surplus.prod(-1), points.sum(-1)):
        value = torch.where(left, key, -torch.inf)
        left = left & (value >= value.amax(-1, keepdim=True) - CLOSE)
    left = left[..., None]
    middle = (torch.where(left, points, torch.inf).amin(-2) + torch.where(left, points, -torch.inf).amax(-2)) / 2
    return middle  # inf - inf where there is none: NaN
