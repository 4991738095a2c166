"""Scores and what may be said about them: anchoring, shared bootstrap draws, paired comparison, ranks, boards, ratings.

From a metric to a board line: `score` anchors it per scenario, `standing` (or `standing_of_means`) gives the headline with its interval
and draws, `compare` and `ranks` put agents side by side, `suite_standing` averages over tasks and domains. `docs/scoring.md` explains
how to read the numbers. NumPy and SciPy only.
"""

from arena.scoring.anchor import anchored, check_bound, check_gaps, flat_scenarios, score, violation
from arena.scoring.bootstrap import Standing, interval, mean_draws, standing, standing_of_means
from arena.scoring.compare import Comparison, Entrant, compare, compare_with_all
from arena.scoring.overall import SuiteStanding, suite_standing
from arena.scoring.payoff import Payoff, mean_payoff, payoffs
from arena.scoring.power import scenarios_for_difference, scenarios_for_interval
from arena.scoring.rank import Profile, Ranks, performance_profile, ranks
from arena.scoring.ratings import Ratings, rate
from arena.scoring.summary import cvar10, iqm, wilson

__all__ = [
    "Comparison",
    "Entrant",
    "Payoff",
    "Profile",
    "Ranks",
    "Ratings",
    "Standing",
    "SuiteStanding",
    "anchored",
    "check_bound",
    "check_gaps",
    "compare",
    "compare_with_all",
    "cvar10",
    "flat_scenarios",
    "interval",
    "iqm",
    "mean_draws",
    "mean_payoff",
    "payoffs",
    "performance_profile",
    "ranks",
    "rate",
    "scenarios_for_difference",
    "scenarios_for_interval",
    "score",
    "standing",
    "standing_of_means",
    "suite_standing",
    "violation",
    "wilson",
]
