"""What a pacing bidder can infer while it bids: has the level of values, or that of prices, left the history's?

Values are always seen, prices only after a win. Both are turned into scores, the derivative of an auction's log-likelihood with respect to a
shift of the whole law at no shift: for ln theta under the history's smoothed density, and for the price's Gaussian rank x, where a lost
auction says only x > x(bid). Sums of scores S and of their information I make the posterior of the shift Gaussian with mean
S / (I + 1 / prior variance). With one change of law per episode at an unknown moment, a posterior over the moment mixes these.

Notation: B rows, K auctions of a slot, C campaigns, M highest bid, G grid points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtri
from torch import Tensor

from agents.bidding.fluid import POINTS, fluid_price
from agents.bidding.shading import first_price_fluid, shaded_bids
from domains.bidding.history import History

GRID = 1024  # points of ln theta
SMOOTHING = 0.15  # bandwidth of the density of ln theta, in nats
SLOPE_STEP = 0.2  # ln rho either side in the elasticity of kappa
SHIFT = 0.30  # standard deviation of ln f and ln g where a task says that its law changes within the episode: U(ln .6, ln 1.7)
LEAST_THETA = 1e-9
BOUNDLESS = 1e15  # stands for an unlimited coefficient, as in `resolve`


@dataclass(frozen=True, eq=False)
class Knowledge:
    """The histories of C campaigns as tables, float64. Ranks are standard normal quantiles of the history's law."""

    kappa: Tensor  # [C, 4001] 1 / lambda at spends 0, step, 2 step ...; last: the budget pays for every auction
    elasticity: Tensor  # [C, 4001] d ln kappa / d ln rho
    step: Tensor  # [C]
    mean_price: Tensor  # [C] the most that can be spent per auction
    shade: Tensor  # [C, worths] bid by worth theta * kappa under first price; [C, 0] under second, where the bid is the worth
    price_rank: Tensor  # [C, M+1] E[x | price]
    bid_rank: Tensor  # [C, M+1] the x up to which a bid wins
    information: Tensor  # [C, M+1] of an auction about the price shift, by bid
    low: Tensor  # [C] ln theta of the first grid point
    width: Tensor  # [C] of a grid cell
    value_score: Tensor  # [C, G]
    value_rank: Tensor  # [C, G]
    value_information: Tensor  # [C] of an auction about the value shift
    dependence: Tensor  # [C] correlation of the ranks of value and price
    thinning: Tensor  # [C, 2] independent auctions per auction, of value and price: less than 1 where neighbours resemble each other
    prior: Tensor  # [C, 2] standard deviation between episodes of the shift, of value (ln theta) and price (rank)
    price_unit: Tensor  # [C] ln price per unit of rank
    profile: Tensor  # [C, 3] value held by the best 0.2 % of auctions; spread of ln theta / 2; dependence

    def to(self, device: torch.device) -> Knowledge:
        return Knowledge(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    def place(self, theta: Tensor, campaign: Tensor) -> Tensor:
        """Grid cell [K, B] of values theta [K, B]."""
        cell = (theta.clamp(min=LEAST_THETA).log() - self.low[campaign]) / self.width[campaign]
        return cell.long().clamp_(0, GRID - 1) + campaign * GRID

    def shaded(self, worth: Tensor, campaign: Tensor) -> Tensor:
        """[B] what to bid on worths [B]."""
        worths = self.shade.shape[1]
        return self.shade.flatten()[worth.clamp(max=worths - 1).long() + campaign * worths] if worths else worth

    def spend_index(self, spend: Tensor, campaign: Tensor) -> Tensor:
        """[B] index into the flattened tables of kappa and elasticity at spends per auction [B]."""
        index = (spend / self.step[campaign]).long().clamp_(0, POINTS - 1)
        return torch.where(spend >= self.mean_price[campaign], POINTS, index) + campaign * (POINTS + 1)


def knowledge(histories: Sequence[History], payment: str = "second") -> Knowledge:
    """Tables of these campaigns. Raises ArenaError where a history has no pairs or nothing of value."""
    rows = [_campaign(known, payment) for known in histories]
    return Knowledge(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]})


