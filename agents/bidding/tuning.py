"""Tuning one number of a simple bidder on the campaign's past episodes: every grid value plays every episode at once.

The auction is the kernel's: the bid is cut to the budget, wins if it is at least the price, and pays the price (second price) or itself (first
price). The objective is the sum of theta won; of equally good values the later one is taken (as in the published code of RLB).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.bidding.winning import ortb_bid
from arena.errors import ArenaError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LIN_GRID = np.arange(6, 301, 6, dtype=np.int64)
ORTB_GRID = np.arange(20, 1391, 30, dtype=np.int64)
PATIENCE = 5  # worse values in a row after which the search for lin's parameter ends


@dataclass(frozen=True, slots=True)
class Episodes:
    """Past episodes of one campaign: theta and price [E, T], the budgets [C] to tune for, the highest bid and the payment rule."""

    theta: Floats
    price: Integers
    budgets: Integers
    max_price: int
    first_price: bool = False

    def __post_init__(self) -> None:
        if self.theta.shape != self.price.shape or self.theta.ndim != 2 or self.theta.size == 0 or self.budgets.ndim != 1:
            raise ArenaError(
                "bidding.episodes",
                f"theta has shape {self.theta.shape}, price {self.price.shape}, budgets {self.budgets.shape}",
                "expected theta and price [episodes, auctions] of one shape, not empty, and budgets [C]",
            )

    def values(self, bids: NDArray[np.int32]) -> Floats:
        """Sum of theta won [C, grid] over all episodes. bids: [T or 1, grid, E or 1], before the cut to the budget, within 0..max_price."""
        episodes, auctions = self.theta.shape
        theta, price = np.ascontiguousarray(self.theta.T), np.ascontiguousarray(self.price.T, dtype=np.int32)
        left = np.broadcast_to(self.budgets.astype(np.int32)[:, None, None], (len(self.budgets), bids.shape[1], episodes)).copy()
        won_value = np.zeros(left.shape)
        bid, pay, wins, gain = np.empty_like(left), np.empty_like(left), np.empty(left.shape, bool), np.empty_like(won_value)
        for t in range(auctions):
            np.minimum(left, bids[t if len(bids) > 1 else 0], out=bid)
            np.greater_equal(bid, price[t], out=wins)
            np.multiply(wins, bid if self.first_price else price[t], out=pay)
            left -= pay
            np.multiply(wins, theta[t], out=gain)
            won_value += gain
        total: Floats = won_value.sum(2)
        return total


def best(grid: NDArray[np.int64], values: Floats) -> Integers:
    """The grid value [C] with the largest value in each row of values [C, grid]; the later one wins ties."""
    last = values.shape[1] - 1
    chosen: Integers = grid[last - values[:, ::-1].argmax(1)]
    return chosen


def until_worse(values: Floats) -> Floats:
    """Values [C, grid] with -inf from where a search that stops after five values in a row below its best would have stopped."""
    seen = np.maximum.accumulate(values, axis=1)
    better = values >= seen
    index = np.arange(values.shape[1])
    since = index - np.maximum.accumulate(np.where(better, index, 0), axis=1)
    stopped = np.maximum.accumulate(since >= PATIENCE, axis=1)
    return np.where(stopped, -np.inf, values)


def tune_const(past: Episodes) -> Integers:
    """The best fixed bid [C] out of 1..M."""
    grid = np.arange(1, past.max_price + 1)
    return best(grid, past.values(grid.astype(np.int32)[None, :, None]))


def tune_lin(past: Episodes, theta_bar: float) -> Integers:
    """The best b0 [C] of bids int(theta b0 / theta_bar) out of 6, 12 .. 300 (Perlich et al. 2012, KDD), stopping after five worse ones."""
    bids = _across(past) * LIN_GRID[None, :, None] / theta_bar
    return best(LIN_GRID, until_worse(past.values(_truncated(bids, past.max_price))))


def tune_ortb(past: Episodes, theta_bar: float, scale: int) -> Integers:
    """The best k [C] of the ORTB bid out of 20, 50 .. 1370, for the win curve a / (a + scale)."""
    bids = ortb_bid(_across(past), scale, ORTB_GRID[None, :, None].astype(np.float64), theta_bar)
    return best(ORTB_GRID, past.values(_truncated(bids, past.max_price)))


def _across(past: Episodes) -> Floats:
    return past.theta.T[:, None, :]  # [T, 1, E]: auctions first, room for the grid


def _truncated(bids: Floats, max_price: int) -> NDArray[np.int32]:
    return np.minimum(bids, max_price).astype(np.int32)
