import numpy as np
import pytest

from agents.bidding.winning import fit_win_curve, ortb_bid
from arena.errors import ArenaError


def test_a_curve_of_the_family_is_found_again() -> None:
    bids = np.arange(301)
    share = bids / (bids + 42)
    counts = np.round(np.diff(share, prepend=0) / share[-1] * 10_000_000).astype(np.int64)
    fitted = fit_win_curve(counts)
    truth = np.cumsum(counts) / counts.sum()  # stops at 300, so it lies above the curve and the nearest c is smaller
    misfit = [((bids / (bids + c) - truth) ** 2).sum() for c in range(1, 300)]
    assert fitted == 1 + int(np.argmin(misfit)) and 20 < fitted < 42


def test_no_prices_are_refused() -> None:
    with pytest.raises(ArenaError):
        fit_win_curve(np.zeros(301, np.int64))


def test_the_bid_is_the_first_price_optimum() -> None:
    scale, k, theta_bar = 35, 200.0, 1e-3
    price_of_budget = theta_bar / k
    bids = np.linspace(0, 300, 300_001)
    for theta in (2e-4, 1e-3, 5e-3):
        gain = (theta - price_of_budget * bids) * bids / (bids + scale)
        assert float(ortb_bid(np.array(theta), scale, k, theta_bar)) == pytest.approx(bids[gain.argmax()], abs=2e-3)
