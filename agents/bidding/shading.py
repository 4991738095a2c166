"""Re-solving where the winner pays its own bid: shade every bid for the law of prices, then price the budget as under second price.

An auction worth v units of money is best bid a(v) = argmax (v - a) F(a), F the history's price law. With v = theta * kappa the history's
average spend rises in kappa; read backwards this gives the kappa a spend of rho per auction pays for, as fluid.py's 1 / lambda does for second
price, where a(v) = v.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.bidding.fluid import POINTS

Floats = NDArray[np.float64]
WORTHS = 4000  # worths 0, 1, 2 ... that have a bid; above, the last one's
COEFFICIENTS = 400  # kappas whose spend is computed


def shaded_bids(pmf: Floats) -> NDArray[np.int64]:
    """[WORTHS] the bid argmax_a (v - a) F(a) of each worth v, the least where several are best; `pmf` [M+1] of the price."""
    bids, wins = np.arange(len(pmf)), pmf.cumsum()
    return np.array([((v - bids) * wins).argmax() for v in range(WORTHS)])


def first_price_fluid(theta: Floats, price: NDArray[np.int64], bids: NDArray[np.int64]) -> tuple[Floats, float]:
    """kappa [4000] at spends 0, step, 2 step ... up to the most that can be spent, and step; from past pairs theta, price [K] of some value."""
    valued = theta[theta > 0]
    kappas = np.geomspace(0.1 / valued.max(), WORTHS / np.quantile(valued, 0.01), COEFFICIENTS)
    spends = np.empty(COEFFICIENTS)
    for i, kappa in enumerate(kappas):
        bid = bids[np.minimum(theta * kappa, WORTHS - 1).astype(np.int64)]
        spends[i] = (bid * (bid >= price)).mean()
    spends = np.maximum.accumulate(spends)
    step = float(spends[-1]) / POINTS
    return np.exp(np.interp(np.arange(POINTS) * step, spends, np.log(kappas))), step
