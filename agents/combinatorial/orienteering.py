"""Orienteering by insertion, and by the iterated search of domains/combinatorial/collect.py.

Prize per detour, the plain rule, takes much of little worth near the depot: on op100-v1 it is 30 % below the best known, with 2-opt, Or-opt
and a second insertion 23 %, little better than the textbook's prize per distance (24 %). With the square of the prize, as Vansteenwegen et al.
insert (Computers & Operations Research 36, 2009), the same comes to 13 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.combinatorial.planner import Plan, Planner, Seen, padded
from arena.errors import ArenaError
from domains.combinatorial.collect import collect

SQUARED = 2**31  # a larger prize counts as this one: its square would leave the integers


class IteratedInsertion(Planner):
    """The iterated search: so many times a stretch dropped, the rest shortened, the tour grown again with noise."""

    problems = ("op",)

    def __init__(self, iterations: int = 1000) -> None:
        if iterations < 0:
            raise ArenaError("agent.parameters", f"iterations = {iterations}", "0 or more")
        self.iterations = iterations

    def worth(self, prize: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n] what the nodes are worth to it."""
        return prize

    def plan(self, seen: Seen) -> Plan:
        rows = zip(seen.prize, seen.budget.tolist(), seen.seeds.tolist(), strict=True)
        tours = [collect(seen.distances(row), self.worth(prize), budget, self.iterations, seed) for row, (prize, budget, seed) in enumerate(rows)]
        return padded(tours, seen.n), None


class PrizeInsertion(IteratedInsertion):
    """Insertion of the node of most squared prize per detour until nothing fits; then 2-opt and Or-opt, and insertion where that made room."""

    def __init__(self) -> None:
        super().__init__(0)

    def worth(self, prize: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(prize, SQUARED) ** 2
