"""Cells of the payoff matrix: those of `standing` where nothing is void, and what is void left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.errors import ArenaError
from arena.scoring import interval, mean_payoff, payoffs, standing

DIGEST = "5f" * 32


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 5, 31, 40]), st.booleans(), st.integers(0, 99))
def test_a_cell_is_the_standing_of_its_scores(pairs: int, runs: int, n: int, clustered: bool, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(pairs, runs, n))
    clusters = np.arange(n) // 2 if clustered else None
    for cell, values in zip(payoffs(scores, task_digest=DIGEST, clusters=clusters), scores, strict=True):
        same = standing(values, task_digest=DIGEST, clusters=clusters)
        assert cell is not None
        assert np.allclose([cell.mean, cell.lo, cell.hi], [same.headline, same.lo, same.hi], atol=1e-6)
        assert np.allclose(cell.draws, same.draws, atol=1e-6)


def test_void_matches_are_left_out() -> None:
    scores = np.random.default_rng(1).normal(size=(3, 1, 60))
    scores[0, 0, 10:] = np.nan
    scores[1] = np.nan
    first, second, third = payoffs(scores, task_digest=DIGEST)
    assert second is None and first is not None and third is not None
    assert first.mean == pytest.approx(scores[0, 0, :10].mean()) and first.lo < first.mean < first.hi
    assert first.hi - first.lo > 1.5 * (third.hi - third.lo), "ten matches tell less than sixty"
    assert third.mean == pytest.approx(scores[2].mean())


def test_a_draw_without_a_match_is_no_draw() -> None:
    scores = np.full((1, 1, 40), np.nan)
    scores[0, 0, 0] = 0.5
    (cell,) = payoffs(scores, task_digest=DIGEST)
    assert cell is not None and (cell.mean, cell.lo, cell.hi) == (0.5, 0.5, 0.5)
    assert 0.2 < np.isnan(cell.draws).mean() < 0.5  # (39/40)^40 = 0.36


def test_the_mean_over_cells() -> None:
    scores = np.random.default_rng(2).normal(size=(4, 2, 50))
    cells = [cell for cell in payoffs(scores, task_digest=DIGEST) if cell is not None]
    found, same = mean_payoff(cells, list(scores)), standing(scores.mean(axis=0), task_digest=DIGEST)
    assert np.allclose([found.mean, found.lo, found.hi], [same.headline, same.lo, same.hi], atol=1e-6)
    assert (found.lo, found.hi) == pytest.approx(interval(np.mean([cell.draws for cell in cells], axis=0)))
    few = scores[:, :, :20]
    cells = [cell for cell in payoffs(few, task_digest=DIGEST) if cell is not None]
    same = standing(few.mean(axis=0), task_digest=DIGEST)
    found = mean_payoff(cells, list(few))
    assert same.few and (found.lo, found.hi) == pytest.approx((same.lo, same.hi)), "a t interval"
    uneven = mean_payoff(cells, [few[0], few[1][:1], few[2], few[3]])
    assert uneven.mean == found.mean and uneven.lo < uneven.mean < uneven.hi


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ArenaError) as caught:
        payoffs(np.zeros((2, 3)), task_digest=DIGEST)
    assert caught.value.code == "score.shape"
