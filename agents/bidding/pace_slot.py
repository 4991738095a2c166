"""One slot of auctions, played exactly and differentiated through a smooth win curve: compiled on the CPU, batched torch on a GPU.

See pace_training.py for what is smoothed. Both versions do the same arithmetic; a test holds them to each other and to the kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn.functional import softplus

from agents.bidding.fluid import POINTS
from agents.bidding.pace_belief import Knowledge
from agents.bidding.pace_net import LEAST, SOFT, allowance

WIDTH = 0.15  # of the smooth win curve, in nats of the price
NEAR = math.exp(10 * WIDTH)  # bids further than this factor from the price have no slope (the curve's is below 2e-4 of its peak)


@dataclass(frozen=True)
class Slot:
    """What a slot is played on."""

    theta: Tensor  # [K, B] float64
    price: Tensor  # [K, B] int64
    campaign: Tensor  # [B]
    left: int  # auctions left at the slot's start
    max_bid: int


class PlaySlot(torch.autograd.Function):
    """(lean [3, B], budget [B]) -> (budget left [B], value won [B], bids [K, B], prices seen [K, B]; -1 where lost)."""

    @staticmethod
    def forward(ctx: Any, lean: Tensor, budget: Tensor, slot: Slot, known: Knowledge) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        play = batched if budget.is_cuda else compiled
        money, value, bids, prices, by_money, by_value = play(lean, budget, slot, known)
        by_money[3].clamp_(0, 1)  # more money never leaves less, nor more than was added
        ctx.save_for_backward(by_money, by_value)
        ctx.mark_non_differentiable(bids, prices)
        return money, value, bids, prices

    @staticmethod
    def backward(ctx: Any, to_money: Tensor, to_value: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        by_money, by_value = ctx.saved_tensors
        gradient = to_money * by_money + to_value * by_value
        return gradient[:3], gradient[3], None, None


Played = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def batched(lean: Tensor, budget: Tensor, slot: Slot, known: Knowledge) -> Played:
    """Money, value [B]; bids, prices seen [K, B]; d money and d value / d (g, h, q, budget) [4, B]."""
    table, slopes = known.kappa.flatten(), known.elasticity.flatten()
    money, value = budget, torch.zeros_like(budget)
    by_g, by_h, by_q, by_budget = torch.eye(4, dtype=budget.dtype, device=budget.device)[:, :, None].expand(4, 4, len(budget))
    scale, widen, kept = lean[0].exp(), lean[1].exp(), lean[2] * slot.max_bid
    mean_price = known.mean_price[slot.campaign]
    by_money, by_value = by_budget, torch.zeros_like(by_budget)
    bids, prices = [], []
    for k in range(len(slot.theta)):
        theta, price = slot.theta[k], slot.price[k]
        plain = money / (slot.left - k) * widen
        spend = allowance(money, kept, plain, mean_price)
        index = known.spend_index(spend, slot.campaign)
        wish = theta * (table[index] * scale)
        bid = wish.clamp(max=slot.max_bid).long()
        won = torch.minimum(bid, money.long()) >= price
        # d ln(offer): the coefficient's where the wish decides, the money's where the budget clamps; none where the bid is capped at M
        purse = money.clamp(min=0.5)
        relative, clamped = by_money / purse, wish > money
        free = spend > LEAST * mean_price
        slope, start = _log_softplus_slope((money - kept) / SOFT) * free, _log_softplus_slope(money / SOFT) * free
        by_spend = by_h + relative + (slope - start) * by_money - slope * slot.max_bid * by_q
        move = torch.where(clamped, relative, by_g + slopes[index] * by_spend)
        margin = torch.minimum(wish, purse) / price.clamp(min=0.5)
        odds = torch.tanh(margin.clamp(min=1e-9).log() / (2 * WIDTH))
        near = (margin > 1 / NEAR) & (margin < NEAR) & ((wish <= slot.max_bid) | clamped)
        rise = (1 - odds.square()) / (4 * WIDTH) * near
        by_value = by_value + theta * rise * move
        by_money = by_money - price * rise * move
        money, value = money - price * won, value + theta * won
        bids.append(bid)
        prices.append(torch.where(won, price, -1))
    return money, value, torch.stack(bids), torch.stack(prices), by_money, by_value


def _log_softplus_slope(x: Tensor) -> Tensor:
    """d ln softplus(x) / d money, x = money / SOFT."""
    return torch.sigmoid(x) / softplus(x) / SOFT


def compiled(lean: Tensor, budget: Tensor, slot: Slot, known: Knowledge) -> Played:
    """The same as `batched`, row by row."""
    shape, rows = slot.theta.shape, len(budget)
    money, value = budget.detach().numpy().copy(), np.zeros(rows)
    bids, prices = np.empty(shape, np.int64), np.empty(shape, np.int64)
    by_money, by_value = np.zeros((4, rows)), np.zeros((4, rows))
    _play(
        lean.detach().numpy(), slot.theta.numpy(), slot.price.numpy(), slot.campaign.numpy(), slot.left, slot.max_bid,
        known.kappa.numpy(), known.elasticity.numpy(), known.step.numpy(), known.mean_price.numpy(),
        money, value, bids, prices, by_money, by_value,
    )  # fmt: skip
    return tuple(torch.from_numpy(array) for array in (money, value, bids, prices, by_money, by_value))  # type: ignore[return-value]


@njit(cache=True)
def _softplus(x):  # type: ignore[no-untyped-def]  # pragma: no cover
    return x if x > 20 else np.log1p(np.exp(x))


@njit(cache=True)
def _play(  # type: ignore[no-untyped-def]  # pragma: no cover
    lean, theta, price, campaign, left, max_bid, kappa, elasticity, step, mean_price, money, value, bids, prices, by_money, by_value
):
    for row in range(len(money)):
        c, b, total = campaign[row], money[row], 0.0
        scale, widen, kept, least = np.exp(lean[0, row]), np.exp(lean[1, row]), lean[2, row] * max_bid, LEAST * mean_price[c]
        m0, m1, m2, m3, v0, v1, v2, v3 = 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0
        for k in range(len(theta)):
            value_here, z = theta[k, row], price[k, row]
            purse = max(b, 0.5)
            plain, x = b / (left - k) * widen, (b - kept) / SOFT
            above, whole = _softplus(x), _softplus(b / SOFT)
            spend = max(plain * (above / whole), min(plain, least))
            place = POINTS if spend >= mean_price[c] else min(max(int(spend / step[c]), 0), POINTS - 1)
            wish = value_here * (kappa[c, place] * scale)
            bid = int(min(wish, max_bid))
            won = min(bid, int(b)) >= z
            clamped = wish > b
            margin = min(wish, purse) / max(z, 0.5)
            if (wish <= max_bid or clamped) and 1 / NEAR < margin < NEAR:
                odds = np.tanh(np.log(margin) / (2 * WIDTH))
                rise = (1 - odds * odds) / (4 * WIDTH)
                if clamped:
                    d0, d1, d2, d3 = rise * m0 / purse, rise * m1 / purse, rise * m2 / purse, rise * m3 / purse
                else:
                    slope, share, back = rise * elasticity[c, place], 0.0, 1 / purse
                    if spend > least:
                        share = 1 / (1 + np.exp(-x)) / above / SOFT
                        back += share - 1 / (1 + np.exp(-b / SOFT)) / whole / SOFT
                    back *= slope
                    d0, d1, d2, d3 = rise + back * m0, slope + back * m1, back * m2 - slope * share * max_bid, back * m3
                v0, v1, v2, v3 = v0 + value_here * d0, v1 + value_here * d1, v2 + value_here * d2, v3 + value_here * d3
                m0, m1, m2, m3 = m0 - z * d0, m1 - z * d1, m2 - z * d2, m3 - z * d3
            bids[k, row] = bid
            prices[k, row] = z if won else -1
            if won:
                b -= z
                total += value_here
        money[row], value[row] = b, total
        by_money[0, row], by_money[1, row], by_money[2, row], by_money[3, row] = m0, m1, m2, m3
        by_value[0, row], by_value[1, row], by_value[2, row], by_value[3, row] = v0, v1, v2, v3
