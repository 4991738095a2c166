"""What a bidder can expect who knows the law of the auctions but not their luck: exact dynamic programming on the joint law of value and price.

    V_n(b) = V_{n-1}(b) + sum_k sum_d P(theta_k, d) max(0, theta_k + V_{n-1}(b-d) - V_{n-1}(b)),    d = 0 .. min(b, M), V_0 = 0

Unlike the table of Cai et al. 2017 it keeps how value and price hang together instead of the mean value alone, and at budget 0 it goes on
to win free auctions, as the auction itself does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from arena.errors import ArenaError

Floats = NDArray[np.float64]

QUANTILES = np.concatenate((np.linspace(0, 0.9, 13), (0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 1)))  # the tail holds most of the value
PSEUDO_COUNTS = 20.0
SATURATED = 1e-9  # share of the mean value below which a value counts as its ceiling (all auctions won)


@dataclass(frozen=True, eq=False)
class PairModel:
    """Law of (theta, price): values theta_k [K] ascending and probabilities P(theta_k, d) [K, M+1]."""

    theta: Floats
    law: Floats
    gamma: float = 1.0

    @property
    def max_price(self) -> int:
        """M: the highest price and the highest bid."""
        return int(self.law.shape[1]) - 1

    def identity(self, auctions: int, budget: int) -> dict[str, str]:
        """What an artefact made from this model must agree with, as text."""

        def digest(array: Floats) -> str:
            return hashlib.sha256(np.ascontiguousarray(array, dtype="<f8").tobytes()).hexdigest()

        return {
            "pair_law": digest(self.law),
            "theta": digest(self.theta),
            "gamma": repr(self.gamma),
            "max_price": str(self.max_price),
            "auctions": str(auctions),
            "budget": str(budget),
        }


def pair_model(theta: Floats, price: NDArray[np.int64], max_price: int) -> PairModel:
    """Bin past pairs theta, price [K] by value: 12 bins of equal mass up to the 90 % quantile, finer ones above; equal edges merge.

    theta_k is the mean of its bin; prices within a bin are smoothed by 20 pseudo-counts of the price law of all pairs.
    Raises ArenaError `bidding.pairs` where no pair has a value above 0.
    """
    if not (theta > 0).any():
        raise ArenaError("bidding.pairs", f"none of {len(theta)} past auctions has a value above 0", "the history must hold at least one")
    edges = np.unique(np.quantile(theta, QUANTILES))
    index = np.searchsorted(edges[1:-1], theta, side="right")
    bins = max(len(edges) - 1, 1)
    counts = np.zeros((bins, max_price + 1))
    np.add.at(counts, (index, price), 1)
    size = counts.sum(1)
    mean = np.bincount(index, weights=theta, minlength=bins)
    used = size > 0
    counts, size, mean = counts[used], size[used, None], mean[used]
    marginal = counts.sum(0) / len(theta)
    conditional = (counts + PSEUDO_COUNTS * marginal) / (size + PSEUDO_COUNTS)
    return PairModel(mean / size[:, 0], conditional * size / len(theta))


@njit(cache=True, fastmath={"reassoc", "contract"})
def _next_row(before, after, theta, probability, below, value_below, lowest, ceiling, slack):  # type: ignore[no-untyped-def]  # pragma: no cover
    """One auction more: fill `after` [B+1] from `before` [B+1]; `lowest` [K] is scratch.

    lowest[k] is the least budget that a value theta_k may leave behind: before[b] - before[i] < theta_k from i = lowest[k] on. It only moves
    up with b, so finding it is free. Between two such budgets a fixed set of values accepts (all from some k on), and the gain is a difference
    of prefix sums plus a plain vector product of V and the law.
    """
    most = probability.shape[1] - 1
    lowest[:] = 0
    for b in range(len(before)):
        here, gain, upper, floor = before[b], 0.0, b + 1, max(0, b - most)
        for k in range(len(theta)):
            low = max(lowest[k], floor)
            while low < b and here - before[low] >= theta[k]:
                low += 1
            lowest[k] = low
            if low < upper:
                first, last, shift = b - upper + 1, b - low + 1, most - b
                window, weight, paid_for = before[low:upper], probability[k, low + shift : upper + shift], 0.0  # slices, so that it vectorises
                for i in range(len(window)):
                    paid_for += window[i] * weight[i]
                gain += paid_for + value_below[k, last] - value_below[k, first] - here * (below[k, last] - below[k, first])
                upper = low
            if upper == floor:
                break  # higher values accept nothing more; their `lowest` is behind `floor` from here on
        after[b] = here + gain
        if after[b] > ceiling - slack:
            after[b + 1 :] = ceiling
            break


class Recursion:
    """The step from V_{n-1} to V_n, with the law summed over the values from each k on."""

    def __init__(self, model: PairModel) -> None:
        tail = np.ascontiguousarray(model.law[::-1].cumsum(0)[::-1])
        value_tail = np.ascontiguousarray((model.law * model.theta[:, None])[::-1].cumsum(0)[::-1])
        start = np.zeros((len(tail), 1))
        self.theta, self.mean_theta = model.theta, float(model.law.sum(1) @ model.theta)
        self.probability = np.ascontiguousarray(tail[:, ::-1])  # [K, M+1] of price M - i, as budgets left rise with i
        self.below = np.concatenate((start, tail.cumsum(1)), axis=1)  # [K, M+2] of prices below d
        self.value_below = np.concatenate((start, value_tail.cumsum(1)), axis=1)
        self.lowest = np.zeros(len(tail), np.int64)

    def step(self, n: int, before: Floats, after: Floats) -> None:
        """Write V_n into `after`, given V_{n-1}."""
        ceiling = n * self.mean_theta
        _next_row(before, after, self.theta, self.probability, self.below, self.value_below, self.lowest, ceiling, SATURATED * self.mean_theta)


def stochastic_optimum(model: PairModel, auctions: int, budgets: NDArray[np.int64]) -> Floats:
    """V_N(B) at each of `budgets` [C]: what a bidder who knows the law but not the episode can expect at best. Keeps two rows only."""
    recursion, before = Recursion(model), np.zeros(int(budgets.max()) + 1)
    after = np.empty_like(before)
    for n in range(1, auctions + 1):
        recursion.step(n, before, after)
        before, after = after, before
    return before[budgets]
