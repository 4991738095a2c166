"""What all bidders of impression mode share: the rows of a chunk sorted by campaign and budget, and numbers tuned on history."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from agents.bidding import tuning
from agents.bidding.fluid import FluidPrice, fluid_price
from agents.bidding.shading import first_price_fluid, shaded_bids
from agents.bidding.winning import fit_win_curve
from arena.agent import Agent, Brief, Nature
from arena.task import TaskView
from domains.bidding.history import History
from domains.bidding.kernel import Bidding
from domains.bidding.references import affordable_constant

Observation = Mapping[str, Tensor]


class Bidder(Agent):
    """A bidder that names a price for every impression. `prepare` sees the first observation, `bid` all of them.

    histories, horizon, max_bid, slot and payment are public knowledge of the task.
    """

    nature: ClassVar[Nature] = "classical"
    mode = "impression"
    needs_pairs: bool = False  # past (value, price) pairs; a history may hold totals only

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `history.pairs` where a campaign's history lacks what this bidder is made from."""
        if self.needs_pairs:
            for known in task.domain.histories:  # type: ignore[attr-defined]
                known.episodes()

    def begin(self, brief: Brief) -> None:
        domain = brief.task.domain
        assert isinstance(domain, Bidding)
        self.brief, self.domain, self.histories = brief, domain, domain.histories
        self.horizon, self.max_bid = domain.horizon, domain.max_bid
        self.step = -1

    def act(self, obs: Observation) -> Tensor:
        self.step += 1
        if self.step == 0:
            self.rows = rows_by_campaign(obs["campaign"])
            self.prepare(obs)
        return self.bid(obs)

    def prepare(self, obs: Observation) -> None:
        """Per-row numbers, once the campaign and the budget of each row are known."""

    def bid(self, obs: Observation) -> Tensor:
        raise NotImplementedError

    def clipped(self, bid: Tensor) -> Tensor:
        """Truncated to an integer within 0..M."""
        return bid.clamp(0, self.max_bid).to(torch.int32)

    def per_row(self, obs: Observation, number: str, kind: torch.dtype = torch.float64) -> Tensor:
        """[B] a number of each row's history (`theta_bar`, `cpm`, `ecpc`)."""
        table = torch.zeros(len(self.histories), dtype=kind, device=obs["B"].device)
        for campaign in self.rows:
            table[campaign] = getattr(self.histories[campaign], number)
        return table[obs["campaign"]]

    def tuned(self, obs: Observation, what: str) -> Tensor:
        """[B] float64 a number tuned on each row's history for its budget, by `tuning.tune_<what>`."""
        found = torch.empty(len(obs["B"]), dtype=torch.float64, device=obs["B"].device)
        for campaign, rows in self.rows.items():
            known = self.histories[campaign]
            budgets, which = torch.unique(obs["B"][rows], return_inverse=True)
            numbers = tuned_numbers(known, tuple(budgets.tolist()), self.horizon, self.domain.payment, what)
            found[rows] = torch.tensor(numbers, dtype=torch.float64, device=found.device)[which]
        return found

    def fluid(self, campaign: int) -> FluidPrice:
        return fluid_of(self.histories[campaign])


def rows_by_campaign(campaign: Tensor) -> dict[int, Tensor]:
    """The rows of each campaign present, as indices."""
    return {int(which): (campaign == which).nonzero()[:, 0] for which in torch.unique(campaign)}


# Histories have no value equality, so these caches are keyed by the object: one per task and process.


@cache
def tuned_numbers(known: History, budgets: tuple[int, ...], horizon: int, payment: str, what: str) -> list[int]:
    """The best number per budget on the history's own episodes, whose budgets are scaled to their length."""
    if what == "const" and not len(known.theta):
        return [affordable_constant(known, budget / horizon, payment) for budget in budgets]
    theta, price = known.episodes()
    scaled = np.maximum(1, np.array(budgets) * theta.shape[1] // horizon)
    past = tuning.Episodes(theta, price, scaled, known.max_price, payment == "first")
    if what == "const":
        found = tuning.tune_const(past)
    elif what == "lin":
        found = tuning.tune_lin(past, known.theta_bar)
    else:
        found = tuning.tune_ortb(past, known.theta_bar, win_scale(known))
    return [int(number) for number in found]


@cache
def win_scale(known: History) -> int:
    return fit_win_curve(known.price_counts)


@cache
def fluid_of(known: History) -> FluidPrice:
    known.episodes()  # says what is missing where there are no pairs
    return fluid_price(known.theta, known.price, known.max_price)


@cache
def shaded_of(known: History) -> tuple[Tensor, Tensor, float]:
    """Bid of each whole worth, kappa at spends 0, step, 2 step ... per auction, and step: re-solving under first price."""
    known.episodes()
    bids = shaded_bids(known.price_pmf(0.5))
    kappa, step = first_price_fluid(known.theta, known.price, bids)
    return torch.from_numpy(bids), torch.from_numpy(kappa), step
