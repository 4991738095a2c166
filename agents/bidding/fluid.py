"""Certainty-equivalent re-solving: the LP of the average auction, solved once for every spend per auction and looked up at each bid.

Of past auctions sorted by theta / z, a budget of rho per auction buys the longest prefix that costs at most rho on average; the ratio
lambda(rho) of its last item is the price of budget, and a bid of theta / lambda accepts just this prefix. Bidding theta / lambda(b / n)
re-solves this LP at every auction (fluid limit of the value table of RLB: V(n, b) ~ n v(b / n)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.errors import ArenaError

POINTS = 4000
FREE = 1e-9  # stands for price 0 in a ratio


@dataclass(frozen=True, slots=True)
class FluidPrice:
    """lambda [4000] at spends per auction 0, step, 2 step ... up to the mean price: value of the marginal item per unit of price."""

    marginal: Tensor
    step: float
    mean_price: float
    max_price: int

    def of(self, spend: Tensor) -> Tensor:
        """lambda(rho) [batch] of spends per auction [batch] float64; past the mean price it stays at the last item's."""
        index = (spend / self.step).long().clamp_(0, len(self.marginal) - 1)
        return self.marginal[index]

    def bid(self, n_left: int, budget: Tensor, theta: Tensor) -> Tensor:
        """min(M, int(theta / lambda(b / n))) [batch] int64, n counting the present auction; M where the budget pays for every auction."""
        spend = budget.double() / n_left
        bid = (theta / self.of(spend)).clamp_(max=self.max_price).long()
        return torch.where(spend >= self.mean_price, self.max_price, bid)


def fluid_price(theta: NDArray[np.float64], price: NDArray[np.int64], max_price: int) -> FluidPrice:
    """lambda from past pairs theta, price [K]. Worthless auctions are never bought, but their number counts in the average.

    Raises ArenaError `bidding.pairs` where no pair has a value or every price is 0.
    """
    worth = theta > 0
    if not worth.any() or not price.any():
        raise ArenaError(
            "bidding.pairs",
            f"{len(theta)} past auctions, {int(worth.sum())} of them with a value above 0 and {int((price > 0).sum())} with a price above 0",
            "the history must hold at least one of each to price the budget",
        )
    ratio = theta[worth] / np.where(price[worth] > 0, price[worth], FREE)
    order = np.argsort(-ratio, kind="stable")
    spend = np.cumsum(price[worth][order]) / len(theta)
    mean_price = float(price.mean())
    step = mean_price / POINTS
    bought = np.searchsorted(spend, np.arange(POINTS) * step, side="right")
    item = (bought - 1).clip(0)  # a spend that pays for nothing is priced as the best item
    return FluidPrice(torch.from_numpy(ratio[order][item]), step, mean_price, max_price)
