"""Measured facts about nine iPinYou campaigns: totals, and the laws of price and value the generator is calibrated to.

Prices are integers 0..300 in CPM units. Totals are those of the campaigns' published `info.json`; the quantiles of R = theta / mean theta,
the rank correlation, the spread of the episodes' mean price and the lag-1 correlations were measured on about 100,000 real rows a campaign.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Totals:
    """What a campaign's log adds up to. `cost` is in price units: money spent = cost / 1000."""

    impressions: int
    clicks: int
    cost: int

    @property
    def ctr(self) -> float:
        """Clicks per impression."""
        return self.clicks / self.impressions

    @property
    def cpm(self) -> float:
        """Mean price of an impression."""
        return self.cost / self.impressions


TRAIN = {
    "1458": Totals(3_083_056, 2454, 212_400_241),
    "2259": Totals(835_556, 280, 77_754_898),
    "2261": Totals(687_617, 207, 61_610_942),
    "2821": Totals(1_322_561, 843, 118_082_339),
    "2997": Totals(312_437, 1386, 19_689_072),
    "3358": Totals(1_742_104, 1358, 160_943_087),
    "3386": Totals(2_847_802, 2076, 219_066_895),
    "3427": Totals(2_593_765, 1926, 210_239_915),
    "3476": Totals(1_970_360, 1027, 156_088_484),
}

TEST = {
    "1458": Totals(614_638, 515, 45_216_454),
    "2259": Totals(417_197, 130, 43_497_557),
    "2261": Totals(343_862, 97, 28_795_996),
    "2821": Totals(661_964, 378, 68_257_100),
    "2997": Totals(156_063, 530, 8_617_148),
    "3358": Totals(300_928, 260, 34_159_766),
    "3386": Totals(545_421, 445, 45_715_525),
    "3427": Totals(536_795, 366, 46_356_518),
    "3476": Totals(523_848, 287, 43_627_585),
}

MAX_PRICE = 300

# Levels of the quantiles in `Law.value_knots` and `Law.price_body`.
VALUE_LEVELS = (0.0, 0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.97, 0.99, 0.995, 0.998, 0.9985, 0.999, 0.9995, 0.9999, 1.0)
PRICE_LEVELS = (0.01, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90, 0.95, 0.99)


@dataclass(frozen=True)
class Law:
    """How one campaign's auctions are distributed.

    `value_knots` are quantiles of R at `VALUE_LEVELS`, `price_body` quantiles of the price without its atoms at `PRICE_LEVELS`, `atoms` the floor
    prices and the percentage of *all* auctions that stand at them. `rank_correlation` is Spearman's, between theta and price; `episode_sd` the
    standard deviation of the mean price of an episode of 1000; the lags are lag-1 autocorrelations of price and of ln theta.
    """

    value_knots: tuple[float, ...]
    price_body: tuple[float, ...]
    atoms: dict[int, float]
    rank_correlation: float
    episode_sd: float
    lag_price: float
    lag_log_value: float


LAWS = {
    "1458": Law(
        (0.00434, 0.0451, 0.125, 0.219, 0.394, 0.631, 0.933, 1.43, 1.95, 2.42, 3.28, 4.77, 159, 409, 884, 1180),
        (5, 8, 13, 20, 31, 44, 54, 65, 85, 118, 162, 210, 280),
        {20: 5.0, 50: 9.3, 70: 13.7, 80: 6.4},
        rank_correlation=0.139,
        episode_sd=10.9,
        lag_price=0.056,
        lag_log_value=0.030,
    ),
    "2261": Law(
        (0.0469, 0.134, 0.264, 0.412, 0.692, 1.2, 2.11, 3.48, 4.85, 5.86, 7.45, 7.9, 8.79, 11.1, 14.3, 27),
        (1, 7, 13, 27, 41, 58, 78, 103, 142, 168, 223, 262, 286),
        {5: 4.3, 20: 10.2, 50: 2.5, 51: 2.1, 70: 2.7, 101: 2.0, 180: 4.4},
        rank_correlation=0.117,
        episode_sd=7.3,
        lag_price=0.029,
        lag_log_value=0.083,
    ),
    "2821": Law(
        (0.049, 0.198, 0.37, 0.524, 0.769, 1.18, 1.87, 3, 4.2, 5.15, 6.72, 7.24, 7.83, 8.92, 12.4, 21.5),
        (2, 7, 13, 28, 41, 58, 80, 101, 133, 170, 218, 256, 281),
        {20: 4.2, 31: 13.2, 50: 2.3, 70: 3.8, 160: 3.0, 180: 2.9},
        rank_correlation=0.179,
        episode_sd=3.9,
        lag_price=0.048,
        lag_log_value=0.119,
    ),
    "2997": Law(
        (0.167, 0.241, 0.389, 0.535, 0.909, 1.34, 1.7, 2.34, 2.83, 3.02, 3.28, 3.36, 3.56, 3.8, 4.76, 6.35),
        (5, 9, 13, 21, 30, 39, 51, 65, 86, 118, 164, 207, 260),
        {6: 11.6, 30: 4.5},
        rank_correlation=0.090,
        episode_sd=4.1,
        lag_price=0.161,
        lag_log_value=0.701,
    ),
    "3358": Law(
        (0.00049, 0.00465, 0.042, 0.0915, 0.214, 0.515, 1.03, 2.41, 6.75, 19.3, 74.1, 104, 150, 243, 531, 961),
        (5, 11, 17, 31, 48, 64, 76, 100, 128, 165, 216, 236, 260),
        {22: 1.9, 55: 5.2, 77: 8.1, 88: 2.3, 89: 3.2, 95: 1.9, 119: 1.9},
        rank_correlation=0.142,
        episode_sd=15.0,
        lag_price=0.060,
        lag_log_value=0.051,
    ),
    "3427": Law(
        (1e-4, 2.94e-4, 0.0163, 0.121, 0.281, 0.56, 1.01, 2.19, 4.12, 5.78, 10.1, 15.2, 202, 408, 827, 1100),
        (5, 11, 17, 33, 48, 62, 75, 95, 121, 156, 200, 236, 260),
        {5: 1.8, 22: 5.8, 33: 2.0, 55: 10.0, 77: 12.3, 88: 7.5},
        rank_correlation=0.225,
        episode_sd=14.4,
        lag_price=0.074,
        lag_log_value=0.037,
    ),
    "3476": Law(
        (1e-4, 8.89e-4, 0.00392, 0.058, 0.256, 0.692, 1.87, 5.19, 9.42, 12.5, 18.7, 27.3, 63.6, 162, 378, 658),
        (5, 8, 15, 29, 41, 53, 68, 87, 114, 148, 201, 226, 254),
        {21: 6.0, 52: 8.2, 73: 11.0, 84: 8.3},
        rank_correlation=0.150,
        episode_sd=11.1,
        lag_price=0.071,
        lag_log_value=0.019,
    ),
}

# Share of a day's impressions in each half hour, per mille (alimama-tech/AuctionNet).
TRAFFIC = (
    23.0, 10.8, 8.8, 4.8, 4.8, 3.3, 3.4, 3.0, 4.3, 4.9, 11.1, 12.4, 18.5, 17.3, 26.1, 24.1,
    36.4, 33.1, 38.1, 32.4, 37.2, 32.9, 33.5, 25.5, 23.7, 22.2, 26.2, 20.1, 22.2, 20.5, 22.7, 20.8,
    24.1, 20.6, 20.0, 16.5, 17.5, 16.9, 20.4, 19.8, 25.0, 25.1, 31.1, 28.6, 30.1, 25.7, 25.4, 25.3,
)  # fmt: skip
