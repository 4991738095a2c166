"""The generator against the laws it was calibrated to, and its promise that a row depends on its seed alone."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import rankdata

from arena.digest import array_digest
from arena.errors import ArenaError
from arena.seeds import scenario_seeds
from domains.bidding.generator import LONG, VALUE_SHOCK, _autoregress, calibrate, generate, generated_history, rounded, shift_drift
from domains.bidding.profiles import LAWS, TRAIN

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))
PROFILES = sorted(LAWS)
PINNED = ("1e6e6878ac180851", "9ddd89b4ba735de8", "fb7193c54a0b1f73")


@cache
def sample(profile: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1000 episodes of 1000 auctions."""
    return generate(profile, scenario_seeds("bidding/acceptance", "train", range(1000)), 1000)


def ratio_by_quadrature(profile: str) -> tuple[float, float]:
    """Mean and standard deviation of R by the midpoint rule over the level, refined towards 1 where the tail holds half the value."""
    edges = np.concatenate([np.linspace(0, 0.99, 20_001), np.linspace(0.99, 1, 200_001)[1:]])
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    ratio = calibrate(profile).value_ratio(ndtri(middle))
    mean = width @ ratio
    return float(mean), float(np.sqrt(width @ ratio**2 - mean**2))


def lag(series: np.ndarray) -> float:
    """Lag-1 autocorrelation within episodes, about the common mean."""
    return float(np.corrcoef(series[:, :-1].ravel(), series[:, 1:].ravel())[0, 1])


@pytest.mark.parametrize("profile", PROFILES)
def test_mean_value_is_the_ctr(profile: str) -> None:
    mean, sd = ratio_by_quadrature(profile)
    assert mean == pytest.approx(1, abs=1e-3)
    assert calibrate(profile).ctr * mean == pytest.approx(TRAIN[profile].ctr, rel=1e-3)
    theta, _, _ = sample(profile)
    error = np.sqrt(sd**2 / theta.size + VALUE_SHOCK**2 / len(theta))  # impressions and, one per episode, shocks
    assert abs(theta.mean() / TRAIN[profile].ctr - 1) < 4 * error


def test_heavy_tails_hold_half_the_value() -> None:
    assert ratio_by_quadrature("1458")[1] == pytest.approx(17.7, rel=0.02)
    for profile, share in (("1458", 0.0013), ("3427", 0.0013), ("3358", 0.005), ("3476", 0.002)):
        theta, _, _ = sample(profile)
        high = theta > 20 * TRAIN[profile].ctr
        assert high.mean() == pytest.approx(share, rel=0.25)
        assert theta[high].sum() / theta.sum() > 0.2
    for profile in ("2261", "2821", "2997"):
        assert (sample(profile)[0] < 50 * TRAIN[profile].ctr).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_prices_have_the_measured_law(profile: str) -> None:
    _, price, _ = sample(profile)
    law, pmf = LAWS[profile], calibrate(profile).price_pmf
    assert pmf.sum() == pytest.approx(1, abs=1e-12) and (pmf >= 0).all()
    assert price.min() >= 0 and price.max() <= 300
    assert np.arange(301) @ pmf / TRAIN[profile].cpm == pytest.approx(1, abs=0.02)
    assert abs(price.mean() - np.arange(301) @ pmf) < 4 * law.episode_sd / np.sqrt(len(price))
    counts = np.bincount(price.ravel(), minlength=301) / price.size
    error = calibrate(profile).omega / np.sqrt(2 * np.pi * len(price)) + 1e-3  # of the CDF: one common factor per episode
    assert np.abs(counts.cumsum() - pmf.cumsum()).max() < 4 * error
    for atom, percent in law.atoms.items():
        assert pmf[atom] >= percent / 100
        assert counts[atom] == pytest.approx(pmf[atom], abs=0.003)  # exact: shocks move prices along the law, they do not smear it
    path = DATA / "bidding" / "ipinyou" / profile / "info.json"
    if path.is_file():
        published = np.array(json.loads(path.read_text())["price_counter_train"])
        assert np.abs(pmf.cumsum() - published.cumsum() / published.sum()).max() <= 0.02


