"""Bids under first price: the best answer to the price law, and a coefficient that spends what it says."""

from __future__ import annotations

import numpy as np
import pytest

from agents.bidding.fluid import POINTS
from agents.bidding.shading import WORTHS, first_price_fluid, shaded_bids


def test_best_answer_by_hand() -> None:
    """Price 0, 10 or 20 with probability 1/5, 3/5, 1/5: worth 12 it pays to bid 0 (2.4 against 1.6), worth 14 to bid 10, worth 80 to bid 20."""
    pmf = np.zeros(21)
    pmf[[0, 10, 20]] = 0.2, 0.6, 0.2
    bids = shaded_bids(pmf)
    assert bids[[0, 12, 14, 80, WORTHS - 1]].tolist() == [0, 0, 10, 20, 20]


def test_never_above_the_worth_and_rising() -> None:
    pmf = np.random.default_rng(1).dirichlet(np.ones(301))
    bids = shaded_bids(pmf)
    assert (bids <= np.arange(WORTHS)).all() and (np.diff(bids) >= 0).all()


def test_coefficient_spends_the_budget_it_is_for() -> None:
    rng = np.random.default_rng(2)
    theta, price = rng.lognormal(-7, 1.0, 20_000), rng.integers(0, 300, 20_000)
    bids = shaded_bids((np.bincount(price, minlength=301) + 0.5) / (len(price) + 150.5))
    kappa, step = first_price_fluid(theta, price, bids)
    for point in (POINTS // 20, POINTS // 4, POINTS // 2, POINTS * 9 // 10):
        bid = bids[np.minimum(theta * kappa[point], WORTHS - 1).astype(int)]
        assert (bid * (bid >= price)).mean() == pytest.approx(point * step, rel=0.05)
