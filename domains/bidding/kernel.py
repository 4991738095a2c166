"""Real-time bidding on one budget: the transition, on one screen.

A campaign meets N auctions in sequence. Auction i reveals a value estimate theta_i; the bidder names an integer bid a_i in 0..M; the
market price z_i (best competing bid or floor) is hidden until after the auction. The bid wins iff min(a, budget) >= z (ties win)
and pays z (second price) or the bid itself (first price). Cai et al., WSDM 2017, arXiv 1701.02490, section 3.
Prices are integers in CPM units. Every array has the scenario first, written [B]; T auctions, S slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from arena.domain import Domain, Metric, Mode, Outcome, Record, Role
from domains.bidding import slots
from domains.bidding.history import History


@dataclass(frozen=True, slots=True)
class Auctions(Record):
    """The scenario: all that luck decides, fixed before the first bid.

    Series lie in auction-major memory (`x.T.contiguous().T`), so that column t of a batch is contiguous.
    """

    price: Tensor  # [B, T] int32, market price; above M: an auction nobody can win (padding)
    theta: Tensor  # [B, T] float64, value of winning as predicted (and scored)
    click: Tensor  # [B, T] uint8, realised once, whoever wins
    budget: Tensor  # [B] int64
    c0: Tensor  # [B] float64, budget level: share of the cost of winning everything
    campaign: Tensor  # [B] int64, index into the domain's histories
    cost_limit: Tensor  # [B] float64, most money per unit of value (the CPA task); inf elsewhere
    size: Tensor  # [B, S] int32, real auctions in each slot
    low: Tensor  # [B] int32, the 5 % quantile of the history's prices
    bound: Tensor  # [B] float64, the most value a clairvoyant can win (domains/bidding/bounds.py)


@dataclass(frozen=True, slots=True)
class Campaign(Record):
    """The state: what the bids so far have made of it."""

    t: int  # auctions held: all scenarios of a batch stand at the same one
    budget: Tensor  # [B] int32, left
    totals: Tensor  # [B, 4] float64, rewards so far: value, clicks, -cost, wins
    starved: Tensor  # [B] int32, auctions held with a budget below the 5 % price quantile
    surplus: Tensor  # [B] int32, bid above the market price on wins (first price)
    bids: Tensor  # [B] int64, sum of bids (the CPA task)
    paid: Tensor  # [B] int32, in the last auction
    won: Tensor  # [B] int32, 1 where the last auction was won
    marks: Mapping[str, Tensor]  # slot -> [B, 5] float64, totals and bids when it began; only slots reached


class Bidding(Domain):
    """Maximise the value won within the budget.

    horizon: N, auctions of an episode; slot: auctions of one slot (decisions of the slot mode are held that long)
    payment: "second" pays the market price, "first" the bid
    feedback: "win_only" shows the market price after a win only, "full" after every auction
    cpa: the episode also has a limit on money per unit of value (AuctionNet conventions, arXiv 2412.10798)
    padded: slots hold fewer real auctions than `slot`
    """

    name = "bidding"
    version = 1
    objectives = ("value", "click", "cost", "win")
    ends_early = False

    def __init__(
        self,
        histories: Sequence[History],
        horizon: int,
        slot: int,
        payment: Literal["second", "first"] = "second",
        feedback: Literal["win_only", "full"] = "win_only",
        max_bid: int = 300,
        cpa: bool = False,
        padded: bool = False,
    ) -> None:
        self.histories, self.horizon, self.slot, self.max_bid = tuple(histories), horizon, slot, max_bid
        self.payment, self.feedback, self.cpa, self.padded = payment, feedback, cpa, padded
        self.slots = -(-horizon // slot)
        self.base = torch.tensor([h.cpm / h.theta_bar for h in histories], dtype=torch.float64)
        top = int(np.iinfo(np.int32).max)
        impression = spaces.Dict(
            {
                "n": spaces.Box(0, horizon, (), np.int64),
                "b": spaces.Box(0, top, (), np.int64),
                "theta": spaces.Box(0.0, 1.0, (), np.float64),
                "paid": spaces.Box(0, top, (), np.int64),
                "price": spaces.Box(-1, top, (), np.int64),
                "campaign": spaces.Box(0, max(len(self.histories) - 1, 0), (), np.int64),
                "B": spaces.Box(0, top, (), np.int64),
                **({"cost_limit": spaces.Box(0.0, np.inf, (), np.float64)} if cpa else {}),
            }
        )
        width = slots.CPA_WIDTH if cpa else slots.WIDTH
        self.roles = (
            Role(
                "bidder",
                (
                    Mode("impression", impression, spaces.Discrete(max_bid + 1)),
                    Mode(
                        "slot",
                        spaces.Dict({"features": spaces.Box(-np.inf, np.inf, (width,), np.float32)}),
                        spaces.Box(-4.0, 4.0, (), np.float32),
                        steps=slot,
                        observe=lambda scenario, state: {"features": slots.features(self, scenario, state)},
                        expand=lambda scenario, state, action: slots.bids(self, scenario, state, action),
                    ),
                ),
            ),
        )
        self.metrics_spec = metrics_of(payment, cpa)
        self.sampler: Callable[[Sequence[int]], Auctions] | None = None

    def sample(self, seeds: Sequence[int]) -> Auctions:
        """One scenario per seed, of the campaign and budget level that the seed picks (a task says which: `Task.sample`)."""
        return self.sampler(seeds) if self.sampler else super().sample(seeds)  # type: ignore[no-any-return]

    def reset(self, scenario: Auctions) -> Campaign:
        budget = scenario.budget.to(torch.int32)
        nothing = torch.zeros_like(budget)
        totals = scenario.bound.new_zeros(4, len(budget)).T
        return slots.mark(self, Campaign(0, budget, totals, nothing, nothing, nothing.long(), nothing, nothing, {}))

    def observe(self, scenario: Auctions, state: Campaign) -> dict[str, Tensor]:
        """Raw and exact, no normalised twin; nothing that a bidder could not know."""
        t = min(state.t, self.horizon - 1)
        if state.t:
            price = scenario.price[:, state.t - 1].long()
            price = price if self.feedback == "full" else torch.where(state.won > 0, price, -1)
        else:
            price = torch.full_like(scenario.budget, -1)
        seen = {
            "n": self.left(scenario, state),
            "b": state.budget.long(),
            "theta": scenario.theta[:, t],
            "paid": state.paid.long(),
            "price": price,
            "campaign": scenario.campaign,
            "B": scenario.budget,
        }
        return {**seen, "cost_limit": scenario.cost_limit} if self.cpa else seen

    def left(self, scenario: Auctions, state: Campaign) -> Tensor:
        """[B] int64, auctions left, the present one included."""
        if not self.padded:
            return torch.full_like(scenario.budget, self.horizon - state.t)
        slot, within = divmod(state.t, self.slot)
        return scenario.size[:, slot:].sum(1) - (scenario.size[:, slot].clamp(max=within) if slot < self.slots else 0)

    def step(self, scenario: Auctions, state: Campaign, bid: Tensor) -> tuple[Campaign, Outcome]:
        """One auction. Raises ValueError for a bid that is not an integer in 0..M; only the budget clamps it."""
        self._check(bid, state)
        t, first = state.t, self.payment == "first"
        price = scenario.price[:, t]
        offer = torch.minimum(bid if bid.dtype == torch.int32 else bid.to(torch.int32), state.budget)
        won = torch.ge(offer, price, out=torch.empty_like(offer))  # ties win; as int32, which costs a third of a bool
        paid = (offer if first else price) * won
        reward = won.new_empty(4, len(won), dtype=torch.float64)  # filled row by row: no temporaries, no stacking
        value, click, cost, win = reward.unbind()
        win.copy_(won)
        torch.mul(scenario.theta[:, t], win, out=value)
        click.copy_(scenario.click[:, t]).mul_(win)
        cost.copy_(paid).neg_()
        reward = reward.T
        budget = state.budget - paid
        starved = torch.lt(budget, scenario.low, out=torch.empty_like(budget)).add_(state.starved)
        after = Campaign(
            t + 1,
            budget,
            state.totals + reward,
            starved,
            state.surplus + (paid - price * won) if first else state.surplus,
            state.bids + bid if self.cpa else state.bids,
            paid,
            won,
            state.marks,
        )
        if after.t % self.slot == 0 or after.t == self.horizon:
            after = slots.mark(self, after)
        done = (torch.ones if after.t >= self.horizon else torch.zeros)(len(won), dtype=torch.bool, device=won.device)
        return after, Outcome(reward, reward.new_empty(len(won), 0), done)

    def _check(self, bid: Tensor, state: Campaign) -> None:
        if bid.shape != state.budget.shape:
            raise ValueError(f"bid must have shape {tuple(state.budget.shape)} (one per scenario), got {tuple(bid.shape)}")
        if bid.dtype.is_floating_point or bid.dtype == torch.bool:
            raise ValueError(f"bid[0] = {bid.flatten()[0].item()!r} has dtype {bid.dtype}; bids are integers in 0..{self.max_bid}: truncate them")
        low, high = torch.aminmax(bid)
        if low.item() < 0 or high.item() > self.max_bid:
            row = int(((bid < 0) | (bid > self.max_bid)).nonzero()[0])
            raise ValueError(f"bid[{row}] = {int(bid[row])} lies outside the legal range 0..{self.max_bid}")

    def metrics(self, scenario: Auctions, state: Campaign) -> dict[str, Tensor]:
        """Figures of the episode so far, [B] float64 each; see `metrics_of` for units."""
        value, clicks, spent, wins = state.totals.unbind(1)
        spent, auctions = -spent, scenario.size.sum(1).double()
        spend = slots.spend(self, state)
        share = scenario.size / auctions[:, None]
        found = {
            "value": value,
            "clicks": clicks,
            "win_rate": wins / auctions,
            "cpm": spent / wins.clamp(min=1),
            "ecpc": spent / 1000 / clicks.clamp(min=1),
            "spend_ratio": spent / scenario.budget,
            "early_stop": state.starved / self.horizon,
            "pacing_rmse": (spend / scenario.budget[:, None] - share).square().mean(1).sqrt(),
        }
        if self.payment == "first":
            found["surplus"] = state.surplus.double()
        if not self.cpa:
            found["ratio"] = value / scenario.bound
        else:
            cpa = spent / (value + 1e-10)
            found["cpa"] = cpa / 1000
            found["cpa_excess"] = (cpa / scenario.cost_limit - 1).clamp(min=0)
            found["penalised"] = value * (scenario.cost_limit / cpa.clamp(min=1e-12)).square().clamp(max=1)
        return found


def metrics_of(payment: str, cpa: bool) -> tuple[Metric, ...]:
    """What an episode is measured by. Money is in CPM units (1000 of them are one unit of currency) unless stated."""
    value = Metric("value", "clicks expected", 1, "primary" if cpa else "info", help="sum of theta over the auctions won")
    ratio = Metric("ratio", "of bound", 1, "primary", help="value won / clairvoyant bound of the scenario")
    found = [
        *((value,) if cpa else (ratio, value)),
        Metric("clicks", "clicks", 1, help="clicks realised on the auctions won"),
        Metric("win_rate", "of auctions", 0),
        Metric("cpm", "CPM units", -1, help="money per auction won; 0 where none was"),
        Metric("ecpc", "currency per click", -1, help="money / 1000 per click; all the money where there was none"),
        Metric("spend_ratio", "of budget", 0),
        Metric("early_stop", "of episode", -1, help="share of the auctions held below the 5 % price quantile"),
        Metric("pacing_rmse", "of budget", -1, help="spend per slot against its share of the traffic"),
    ]
    if payment == "first":
        found.append(Metric("surplus", "CPM units", -1, help="bid above the market price, summed over wins"))
    if cpa:
        found += [
            Metric("cpa", "currency per conversion", -1),
            Metric("cpa_excess", "of limit", -1, "constraint", threshold=0.0, scale=1.0, help="max(0, CPA / limit - 1)"),
            Metric("penalised", "conversions", 1, help="value * min(1, (limit / CPA)^2), AuctionNet's score"),
        ]
    return tuple(found)
