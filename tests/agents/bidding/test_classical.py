"""The classical bidders as agents: their formulas auction by auction, what they refuse, and the published figures through the platform."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.bidding.classical import PidThreshold
from arena import registry, settings
from arena.errors import ArenaError
from arena.rollout import players, rollout
from arena.task import Task

REAL = Path(settings.setting("data").value or Path(__file__).parents[4] / "shared" / "data")


def play(task: Task, reference: str, split: str = "val", n: int = 8) -> tuple[dict, np.ndarray, object]:
    """Metrics, bids [T, B] and scenarios of an agent on the first scenarios of a split."""
    scenario = task.sample(split, range(n))
    lineup = players(task.domain, {"bidder": registry.candidate(reference).make()})
    episode = rollout(task.domain, scenario, lineup, task=task.view, ids=torch.arange(n))
    assert not episode.failures, episode.failures[0].detail
    return episode.metrics, episode.actions["bidder"], scenario


@pytest.fixture(scope="module")
def tiny() -> Task:
    return registry.task("bidding/tiny-v1")


def test_truthful_and_linear_bids_truncate_in_the_published_order(tiny):
    for reference, rule in (
        ("mcpc", lambda known, theta: int(theta * (known.cost / known.clicks))),
        ("lin(b0=37)", lambda known, theta: int(theta * 37 / (known.clicks / known.impressions))),
        ("const(bid=40)", lambda known, theta: 40),
    ):
        _, bids, scenario = play(tiny, reference)
        for row, campaign in enumerate(scenario.campaign.tolist()):
            known = tiny.domain.histories[campaign]
            assert [min(300, rule(known, theta)) for theta in scenario.theta[row].tolist()] == bids[:, row].tolist(), reference


def test_dual_follows_its_recursion(tiny):
    _, bids, scenario = play(tiny, "dual(eta=0.02)")
    resolved = play(tiny, "resolve")[1]
    for row in range(4):
        budget, n = int(scenario.budget[row]), tiny.domain.horizon
        known = tiny.domain.histories[int(scenario.campaign[row])]
        ratio = np.sort(known.theta[known.theta > 0] / np.maximum(known.price[known.theta > 0], 1e-9))[::-1]
        order = np.argsort(-(known.theta / np.maximum(known.price, 1e-9)), kind="stable")
        spend = known.price[order].cumsum() / len(order)
        step = known.price.mean() / 4000
        bought = np.searchsorted(spend, int(budget / n / step) * step, side="right")  # whole auctions that this spend buys; the last one is marginal
        log_price = math.log(ratio[bought - 1])
        left = budget
        assert resolved[0, row] == min(300, int(scenario.theta[row, 0] / math.exp(log_price)))
        for t in range(n):
            bid = min(300, int(float(scenario.theta[row, t]) / math.exp(log_price)))
            assert bid == int(bids[t, row]), (row, t)
            price = int(scenario.price[row, t])
            paid = price if min(bid, left) >= price else 0
            left -= paid
            log_price += 0.02 * (paid / (budget / n) - 1)


def test_the_cpa_limit_holds_at_every_moment():
    task = registry.task("bidding/cpa-v1")
    metrics, bids, scenario = play(task, "cpa-cap", n=4)
    spent = value = torch.zeros(4, dtype=torch.float64)
    left = scenario.budget.clone()
    for t in range(task.domain.horizon):
        won = torch.minimum(torch.from_numpy(bids[t].astype(np.int64)), left) >= scenario.price[:, t]
        left = left - scenario.price[:, t] * won
        spent, value = spent + scenario.price[:, t] * won, value + scenario.theta[:, t] * won
        assert bool((spent <= scenario.cost_limit * value + 1e-6).all()), t
    assert (metrics["cpa_excess"] == 0).all() and metrics["value"].sum() > 0


def test_shading_beats_bidding_the_worth_under_first_price():
    task = registry.task("bidding/first-price-v1")
    shaded, plain = (play(task, name, n=60)[0] for name in ("shaded", "resolve"))
    gain = shaded["ratio"] - plain["ratio"]
    assert gain.mean() > 4 * gain.std() / math.sqrt(len(gain))
    assert shaded["surplus"].sum() < plain["surplus"].sum()
    with pytest.raises(ArenaError, match="second price"):
        registry.candidate("shaded").make().check(registry.task("bidding/tiny-v1").view)


def test_histories_that_lack_something_are_refused_before_a_run(tiny):
    def task_with(**changes) -> object:
        known = replace(tiny.domain.histories[0], **changes)
        domain = type(tiny.domain)([known], 100, 5)
        return replace(tiny.view, domain=domain)

    nothing = {"theta": np.zeros(0), "price": np.zeros(0, np.int64), "click": None}
    for name in ("lin", "ortb", "resolve", "dual", "pid", "online-lp", "rlb-joint"):
        with pytest.raises(ArenaError, match="0 .theta, price. pairs"):
            registry.candidate(name).make().check(task_with(**nothing))
    with pytest.raises(ArenaError, match="no click"):
        registry.candidate("mcpc").make().check(task_with(clicks=0))
    for name in ("const", "rlb", "ss-mdp", "lin(b0=30)"):
        registry.candidate(name).make().check(task_with(**nothing))


@pytest.mark.skipif(not (REAL / "bidding" / "rtbcontrol-1458").is_dir(), reason="the rtbcontrol rows are not here (set ARENA_DATA)")
def test_the_oracle_of_the_real_rows_to_the_unit(monkeypatch):
    monkeypatch.setenv("ARENA_DATA", str(REAL))
    task = registry.task("bidding/real-1458-v1")
    scenario = task.scenarios
    expected = {  # clicks, wins, cost, value at c0 = 1/32 and 1/8
        "rlb": ((10, 4737, 170318, 39.519314), (17, 16166, 732493, 43.156396)),
        "ss-mdp": ((3, 14417, 200048, 5.277378), (12, 34555, 803797, 13.766179)),
        "mcpc": ((14, 7291, 180198, 37.082913), (16, 8332, 211220, 41.804010)),
        "lin(b0=36)": ((12, 3408, 63342, 39.495252), (12, 3408, 63342, 39.495252)),
        "const(bid=40)": ((1, 9551, 201384, 3.579895), (10, 31553, 674593, 12.916371)),
    }
    rows = torch.cat([(scenario.c0 == c0).nonzero()[:, 0] for c0 in (1 / 32, 1 / 8)])
    for reference, figures in expected.items():
        lineup = players(task.domain, {"bidder": registry.candidate(reference).make()})
        metrics = rollout(task.domain, scenario[rows], lineup, task=task.view, ids=rows).metrics
        for half, (clicks, wins, cost, value) in zip((slice(0, 100), slice(100, 200)), figures, strict=True):
            budget = scenario.budget[rows][half].numpy()
            assert metrics["clicks"][half].sum() == clicks
            assert round((metrics["win_rate"][half] * 1000).sum()) == wins
            assert round((metrics["spend_ratio"][half] * budget).sum()) == cost
            assert metrics["value"][half].sum() == pytest.approx(value, abs=5e-7)


@pytest.mark.parametrize("reference", ["const(bid=-1)", "const(bid=301)", "rand(u=-1)", "lin(b0=0)"])
def test_bids_that_no_task_allows_are_refused_before_a_run(tiny, reference):
    with pytest.raises(ArenaError) as error:
        registry.candidate(reference).make().check(tiny.view)
    assert error.value.code == "agent.parameters"


def test_online_lp_bids_the_first_ratio_whose_cost_passes_the_budget_left(tiny):
    _, bids, scenario = play(tiny, "online-lp")
    for row in range(8):
        known = tiny.domain.histories[int(scenario.campaign[row])]
        ratio = known.price / (known.theta + 1e-4)
        order = np.argsort(ratio, kind="stable")
        cost, ratio = known.price[order].cumsum() / len(order), ratio[order]
        left, n, kappa = int(scenario.budget[row]), tiny.domain.horizon, 0.0
        for t in range(n):
            if t % tiny.domain.slot == 0:
                kappa = ratio[np.searchsorted(cost, left / (n - t)).clip(max=len(ratio) - 1)]
            bid = min(300, int(float(scenario.theta[row, t]) * kappa))
            assert bid == int(bids[t, row]), (row, t)
            left -= int(scenario.price[row, t]) if min(bid, left) >= scenario.price[row, t] else 0


def test_threshold_pacing_multiplies_by_its_factors_exactly():
    bidder = PidThreshold()
    bidder.coefficient = torch.full((3,), 0.1, dtype=torch.float64)
    left, spent = torch.tensor([1000, 1000, 1000]), torch.tensor([60.0, 100.0, 120.0])
    assert bidder.paced({"b": left}, spent, 10).tolist() == [0.1 * 1.2, 0.1, 0.1 * 0.7], "projected 60, 100 and 120 % of what is left"
