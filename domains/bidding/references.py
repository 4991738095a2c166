"""What 0 and 1 mean: the best constant bid, and the clairvoyant bound that every scenario carries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from arena.task import Task, Vector
from domains.bidding.history import History
from domains.bidding.kernel import Auctions, Bidding, Campaign
from domains.bidding.scenarios import auctions

LONGEST_TABLE = 1000  # auctions; a longer horizon's budgets make the table too large


def references(task: Task) -> dict[str, Vector]:
    """`ref0`: value ratio of the constant bid tuned on history, one per (campaign, c0); `ref1`: 1; `group`: the cell.

    Where a table of the horizon can be made, also the line `stochastic`: what the best bidder without foresight can expect if the
    history's law holds and auctions are independent, V_N(B) over the cell's mean bound. It is only drawn: under drift it is no bound.
    """
    domain, scenario = task.domain, task.scenarios
    assert isinstance(domain, Bidding) and isinstance(scenario, Auctions)
    cells, group = np.unique(np.stack((scenario.campaign.numpy(), scenario.c0.numpy())), axis=1, return_inverse=True)
    tuned = [best_constant(domain, domain.histories[int(campaign)], float(c0)) for campaign, c0 in cells.T]
    bid = torch.tensor(tuned, dtype=torch.int32)[torch.from_numpy(group)]
    vectors = {
        "ref0": play(domain, scenario, lambda scenario, state: bid)["ratio"].numpy(),
        "ref1": np.ones(task.n),
        "group": group.astype(np.float64),
    }
    if domain.payment == "second" and domain.horizon <= LONGEST_TABLE and all(len(known.theta) for known in domain.histories):
        expected = stochastic_line(domain, scenario)
        mean_bound = np.bincount(group, scenario.bound.numpy()) / np.bincount(group)
        vectors["stochastic"] = expected / mean_bound[group]
    return vectors


def stochastic_line(domain: Bidding, scenario: Auctions) -> Vector:
    """[B] V_N(B) of each scenario's campaign and budget."""
    from domains.bidding.stochastic import pair_model, stochastic_optimum  # Numba, for who makes references alone

    line = np.empty(len(scenario))
    for campaign in np.unique(scenario.campaign.numpy()):
        rows = np.flatnonzero(scenario.campaign.numpy() == campaign)
        known = domain.histories[int(campaign)]
        model = pair_model(known.theta, known.price, known.max_price)
        line[rows] = stochastic_optimum(model, domain.horizon, scenario.budget.numpy()[rows])
    return line


def cpa_references(task: Task) -> dict[str, Vector]:
    """The CPA task, in value won (a day may have no auction cheap enough): `ref0` bids the limit itself, kappa = cost_limit, and so never
    pays more than it per conversion; `ref1` is the linear program with budget and limit.
    """
    domain, scenario = task.domain, task.scenarios
    assert isinstance(domain, Bidding) and isinstance(scenario, Auctions)

    def capped(scenario: Auctions, state: Campaign) -> Tensor:
        return (scenario.cost_limit * scenario.theta[:, state.t]).clamp(max=domain.max_bid).to(torch.int32)

    return {"ref0": play(domain, scenario, capped)["value"].numpy(), "ref1": scenario.bound.numpy()}


def best_constant(domain: Bidding, known: History, c0: float) -> int:
    """The constant bid 1..M that wins most value on the history's own episodes at this budget level; the higher bid wins ties.

    A history of totals alone has no episodes: then the highest bid whose expected spend, by the price law, the budget pays for.
    """
    if not len(known.theta):
        return affordable_constant(known, known.budget(c0, domain.horizon) / domain.horizon, domain.payment)
    theta, price = known.episodes()
    episode = theta.shape[1]
    budget = max(1, int(known.budget(c0, domain.horizon) * episode / domain.horizon))
    tuner = Bidding([known], episode, episode, domain.payment, domain.feedback, domain.max_bid)
    best, chosen = -1.0, 1
    grid = torch.arange(1, domain.max_bid + 1, dtype=torch.int32)
    part = auctions(
        theta, price, np.zeros(theta.shape, np.uint8), np.full(len(theta), c0), np.zeros(len(theta), np.int64), [known], episode,
        budget=np.full(len(theta), budget, np.int64),
    )  # fmt: skip
    for bids in grid.split(max(1, 4096 // len(theta))):
        rows = part[torch.arange(len(theta)).repeat(len(bids))]
        bid = bids.repeat_interleave(len(theta))
        won = play(tuner, rows, lambda scenario, state, bid=bid: bid)["value"].view(len(bids), -1).sum(1)
        for value, candidate in zip(won.tolist(), bids.tolist(), strict=True):
            if value >= best:
                best, chosen = value, candidate
    return chosen


def affordable_constant(known: History, spend: float, payment: str) -> int:
    """The highest bid 1..M that costs at most `spend` per auction under the history's price law."""
    law = known.price_pmf(laplace=0)
    bids = np.arange(len(law))
    cost = bids * law.cumsum() if payment == "first" else (bids * law).cumsum()
    return max(1, int(np.searchsorted(cost, spend, side="right")) - 1)


def play(domain: Bidding, scenario: Auctions, bid: Callable[[Auctions, Campaign], Tensor]) -> dict[str, Tensor]:
    """Metrics of a fixed rule on every scenario."""
    state = domain.reset(scenario)
    for _ in range(domain.horizon):
        state, _ = domain.step(scenario, state, bid(scenario, state))
    return domain.metrics(scenario, state)
