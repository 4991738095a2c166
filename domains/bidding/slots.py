"""The slot mode: one coefficient for a whole slot of auctions, and what a bidder sees between slots.

The bid on an auction worth theta is clip(int(kappa * theta), 0, M) with kappa = exp(x) * CPM / ctr of the campaign's history,
x in [-4, 4] the action.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from domains.bidding.kernel import Auctions, Bidding, Campaign

WIDTH, CPA_WIDTH = 8, 16
VALUE, CLICKS, COST, WINS, BIDS = range(5)  # columns of a mark


def bids(domain: Bidding, scenario: Auctions, state: Campaign, action: Tensor) -> Tensor:
    """[B] int32 bids of this auction from the slot's action x [B]."""
    base = domain.base.to(action.device)[scenario.campaign]
    kappa = action.double().exp() * base
    return (kappa * scenario.theta[:, state.t]).clamp(max=domain.max_bid).to(torch.int32)


def mark(domain: Bidding, state: Campaign) -> Campaign:
    """Note the totals where a slot begins (or the episode ends)."""
    now = torch.cat((state.totals, state.bids.double()[:, None]), 1)
    return replace(state, marks={**state.marks, str(-(-state.t // domain.slot)): now})


def spend(domain: Bidding, state: Campaign) -> Tensor:
    """[B, S] money spent in each slot; 0 in slots not reached."""
    cost = -torch.stack([mark[:, COST] for mark in state.marks.values()], 1)
    cost = torch.cat((cost, -state.totals[:, COST : COST + 1].expand(-1, domain.slots + 1 - cost.shape[1])), 1)
    return cost.diff(dim=1)


def features(domain: Bidding, scenario: Auctions, state: Campaign) -> Tensor:
    """[B, 8] float32: slot index, budget left, slots left, budget consumption rate, CPM, win rate and value of the last slot, running CPA.

    Ratios to the campaign's own scale: shares of episode and budget; consumption of the last slot relative to even spending;
    CPM relative to the history's; value relative to ctr; CPA relative to the history's eCPC (the CPA task: 16 numbers, below).
    """
    slot = min(state.t // domain.slot, domain.slots)
    if domain.cpa:
        return _cpa_features(domain, scenario, state, slot)
    total = state.marks[str(slot)]
    last = total - state.marks[str(max(slot - 1, 0))]
    size = scenario.size[:, max(slot - 1, 0)].double().clamp(min=1)
    budget = scenario.budget.double()
    cpm, ctr = (table.to(budget.device)[scenario.campaign] for table in _scales(domain))
    rows = (
        torch.full_like(budget, slot / domain.slots),
        state.budget / budget,
        torch.full_like(budget, 1 - slot / domain.slots),
        -last[:, COST] / budget * domain.slots,
        -last[:, COST] / last[:, WINS].clamp(min=1) / cpm,
        last[:, WINS] / size,
        last[:, VALUE] / size / ctr,
        -total[:, COST] / (total[:, VALUE] + 1e-10) / (cpm / ctr) * (total[:, VALUE] > 0),
    )
    return torch.stack(rows, -1).float()


def _scales(domain: Bidding) -> tuple[Tensor, Tensor]:
    cpm = torch.tensor([h.cpm for h in domain.histories], dtype=torch.float64)
    return cpm, cpm / domain.base


def _cpa_features(domain: Bidding, scenario: Auctions, state: Campaign, slot: int) -> Tensor:
    """[B, 16] float32, AuctionNet's state (arXiv 2412.10798): time and budget left; means over all past slots and the last three of
    bid, least winning cost, value, conversions per auction and win rate; mean value, volume now, of the last three, so far.

    The mean value and the volume of the slot at hand are known beforehand there (its auctions are bid on at once); here the
    value of the slot before stands in for them, so that nothing of the future is shown.
    """
    base = domain.base.to(scenario.theta.device)[scenario.campaign]
    ctr = domain.histories[0].mean_theta
    start = state.t

    def window(first: int) -> tuple[Tensor, ...]:
        held = scenario.size[:, first:slot].sum(1).double()
        n = held.clamp(min=1)
        inside = _inside(domain, scenario, first, slot)
        price = (scenario.price[:, first * domain.slot : start] * inside).sum(1) / n
        theta = (scenario.theta[:, first * domain.slot : start] * inside).sum(1) / n
        gone = state.marks[str(slot)] - state.marks[str(first)]
        bid, value, wins = (gone[:, column] / n for column in (BIDS, VALUE, WINS))
        return bid / domain.max_bid, price / domain.max_bid, theta / ctr, value / ctr, wins, held

    past, recent = window(0), window(max(slot - 3, 0))
    previous = window(max(slot - 1, 0))
    mean_volume = scenario.size.sum(1).double() / domain.slots
    rows = (
        torch.full_like(base, 1 - slot / domain.slots),
        state.budget / scenario.budget,
        *(column for pair in zip(past[:5], recent[:5], strict=True) for column in pair),
        previous[2],
        previous[5] / mean_volume,
        recent[5] / mean_volume,
        past[5] / mean_volume,
    )
    return torch.stack(rows, -1).float()


def _inside(domain: Bidding, scenario: Auctions, first: int, last: int) -> Tensor:
    """[B, (last - first) * slot] bool: which places of the slots hold a real auction."""
    place = torch.arange(domain.slot, device=scenario.size.device)
    return (place < scenario.size[:, first:last, None]).flatten(1)
