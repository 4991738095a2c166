"""The history tells an agent exact totals, and refuses what they cannot give."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.errors import ArenaError
from domains.bidding.history import History
from domains.bidding.profiles import TEST, TRAIN

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))


def history(**changes: object) -> History:
    price = np.array([3, 0, 5, 3, 1, 2, 4])
    plain = History(
        "x", impressions=10, cost=40, clicks=2, price_counts=np.bincount(price, minlength=6), theta=np.linspace(0, 0.6, 7), price=price,
        episode=3, max_price=5,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def totals(name: str) -> History:
    train = TRAIN[name]
    return History(name, train.impressions, train.cost, train.clicks, np.zeros(301, np.int64), np.zeros(0), np.zeros(0, np.int64), 1000, 300)


def test_ratios_of_totals() -> None:
    known = history()
    assert (known.ctr, known.cpm, known.ecpc) == (0.2, 4.0, 20.0)
    assert known.mean_theta == pytest.approx(0.3)


def test_no_click_leaves_cost_per_click_undefined() -> None:
    with pytest.raises(ArenaError, match="no click in 10 impressions") as caught:
        _ = history(clicks=0).ecpc
    assert caught.value.code == "history.clicks"
    assert history(clicks=0).ctr == 0


# 1458 and 2997 at 1/32 are the budgets of the published demo.
@pytest.mark.parametrize(("name", "c0", "budget"), [("1458", 1 / 32, 2152), ("2997", 1 / 32, 1969), ("2997", 1 / 8, 7877), ("2997", 1 / 2, 31508)])
def test_budget_is_truncated(name: str, c0: float, budget: int) -> None:
    assert totals(name).budget(c0, 1000) == budget


def test_budget_is_evaluated_left_to_right() -> None:
    known = history(impressions=10, cost=3)
    assert known.budget(0.7, 1000) == int(3 / 10 * 0.7 * 1000) == 210
    assert int(3 / 10 * (0.7 * 1000)) == 210
    differing = [c0 for c0 in np.arange(1, 400) / 400 if int(3 / 10 * c0 * 1000) != int(3 * c0 * 1000 / 10)]
    assert differing, "no share tells the orders of evaluation apart"
    assert all(known.budget(float(c0), 1000) == int(3 / 10 * c0 * 1000) for c0 in differing)


@pytest.mark.parametrize("c0", [0.0, -0.5, float("nan")])
def test_budget_needs_a_positive_share(c0: float) -> None:
    with pytest.raises(ArenaError, match="gives no budget"):
        history().budget(c0, 1000)


def test_price_law_with_and_without_laplace() -> None:
    known = history()
    np.testing.assert_allclose(known.price_pmf(), np.array([2, 2, 2, 3, 2, 2]) / 13)
    np.testing.assert_allclose(known.price_pmf(0), np.array([1, 1, 1, 2, 1, 1]) / 7)
    with pytest.raises(ArenaError, match="histogram is empty"):
        history(price_counts=np.zeros(6, np.int64)).price_pmf(0)


def test_episodes_are_whole_and_in_order() -> None:
    theta, price = history().episodes()
    np.testing.assert_array_equal(price, [[3, 0, 5], [3, 1, 2]])
    np.testing.assert_allclose(theta, [[0, 0.1, 0.2], [0.3, 0.4, 0.5]])


def test_pairs_are_refused_where_there_are_too_few() -> None:
    with pytest.raises(ArenaError, match=r"holds 0 \(theta, price\) pairs, 1000 are needed"):
        totals("2997").episodes()
    with pytest.raises(ArenaError, match="holds 0"):
        _ = totals("2997").mean_theta


@pytest.mark.parametrize(
    "changes", [{"price_counts": np.zeros(5, np.int64)}, {"theta": np.zeros(6)}, {"episode": 0}, {"impressions": 0}, {"cost": -1}, {"clicks": -1}]
)
def test_contradictory_fields_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ArenaError):
        history(**changes)


def test_digest_tells_contents_apart() -> None:
    known = history()
    other = [
        history(campaign="y"), history(cost=41), history(clicks=1), history(episode=2), history(theta=known.theta + 1e-12),
        history(price=known.price[::-1].copy()), history(click=np.zeros(7, np.uint8)), history(price_counts=known.price_counts + 1),
    ]  # fmt: skip
    assert len({known.digest, *(changed.digest for changed in other)}) == len(other) + 1
    assert history(theta=np.repeat(known.theta, 2)[::2]).digest == known.digest  # memory layout is no content


@pytest.mark.parametrize("name", sorted(TRAIN))
def test_totals_are_those_of_the_published_files(name: str) -> None:
    path = DATA / "bidding" / "ipinyou" / name / "info.json"
    if not path.is_file():
        pytest.skip(f"no info.json of campaign {name} below ARENA_DATA")
    info = json.loads(path.read_text())
    for table, split in ((TRAIN, "train"), (TEST, "test")):
        row = table[name]
        assert (row.impressions, row.clicks, row.cost) == (info[f"imp_{split}"], info[f"clk_{split}"], info[f"cost_{split}"])


# CTR %, CPM and eCPC as tabled with the published totals: a mistyped total would not fit all three.
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("1458", (0.0796, 68.89, 86.55), (0.0838, 73.57, 87.80)),
        ("2259", (0.0335, 93.06, 277.70), (0.0312, 104.26, 334.60)),
        ("2261", (0.0301, 89.60, 297.64), (0.0282, 83.74, 296.87)),
        ("2821", (0.0637, 89.28, 140.07), (0.0571, 103.11, 180.57)),
        ("2997", (0.4436, 63.02, 14.21), (0.3396, 55.22, 16.26)),
        ("3358", (0.0780, 92.38, 118.51), (0.0864, 113.51, 131.38)),
        ("3386", (0.0729, 76.92, 105.52), (0.0816, 83.82, 102.73)),
        ("3427", (0.0743, 81.06, 109.16), (0.0682, 86.36, 126.66)),
        ("3476", (0.0521, 79.22, 151.98), (0.0548, 83.28, 152.01)),
    ],
)
def test_totals_fit_the_published_ratios(name: str, train: tuple[float, ...], test: tuple[float, ...]) -> None:
    for row, expected in ((TRAIN[name], train), (TEST[name], test)):
        found = (round(100 * row.ctr, 4), round(row.cpm, 2), round(row.cost / 1000 / row.clicks, 2))
        assert found == pytest.approx(expected, abs=0.0101)