@pytest.mark.parametrize("profile", PROFILES)
def test_dependence_is_as_measured(profile: str) -> None:
    theta, price, _ = sample(profile)
    law = LAWS[profile]
    assert np.corrcoef(rankdata(theta), rankdata(price))[0, 1] == pytest.approx(law.rank_correlation, abs=0.02)
    assert lag(price.astype(float)) == pytest.approx(law.lag_price, abs=0.02)
    assert lag(np.log(theta)) == pytest.approx(law.lag_log_value, abs=0.02)
    assert price.mean(1).std() == pytest.approx(law.episode_sd, rel=0.2)


@pytest.mark.parametrize("profile", PROFILES)
def test_clicks_follow_the_values(profile: str) -> None:
    theta, _, click = sample(profile)
    assert set(np.unique(click)) == {0, 1}
    assert abs(click.sum() - theta.sum()) < 5 * np.sqrt((theta * (1 - theta)).sum())


def test_without_drift_episodes_are_alike() -> None:
    still, moving = (generate("2997", range(400), 1000, drift) for drift in ("none", "normal"))
    # 2997 has an episode sd of 4.1 with drift; without, only the auctions' own luck is left
    sd = np.sqrt(np.var(still[1]) * (1 + LAWS["2997"].lag_price) / (1 - LAWS["2997"].lag_price) / 1000)
    assert still[1].mean(1).std() == pytest.approx(sd, rel=0.12)
    assert moving[1].mean(1).std() > 1.3 * still[1].mean(1).std()
    assert np.log(still[0].mean(1)).std() < 0.05
    assert np.log(moving[0].mean(1)).std() == pytest.approx(VALUE_SHOCK, rel=0.15)
    assert np.corrcoef(rankdata(still[0]), rankdata(still[1]))[0, 1] == pytest.approx(LAWS["2997"].rank_correlation, abs=0.02)


def test_a_row_is_a_function_of_its_seed() -> None:
    seeds = scenario_seeds("bidding/rows", "test", range(13))
    together = generate("3427", seeds, 777)
    for row, seed in enumerate(seeds):
        for series, alone in zip(together, generate("3427", [seed], 777), strict=True):
            np.testing.assert_array_equal(series[row], alone[0])
    backwards = generate("3427", seeds[::-1], 777)
    for series, other in zip(together, backwards, strict=True):
        np.testing.assert_array_equal(series, other[::-1])
    assert len({row.tobytes() for row in together[0]}) == 13


def test_types_and_shapes() -> None:
    theta, price, click = generate("1458", [5, 6, 7], 40)
    assert (theta.dtype, price.dtype, click.dtype) == (np.float64, np.int32, np.uint8)
    assert theta.shape == price.shape == click.shape == (3, 40)
    assert ((theta > 0) & (theta <= 1)).all()


def test_the_same_rows_on_every_machine() -> None:
    """Frozen tasks rest on this: a change here is a new version of every generated task."""
    theta, price, click = generate("1458", scenario_seeds("bidding/pinned", "test", range(4)), 500)
    assert (array_digest(theta)[:16], array_digest(price)[:16], array_digest(click)[:16]) == PINNED


def test_long_and_short_episodes_go_on_alike() -> None:
    noise = np.random.default_rng(8).normal(size=(3, LONG + 1))
    np.testing.assert_array_equal(_autoregress(noise, 0.7)[:, :LONG], _autoregress(noise[:, :LONG], 0.7))


