"""What a bidder is told about its campaign beforehand: totals, the price histogram and past (theta, price) pairs. Never evaluation rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from arena.digest import array_digest, digest
from arena.errors import ArenaError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class History:
    """The training log of one campaign; prices are integers 0..max_price in CPM units, cost is their sum over the impressions.

    `theta` and `price` [K] are past auctions in time order, K = 0 where a log gives totals only; `episode` is the length of the whole episodes
    agents tune on. Totals may cover more auctions than the pairs do.
    """

    campaign: str
    impressions: int
    cost: int
    clicks: int
    price_counts: Integers  # [max_price + 1] how often each price was seen
    theta: Floats  # [K]
    price: Integers  # [K]
    episode: int
    max_price: int
    click: NDArray[np.uint8] | None = None  # [K]

    def __post_init__(self) -> None:
        for series in (self.price_counts, self.theta, self.price, self.click):
            if series is not None:
                series.setflags(write=False)  # all agents of a process share it
        if self.impressions <= 0 or self.cost < 0 or self.clicks < 0:
            totals = f"{self.impressions} impressions, cost {self.cost}, {self.clicks} clicks"
            raise ArenaError("history.totals", f"campaign {self.campaign}: {totals}", "a history needs at least one impression and no negative total")
        if len(self.price_counts) != self.max_price + 1 or len(self.theta) != len(self.price) or self.episode < 1:
            raise ArenaError(
                "history.shape",
                f"campaign {self.campaign}: {len(self.price_counts)} price counts, {len(self.theta)} theta, {len(self.price)} price, "
                f"episodes of {self.episode}",
                f"expected {self.max_price + 1} price counts (0..{self.max_price}), as many theta as prices, and episodes of at least one auction",
            )

    @property
    def ctr(self) -> float:
        """Clicks per impression."""
        return self.clicks / self.impressions

    @property
    def theta_bar(self) -> float:
        """Mean value of an impression: the click rate; where the history has no click, the pairs' mean theta (ArenaError without pairs)."""
        return self.ctr if self.clicks else self.mean_theta

    @property
    def cpm(self) -> float:
        """Mean price of an impression, in price units."""
        return self.cost / self.impressions

    @property
    def ecpc(self) -> float:
        """Cost per click, in price units (divide by 1000 for money). ArenaError where the history has no click."""
        if self.clicks == 0:
            raise ArenaError(
                "history.clicks",
                f"campaign {self.campaign}: no click in {self.impressions} impressions, so the cost per click is undefined",
                "bid with an agent that needs no cost per click, or give a longer history",
                campaign=self.campaign,
            )
        return self.cost / self.clicks

    @property
    def mean_theta(self) -> float:
        """Mean theta of the pairs. ArenaError where there are none."""
        self._need_pairs(1)
        return float(self.theta.mean())

    def price_pmf(self, laplace: float = 1) -> Floats:
        """Law of the market price [max_price + 1] from the histogram, with `laplace` added to each count."""
        counts = self.price_counts + float(laplace)
        total = counts.sum()
        if total <= 0:
            raise ArenaError("history.prices", f"campaign {self.campaign}: the price histogram is empty", "use laplace=1 or give prices")
        return counts / total

    def episodes(self) -> tuple[Floats, Integers]:
        """The pairs cut into whole episodes: theta and price, both [E, episode]; a rest at the end is left out.

        ArenaError where the pairs do not fill one episode.
        """
        self._need_pairs(self.episode)
        whole = len(self.theta) // self.episode * self.episode
        return self.theta[:whole].reshape(-1, self.episode), self.price[:whole].reshape(-1, self.episode)

    def budget(self, c0: float, n: int) -> int:
        """Budget of an episode of `n` auctions at `c0` times the historical price: int(cost / impressions * c0 * n), left to right in float64."""
        if not c0 > 0 or n < 1:
            raise ArenaError(
                "budget.share", f"c0 = {c0!r} over {n} auctions gives no budget", "c0 must be above 0 and the episode at least 1 auction"
            )
        return int(self.cost / self.impressions * c0 * n)

    @cached_property
    def digest(self) -> str:
        """sha256 over all fields."""
        scalars = (self.campaign, self.impressions, self.cost, self.clicks, self.episode, self.max_price)
        arrays = (self.price_counts, self.theta, self.price, self.click)
        return digest([*scalars, *(None if array is None else array_digest(array) for array in arrays)])

    def _need_pairs(self, least: int) -> None:
        if len(self.theta) < least:
            raise ArenaError(
                "history.pairs",
                f"campaign {self.campaign}: the history holds {len(self.theta)} (theta, price) pairs, {least} are needed",
                "put the training rows (train.theta.txt: click price theta) beside info.json, or use an agent that needs totals only",
                campaign=self.campaign,
            )
