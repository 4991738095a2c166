"""The bidders every practitioner knows: constant, truthful, linear, ORTB; and those that pace: dual, PID, online LP.

theta-bar is the history's click rate, CPM its mean price; all bids are truncated to integers. docs/bidding.md, section baselines.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.bidding.bidder import Bidder, Observation, shaded_of, win_scale
from arena.errors import ArenaError
from arena.task import TaskView

FREE = 1e-15  # stands for a budget without value: any auction is worth buying


class Constant(Bidder):
    """The same bid for every impression; tuned on history where `bid` is not given."""

    def __init__(self, bid: int | None = None) -> None:
        self.fixed = bid

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `agent.parameters` for a bid that the task does not allow."""
        highest = task.domain.max_bid  # type: ignore[attr-defined]
        if self.fixed is not None and not 0 <= self.fixed <= highest:
            raise ArenaError("agent.parameters", f"const: bid = {self.fixed}", f"bids of {task.id} are integers in 0..{highest}")

    def prepare(self, obs: Observation) -> None:
        number = self.tuned(obs, "const") if self.fixed is None else torch.full_like(obs["theta"], self.fixed)
        self.offer = self.clipped(number)

    def bid(self, obs: Observation) -> Tensor:
        return self.offer


class Random(Bidder):
    """A bid drawn uniformly from 0..u for every impression; u is twice the tuned constant bid where not given."""

    def __init__(self, u: int | None = None) -> None:
        if u is not None and u < 0:
            raise ArenaError("agent.parameters", f"rand: u = {u}", "bids are drawn from 0..u: give an integer >= 0")
        self.u = u

    def prepare(self, obs: Observation) -> None:
        self.top = 2 * self.tuned(obs, "const") if self.u is None else torch.full_like(obs["theta"], self.u)

    def bid(self, obs: Observation) -> Tensor:
        return self.clipped(self.brief.uniforms(self.step, 1)[:, 0] * (self.top + 1).floor())


class Mcpc(Bidder):
    """Truth-telling at the history's cost per click: bid int(theta * cost / clicks), whatever the budget."""

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `history.clicks` where a campaign had no click."""
        for known in task.domain.histories:  # type: ignore[attr-defined]
            _ = known.ecpc

    def prepare(self, obs: Observation) -> None:
        self.ecpc = self.per_row(obs, "ecpc")

    def bid(self, obs: Observation) -> Tensor:
        return self.clipped(obs["theta"] * self.ecpc)


class Linear(Bidder):
    """Bid int(theta * b0 / theta-bar), b0 tuned on history where not given (Perlich et al., KDD 2012)."""

    def __init__(self, b0: float | None = None) -> None:
        if b0 is not None and not b0 > 0:
            raise ArenaError("agent.parameters", f"lin: b0 = {b0}", "the bid on an impression of mean value must be above 0")
        self.fixed = b0
        self.needs_pairs = b0 is None

    def prepare(self, obs: Observation) -> None:
        self.b0 = self.tuned(obs, "lin") if self.fixed is None else torch.full_like(obs["theta"], self.fixed)
        self.ctr = self.per_row(obs, "theta_bar")

    def bid(self, obs: Observation) -> Tensor:
        return self.clipped(obs["theta"] * self.b0 / self.ctr)


class Ortb(Bidder):
    """sqrt(c theta k / theta-bar + c^2) - c, optimal under first price for the win curve a / (a + c) (Zhang et al., KDD 2014).

    c is fitted to the history's prices, k tuned on its episodes.
    """

    needs_pairs = True

    def prepare(self, obs: Observation) -> None:
        self.k, self.ctr = self.tuned(obs, "ortb"), self.per_row(obs, "theta_bar")
        scale = torch.tensor([win_scale(h) for h in self.histories], dtype=torch.float64, device=obs["B"].device)
        self.c = scale[obs["campaign"]]

    def bid(self, obs: Observation) -> Tensor:
        return self.clipped((self.c * obs["theta"] * self.k / self.ctr + self.c**2).sqrt() - self.c)


class Resolve(Bidder):
    """Certainty-equivalent re-solving: bid theta / lambda(b / n), the ratio of the marginal auction a budget of b / n buys.

    The fluid limit of RLB's value table, in O(1) a bid (agents/bidding/fluid.py).
    """

    needs_pairs = True

    def prepare(self, obs: Observation) -> None:
        self.prices = {campaign: self.fluid(campaign) for campaign in self.rows}

    def bid(self, obs: Observation) -> Tensor:
        price = self.price(obs)
        return torch.where(price == FREE, self.max_bid, self.clipped(obs["theta"] / price))

    def price(self, obs: Observation) -> Tensor:
        """[B] float64, lambda(b / n), the value of a unit of budget; FREE where the budget pays for every auction."""
        spend = obs["b"].double() / obs["n"].clamp(min=1)
        found = torch.empty_like(spend)
        for campaign, rows in self.rows.items():
            fluid = self.prices[campaign]
            rho = spend[rows]
            found[rows] = torch.where(rho >= fluid.mean_price, FREE, fluid.of(rho))
        return found


class Shaded(Resolve):
    """Re-solving under first price: the worth theta * kappa(b / n) is shaded to the bid that gains most under the history's price law.

    kappa is the one whose shaded bids spend b / n per auction on history (agents/bidding/shading.py).
    """

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `agent.incompatible` where the winner does not pay its bid."""
        super().check(task)
        if task.domain.payment != "first":  # type: ignore[attr-defined]
            raise ArenaError("agent.incompatible", f"shaded bids below the worth, and {task.id} pays the second price", "use resolve there")

    def prepare(self, obs: Observation) -> None:
        self.curves = {campaign: shaded_of(self.histories[campaign]) for campaign in self.rows}

    def bid(self, obs: Observation) -> Tensor:
        spend = obs["b"].double() / obs["n"].clamp(min=1)
        bids = torch.empty(len(spend), dtype=torch.int32, device=spend.device)
        for campaign, rows in self.rows.items():
            table, kappa, step = self.curves[campaign]
            place = (spend[rows] / step).long().clamp(max=len(kappa) - 1)
            worth = (obs["theta"][rows] * kappa[place]).clamp(max=len(table) - 1).long()
            bids[rows] = table[worth].to(torch.int32)
        return self.clipped(bids)