@cache  # histories have no value equality: one entry per campaign and process
def _campaign(known: History, payment: str) -> dict[str, Tensor]:
    known.episodes()
    fluid, pmf = fluid_price(known.theta, known.price, known.max_price), known.price_pmf(0.5)
    curve, step, shade = 1 / fluid.marginal.numpy(), fluid.step, np.zeros(0, np.int64)
    if payment == "first":
        shade = shaded_bids(pmf)
        curve, step = first_price_fluid(known.theta, known.price, shade)
    kappa = np.append(curve, BOUNDLESS)
    found: dict[str, NDArray[np.float64] | float] = {"kappa": kappa, "elasticity": _elasticity(kappa), "step": step, "shade": shade}
    found["mean_price"] = fluid.mean_price if payment == "second" else step * POINTS

    edges = ndtri(np.concatenate(([0.0], pmf.cumsum()[:-1], [1.0])))
    density = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    price_rank = -np.diff(density) / pmf
    above = 1 - pmf.cumsum()
    miss = density[1:] / np.maximum(above, 1e-12)  # E[x | x above the bid's rank]
    found["price_rank"], found["bid_rank"] = price_rank, edges[1:].clip(-6, 6)
    found["information"] = (pmf * price_rank**2).cumsum() + above.clip(0) * miss**2
    found["price_unit"] = float((pmf * price_rank) @ np.log(np.arange(len(pmf)).clip(0.5)))

    logs = np.log(known.theta.clip(LEAST_THETA))
    low, high = np.quantile(logs, (0.0005, 1.0)) + (-0.5, 0.5)
    width = (high - low) / GRID
    cell = ((logs - low) / width).astype(np.int64).clip(0, GRID - 1)
    mass = np.bincount(cell, minlength=GRID) / len(cell)
    smooth = gaussian_filter1d(mass, SMOOTHING / width, mode="constant") + 1e-7
    score = (-np.gradient(np.log(smooth)) / width).clip(-8, 8)
    score -= mass @ score
    value_rank = ndtri((mass.cumsum() - mass / 2).clip(1e-5, 1 - 1e-5))
    found |= {"low": low, "width": width, "value_score": score, "value_rank": value_rank, "value_information": mass @ score**2}

    x, y, s = price_rank[known.price], value_rank[cell], score[cell]
    dependence = float(np.corrcoef(x, y)[0, 1])
    residual = x - dependence * y
    found["dependence"] = dependence
    lags = np.array([np.corrcoef(series[1:], series[:-1])[0, 1] if series.std() > 0 else 0.0 for series in (s, residual)]).clip(0, 0.9)
    thin = (1 - lags) / (1 + lags)
    whole = len(s) // known.episode * known.episode
    between = []
    for series, information, share in ((s, float(mass @ score**2), thin[0]), (residual, 1.0, thin[1])):
        level = series[:whole].reshape(-1, known.episode).mean(1) / max(information, 1e-9)
        noise = 1 / max(known.episode * share * information, 1e-9)
        between.append(np.sqrt(max(level.var() - noise, 0.05**2)) if len(level) >= 4 else 0.15)
    found["thinning"], found["prior"] = thin, np.array(between)
    top = np.sort(known.theta)[-max(1, len(known.theta) // 500) :].sum() / known.theta.sum()
    found["profile"] = np.array([top, logs.std() / 2, dependence])
    return {name: torch.as_tensor(value, dtype=torch.float64) for name, value in found.items()}


def _elasticity(kappa: NDArray[np.float64]) -> NDArray[np.float64]:
    index = np.arange(POINTS)
    up = np.minimum(np.ceil((index + 0.5) * np.exp(SLOPE_STEP)).astype(int), POINTS - 1)
    down = np.floor((index + 0.5) * np.exp(-SLOPE_STEP)).astype(int)
    slope = np.log(kappa[up] / kappa[down]) / np.log((up + 0.5) / (down + 0.5))
    return np.append(slope, 0.0)


class Belief:
    """What the rows of a chunk have learned, slot by slot. `shift` [B] bool: the law may change once within the episode."""

    def __init__(self, known: Knowledge, campaign: Tensor, slots: int, shift: Tensor) -> None:
        self.known, self.campaign, self.slots, self.shift = known, campaign, slots, shift
        self.shifting = shift.nonzero()[:, 0]
        self.sums = torch.zeros(slots + 1, 4, len(campaign), dtype=torch.float64, device=campaign.device)  # cumulative S, I of value and price
        self.seen = 0  # slots

    def learn(self, theta: Tensor, bid: Tensor, price: Tensor) -> None:
        """One slot: values, bids and prices seen (-1: not seen, the auction was lost), all [K, B]."""
        known, campaign = self.known, self.campaign
        cell = known.place(theta, campaign)
        bids = known.bid_rank.shape[1]
        offered = bid.long() + campaign * bids
        lean = known.dependence[campaign] * known.value_rank.flatten()[cell]
        hit = known.price_rank.flatten()[price.clamp(0, bids - 1).long() + campaign * bids] - lean
        above = known.bid_rank.flatten()[offered] - lean
        miss = torch.exp(-0.5 * above.square() - 0.9189385332046727 - torch.special.log_ndtr(-above))
        thin = known.thinning[campaign]
        now = torch.stack(
            (
                known.value_score.flatten()[cell].sum(0) * thin[:, 0],
                known.value_information[campaign] * len(theta) * thin[:, 0],
                torch.where(price >= 0, hit, miss).sum(0) * thin[:, 1],
                known.information.flatten()[offered].sum(0) * thin[:, 1],
            )
        )
        self.sums[self.seen + 1] = self.sums[self.seen] + now
        self.seen += 1

    def now(self) -> Tensor:
        """[7, B]: mean and standard deviation of ln g (value) and ln f (price), the last slot's own two estimates, probability of a change."""
        prior = self.known.prior[self.campaign].T  # [2, B]
        unit = torch.stack((torch.ones_like(prior[0]), self.known.price_unit[self.campaign]))
        total = self.sums[self.seen]
        score, information = total[0::2], total[1::2]
        last = total - self.sums[max(self.seen - 1, 0)]
        recent = last[0::2] / (last[1::2] + 1 / (prior.square() + (SHIFT / unit).square() * self.shift))
        precision = information + prior**-2
        mean, variance = score / precision, 1 / precision
        changed = torch.zeros_like(prior[0])
        rows = self.shifting
        if len(rows) and self.seen:
            found = self._mixed(rows, prior[:, rows], SHIFT / unit[:, rows], mean[:, rows], precision[:, rows])
            mean[:, rows], variance[:, rows], changed[rows] = found
        return torch.cat((mean * unit, variance.sqrt() * unit, recent * unit, changed[None]))

    def _mixed(self, rows: Tensor, prior: Tensor, jump: Tensor, mean: Tensor, precision: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Posterior mean and variance [2, rows] of the present level and the probability [rows] that the law has changed.

        The change lies at the border of slot k with probability 1 / slots each; levels before, and jumps, are Gaussian.
        """
        sums = self.sums[: self.seen + 1] if len(rows) == len(self.campaign) else self.sums[: self.seen + 1, :, rows]
        before = sums[:-1]  # [k, 4, rows] a change at the beginning of slot k
        after = sums[-1] - before
        s1, i1, s2, i2 = before[:, 0::2], before[:, 1::2], after[:, 0::2], after[:, 1::2]
        c = -(jump**-2)
        a, e = i1 + prior**-2 - c, i2 - c
        det = a * e - c * c
        quadratic = (e * s1.square() - 2 * c * s1 * s2 + a * s2.square()) / det
        evidence = 0.5 * (quadratic - (prior.square() * jump.square() * det).log()).sum(1)  # [k, B], value and price change together
        still = 0.5 * (mean.square() * precision - (prior.square() * precision).log()).sum(0)
        left = np.log(max(1 - self.seen / self.slots, 0.5 / self.slots))
        weight = torch.softmax(torch.cat((evidence - np.log(self.slots), (still + left)[None])), 0)[:, None]  # [k+1, 1, B]
        level = torch.cat(((a * s2 - c * s1) / det, mean[None]))
        spread = torch.cat((a / det, 1 / precision[None]))
        mixed = (weight * level).sum(0)
        variance = (weight * (spread + (level - mixed).square())).sum(0)
        return mixed, variance, 1 - weight[-1, 0]
