"""The tasks of repeated games: their anchors are the known totals."""

from __future__ import annotations

import numpy as np
import pytest

from arena import registry

# against allc, alld, tft, defect-once, alternator: uniform random play, best response (both seats of PD-8 alike)
PD_8 = [(90, 100), (25, 50), (60.75, 82), (83.5, 95), (57.5, 75)]
BOS_10 = [[(50, 100), (35, 70), (43.25, 100), (48.5, 97), (42.5, 85)], [(35, 70), (50, 100), (41.75, 90), (36.5, 73), (42.5, 85)]]


def test_the_anchors_of_tiny_are_the_known_ones() -> None:
    task = registry.task("repeated_games/tiny-v1")
    found = np.stack((task.vectors["ref0"], task.vectors["ref1"]), 1).reshape(2, 5, 2, 2)  # game, opponent, seat, reference
    assert found[0] == pytest.approx(np.array(PD_8)[:, None].repeat(2, 1), abs=1e-12)
    assert found[1] == pytest.approx(np.array(BOS_10).swapaxes(0, 1), abs=1e-12)
