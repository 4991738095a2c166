"""What a bidder that knew the whole episode could win: a knapsack, whose linear relaxation is a prefix of the auctions sorted by value per price.

A bid equal to the price buys the auction at its price under second price and, as ties win, under first price: both share these bounds.
Values are float64 (theta, not clicks), prices integers >= 0, budgets integers; rows are scenarios.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.errors import ArenaError

Floats = NDArray[np.float64]
Integers = NDArray[Any]


@dataclass(frozen=True)
class _Frontier:
    """The auctions in greedy order, and what each prefix of them is worth and costs. All [B, n]."""

    value: Floats
    price: Integers
    total_value: Floats
    total_price: Integers


def _frontier(value: Floats, price: Integers, budget: Integers) -> _Frontier:
    """Sort each row by value / price: free auctions of some value first, worthless auctions last."""
    value, price, budget = np.asarray(value, np.float64), np.asarray(price, np.int64), np.asarray(budget)
    if value.ndim != 2 or value.shape != price.shape or budget.shape != value.shape[:1]:
        shapes = f"value {value.shape}, price {price.shape}, budget {budget.shape}"
        raise ArenaError("bounds.shape", f"the bound was given {shapes}", "expected value and price [B, n] and budget [B]")
    if (price < 0).any() or not (value >= 0).all() or (budget < 0).any():
        raise ArenaError("bounds.range", "the bound was given a negative price, value or budget, or a value that is no number", "all must be >= 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(value > 0, value / price, 0.0)
    order = np.argsort(-ratio, axis=1, kind="stable")  # stable, so that sums come out in the same order on every machine
    value, price = np.take_along_axis(value, order, 1), np.take_along_axis(price, order, 1)
    return _Frontier(value, price, value.cumsum(1), price.cumsum(1))


def _split(frontier: _Frontier, whole: Integers, share: Floats) -> Floats:
    """Value [B] of the first `whole` [B] auctions and a `share` [B] of the next one."""
    before = np.where(whole > 0, _at(frontier.total_value, whole - 1), 0.0)
    return before + np.where(whole < frontier.value.shape[1], share * _at(frontier.value, whole), 0.0)


def _at(series: NDArray[Any], index: Integers) -> NDArray[Any]:
    return np.take_along_axis(series, index.clip(0, series.shape[1] - 1)[:, None], 1)[:, 0]


def _budget_point(frontier: _Frontier, budget: Integers) -> tuple[Integers, Floats]:
    """Where the budget stops the prefix: number of whole auctions [B] and the share of the next one it still pays for [B]."""
    whole = (frontier.total_price <= budget[:, None]).sum(1)
    left = budget - np.where(whole > 0, _at(frontier.total_price, whole - 1), 0)
    return whole, left / np.maximum(_at(frontier.price, whole), 1)


def lp_bound(value: Floats, price: Integers, budget: Integers) -> Floats:
    """Largest value [B] of auctions `value`, `price` [B, n] that `budget` [B] pays for, the last one split (Dantzig 1957)."""
    frontier = _frontier(value, price, budget)
    return _split(frontier, *_budget_point(frontier, np.asarray(budget)))


def integer_bound(value: Floats, price: Integers, budget: Integers) -> Floats:
    """As `lp_bound` with whole auctions only, exactly: dynamic programme over the budget, O(n B max(budget)). For tiny episodes."""
    frontier = _frontier(value, price, budget)  # checks its input; the order does not matter here
    budget = np.asarray(budget)
    cells = np.arange(int(budget.max(initial=0)) + 1)
    best = np.zeros((len(budget), len(cells)))
    for v, z in zip(frontier.value.T, frontier.price.T, strict=True):
        left = cells - z[:, None]
        taken = np.take_along_axis(best, left.clip(0), 1) + v[:, None]
        best = np.where(left >= 0, np.maximum(best, taken), best)
    return _at(best, budget)


def cpa_bound(value: Floats, price: Integers, budget: Integers, cost_limit: Floats) -> tuple[Floats, Floats]:
    """Largest value [B] within `budget` [B] and at a cost of at most `cost_limit` [B] per unit of value; and the bid coefficient [B] behind it.

    Both constraints leave the greedy order optimal: the Lagrangian takes an auction iff price <= kappa * value. So the optimum is the prefix
    stopped by whichever constraint binds first. `kappa` is price / value of the last auction of any value that was touched (0 where none was).
    """
    frontier = _frontier(value, price, budget)
    whole, share = _cpa_point(frontier, np.asarray(budget), np.asarray(cost_limit, np.float64))
    last = np.minimum(whole - (share <= 0), (frontier.value > 0).sum(1) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa = np.where(last >= 0, _at(frontier.price, last) / _at(frontier.value, last), 0.0)
    return _split(frontier, whole, share), kappa


def _cpa_point(frontier: _Frontier, budget: Integers, cost_limit: Floats) -> tuple[Integers, Floats]:
    """Where budget or cost limit stops the prefix, whichever comes first, as in `_budget_point`."""
    if not (cost_limit > 0).all():
        raise ArenaError("bounds.cost_limit", f"the cost limit per unit of value is {cost_limit.min()}", "it must be above 0")
    whole, share = _budget_point(frontier, budget)
    slack = cost_limit[:, None] * frontier.total_value - frontier.total_price
    meets = (slack >= 0).cumprod(1).sum(1)  # cost / value only grows along the prefix
    left = np.where(meets > 0, _at(slack, meets - 1), 0.0)
    excess = _at(frontier.price, meets) - cost_limit * _at(frontier.value, meets)  # what one more auction takes of the slack
    part = left / np.where(excess > 0, excess, 1.0)
    sooner = meets < whole
    share = np.where(sooner, part, np.where(meets == whole, np.minimum(share, np.where(meets < frontier.value.shape[1], part, 1.0)), share))
    return np.minimum(meets, whole), np.clip(share, 0.0, 1.0)


def penalised_bound(value: Floats, price: Integers, budget: Integers, cost_limit: Floats) -> Floats:
    """Largest V min(1, (cost_limit V / S)^2) [B] over purchases of value V at spend S <= budget, auctions divisible.

    For a given spend the score grows with V, so the optimum lies on the greedy frontier; within one auction any stationary point beyond the cost
    limit is a minimum. That leaves the whole prefixes the budget pays for, the budget's own point and the point where S = cost_limit V.
    """
    frontier = _frontier(value, price, budget)
    budget, limit = np.asarray(budget), np.asarray(cost_limit, np.float64)
    scores = _penalised(frontier.total_value, frontier.total_price, limit[:, None])
    affordable = np.where(frontier.total_price <= budget[:, None], scores, 0.0).max(1, initial=0.0)
    spent = np.minimum(budget, frontier.total_price[:, -1])
    at_budget = _penalised(_split(frontier, *_budget_point(frontier, budget)), spent, limit)
    at_limit = _split(frontier, *_cpa_point(frontier, budget, limit))
    return np.maximum(np.maximum(affordable, at_budget), at_limit)


def _penalised(value: Floats, spend: Integers, cost_limit: Floats) -> Floats:
    return value * np.minimum(1.0, (cost_limit * value / np.maximum(spend, 1)) ** 2)
