"""One slot of auctions, played exactly and differentiated through a smooth win curve: compiled on the CPU, batched torch on a GPU.

See pace_training.py for what is smoothed. Both versions do the same arithmetic; a test holds them to each other and to the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from agents.bidding.fluid import POINTS
from agents.bidding.pace_belief import Knowledge

WIDTH = 0.15  # of the smooth win curve, in nats of the price


@dataclass(frozen=True)
class Slot:
    """What a slot is played on."""

    theta: Tensor  # [K, B] float64
    price: Tensor  # [K, B] int64
    campaign: Tensor  # [B]
    left: int  # auctions left at the slot's start
    max_bid: int


class PlaySlot(torch.autograd.Function):
    """(lean [2, B], budget [B]) -> (budget left [B], value won [B], bids [K, B], prices seen [K, B]; -1 where lost)."""

    @staticmethod
    def forward(ctx: Any, lean: Tensor, budget: Tensor, slot: Slot, known: Knowledge) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        play = batched if budget.is_cuda else compiled
        money, value, bids, prices, by_money, by_value = play(lean.exp(), budget, slot, known)
        by_money[2].clamp_(0, 1)  # more money never leaves less, nor more than was added
        ctx.save_for_backward(by_money, by_value)
        ctx.mark_non_differentiable(bids, prices)
        return money, value, bids, prices

    @staticmethod
    def backward(ctx: Any, to_money: Tensor, to_value: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        by_money, by_value = ctx.saved_tensors
        gradient = to_money * by_money + to_value * by_value
        return gradient[:2], gradient[2], None, None


Played = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def batched(factor: Tensor, budget: Tensor, slot: Slot, known: Knowledge) -> Played:
    """Money, value [B]; bids, prices seen [K, B]; d money and d value / d (g, h, budget) [3, B]. `factor` [2, B] is (e^g, e^h)."""
    table, slopes = known.kappa.flatten(), known.elasticity.flatten()
    money, value = budget, torch.zeros_like(budget)
    by_g, by_h, by_budget = torch.eye(3, dtype=budget.dtype, device=budget.device)[:, :, None].expand(3, 3, len(budget))
    by_money, by_value = by_budget, torch.zeros_like(by_budget)
    bids, prices = [], []
    for k in range(len(slot.theta)):
        theta, price = slot.theta[k], slot.price[k]
        index = known.spend_index(money / (slot.left - k) * factor[1], slot.campaign)
        wish = theta * (table[index] * factor[0])
        bid = wish.clamp(max=slot.max_bid).long()
        won = torch.minimum(bid, money.long()) >= price
        # d ln(offer): the coefficient's where the wish decides, the money's where the budget clamps; none where the bid is capped at M
        purse = money.clamp(min=0.5)
        relative, clamped = by_money / purse, wish > money
        move = torch.where(clamped, relative, by_g + slopes[index] * (by_h + relative))
        odds = torch.tanh((torch.minimum(wish, purse).clamp(min=1e-9) / price.clamp(min=0.5)).log() / (2 * WIDTH))
        rise = (1 - odds.square()) / (4 * WIDTH) * ((wish <= slot.max_bid) | clamped)
        by_value = by_value + theta * rise * move
        by_money = by_money - price * rise * move
        money, value = money - price * won, value + theta * won
        bids.append(bid)
        prices.append(torch.where(won, price, -1))
    return money, value, torch.stack(bids), torch.stack(prices), by_money, by_value


def compiled(factor: Tensor, budget: Tensor, slot: Slot, known: Knowledge) -> Played:
    """The same as `batched`, row by row."""
    shape, rows = slot.theta.shape, len(budget)
    money, value = budget.detach().numpy().copy(), np.zeros(rows)
    bids, prices = np.empty(shape, np.int64), np.empty(shape, np.int64)
    by_money, by_value = np.zeros((3, rows)), np.zeros((3, rows))
    _play(
        factor.detach().numpy(), slot.theta.numpy(), slot.price.numpy(), slot.campaign.numpy(), slot.left, slot.max_bid,
        known.kappa.numpy(), known.elasticity.numpy(), known.step.numpy(), known.mean_price.numpy(),
        money, value, bids, prices, by_money, by_value,
    )  # fmt: skip
    return tuple(torch.from_numpy(array) for array in (money, value, bids, prices, by_money, by_value))  # type: ignore[return-value]


@njit(cache=True)
def _play(  # type: ignore[no-untyped-def]  # pragma: no cover
    factor, theta, price, campaign, left, max_bid, kappa, elasticity, step, mean_price, money, value, bids, prices, by_money, by_value
):
    for row in range(len(money)):
        c, b, total = campaign[row], money[row], 0.0
        m0, m1, m2, v0, v1, v2 = 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
        for k in range(len(theta)):
            value_here, z = theta[k, row], price[k, row]
            spend = b / (left - k) * factor[1, row]
            place = POINTS if spend >= mean_price[c] else min(max(int(spend / step[c]), 0), POINTS - 1)
            wish = value_here * (kappa[c, place] * factor[0, row])
            bid = int(min(wish, max_bid))
            won = min(bid, int(b)) >= z
            clamped = wish > b
            if wish <= max_bid or clamped:
                purse = max(b, 0.5)
                odds = np.tanh(np.log(max(min(wish, purse), 1e-9) / max(z, 0.5)) / (2 * WIDTH))
                rise = (1 - odds * odds) / (4 * WIDTH)
                slope = 1.0 if clamped else elasticity[c, place]
                d0 = rise * ((0.0 if clamped else 1.0) + slope * m0 / purse)
                d1 = rise * ((0.0 if clamped else slope) + slope * m1 / purse)
                d2 = rise * slope * m2 / purse
                v0, v1, v2 = v0 + value_here * d0, v1 + value_here * d1, v2 + value_here * d2
                m0, m1, m2 = m0 - z * d0, m1 - z * d1, m2 - z * d2
            bids[k, row] = bid
            prices[k, row] = z if won else -1
            if won:
                b -= z
                total += value_here
        money[row], value[row] = b, total
        by_money[0, row], by_money[1, row], by_money[2, row] = m0, m1, m2
        by_value[0, row], by_value[1, row], by_value[2, row] = v0, v1, v2
