"""How many scenarios a question needs."""

from __future__ import annotations

import math
from statistics import NormalDist

from arena.scoring.bootstrap import Headline

Z = NormalDist().inv_cdf(0.975)
IQM_VARIANCE = 1.19  # variance of the IQM over that of the mean, on normal data


def scenarios_for_interval(sd: float, half_width: float, headline: Headline = "mean") -> int:
    """Scenarios for a 95 % interval of +-half_width around a headline: n = (1.96 sd / h)^2, times 1.19 for the IQM."""
    return math.ceil((Z * sd / half_width) ** 2 * (IQM_VARIANCE if headline == "iqm" else 1.0))


def scenarios_for_difference(sd: float, delta: float, power: float = 0.8) -> int:
    """Scenarios for a paired two-sided 5 % test to find a difference delta: n = (1.96 + z_power)^2 (sd/delta)^2, 7.85 (sd/delta)^2 at 80 %.

    sd is that of the per-scenario differences, which pairing makes far smaller than that of the scores.
    """
    return math.ceil(((Z + NormalDist().inv_cdf(power)) * sd / delta) ** 2)
