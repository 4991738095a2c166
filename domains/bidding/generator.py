"""Auctions drawn from a campaign's measured laws: exact marginals, with dependence in Gaussian latents.

Price z = F^-1(Phi(x)) with x = omega g + sqrt(1 - omega^2) x', g one draw per episode; value theta = mean theta * R(Phi(y)), times one shock per
episode. x' and y are AR(1) with correlated innovations. Each row is a pure function of its own seed, whatever it is batched with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from arena.errors import ArenaError, unknown
from domains.bidding.history import History
from domains.bidding.profiles import LAWS, MAX_PRICE, PRICE_LEVELS, TRAIN, VALUE_LEVELS, Law

Floats = NDArray[np.float64]
Drift = Literal["normal", "none"]

EPISODE = 1000  # auctions in the episodes whose mean prices were measured
LONG = 2000  # auctions from which SciPy's filter is worth its import
VALUE_SHOCK = 0.15  # standard deviation of an episode's ln theta shock
SHIFT_RANGE = (np.log(0.6), np.log(1.7))  # of ln f and ln g in the `drift` tasks


@dataclass(frozen=True, eq=False)
class Profile:
    """A calibrated campaign: everything `generate` needs. Prices in CPM units, `ctr` is the mean of theta."""

    ctr: float
    price_pmf: Floats  # [301]
    log_value: Floats  # [16] ln R at VALUE_LEVELS, E R = 1
    omega: float  # weight of the episode's common price factor g
    phi_price: float  # lag-1 of x'
    phi_value: float  # lag-1 of y
    innovation: float  # correlation r of the innovations of x' and y
    value_shock: float

    def price(self, latent: Floats) -> NDArray[np.int32]:
        """F^-1(Phi(latent)): the market price, integer 0..300."""
        return np.searchsorted(ndtri(self.price_pmf.cumsum()[:-1]), latent).astype(np.int32)

    def value_ratio(self, latent: Floats) -> Floats:
        """R(Phi(latent)): theta in units of its mean; ln R is linear in the level between the knots."""
        return np.exp(np.interp(ndtr(latent), VALUE_LEVELS, self.log_value))

    @property
    def correlation(self) -> float:
        """Correlation of x' and y at the same auction, from that of their innovations."""
        return self.innovation * _gain(self.phi_price, self.phi_value)


@cache
def calibrate(profile: str, drift: Drift = "normal") -> Profile:
    """Fit the latents so that lags, rank correlation and the spread of episode means come out as measured (first order, to a fixed point).

    `drift="none"` takes the episode's shocks away and keeps marginals, lags of the latents and rank correlation.
    """
    if profile not in LAWS:
        raise unknown("profile", profile, LAWS)
    law = LAWS[profile]
    pmf, log_value = _price_pmf(law), _log_value(law)

    prices = np.arange(len(pmf))
    variance = float(pmf @ (prices - pmf @ prices) ** 2)
    slope = _price_slope(pmf)  # k = E[F^-1(Phi(x)) x]: the first Hermite coefficient of the price
    omega = phi_price = 0.0
    for _ in range(200):  # converges in about ten rounds
        within = variance * (1 - omega**2) * (1 + phi_price) / ((1 - phi_price) * EPISODE)
        omega = math.sqrt(max(law.episode_sd**2 - within, 0.0)) / slope
        phi_price = float((law.lag_price * variance / slope**2 - omega**2) / (1 - omega**2))

    value_variance, value_slope = _log_value_moments(log_value)
    total = value_variance + VALUE_SHOCK**2
    phi_value = float((law.lag_log_value * total - VALUE_SHOCK**2) / value_slope**2)

    if drift == "none":
        omega = 0.0
    same_time = 2 * np.sin(np.pi * law.rank_correlation / 6) / np.sqrt(1 - omega**2)
    innovation = float(same_time / _gain(phi_price, phi_value))
    return Profile(TRAIN[profile].ctr, pmf, log_value, omega, phi_price, phi_value, innovation, VALUE_SHOCK if drift == "normal" else 0.0)


def generate(profile: str, seeds: Sequence[int], n: int, drift: Drift = "normal") -> tuple[Floats, NDArray[np.int32], NDArray[np.uint8]]:
    """Episodes of `n` auctions, one per seed: theta in [0, 1], price in 0..300, click (drawn once, u < theta); all [B, n]."""
    law = calibrate(profile, drift)
    factor, noise, uniform = np.empty((len(seeds), 2)), np.empty((len(seeds), 2, n)), np.empty((len(seeds), n))
    for row, seed in enumerate(seeds):
        rng = np.random.Generator(np.random.Philox(seed))
        rng.standard_normal(out=factor[row])
        rng.standard_normal(out=noise[row])
        rng.random(out=uniform[row])

    first, second = noise[:, 0], noise[:, 1]
    mixed = law.innovation * first + np.sqrt(1 - law.innovation**2) * second
    mixed[:, 0] = law.correlation * first[:, 0] + np.sqrt(1 - law.correlation**2) * second[:, 0]  # both series start stationary
    price = law.price(law.omega * factor[:, :1] + np.sqrt(1 - law.omega**2) * _autoregress(first, law.phi_price))

    shock = np.exp(law.value_shock * factor[:, 1:] - law.value_shock**2 / 2)  # mean 1
    theta = rounded(np.minimum(law.ctr * shock * law.value_ratio(_autoregress(mixed, law.phi_value)), 1.0))
    return theta, price, (uniform < theta).view(np.uint8)


