import numpy as np
import pytest
import torch

from agents.bidding.fluid import FREE, fluid_price
from arena.errors import ArenaError


def test_prefixes_of_a_small_history() -> None:
    # ratios: 0.4/1e-9 (free), 0.3/10 = .03, 0.2/20 = .01, 0.1/70 = 1/700; two worthless auctions count in the average only
    theta = np.array([0.1, 0.0, 0.2, 0.3, 0.0, 0.4])
    price = np.array([70, 50, 20, 10, 30, 0])
    fluid = fluid_price(theta, price, max_price=300)
    assert fluid.mean_price == 30
    spend = torch.tensor([0.0, 10 / 6 - 0.01, 10 / 6 + 0.01, 5 - 0.01, 5 + 0.01, 29.9], dtype=torch.float64)  # ends of prefixes: 0, 1.67, 5, 16.7
    assert fluid.of(spend).tolist() == [0.4 / FREE, 0.4 / FREE, 0.03, 0.03, 0.01, 0.1 / 70]


def test_bids() -> None:
    theta, price = np.array([0.3, 0.2, 0.1]), np.array([10, 20, 60])
    fluid = fluid_price(theta, price, max_price=50)  # prefixes end at average spends 3.33, 10, 30
    bids = fluid.bid(10, torch.tensor([0, 40, 40, 150, 300, 3000]), torch.tensor([0.3, 0.2, 1.7, 0.05, 0.0, 0.01], dtype=torch.float64))
    assert bids.tolist() == [int(0.3 / 0.03), int(0.2 / 0.03), 50, int(0.05 / 0.01), 50, 50]


def test_price_of_budget_falls_with_budget() -> None:
    rng = np.random.default_rng(0)
    fluid = fluid_price(rng.exponential(1e-3, 5000), rng.integers(0, 301, 5000), 300)
    assert bool((fluid.marginal.diff() <= 0).all()) and float(fluid.marginal[0]) <= 1e-2 / FREE


@pytest.mark.parametrize(("theta", "price"), [([0.0, 0.0], [3, 4]), ([0.1, 0.2], [0, 0])])
def test_histories_without_a_price_of_budget_are_refused(theta: list[float], price: list[int]) -> None:
    with pytest.raises(ArenaError) as caught:
        fluid_price(np.array(theta), np.array(price), 300)
    assert caught.value.code == "bidding.pairs"
