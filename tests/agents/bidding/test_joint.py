from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.bidding.joint import joint_table
from agents.bidding.value_tables import ValueTable
from arena.errors import ArenaError
from domains.bidding.stochastic import PairModel, pair_model, stochastic_optimum


def by_definition(model: PairModel, auctions: int, budget: int) -> np.ndarray:
    """V_n(b) by loops over values, prices and bids: each value takes the bid that is best for it."""
    values = np.zeros((auctions + 1, budget + 1))
    for n in range(1, auctions + 1):
        for b in range(budget + 1):
            price = np.arange(min(b, model.max_price) + 1)
            keep, win = values[n - 1, b], values[n - 1, b - price]
            values[n, b] = keep
            for theta, law in zip(model.theta, model.law, strict=True):
                gain = np.cumsum(law[price] * (theta + win - keep))  # [a] of bidding a, over not bidding
                values[n, b] += max(0.0, gain.max())
    return values


@st.composite
def models(draw: st.DrawFn) -> PairModel:
    prices, bins = draw(st.integers(2, 9)), draw(st.integers(1, 5))
    weights = np.array(draw(st.lists(st.integers(0, 9), min_size=prices * bins, max_size=prices * bins).filter(any)), float)
    theta = np.sort(draw(st.lists(st.floats(0, 1), min_size=bins, max_size=bins).filter(lambda x: max(x) > 1e-3)))
    weights[-1] += 1  # the dearest auction of the best value exists, so the mean value is above 0
    return PairModel(theta, (weights / weights.sum()).reshape(bins, prices))


@settings(max_examples=80)
@given(models(), st.integers(1, 12), st.integers(1, 30))
def test_table_is_the_definition(model: PairModel, auctions: int, budget: int) -> None:
    exact = by_definition(model, auctions, budget)
    table = joint_table(model, auctions, budget)
    np.testing.assert_allclose(table.values.numpy(), exact, rtol=0, atol=3e-9)
    np.testing.assert_allclose(stochastic_optimum(model, auctions, np.array([budget, budget // 2])), exact[-1, [budget, budget // 2]], atol=3e-9)


def test_by_hand() -> None:
    # values 1 and 3 with probability 1/2 each, price always 1, two auctions, budget 1: wait for a 3, take anything in the last auction
    model = PairModel(np.array([1.0, 3.0]), np.array([[0.0, 0.5], [0.0, 0.5]]))
    table = joint_table(model, 2, 1)
    assert table.values[:, 1].tolist() == [0, 2, 2.5]
    theta = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert table.bid(2, torch.tensor([1, 1]), theta).tolist() == [0, 1]
    assert table.bid(1, torch.tensor([1, 1]), theta).tolist() == [1, 1]


def test_free_auctions_are_won_without_budget() -> None:
    model = PairModel(np.array([1.0]), np.array([[0.25, 0.75]]))
    assert joint_table(model, 4, 2).values[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1.0]


def test_bins_and_smoothing() -> None:
    rng = np.random.default_rng(0)
    theta, price = rng.exponential(1e-3, 40_000), rng.integers(0, 301, 40_000)
    model = pair_model(theta, price, 300)
    assert model.law.shape == (20, 301)
    np.testing.assert_allclose(model.law.sum(1)[:12], 0.9 / 12, atol=1e-4)
    np.testing.assert_allclose(model.law.sum(1)[12:], [0.03, 0.02, 0.02, 0.01, 0.01, 0.005, 0.003, 0.002], atol=1e-4)
    assert float(model.law.sum(1) @ model.theta) == pytest.approx(theta.mean(), rel=1e-12)
    top = theta >= np.quantile(theta, 0.998)
    counts, marginal = np.bincount(price[top], minlength=301), np.bincount(price, minlength=301) / 40_000
    np.testing.assert_allclose(model.law[-1], (counts + 20 * marginal) / (top.sum() + 20) * top.mean(), rtol=1e-12)


def test_equal_edges_merge() -> None:
    theta = np.repeat([0.1, 0.2], [95, 5])
    model = pair_model(theta, np.arange(100), 300)
    assert model.theta.tolist() == pytest.approx([0.1, 0.2]) and model.law.sum(1).tolist() == pytest.approx([0.95, 0.05])
    single = pair_model(np.full(10, 0.3), np.arange(10), 300)
    assert single.theta.tolist() == pytest.approx([0.3]) and single.law.sum() == pytest.approx(1)


def test_history_without_values_is_refused() -> None:
    with pytest.raises(ArenaError):
        pair_model(np.zeros(5), np.arange(5), 300)


def test_artefact_of_another_law_is_refused(tmp_path: Path) -> None:
    model = PairModel(np.array([1.0, 3.0]), np.array([[0.0, 0.5], [0.0, 0.5]]))
    joint_table(model, 3, 4).save(tmp_path / "joint.safetensors")
    assert ValueTable.load(tmp_path / "joint.safetensors", model, 3, 4).values.shape == (4, 5)
    with pytest.raises(ArenaError, match="pair_law"):
        ValueTable.load(tmp_path / "joint.safetensors", PairModel(model.theta, np.array([[0.1, 0.4], [0.0, 0.5]])), 3, 4)
