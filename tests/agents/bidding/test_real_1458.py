"""The rules against real auctions: 100,000 rows of history, 100 episodes of 1000 to play. Expected figures are the domain's published oracle."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.bidding.fluid import FluidPrice, fluid_price
from agents.bidding.joint import joint_table
from agents.bidding.value_tables import PriceModel, ValueTable, value_table
from domains.bidding.stochastic import pair_model

FOLDER = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[3].parent / "shared" / "data")) / "bidding" / "rtbcontrol-1458"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason=f"no real rows: {FOLDER} is absent (set ARENA_DATA)")

N, M, CLICKS, COST, ROWS = 1000, 300, 79, 6_450_617, 100_000
THETA_BAR = CLICKS / ROWS
BOUND = {1 / 32: 41.629840, 1 / 8: 46.669442}  # sum of the LP bounds over the episodes


@dataclass
class Played:
    clicks: int = 0
    wins: int = 0
    cost: int = 0
    value: float = 0.0


@cache
def rows(name: str) -> np.ndarray:
    return np.loadtxt(FOLDER / name)


def budget(c0: float) -> int:
    return int(COST / ROWS * c0 * N)


@cache
def table() -> ValueTable:
    counts = np.bincount(rows("train.txt")[:, 1].astype(int), minlength=M + 1) + 1
    return value_table(PriceModel(counts / counts.sum(), THETA_BAR), N, budget(1 / 8))


@cache
def joint() -> ValueTable:
    return joint_table(pair_model(rows("train.txt")[:, 2], rows("train.txt")[:, 1].astype(np.int64), M), N, budget(1 / 8))


@cache
def fluid() -> FluidPrice:
    return fluid_price(rows("train.txt")[:, 2], rows("train.txt")[:, 1].astype(np.int64), M)


def replay(c0: float, bid: Callable[[int, Tensor, Tensor], Tensor], learn: Callable[[Tensor], None] | None = None) -> Played:
    """Play all episodes at once; `learn` sees what was paid."""
    click, price, theta = (torch.from_numpy(column.copy()).view(-1, N).T.contiguous() for column in rows("test.txt").T[:3])
    left, played = torch.full((price.shape[1],), budget(c0)), Played()
    for t in range(N):
        wins = torch.minimum(bid(N - t, left, theta[t]), left) >= price[t]
        paid = wins * price[t].long()
        left = left - paid
        played.clicks += int((wins * click[t]).sum())
        played.wins += int(wins.sum())
        played.cost += int(paid.sum())
        played.value += float((wins * theta[t]).sum())
        if learn:
            learn(paid)
    return played


def linear(factor: Callable[[Tensor], Tensor]) -> Callable[[int, Tensor, Tensor], Tensor]:
    return lambda n, left, theta: factor(theta).clamp(max=M).long()


RULES: dict[str, Callable[[int, Tensor, Tensor], Tensor]] = {
    "rlb": lambda n, left, theta: table().bid(n, left, theta),
    "ss-mdp": lambda n, left, theta: table().bid(n, left, THETA_BAR),
    "mcpc": linear(lambda theta: theta * (COST / CLICKS)),
    "lin": linear(lambda theta: theta * 36 / THETA_BAR),
    "const": linear(lambda theta: torch.full_like(theta, 40)),
}
ORACLE = [
    (1 / 32, "rlb", 10, 4737, 170318, 39.519314),
    (1 / 32, "ss-mdp", 3, 14417, 200048, 5.277378),
    (1 / 32, "mcpc", 14, 7291, 180198, 37.082913),
    (1 / 32, "lin", 12, 3408, 63342, 39.495252),
    (1 / 32, "const", 1, 9551, 201384, 3.579895),
    (1 / 8, "rlb", 17, 16166, 732493, 43.156396),
    (1 / 8, "ss-mdp", 12, 34555, 803797, 13.766179),
    (1 / 8, "mcpc", 16, 8332, 211220, 41.804010),
    (1 / 8, "lin", 12, 3408, 63342, 39.495252),
    (1 / 8, "const", 10, 31553, 674593, 12.916371),
]


@pytest.mark.parametrize(("c0", "rule", "clicks", "wins", "cost", "value"), ORACLE, ids=[f"{rule}-{c0}" for c0, rule, *_ in ORACLE])
def test_rows_are_reproduced_to_the_unit(c0: float, rule: str, clicks: int, wins: int, cost: int, value: float) -> None:
    played = replay(c0, RULES[rule])
    assert (played.clicks, played.wins, played.cost) == (clicks, wins, cost)
    assert played.value == pytest.approx(value, abs=5e-7)


def test_history_totals_and_budgets() -> None:
    history = rows("train.txt")
    assert (len(history), int(history[:, 0].sum()), int(history[:, 1].sum())) == (ROWS, CLICKS, COST)
    assert (budget(1 / 32), budget(1 / 8)) == (2015, 8063)


@pytest.mark.parametrize(("c0", "value"), [(1 / 32, 41.45), (1 / 8, 46.48)])
def test_resolve(c0: float, value: float) -> None:
    assert round(replay(c0, lambda n, left, theta: fluid().bid(n, left, theta)).value, 2) == value


@pytest.mark.parametrize(("c0", "share"), [(1 / 32, 0.990), (1 / 8, 0.994)])
def test_rlb_joint(c0: float, share: float) -> None:
    assert round(replay(c0, lambda n, left, theta: joint().bid(n, left, theta)).value / BOUND[c0], 3) == share


@pytest.mark.parametrize(("c0", "rate", "share"), [(1 / 32, 0.01, 0.991), (1 / 8, 0.01, 0.996), (1 / 32, 0.03, 0.964), (1 / 8, 0.03, 0.993)])
def test_dual(c0: float, rate: float, share: float) -> None:
    spend = budget(c0) / N
    log_price = torch.full((100,), math.log(float(fluid().of(torch.tensor([spend], dtype=torch.float64)))), dtype=torch.float64)

    def learn(paid: Tensor) -> None:
        log_price.add_(rate * (paid / spend - 1))

    played = replay(c0, lambda n, left, theta: (theta / log_price.exp()).clamp(max=M).long(), learn)
    assert round(played.value / BOUND[c0], 3) == share
