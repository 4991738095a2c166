"""The win curve of ORTB and the bid that is optimal for it (Zhang, Yuan, Wang 2014, "Optimal real-time bidding for display advertising", KDD)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arena.errors import ArenaError

SCALES = np.arange(1, 300)


def fit_win_curve(price_counts: NDArray[np.int64]) -> int:
    """The c in 1..299 whose curve w(a) = a / (a + c) is nearest, in squares over all bids 0..M, to the share of past prices <= a.

    price_counts: [M+1] how often each price was seen. Raises ArenaError `bidding.price_law` where nothing was seen.
    """
    total = int(price_counts.sum())
    if total == 0:
        raise ArenaError("bidding.price_law", "the price histogram is empty, expected at least one past price", "give a history with prices")
    bids = np.arange(len(price_counts))
    share = np.cumsum(price_counts) / total
    misfit = ((bids / (bids + SCALES[:, None]) - share) ** 2).sum(1)
    return int(SCALES[misfit.argmin()])


def ortb_bid(theta: NDArray[np.float64], scale: int, k: NDArray[np.float64] | float, theta_bar: float) -> NDArray[np.float64]:
    """sqrt(c theta k / theta_bar + c^2) - c, shapes broadcast, not yet truncated.

    It maximises sum theta w(a) - lambda a w(a): a first-price auction with this win curve (k = theta_bar / lambda).
    """
    return np.sqrt(scale * theta * k / theta_bar + scale**2) - scale