class Dual(Resolve):
    """Bid int(theta / exp(l)); l moves by eta times the relative overspend after each auction (Balseiro and Gur, 2019).

    Starts at ln lambda(B / N).
    """

    def __init__(self, eta: float = 0.01) -> None:
        if not eta > 0:
            raise ArenaError("agent.parameters", f"dual: eta = {eta}", "a step size is positive; 0.003, 0.01 and 0.03 are usual")
        self.eta = eta

    def prepare(self, obs: Observation) -> None:
        super().prepare(obs)
        self.log_price = self.price(obs).log()
        self.target, self.left = obs["B"].double() / obs["n"], obs["n"]

    def bid(self, obs: Observation) -> Tensor:
        if self.step:
            held = obs["n"] < self.left  # places that pad a slot are no auctions
            self.log_price = self.log_price + self.eta * (obs["paid"] / self.target - 1) * held
            self.left = obs["n"]
        return self.clipped(obs["theta"] / self.log_price.exp())


class Paced(Resolve):
    """Bidders that move their coefficient once a slot: kappa starts at resolve's and is held for `domain.slot` auctions."""

    def prepare(self, obs: Observation) -> None:
        super().prepare(obs)
        self.coefficient = self.kappa(obs)
        self.before = obs["b"].double()

    def bid(self, obs: Observation) -> Tensor:
        slot, within = divmod(self.step, self.domain.slot)
        if slot and not within:
            spent = self.before - obs["b"]
            self.coefficient = self.paced(obs, spent, self.domain.slots - slot)
            self.before = obs["b"].double()
        return self.clipped(obs["theta"] * self.coefficient)

    def kappa(self, obs: Observation) -> Tensor:
        """[B] the coefficient to start from."""
        return 1 / self.price(obs)

    def paced(self, obs: Observation, spent: Tensor, slots_left: int) -> Tensor:
        """The coefficient [B] of the slot that begins, after `spent` [B] in the last one."""
        raise NotImplementedError


class Pid(Paced):
    """PID control of ln kappa on the spend error of the last slot, relative to an even share of what was left then."""

    def __init__(self, kp: float = 0.15, ki: float = 0.02, kd: float = 0.0) -> None:
        self.gains = (kp, ki, kd)

    def prepare(self, obs: Observation) -> None:
        super().prepare(obs)
        self.total = torch.zeros_like(self.coefficient)
        self.last = torch.zeros_like(self.coefficient)

    def paced(self, obs: Observation, spent: Tensor, slots_left: int) -> Tensor:
        share = (self.before / (slots_left + 1)).clamp(min=1)
        error = ((share - spent) / share).clamp(-1, 1)
        self.total = self.total + error
        kp, ki, kd = self.gains
        push = kp * error + ki * self.total + kd * (error - self.last)
        self.last = error
        return self.coefficient * push.exp()


class PidThreshold(Paced):
    """AuctionNet's pacing: kappa * 1.2 where the projected spend is below 70 % of the budget left, * 0.7 where above 110 %."""

    def paced(self, obs: Observation, spent: Tensor, slots_left: int) -> Tensor:
        projected = spent * slots_left / obs["b"].clamp(min=1)
        kappa = self.coefficient  # factors of their own would be float32
        return torch.where(projected < 0.7, kappa * 1.2, torch.where(projected > 1.1, kappa * 0.7, kappa))


