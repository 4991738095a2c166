"""pace-net: re-solving with a learned correction. bid = int(theta * kappa(rho e^h) * e^g), rho = (b - q M) / n money to spend per auction left.

kappa is `resolve`'s coefficient, the fluid optimum of the history. A small network says every slot how far to lean from it: g in ln kappa, h
in ln rho, and q, the money held back for what is rare and dear, in units of the highest bid M. It sees the budget's standing, the campaign's
profile and what the bidder has inferred of the episode's law (pace_belief.py). If values have risen by e^v and prices by e^p, the fluid
optimum moves by (1 - e) p - v in ln kappa, with e the elasticity of kappa in rho; that number is among the inputs. An untrained network
answers 0 exactly and so plays `resolve`. Under first price the bid is shaded (shading.py), with leans learned under second price. Trained by
pace_training.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from agents.bidding.bidder import Bidder, Observation
from agents.bidding.pace_belief import Belief, Knowledge, knowledge
from arena.agent import Brief
from arena.errors import ArenaError
from arena.learning.checkpoints import load_checkpoint
from arena.task import TaskView

SHIPPED = Path(__file__).parent / "weights" / "pace-net"
FEATURES, HIDDEN = 24, 64
REACH = 1.5  # largest |g|, |h| and |q|
SOFT = 30.0  # money: how gradually spending stops where only the money held back is left
LEAST = 0.002  # of the mean price: spend per auction that holding back leaves, enough for the rarest and dearest
SPEC: dict[str, Any] = {
    "agent": "pace-net",
    "version": 1,
    "mode": "impression",
    "observation": ["n", "b", "theta", "price", "campaign", "B"],
    "features": FEATURES,
    "action": "g, h, q: kappa((b - q M) / n e^h) e^g, once a slot",
}


class PaceModel(nn.Module):
    """Features [24, B] -> (g, h, q) [3, B]; zero at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU())
        self.head = nn.Linear(HIDDEN, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        lean: Tensor = self.head(self.body(features.T)).T
        return REACH * torch.tanh(lean / REACH)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.state_dict().items()}


def allowance(money: Tensor, kept: Tensor, plain: Tensor, mean_price: Tensor) -> Tensor:
    """[B] money to spend per auction: `plain` = b / n e^h, less the share (b - kept) / b of it that is held back, smoothly; `plain` if none is."""
    share = softplus((money - kept) / SOFT) / softplus(money / SOFT)
    return torch.maximum(plain * share, torch.minimum(plain, LEAST * mean_price))


def features(known: Knowledge, belief: Belief, budget: Tensor, total: Tensor, left: int, horizon: int, max_bid: int) -> Tensor:
    """[24, B] float64 inputs of the network before a slot: `budget` [B] float64 left of `total` [B], `left` auctions of `horizon`.

    Differentiable in `budget`. Scaled so that each is of order 1.
    """
    campaign = belief.campaign
    budget = budget.clamp(min=0.5)
    spend = budget / left
    mean_price = known.mean_price[campaign]
    elasticity = known.elasticity.flatten()[known.spend_index(spend.detach(), campaign)]
    value, price, value_spread, price_spread, recent_value, recent_price, changed = belief.now()
    share = torch.full_like(budget, left / horizon)
    pace = (spend / (total / horizon)).log()
    items = (budget / max_bid).log()
    rows = (
        2 * share - 1,
        0.3 * (share * horizon).log() - 1.5,
        pace.clamp(-3, 3),
        (pace * share).clamp(-3, 3),
        0.5 * (spend / mean_price).log().clamp(-6, 2) + 1,
        0.5 * items.clamp(-4, 8),
        torch.exp(-items.clamp(-2, 8)),
        ((spend - mean_price) / (0.1 * mean_price)).sigmoid(),
        elasticity.clamp(-1, 4),
        2 * value,
        2 * price,
        2 * ((1 - elasticity) * price - value).clamp(-2, 2),
        4 * value_spread,
        4 * price_spread,
        recent_value,
        recent_price,
        changed,
        2 * changed * price,
        2 * changed * value,
        2 * known.profile[campaign, 0],
        known.profile[campaign, 1],
        4 * known.profile[campaign, 2],
        4 * known.prior[campaign, 1],
        belief.shift.double(),
    )
    return torch.stack(rows)