def test_rounding_hides_the_last_bits() -> None:
    value = np.random.default_rng(0).lognormal(-8, 3, 100_000)
    kept = rounded(value)
    assert (np.abs(kept / value - 1) <= 2.0**-16).all()
    mantissa = np.frexp(kept)[0] * 2**16
    np.testing.assert_array_equal(mantissa, np.rint(mantissa))
    np.testing.assert_array_equal(rounded(kept), kept)
    assert (rounded(np.nextafter(value, 1)) == kept).all()
    np.testing.assert_array_equal(rounded(np.array([0.0, 1.0, 0.5])), [0.0, 1.0, 0.5])


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(ArenaError, match="no profile is called '2259'") as caught:
        generate("2259", [1], 10)
    assert "2261" in str(caught.value)


def test_shift_changes_both_laws_once() -> None:
    n, seeds = 1000, scenario_seeds("bidding/shift", "test", range(600))
    theta, price, _ = generate("2821", seeds, n)
    after_theta, after_price, click = shift_drift(theta, price, seeds)
    changed = after_theta != theta
    moment = changed.argmax(1)
    assert changed.any(1).all() and (moment >= 1).all()
    later = np.arange(n) >= moment[:, None]
    assert changed[later].all() and not changed[~later].any()
    assert (after_price == price)[~later].all() and after_price.max() <= 300

    g = np.nanmedian(np.where(later, after_theta / theta, np.nan), 1)
    assert np.abs(np.where(later, after_theta / (g[:, None] * theta) - 1, 0)).max() < 1e-4  # one factor per episode
    # each price pins f to [(z' - .5) / z, (z' + .5) / z]: they must have a point in common
    free = later & (price > 0) & (after_price < 300)
    low = np.where(free, (after_price - 0.5) / price.clip(1), 0).max(1)
    high = np.where(free, (after_price + 0.5) / price.clip(1), np.inf).min(1)
    assert (low <= high * (1 + 1e-12)).all()
    tight = high - low < 0.01
    f = ((low + high) / 2)[tight]
    assert tight.mean() > 0.8
    for factor in (f, g):
        level = (np.log(factor) - np.log(0.6)) / np.log(1.7 / 0.6)
        assert level.min() > -0.01 and level.max() < 1.01
        assert level.mean() == pytest.approx(0.5, abs=0.06) and level.std() == pytest.approx(12**-0.5, abs=0.03)
    assert abs(np.corrcoef(np.log(f), np.log(g[tight]))[0, 1]) < 0.2
    assert moment.mean() == pytest.approx(n / 2, rel=0.1)
    assert abs(click.sum() - after_theta.sum()) < 5 * np.sqrt(after_theta.sum())


def test_shift_is_a_function_of_the_seed_and_caps_what_it_moves() -> None:
    seeds = scenario_seeds("bidding/shift", "test", range(40))
    theta, price = np.full((40, 50), 0.9), np.full((40, 50), 290)
    together = shift_drift(theta, price, seeds)
    assert together[0].max() == 1.0 and together[1].max() == 300
    for row, seed in enumerate(seeds):
        for series, alone in zip(together, shift_drift(theta[:1], price[:1], [seed]), strict=True):
            np.testing.assert_array_equal(series[row], alone[0])
    with pytest.raises(ArenaError, match="cannot change its law"):
        shift_drift(theta[:1, :1], price[:1, :1], seeds[:1])


def test_history_holds_published_totals_and_training_pairs() -> None:
    seeds = scenario_seeds("bidding/history-2997", "train", range(40))
    known = generated_history("2997", seeds)
    totals = TRAIN["2997"]
    assert (known.impressions, known.clicks, known.cost) == (totals.impressions, totals.clicks, totals.cost)
    theta, price, click = generate("2997", seeds, 1000)
    for found, drawn in zip((*known.episodes(), known.click.reshape(40, 1000)), (theta, price, click), strict=True):
        np.testing.assert_array_equal(found, drawn)
    np.testing.assert_array_equal(known.price_counts, np.bincount(price.ravel(), minlength=301))
    assert known.digest == generated_history("2997", seeds).digest != generated_history("2997", seeds[1:]).digest
    short = generated_history("2997", seeds, episode=100)
    assert short.episodes()[0].shape == (400, 100)