class OnlineLp(Paced):
    """AuctionNet's online LP: sort past auctions by price per value; kappa is the first ratio whose cumulative cost passes the budget left.

    Ratios are price / (value + 1e-4); under a cost limit C kappa stays below 1.5 C.
    """

    def prepare(self, obs: Observation) -> None:
        self.curves = {}
        for campaign in self.rows:
            known = self.histories[campaign]
            known.episodes()
            theta = torch.tensor(known.theta, device=obs["B"].device)
            price = torch.tensor(known.price, dtype=torch.float64, device=obs["B"].device)
            ratio, order = (price / (theta + 1e-4)).sort(stable=True)
            self.curves[campaign] = ratio, price[order].cumsum(0) / len(price)
        super().prepare(obs)

    def kappa(self, obs: Observation) -> Tensor:
        spend = obs["b"].double() / obs["n"].clamp(min=1)
        kappa = torch.empty_like(spend)
        for campaign, rows in self.rows.items():
            ratio, cost = self.curves[campaign]
            kappa[rows] = ratio[torch.searchsorted(cost, spend[rows]).clamp(max=len(ratio) - 1)]
        return torch.minimum(kappa, 1.5 * obs["cost_limit"]) if "cost_limit" in obs else kappa

    def paced(self, obs: Observation, spent: Tensor, slots_left: int) -> Tensor:
        return self.kappa(obs)


class CpaCap(Bidder):
    """kappa = min(kappa that the budget left pays for, kappa that keeps cost per value at the limit), both from the empirical frontier.

    The frontier is the bidder's own day so far, begun with the history's pairs as `prior` auctions' worth of evidence; it is kept as a
    histogram over price / (value * limit), so an update is one addition. Re-solved every slot for what is left of budget and slack.
    No bid exceeds what keeps the limit if it is paid whole, so the limit holds at every moment.
    """

    needs_pairs = True

    EDGES = 256

    def __init__(self, prior: float = 2000.0) -> None:
        self.prior = prior

    def prepare(self, obs: Observation) -> None:
        if "cost_limit" not in obs:
            raise ArenaError("agent.incompatible", "cpa-cap needs a limit on the cost per conversion", "run it on bidding/cpa-v1")
        device = obs["B"].device
        self.edges = torch.logspace(-2.5, 1.0, self.EDGES, dtype=torch.float64, device=device)
        rows = len(obs["B"])
        self.cost = torch.zeros(rows, self.EDGES + 1, dtype=torch.float64, device=device)
        self.value = torch.zeros_like(self.cost)
        self.seen = torch.full((rows,), self.prior, dtype=torch.float64, device=device)
        for campaign, members in self.rows.items():
            known = self.histories[campaign]
            known.episodes()
            theta, price = torch.tensor(known.theta, device=device), torch.tensor(known.price, device=device)
            weight = self.prior / len(theta)
            for row in members.tolist():
                place = self.bin(price, theta, obs["cost_limit"][row])
                self.cost[row].index_add_(0, place, price.double() * weight)
                self.value[row].index_add_(0, place, theta * weight)
        self.spent_value = torch.zeros(rows, dtype=torch.float64, device=device)
        self.theta = torch.zeros_like(self.spent_value)

    def bin(self, price: Tensor, theta: Tensor, limit: Tensor) -> Tensor:
        """Where price / (value * limit) falls among the edges; auctions of no value in the last bin."""
        ratio = torch.where(theta > 0, price / (theta * limit).clamp(min=1e-12), torch.inf)
        return torch.searchsorted(self.edges, ratio)

    def bid(self, obs: Observation) -> Tensor:
        if self.step:
            self.learn(obs)
        if self.step % self.domain.slot == 0:
            self.coefficient = self.solve(obs)
        limit = obs["cost_limit"] * (self.spent_value + obs["theta"]) - (obs["B"] - obs["b"])
        self.theta, self.bids = obs["theta"], self.clipped(torch.minimum(obs["theta"] * self.coefficient, limit))
        self.bids = torch.where(obs["b"] < 0.1 * 1000, 0, self.bids)  # AuctionNet stops below a budget of 0.1
        return self.bids

    def learn(self, obs: Observation) -> None:
        price = obs["price"]
        real = (price >= 0) & (price <= self.max_bid)
        place = self.bin(price, self.theta, obs["cost_limit"])[:, None]
        self.cost.scatter_add_(1, place, (price * real).double()[:, None])
        self.value.scatter_add_(1, place, (self.theta * real)[:, None])
        self.seen += real
        won = real & (torch.minimum(self.bids, obs["b"] + obs["paid"]) >= price)
        self.spent_value += self.theta * won

    def solve(self, obs: Observation) -> Tensor:
        limit = obs["cost_limit"]
        scale = (obs["n"] / self.seen)[:, None]
        cost, value = self.cost.cumsum(1) * scale, self.value.cumsum(1) * scale
        slack = limit * self.spent_value - (obs["B"] - obs["b"])
        affordable = (cost <= obs["b"][:, None]) & (cost - limit[:, None] * value <= slack[:, None])
        # the frontier is bought from the left, so the last affordable edge counts; its bins further left are part of the purchase
        last = torch.where(affordable, torch.arange(self.EDGES + 1, device=cost.device), 0).amax(1).clamp(max=self.EDGES - 1)
        return self.edges[last] * limit