class PaceNet(Bidder):
    """`resolve` with a learned correction.

    checkpoint: a folder that `train` wrote, or one that holds several as seed-0, seed-1, ...; by default the weights shipped with this module
    size: of a training run, see pace_training.SIZES; playing does not depend on it
    """

    nature = "learned"
    needs_pairs = True

    def __init__(self, checkpoint: str | None = None, size: Literal["cpu", "full"] = "cpu") -> None:
        self.folder, self.size = Path(checkpoint) if checkpoint else SHIPPED, size

    def check(self, task: TaskView) -> None:
        """Raises ArenaError where there are no weights, no past pairs, or a limit on the cost per conversion besides the budget."""
        super().check(task)
        if task.domain.cpa:  # type: ignore[attr-defined]
            raise ArenaError("agent.incompatible", f"pace-net knows budgets, not the cost limit of {task.id}", "use cpa-cap there")
        load_model(self.folder, 0)

    def begin(self, brief: Brief) -> None:
        super().begin(brief)
        self.net = load_model(self.folder, brief.seed).to(brief.device)

    def prepare(self, obs: Observation) -> None:
        device, rows, slot = obs["B"].device, len(obs["B"]), self.domain.slot
        self.known = knowledge(self.histories, self.domain.payment).to(device)
        self.campaign, self.total = obs["campaign"], obs["B"].double()
        self.mean_price = self.known.mean_price[self.campaign]
        shift = torch.full((rows,), bool(self.brief.task.config.get("shift", False)), device=device)
        self.belief = Belief(self.known, self.campaign, self.domain.slots, shift)
        self.values = torch.empty(slot, rows, dtype=torch.float64, device=device)
        self.bids = torch.empty(slot, rows, dtype=torch.int64, device=device)
        self.prices = torch.empty(slot, rows, dtype=torch.int64, device=device)

    @torch.no_grad()
    def bid(self, obs: Observation) -> Tensor:
        within, left = self.step % self.domain.slot, self.horizon - self.step
        budget = obs["b"].double()
        if self.step:
            self.prices[within - 1] = obs["price"]
        if not within:
            if self.step:
                self.belief.learn(self.values, self.bids, self.prices)
            lean = self.net(features(self.known, self.belief, budget, self.total, left, self.horizon, self.max_bid))
            self.scale, self.widen, self.kept = lean[0].exp(), lean[1].exp(), lean[2] * self.max_bid
        spend = allowance(budget, self.kept, budget / left * self.widen, self.mean_price)
        index = self.known.spend_index(spend, self.campaign)
        worth = obs["theta"] * (self.known.kappa.flatten()[index] * self.scale)
        offer = self.clipped(self.known.shaded(worth, self.campaign))
        self.values[within], self.bids[within] = obs["theta"], offer
        return offer

    def train(self, task: TaskView, *, seed: int, folder: Path, log: Callable[[dict[str, float]], None], budget: int | None = None) -> None:
        """Train for `budget` updates (default: the size's), or go on where an interrupted run of the same seed and budget left off in `folder`."""
        from agents.bidding.pace_training import train

        train(task, seed=seed, updates=budget, folder=folder, log=log, size=self.size)


def load_model(folder: Path, seed: int) -> PaceModel:
    """The checkpoint in `folder`, in float64; of several training seeds the one that run `seed` plays."""
    trained = sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))
    model = PaceModel()
    found = load_checkpoint(trained[seed % len(trained)] if trained else folder, SPEC, {"model": model.shapes()})
    model.load_state_dict(found.parts["model"])
    return model.double().eval()
