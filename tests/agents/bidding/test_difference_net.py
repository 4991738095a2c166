import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.bidding.difference_net import EXACT_AUCTIONS, EXACT_BUDGET, VANISHED, WEIGHTS, DifferenceNet, Frame, fit, labels, layers
from agents.bidding.value_tables import PriceModel, value_table
from arena.errors import ArenaError

T0, B0, M = 120, 2400, 60


def frame(seed: int = 0, gamma: float = 1.0) -> Frame:
    law = np.random.default_rng(seed).dirichlet(np.full(M + 1, 2.0))
    return Frame(PriceModel(law, 2e-3, gamma), float(law @ np.arange(M + 1)), T0, B0)


@pytest.fixture(scope="module")
def history() -> list[dict[str, float]]:
    return []


@pytest.fixture(scope="module")
def net(history: list[dict[str, float]]) -> DifferenceNet:
    return fit(frame(), seed=3, rounds=150, log=history.append)


@pytest.fixture(scope="module")
def exact() -> Tensor:
    return value_table(frame().model, T0, B0).values.diff(dim=1)


def published_bid(net: DifferenceNet, n: int, b: int, theta: float) -> int:
    """The recursion and the loop of the published rule, one state at a time."""
    if n > T0:
        return published_bid(net, T0, int(b / n * T0), theta)
    if b > B0:
        return published_bid(net, max(int(n / b * B0), 1), B0, theta)
    value, bid = theta, 0
    for delta in range(1, min(b, M) + 1):
        value -= net.frame.model.gamma * float(net.difference(n - 1, b - delta, b - delta + 1))
        if value < 0:
            break
        bid = delta
    return bid


def test_labels_are_the_differences_of_the_table(exact: Tensor) -> None:
    found, saturation = labels(frame())
    for t in (0, 1, 7, 51, T0 - 1):
        stop = int(saturation[t])
        assert bool((exact[t, :stop] >= VANISHED).all()) and (stop == B0 or float(exact[t, stop]) < VANISHED)
        torch.testing.assert_close(found[t, :stop].double() * frame().scale, exact[t, :stop], rtol=1e-6, atol=0)
        assert not found[t, stop:].any()


def test_exact_rows_are_exact(net: DifferenceNet, exact: Tensor) -> None:
    for t in (1, 30, EXACT_AUCTIONS):
        torch.testing.assert_close(net.difference(t, 0, B0), exact[t], rtol=0, atol=1e-11)
    for t in (EXACT_AUCTIONS + 1, 90, T0 - 1):
        torch.testing.assert_close(net.difference(t, 0, EXACT_BUDGET), exact[t, :EXACT_BUDGET], rtol=0, atol=1e-11)


def test_training_lowers_the_error_and_keeps_the_best_round(net: DifferenceNet, history: list[dict[str, float]]) -> None:
    errors = [record["train_rmse"] + record["eval_rmse"] for record in history]
    assert [record["round"] for record in history] == list(range(1, 151))
    assert net.training["rmse_over_theta_bar"] == min(errors) < errors[0] / 10
    assert net.training["kept_round"] == 1 + int(np.argmin(errors))


def test_network_is_near_the_table(net: DifferenceNet, exact: Tensor) -> None:
    """After 300 updates; D falls by its whole size between these budgets."""
    for t in (80, 100, T0 - 1):
        predicted = net.difference(t, EXACT_BUDGET, B0)
        assert float((predicted - exact[t, EXACT_BUDGET:]).abs().mean()) < 0.06 * float(exact[t, EXACT_BUDGET])
        assert float(predicted.min()) >= 0


def test_same_seed_same_network() -> None:
    first, second, other = (fit(frame(), seed=seed, rounds=2, log=lambda record: None) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.net.parameters(), second.net.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.net.parameters(), other.net.parameters(), strict=True))


@pytest.mark.parametrize("gamma", [1.0, 0.99])
def test_bids_are_the_published_rule(net: DifferenceNet, gamma: float) -> None:
    if gamma != 1:
        net = DifferenceNet(frame(gamma=gamma), net.net, net.saturation, {})
    rng = np.random.default_rng(0)
    for n in (1, 2, 40, 51, 80, T0, T0 + 1, 1000, 100_000):
        top = int(1.6 * B0 * max(n / T0, 1))
        budgets, thetas = rng.integers(0, top, 25), net.frame.model.theta_bar * rng.exponential(2, 25)
        budgets[:3] = (0, 1, min(B0, top))
        bids = net.bid(n, torch.from_numpy(budgets), torch.from_numpy(thetas)).tolist()
        expected = [min(published_bid(net, n, b, x), b) for b, x in zip(budgets.tolist(), thetas.tolist(), strict=True)]
        assert bids == expected


def test_states_all_beyond_the_table(net: DifferenceNet) -> None:
    budgets, theta = torch.tensor([B0 + 200, 3 * B0, 10**6]), torch.full((3,), 1e-3, dtype=torch.float64)
    bids = net.bid(60, budgets, theta).tolist()
    assert bids == [published_bid(net, 60, b, 1e-3) for b in budgets.tolist()] and bids[-1] == M


def test_negative_predictions_count_as_zero() -> None:
    low = layers()
    torch.nn.init.constant_(low[-1].bias, -5.0)
    torch.nn.init.zeros_(low[-1].weight)
    below = DifferenceNet(frame(), low, torch.full((T0,), B0), {})
    assert not below.difference(T0 - 1, EXACT_BUDGET, B0).any()
    assert below.bid(T0, torch.tensor([B0]), torch.zeros(1, dtype=torch.float64)).tolist() == [M]


def test_checkpoint_round_trip(net: DifferenceNet, tmp_path: Path) -> None:
    net.save(tmp_path / "seed-0")
    again = DifferenceNet.load(tmp_path / "seed-0", frame().model)
    assert again.training == net.training and again.frame.mean_price == net.frame.mean_price
    for t in (10, 70, T0 - 1):
        assert torch.equal(again.difference(t, 0, B0), net.difference(t, 0, B0))
    assert sum(path.stat().st_size for path in (tmp_path / "seed-0").iterdir()) < 50_000


def test_foreign_or_altered_checkpoints_are_refused(net: DifferenceNet, tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match="holds no rlb-nn checkpoint"):
        DifferenceNet.load(tmp_path, frame().model)
    net.save(tmp_path)
    with pytest.raises(ArenaError, match="price_pmf"):
        DifferenceNet.load(tmp_path, frame(seed=1).model)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "schema": 99}))
    with pytest.raises(ArenaError, match="schema 99"):
        DifferenceNet.load(tmp_path, frame().model)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = bytearray((tmp_path / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(weights)
    with pytest.raises(ArenaError, match="altered"):
        DifferenceNet.load(tmp_path, frame().model)


def test_small_tables_need_no_network() -> None:
    model = frame().model
    for auctions, budget in ((EXACT_AUCTIONS, B0), (T0, EXACT_BUDGET)):
        with pytest.raises(ArenaError, match="need no network"):
            Frame(model, 30.0, auctions, budget)
