"""Where scenarios come from: the generator's campaigns or a user's log, laid out for the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.seeds import scenario_seeds
from domains.bidding.bounds import cpa_bound, integer_bound, lp_bound
from domains.bidding.generator import Drift, generate, generated_history, shift_drift
from domains.bidding.history import History
from domains.bidding.kernel import Auctions, Bidding
from domains.bidding.market import IMPRESSIONS, MAX_PRICE, SLOTS, market_history, sample_market

WIDEST_SLOT = 750  # of the market's 48: no day can put more of its 10,000 impressions into one half hour
MARKET_DAYS = 8  # of history

HISTORY_EPISODES = 40  # of 1000 auctions each: the 40,000 pairs of a generated campaign's history


def history(profile: str, episode: int) -> History:
    """What is known of a generated campaign; the same in every task, from training seeds of its own."""
    return generated_history(profile, scenario_seeds(f"bidding/history-{profile}", "train", range(HISTORY_EPISODES)), episode)


@dataclass(frozen=True)
class Generated:
    """A grid of cells, campaign by campaign and budget level by budget level, with `episodes` test scenarios in each.

    exact: bound each scenario by the integer optimum (short episodes) instead of the linear relaxation
    shift: laws change once within the episode
    """

    profiles: tuple[str, ...]
    levels: tuple[float, ...]
    episodes: int
    n: int
    slot: int
    drift: Drift = "normal"
    shift: bool = False
    exact: bool = False

    @property
    def cells(self) -> int:
        return len(self.profiles) * len(self.levels)

    def histories(self) -> list[History]:
        return [history(profile, min(self.n, 1000)) for profile in self.profiles]

    def cell_of(self, split: str, indices: Sequence[int]) -> NDArray[np.int64]:
        """Test scenarios lie campaign-major; training scenarios visit all cells in turn."""
        index = np.asarray(indices, np.int64)
        return index // self.episodes if split == "test" else index % self.cells

    def draw(self, seeds: Sequence[int], cell: NDArray[np.int64], histories: Sequence[History]) -> Auctions:
        """[B] scenarios, row i from seed i in cell i."""
        campaign, level = np.divmod(cell, len(self.levels))
        theta, price = np.empty((len(cell), self.n)), np.empty((len(cell), self.n), np.int32)
        click = np.empty((len(cell), self.n), np.uint8)
        for which in np.unique(campaign):
            rows = np.flatnonzero(campaign == which)
            chosen = [seeds[row] for row in rows]
            drawn = generate(self.profiles[which], chosen, self.n, self.drift)
            theta[rows], price[rows], click[rows] = shift_drift(drawn[0], drawn[1], chosen) if self.shift else drawn
        c0 = np.asarray(self.levels)[level]
        return auctions(theta, price, click, c0, campaign, histories, self.slot, exact=self.exact)


def replay(theta: NDArray[Any], price: NDArray[Any], click: NDArray[Any], levels: Sequence[float], known: History, slot: int) -> Auctions:
    """A log cut into episodes [E, n], each played at every budget level: E * len(levels) scenarios, level-major."""
    repeat = len(levels)
    c0 = np.repeat(np.asarray(levels, np.float64), len(theta))
    rows = [np.concatenate([series] * repeat) for series in (theta, price, click)]
    return auctions(rows[0], rows[1], rows[2], c0, np.zeros(len(c0), np.int64), [known], slot)


def market_domain() -> Bidding:
    """The CPA task's world: 48 slots of unequal size, each padded to the widest with auctions nobody can win."""
    known = market_history(scenario_seeds("bidding/history-market", "train", range(MARKET_DAYS)))
    domain = Bidding([known], SLOTS * WIDEST_SLOT, WIDEST_SLOT, "second", "full", MAX_PRICE, cpa=True, padded=True)
    domain.sampler = lambda seeds: market_draw(domain, "train", range(len(seeds)), seeds)
    return domain


def market_draw(domain: Bidding, split: str, indices: Sequence[int], seeds: Sequence[int]) -> Auctions:
    """One advertiser's day per seed."""
    days = sample_market(seeds)
    size = days["slots"]
    place = np.arange(WIDEST_SLOT) < size[:, :, None]
    row, slot, within = np.nonzero(place)
    source = np.tile(np.arange(IMPRESSIONS), len(size))

    def spread(series: NDArray[Any], fill: int) -> NDArray[Any]:
        wide = np.full(place.shape, fill, series.dtype)
        wide[row, slot, within] = series[row, source]
        return wide.reshape(len(size), -1)

    return auctions(
        spread(days["value"], 0), spread(days["price"], domain.max_bid + 1), spread(days["click"], 0),
        days["budget"] / (domain.histories[0].cpm * IMPRESSIONS), np.zeros(len(size), np.int64), domain.histories, domain.slot,
        budget=days["budget"], cost_limit=days["cost_limit"], size=size,
    )  # fmt: skip


def auctions(
    theta: NDArray[Any],
    price: NDArray[Any],
    click: NDArray[Any],
    c0: NDArray[Any],
    campaign: NDArray[np.int64],
    histories: Sequence[History],
    slot: int,
    *,
    exact: bool = False,
    budget: NDArray[np.int64] | None = None,
    cost_limit: NDArray[Any] | None = None,
    size: NDArray[Any] | None = None,
) -> Auctions:
    """The kernel's record from series [B, n]. Raises ArenaError naming row and value for what no auction can be."""
    n = theta.shape[1]
    bad = ~((theta >= 0) & (theta <= 1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ArenaError("data.theta", f"theta[{row}, {column}] = {theta[row, column]!r} is no probability", "values lie in [0, 1]")
    if (price < 0).any():
        row, column = np.argwhere(price < 0)[0]
        raise ArenaError("data.price", f"price[{row}, {column}] = {price[row, column]} is negative", "prices are integers from 0")
    if budget is None:
        budget = np.array([histories[k].budget(float(share), n) for k, share in zip(campaign, c0, strict=True)], np.int64)
    if (budget <= 0).any():
        row = int(np.flatnonzero(budget <= 0)[0])
        raise ArenaError("data.budget", f"budget[{row}] = {budget[row]} (c0 = {c0[row]})", "a campaign needs a budget of at least 1; raise c0 or n")
    if cost_limit is None:
        cost_limit = np.full(len(theta), np.inf)
        bound = np.concatenate(
            [(integer_bound if exact else lp_bound)(theta[i : i + 256], price[i : i + 256], budget[i : i + 256]) for i in range(0, len(theta), 256)]
        )
    else:
        bound = cpa_bound(theta, price, budget, cost_limit)[0]
    if size is None:
        slots = -(-n // slot)
        size = np.broadcast_to(np.minimum(slot, n - slot * np.arange(slots)), (len(theta), slots))
    low = np.array([_low_price(h) for h in histories], np.int32)[campaign]
    return Auctions(
        _auction_major(price, np.int32),
        _auction_major(theta, np.float64),
        _auction_major(click, np.uint8),
        *(torch.from_numpy(np.ascontiguousarray(x)) for x in (budget, c0.astype(np.float64), campaign, cost_limit.astype(np.float64))),
        torch.from_numpy(np.ascontiguousarray(size, np.int32)),
        torch.from_numpy(low),
        torch.from_numpy(bound),
    )


def _auction_major(series: NDArray[Any], kind: type) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(series.T, kind)).T


def _low_price(known: History) -> int:
    """The 5 % quantile of the history's prices, at least 1: with less money than this, next to nothing can be bought."""
    cumulative = np.cumsum(known.price_counts)
    return max(1, int(np.searchsorted(cumulative, 0.05 * cumulative[-1])))
