"""The CPA market: who bids what, which price wins a slot, how a day's traffic lies."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from arena.seeds import scenario_seeds
from domains.bidding.bounds import cpa_bound, lp_bound
from domains.bidding.generator import rounded
from domains.bidding.market import MAX_PRICE, bidders, market_history, sample_market
from domains.bidding.profiles import TRAFFIC

SEEDS = scenario_seeds("bidding/market", "test", range(24))


@cache
def days() -> dict[str, np.ndarray]:
    return sample_market(SEEDS)


def test_types_shapes_and_ranges() -> None:
    found = {name: (series.dtype, series.shape) for name, series in days().items()}
    assert found == {
        "value": (np.float64, (24, 10_000)),
        "price": (np.int32, (24, 10_000)),
        "click": (np.uint8, (24, 10_000)),
        "budget": (np.int64, (24,)),
        "cost_limit": (np.float64, (24,)),
        "slots": (np.int64, (24, 48)),
    }
    assert ((days()["value"] >= 0) & (days()["value"] <= 1)).all()
    assert ((days()["price"] >= 0) & (days()["price"] <= MAX_PRICE)).all()
    # 2000..4850 of money for 500,000 impressions, 60..130 per conversion, both in thousandths
    assert ((days()["budget"] >= 40_000) & (days()["budget"] < 97_000)).all()
    assert ((days()["cost_limit"] >= 60_000) & (days()["cost_limit"] < 130_000)).all()
    np.testing.assert_array_equal(rounded(days()["value"]), days()["value"])


def test_the_price_is_what_takes_the_third_slot() -> None:
    for seed in SEEDS[:3]:
        values, target, sizes = bidders(np.random.Generator(np.random.Philox(seed)), 2000)
        day = {name: series[0] for name, series in sample_market([seed], 2000).items()}
        (own,) = np.flatnonzero((values == day["value"][:, None]).all(0))
        assert day["cost_limit"] == 1000 * target[own]
        np.testing.assert_array_equal(day["slots"], sizes)
        rivals = [row for row in range(48) if row != own]
        for auction in range(0, 2000, 97):
            bids = sorted((values[auction, rivals] * target[rivals]).tolist(), reverse=True)
            assert day["price"][auction] == min(1000, round(1000 * bids[2]))


def test_a_row_is_a_function_of_its_seed() -> None:
    for row, seed in enumerate(SEEDS[:4]):
        for name, alone in sample_market([seed]).items():
            np.testing.assert_array_equal(days()[name][row], alone[0])
    assert len(set(days()["budget"].tolist())) == 24


def test_a_day_has_its_traffic() -> None:
    sizes = days()["slots"]
    assert (sizes.sum(1) == 10_000).all() and (sizes > 0).all()
    share = sizes / 10_000 / (np.array(TRAFFIC) / sum(TRAFFIC))
    blocks = share.reshape(24, 12, 4)
    assert np.abs(share.mean() - 1) < 0.1
    assert blocks.mean(2).std(1).min() > 0.1  # blocks are scaled apart ...
    assert np.abs(blocks[:, 4:] / blocks[:, 4:].mean(2, keepdims=True) - 1).max() < 0.03  # ... the four slots of one together, up to rounding
    assert blocks.mean(2).max() / blocks.mean(2).min() < 1.4 / 0.6 * 1.5


def test_values_have_the_stated_mean_and_spread() -> None:
    ratio, means = [], []
    for seed in range(12):
        values, _, sizes = bidders(np.random.Generator(np.random.Philox(seed)), 10_000)
        busy = np.flatnonzero(sizes >= 200)
        ends = sizes.cumsum()
        pieces = [values[ends[slot] - sizes[slot] : ends[slot]] for slot in busy]
        ratio.append(np.mean([(piece.std(0) / piece.mean(0)).mean() for piece in pieces]))
        means.append(values.mean(0))
        # one factor per category and block of 8 slots: the eight advertisers of a category move together between blocks
        block = np.array([piece.mean(0) for piece in pieces])
        number = busy // 8
        assert len(set(number.tolist())) >= 4
        within = np.array([block[number == k].mean(0) for k in sorted(set(number.tolist()))])
        relative = within / within.mean(0)
        assert (np.abs(relative.reshape(len(within), 6, 8) / relative.reshape(len(within), 6, 8).mean(2, keepdims=True) - 1) < 0.12).all()
    assert np.mean(ratio) == pytest.approx(0.49, abs=0.03)  # .5, less what the clip at 0 takes
    assert np.mean(means) == pytest.approx(5e-4, rel=0.06)
    firsts = np.array(means)[:, ::8]
    others = np.array(means).reshape(12, 6, 8)[:, :, 1:] / firsts[:, :, None]
    assert others.min() > 0.45 and others.max() < 1.6 and others.std() > 0.2  # U(.5, 1.5) against 1


def test_both_constraints_bind_somewhere() -> None:
    day = days()
    free = lp_bound(day["value"], day["price"], day["budget"])
    held, kappa = cpa_bound(day["value"], day["price"], day["budget"], day["cost_limit"])
    limited = held < free * (1 - 1e-9)
    assert 0.15 < limited.mean() < 0.85
    won = day["price"] <= kappa[:, None] * day["value"] * (1 - 1e-12)
    assert ((won * day["price"]).sum(1) <= day["budget"]).all()


def test_conversions_follow_the_values() -> None:
    value, click = days()["value"], days()["click"]
    assert abs(click.sum() - value.sum()) < 5 * np.sqrt(value.sum())


def test_history_pools_whole_days() -> None:
    seeds = scenario_seeds("bidding/history-market", "train", range(3))
    known = market_history(seeds)
    drawn = sample_market(seeds)
    assert (known.impressions, known.max_price, len(known.price_counts)) == (30_000, 1000, 1001)
    assert known.cost == drawn["price"].sum() == known.price_counts @ np.arange(1001)
    assert known.clicks == drawn["click"].sum() > 0
    np.testing.assert_array_equal(known.episodes()[1].reshape(3, 10_000), drawn["price"])
    assert market_history(seeds, episode=10_000).episodes()[0].shape == (3, 10_000)
