"""RLB's rule on the joint law of value and price: optimal where the pairs are independent draws (domains/bidding/stochastic.py)."""

from __future__ import annotations

import numpy as np
import torch

from agents.bidding.value_tables import ValueTable, check_size
from domains.bidding.stochastic import PairModel, Recursion


def joint_table(model: PairModel, auctions: int, budget: int) -> ValueTable:
    """The table V_n(b), n = 0..`auctions`, b = 0..`budget`, whose bids are RLB's rule on it."""
    check_size(auctions, budget)
    recursion, values = Recursion(model), np.zeros((auctions + 1, budget + 1))
    for n in range(1, auctions + 1):
        recursion.step(n, values[n - 1], values[n])
    return ValueTable(torch.from_numpy(values), model.gamma, model.max_price, model.identity(auctions, budget))