def shift_drift(theta: Floats, price: NDArray[Any], seeds: Sequence[int]) -> tuple[Floats, NDArray[np.int32], NDArray[np.uint8]]:
    """One break per episode: after auction t ~ U{1..n-1} price becomes min(300, round(f price)) and theta min(1, g theta).

    ln f and ln g are independent, uniform on [ln .6, ln 1.7]. Returns theta, price and clicks drawn anew, all [B, n]. The luck is its own stream
    of each row's seed, so the seeds that `generate` was given may be used again.
    """
    n = theta.shape[1]
    if n < 2:
        raise ArenaError("drift.length", f"an episode of {n} auctions cannot change its law half way", "at least 2 auctions are needed")
    moment, factor, uniform = np.empty(len(seeds), np.int64), np.empty((2, len(seeds))), np.empty(theta.shape)
    for row, seed in enumerate(seeds):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(1,))))
        moment[row] = rng.integers(1, n)
        factor[:, row] = rng.uniform(*SHIFT_RANGE, 2)
        rng.random(out=uniform[row])
    later = np.arange(n) >= moment[:, None]
    price_factor, theta_factor = rounded(np.exp(factor))[:, :, None]
    price = np.where(later, np.minimum(np.rint(price_factor * price), MAX_PRICE), price).astype(np.int32)
    theta = np.where(later, rounded(np.minimum(theta_factor * theta, 1.0)), theta)
    return theta, price, (uniform < theta).view(np.uint8)


def generated_history(profile: str, seeds: Sequence[int], episode: int = EPISODE) -> History:
    """The history of a generated campaign: published training totals, one episode of 1000 pairs per seed, cut into tuning episodes of `episode`.

    The seeds must come from the train split; 40 of them give the 40,000 pairs of the frozen tasks.
    """
    theta, price, click = generate(profile, seeds, EPISODE)
    totals = TRAIN[profile]
    return History(
        profile,
        totals.impressions,
        totals.cost,
        totals.clicks,
        price_counts=np.bincount(price.ravel(), minlength=MAX_PRICE + 1),
        theta=theta.ravel(),
        price=price.ravel().astype(np.int64),
        episode=episode,
        max_price=MAX_PRICE,
        click=click.ravel(),
    )


def rounded(value: Floats) -> Floats:
    """Round to 16 significant bits: what differs by one ulp between maths libraries must not reach a digest."""
    mantissa, exponent = np.frexp(value)
    return np.ldexp(np.rint(np.ldexp(mantissa, 16)), exponent - 16)


def _autoregress(noise: Floats, phi: float) -> Floats:
    """Stationary AR(1) of unit variance along the last axis, started by noise[..., 0]."""
    scaled = np.sqrt(1 - phi**2) * noise
    scaled[..., 0] = noise[..., 0]
    if scaled.shape[-1] > LONG:
        from scipy.signal import lfilter  # its import takes longer than most episodes

        return np.asarray(lfilter([1.0], [1.0, -phi], scaled))
    for t in range(1, scaled.shape[-1]):  # the same to the bit
        scaled[..., t] += phi * scaled[..., t - 1]
    return scaled


def _gain(phi: float, psi: float) -> float:
    """Correlation of two AR(1) series of unit variance per unit of correlation of their innovations."""
    return float(np.sqrt((1 - phi**2) * (1 - psi**2)) / (1 - phi * psi))


def _price_pmf(law: Law) -> Floats:
    """Atoms plus a body that is linear between its quantiles (0 % = 0, 100 % = 300), rounded to the nearest price."""
    edges = np.clip(np.arange(MAX_PRICE + 2) - 0.5, 0, MAX_PRICE)
    body = np.diff(np.interp(edges, (0, *law.price_body, MAX_PRICE), (0, *PRICE_LEVELS, 1)))
    atoms = np.zeros(MAX_PRICE + 1)
    atoms[list(law.atoms)] = np.array(list(law.atoms.values())) / 100
    return atoms + (1 - atoms.sum()) * body


def _log_value(law: Law) -> Floats:
    """ln R at the knots, shifted so that E R = 1: R is exponential between knots, so each piece has its mean in closed form."""
    low, high = np.array(law.value_knots[:-1]), np.array(law.value_knots[1:])
    mean = np.diff(VALUE_LEVELS) @ ((high - low) / np.log(high / low))
    return np.log(law.value_knots) - np.log(mean)


def _price_slope(pmf: Floats) -> float:
    """E[F^-1(Phi(x)) x] for x ~ N(0, 1), by the closed integral of x phi(x) over each price's interval."""
    edges = ndtri(np.concatenate(([0.0], pmf.cumsum()[:-1], [1.0])))
    density = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    return float(-(np.arange(len(pmf)) @ np.diff(density)))


def _log_value_moments(log_value: Floats) -> tuple[float, float]:
    """Variance of ln R and E[ln R(Phi(y)) y], in closed form: ln R is piecewise linear in the level."""
    weight, low, high = np.diff(VALUE_LEVELS), log_value[:-1], log_value[1:]
    mean = weight @ (low + high) / 2
    variance = weight @ (low**2 + low * high + high**2) / 3 - mean**2
    slope = (high - low) / weight
    share = np.diff(ndtr(np.sqrt(2) * ndtri(np.array(VALUE_LEVELS)))) / (2 * np.sqrt(np.pi))  # integral of phi(y)^2 over each piece
    return float(variance), float(slope @ share)
