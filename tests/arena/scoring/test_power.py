"""How many scenarios: the table of the specification, and a simulation that the numbers keep their promise."""

from __future__ import annotations

import numpy as np
import pytest

from arena.scoring import scenarios_for_difference, scenarios_for_interval

HALF_WIDTHS = [(0.1, 0.02, 97), (0.1, 0.01, 385), (0.3, 0.02, 865), (0.3, 0.01, 3458), (0.5, 0.02, 2401), (0.5, 0.01, 9604)]


@pytest.mark.parametrize(("sd", "half", "n"), HALF_WIDTHS)
def test_scenarios_for_a_half_width(sd: float, half: float, n: int) -> None:
    assert scenarios_for_interval(sd, half) == n
    assert scenarios_for_interval(sd, half, "iqm") == pytest.approx(1.19 * n, abs=2)


@pytest.mark.parametrize(("delta", "n"), [(0.02, 197), (0.01, 785)])
def test_scenarios_for_a_paired_difference(delta: float, n: int) -> None:
    assert scenarios_for_difference(0.1, delta) == n


def test_so_many_scenarios_find_the_difference_four_times_in_five() -> None:
    n = scenarios_for_difference(0.1, 0.02)
    gap = np.random.default_rng(0).normal(0.02, 0.1, (4000, n))
    z = gap.mean(axis=1) / (gap.std(axis=1, ddof=1) / np.sqrt(n))
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.80, abs=0.025)
