"""Whether a result is the agent's own: an agent that is asked for answers (a language model) may give some that hold no decision, and what
is played in their place is chance. docs/scoring.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNRELIABLE = 0.05  # share of invalid answers of a run above which it is marked


def invalid_share(timing: Mapping[str, Any]) -> float | None:
    """The share of an entry's decisions for which its agent had no valid answer (`usage["invalid"]`), from its timings as the store gives
    them; None where the agent does not tell.

    Of decisions, not of calls: identical questions share one call, and an invalid answer takes several before it counts as one.
    """
    invalid = timing["usage"].get("invalid")
    return None if invalid is None or not timing["decisions"] else float(invalid) / int(timing["decisions"])


def unreliable(share: float | None) -> bool:
    """Whether a run of which this share of answers was invalid is marked."""
    return share is not None and share > UNRELIABLE
