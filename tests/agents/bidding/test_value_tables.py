import json
import os
from pathlib import Path
from time import process_time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.bidding.value_tables import PriceModel, ValueTable, value_table
from arena.errors import ArenaError

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[3].parent / "shared" / "data")) / "bidding" / "ipinyou"


def campaign(name: str) -> PriceModel:
    path = DATA / name / "info.json"
    if not path.exists():
        pytest.skip(f"no campaign totals: {path} is absent (set ARENA_DATA)")
    info = json.loads(path.read_text())
    counts = np.array(info["price_counter_train"]) + 1
    return PriceModel(counts / counts.sum(), info["clk_train"] / info["imp_train"])


def by_definition(model: PriceModel, auctions: int, budget: int) -> np.ndarray:
    """V(t, b) by loops over the bids, straight from the maximisation over a."""
    law, values = model.price_pmf, np.zeros((auctions + 1, budget + 1))
    for t in range(1, auctions + 1):
        for b in range(1, budget + 1):
            win = model.theta_bar + model.gamma * values[t - 1, b - np.arange(min(b, model.max_price) + 1)]
            keep = model.gamma * values[t - 1, b]
            worth = [(law[: a + 1] * win[: a + 1]).sum() + (law.sum() - law[: a + 1].sum()) * keep for a in range(len(win))]
            values[t, b] = max(worth)
    return values


def scan(table: ValueTable, n_left: int, budget: int, theta: float) -> tuple[int, np.ndarray]:
    """The published bid loop, and the gain of paying 0..min(b, M)."""
    row = table.values[n_left - 1].numpy()
    gain = theta + table.gamma * (row[budget - np.arange(min(budget, table.max_price) + 1)] - row[budget])
    refused = np.nonzero(gain[1:] < 0)[0]
    return int(refused[0]) if len(refused) else len(gain) - 1, gain


@st.composite
def models(draw: st.DrawFn) -> PriceModel:
    weights = draw(st.lists(st.integers(0, 20), min_size=2, max_size=12).filter(any))
    return PriceModel(np.array(weights) / sum(weights), draw(st.floats(1e-4, 1)), draw(st.sampled_from([1.0, 0.95, 0.5])))


def test_hand_example() -> None:
    table = value_table(PriceModel(np.array([0.25, 0.25, 0.5]), 1.0), 2, 4)
    assert table.values[2].tolist() == [0, 0.875, 1.375, 1.75, 2]


def test_discount_by_hand() -> None:
    # one price, 1, always: with two auctions and budget 1 the discount makes winning now worth 1, waiting worth gamma
    table = value_table(PriceModel(np.array([0.0, 1.0]), 1.0, gamma=0.5), 2, 2)
    assert table.values.tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1.5]]


def test_anchors_of_campaign_1458() -> None:
    model = campaign("1458")
    table = value_table(model, 1000, 2152)
    anchors = {(1, 100): 0.0006639536535862915, (100, 500): 0.020407788944664967, (1000, 2152): 0.12607124697898697}
    for (t, b), value in anchors.items():
        assert float(table.values[t, b]) == pytest.approx(value, rel=1e-12)
    assert float(table.values[:, 0].abs().max()) == 0
    for n, b, factor, bid in ((1000, 2152, 1, 20), (1000, 2152, 2, 40), (500, 300, 1, 13), (2, 300, 1, 300)):
        assert table.bid(n, torch.tensor([b]), torch.tensor([factor * model.theta_bar], dtype=torch.float64)).tolist() == [bid]


def test_one_table_serves_smaller_budgets() -> None:
    model = campaign("3476")
    large, small = value_table(model, 40, 5000), value_table(model, 40, 700)
    torch.testing.assert_close(large.values[:, :701], small.values, rtol=0, atol=1e-9 * model.theta_bar)


@settings(max_examples=60)
@given(models(), st.integers(1, 24), st.integers(1, 40))
def test_table_is_the_definition(model: PriceModel, auctions: int, budget: int) -> None:
    table = value_table(model, auctions, budget)
    np.testing.assert_allclose(table.values.numpy(), by_definition(model, auctions, budget), rtol=0, atol=2e-9 * model.theta_bar)
    assert (table.values[:, 0] == 0).all()


