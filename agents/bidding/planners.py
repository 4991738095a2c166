"""Bidders that plan by dynamic programming: RLB and its table, the same without features, and the exact law of (value, price)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from agents.bidding.bidder import Bidder, Observation
from agents.bidding.joint import joint_table
from agents.bidding.value_tables import PriceModel, ValueTable, value_table
from domains.bidding.history import History
from domains.bidding.stochastic import pair_model

Kind = Literal["rlb", "joint"]
_latest: dict[Kind, tuple[History, ValueTable]] = {}  # a table can take 300 MB: the last one of each kind is kept


def table_of(kind: Kind, known: History, auctions: int, budget: int) -> ValueTable:
    """The table of a campaign, for up to this many auctions and this budget; one serves all smaller budgets."""
    if kind in _latest:
        campaign, table = _latest[kind]
        if campaign is known and table.auctions >= auctions and table.budget >= budget:
            return table
    _latest.pop(kind, None)
    if kind == "rlb":
        table = value_table(PriceModel(known.price_pmf(), known.theta_bar), auctions, budget)
    else:
        known.episodes()
        table = joint_table(pair_model(known.theta, known.price, known.max_price), auctions, budget)
    _latest[kind] = known, table
    return table


class Rlb(Bidder):
    """RLB: the exact value table of the campaign's price law, entered with the impression's own theta (Cai et al., WSDM 2017)."""

    kind: Kind = "rlb"

    def prepare(self, obs: Observation) -> None:
        self.tables = {
            campaign: table_of(self.kind, self.histories[campaign], self.horizon, int(obs["B"][rows].max())) for campaign, rows in self.rows.items()
        }

    def bid(self, obs: Observation) -> Tensor:
        bids = torch.empty(len(obs["B"]), dtype=torch.int32, device=obs["B"].device)
        n = self.horizon - self.step
        for campaign, rows in self.rows.items():
            bids[rows] = self.tables[campaign].bid(n, obs["b"][rows], self.worth(obs, campaign, rows)).to(torch.int32)
        return bids

    def worth(self, obs: Observation, campaign: int, rows: Tensor) -> Tensor | float:
        return obs["theta"][rows]


class SsMdp(Rlb):
    """The same table without features: every impression is worth the mean (Amin et al., UAI 2012)."""

    def worth(self, obs: Observation, campaign: int, rows: Tensor) -> Tensor | float:
        return self.histories[campaign].theta_bar


class RlbJoint(Rlb):
    """RLB on the joint law of value and price: optimal where (theta, z) are independent draws of the history's law."""

    kind: Kind = "joint"
    needs_pairs = True
