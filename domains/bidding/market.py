"""A day of one advertiser among 48: values by category and slot, and the price at which it would take one of three slots (AuctionNet conventions).

The other 47 bid truthfully, value times their own CPA target; the market price is the third-highest of their bids, in CPM units. Nothing the
advertiser does changes it. (alimama-tech/AuctionNet; arXiv 2412.10798.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.bidding.generator import rounded
from domains.bidding.history import Floats, History
from domains.bidding.profiles import TRAFFIC

ADVERTISERS, CATEGORIES, SLOTS = 48, 6, 48
SLOTS_WON = 3  # slots on offer per impression
MAX_PRICE = 1000
IMPRESSIONS = 10_000
FULL_DAY = 500_000  # impressions that AuctionNet's budgets are meant for; ours shrink in proportion
BUDGETS = (2000.0, 4850.0)  # money, for a full day
CPA_TARGETS = (60.0, 130.0)  # money per conversion
MEAN_VALUE = 5e-4  # conversions per impression


def sample_market(seeds: Sequence[int], impressions: int = IMPRESSIONS) -> dict[str, NDArray[Any]]:
    """One day per seed, each row a pure function of its own seed.

    `value` float64 [B, n] conversion probability, `price` int32 [B, n] in 0..1000, `click` uint8 [B, n] (a conversion drawn once), `budget` int64 [B]
    in price units, `cost_limit` float64 [B] in price units per unit of value, `slots` int64 [B, 48] impressions in each half hour (they add up to n).
    """
    rows = [_day(np.random.Generator(np.random.Philox(seed)), impressions) for seed in seeds]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def market_history(seeds: Sequence[int], episode: int = 1000, impressions: int = IMPRESSIONS) -> History:
    """Days of earlier advertisers, pooled, one per seed; the seeds must come from the train split. A click of it is a conversion."""
    days = sample_market(seeds, impressions)
    value, price, click = (days[name].reshape(-1) for name in ("value", "price", "click"))
    return History(
        "market",
        impressions=len(price),
        cost=int(price.sum()),
        clicks=int(click.sum()),
        price_counts=np.bincount(price, minlength=MAX_PRICE + 1),
        theta=value,
        price=price.astype(np.int64),
        episode=episode,
        max_price=MAX_PRICE,
        click=click,
    )


def bidders(rng: np.random.Generator, impressions: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Everybody's day: values [n, 48 advertisers] in [0, 1], CPA targets [48] in money, impressions of each half hour [48]."""
    target = rounded(rng.uniform(*CPA_TARGETS, ADVERTISERS))
    sizes = _slot_sizes(rng, impressions)
    slot = np.repeat(np.arange(SLOTS), sizes)
    mean, sd = _value_law(rng)
    value = rng.standard_normal((impressions, ADVERTISERS))
    value *= sd[slot]
    value += mean[slot]
    return rounded(value.clip(0.0, 1.0, out=value)), target, sizes


def _day(rng: np.random.Generator, impressions: int) -> dict[str, NDArray[Any]]:
    values, target, sizes = bidders(rng, impressions)
    own = int(rng.integers(ADVERTISERS))
    rivals = np.delete(values * target, own, axis=1)
    marginal = np.partition(rivals, -SLOTS_WON, axis=1)[:, -SLOTS_WON]  # the least bid that still holds a slot
    value = values[:, own].copy()
    return {
        "value": value,
        "price": np.minimum(np.rint(1000 * marginal), MAX_PRICE).astype(np.int32),
        "click": (rng.random(impressions) < value).view(np.uint8),
        "budget": np.array(1000 * rng.uniform(*BUDGETS) * impressions / FULL_DAY).astype(np.int64),
        "cost_limit": 1000 * target[own],
        "slots": sizes,
    }


def _slot_sizes(rng: np.random.Generator, impressions: int) -> NDArray[np.int64]:
    """Impressions per half hour: the measured day, each block of 4 slots scaled by U(.6, 1.4); rounded so that they add up."""
    share = np.array(TRAFFIC) * rng.uniform(0.6, 1.4, SLOTS // 4).repeat(4)
    ends = np.rint(impressions * share.cumsum() / share.sum()).astype(np.int64)
    return np.diff(ends, prepend=0)


def _value_law(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each advertiser's value by slot, [slots, advertisers].

    The mean is 5e-4 times U(.3, 1.7) per category and block of 8 slots, times U(.5, 1.5) per advertiser (1 for the first of its category). The
    deviation is a ratio of the mean: per slot ~ N(q, .2 q), q ~ N(.5, .1) per advertiser.
    """
    members = ADVERTISERS // CATEGORIES
    block = rng.uniform(0.3, 1.7, (SLOTS // 8, CATEGORIES)).repeat(8, axis=0).repeat(members, axis=1)
    own = rng.uniform(0.5, 1.5, ADVERTISERS)
    own[::members] = 1.0
    mean = MEAN_VALUE * block * own
    ratio = rng.normal(0.5, 0.1, ADVERTISERS) * (1 + 0.2 * rng.standard_normal((SLOTS, ADVERTISERS)))
    return mean, mean * np.maximum(ratio, 0.0)