@settings(max_examples=60)
@given(models(), st.integers(1, 24), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_batched_bid_is_the_scan(model: PriceModel, auctions: int, budget: int, seed: int) -> None:
    table = value_table(model, auctions, budget)
    rng = np.random.default_rng(seed)
    n_left = int(rng.integers(1, auctions + 1))
    budgets, thetas = rng.integers(0, budget + 1, 50), rng.exponential(model.theta_bar, 50).clip(1e-9, 1)
    bids = table.bid(n_left, torch.from_numpy(budgets), torch.from_numpy(thetas)).tolist()
    for bid, b, theta in zip(bids, budgets.tolist(), thetas.tolist(), strict=True):
        expected, gain = scan(table, n_left, b, theta)
        assert 0 <= bid <= min(b, model.max_price)
        # the two may part where the gain is 0 up to rounding: either bid is then optimal
        assert bid == expected or abs(gain[max(bid, expected)]) < 1e-12 * max(theta, 1)


def test_batched_bid_is_the_scan_on_a_real_table() -> None:
    model = campaign("1458")
    table = value_table(model, 200, 3000)
    rng = np.random.default_rng(0)
    for n_left in (1, 2, 7, 60, 200):
        budgets, thetas = rng.integers(0, 3001, 400), model.theta_bar * np.exp(rng.normal(0, 1.5, 400))
        bids = table.bid(n_left, torch.from_numpy(budgets), torch.from_numpy(thetas))
        assert bids.tolist() == [scan(table, n_left, b, x)[0] for b, x in zip(budgets.tolist(), thetas.tolist(), strict=True)]


def test_worthless_auction_is_a_legal_bid() -> None:
    table = value_table(campaign("1458"), 60, 6000)
    budgets = torch.arange(0, 6001, 7)
    bids = table.bid(60, budgets, torch.zeros(len(budgets), dtype=torch.float64))
    assert int(bids.min()) >= 0 and int(bids.max()) <= 300 and bool((bids <= budgets).all())


def test_artefact_round_trip_and_refusals(tmp_path: Path) -> None:
    law = np.array([0.25, 0.25, 0.5])
    model, path = PriceModel(law, 1.0), tmp_path / "table.safetensors"
    table = value_table(model, 5, 8)
    table.save(path)
    again = ValueTable.load(path, model, 5, 8)
    assert torch.equal(again.values, table.values) and again.max_price == 2 and again.gamma == 1
    others = {
        "price_pmf": (PriceModel(np.array([0.25, 0.3, 0.45]), 1.0), 5, 8),
        "theta_bar": (PriceModel(law, 0.5), 5, 8),
        "gamma": (PriceModel(law, 1.0, gamma=0.9), 5, 8),
        "max_price": (PriceModel(np.array([0.25, 0.25, 0.5, 0.0]), 1.0), 5, 8),
        "auctions": (model, 6, 8),
        "budget": (model, 5, 9),
    }
    for field, wanted in others.items():
        with pytest.raises(ArenaError, match=field) as caught:
            ValueTable.load(path, *wanted)
        assert caught.value.code == "bidding.artefact"


@pytest.mark.parametrize(
    ("law", "theta_bar", "gamma"),
    [([0.5, 0.2], 1.0, 1.0), ([1.5, -0.5], 1.0, 1.0), ([0.5, 0.5], 0.0, 1.0), ([0.5, 0.5], float("nan"), 1.0), ([0.5, 0.5], 1.0, 1.5)],
)
def test_impossible_models_are_refused(law: list[float], theta_bar: float, gamma: float) -> None:
    with pytest.raises(ArenaError):
        PriceModel(np.array(law), theta_bar, gamma)


def test_unknown_horizon_and_empty_tables_are_refused() -> None:
    model = PriceModel(np.array([0.5, 0.5]), 1.0)
    with pytest.raises(ArenaError, match="expected 1..3"):
        value_table(model, 3, 4).bid(4, torch.tensor([2]), 1.0)
    with pytest.raises(ArenaError):
        value_table(model, 0, 4)


def test_speed_of_a_table() -> None:
    """0.4 s on a quiet core; the limit only catches a lost optimisation."""
    model = campaign("1458")
    start = process_time()
    value_table(model, 1000, 7877)
    assert process_time() - start < 3
