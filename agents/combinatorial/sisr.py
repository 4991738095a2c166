"""Vehicle routing by SISR, slack induction by string removals: domains/combinatorial/ruin.py."""

from __future__ import annotations

import numpy as np

from agents.combinatorial.planner import Plan, Planner, Seen, joined
from arena.errors import ArenaError
from domains.combinatorial.ruin import ruin_and_recreate


class Sisr(Planner):
    """Stretches of neighbouring routes taken out and inserted again under simulated annealing. iterations: so many times"""

    problems = ("cvrp",)

    def __init__(self, iterations: int = 100_000) -> None:
        if iterations < 0:
            raise ArenaError("agent.parameters", f"iterations = {iterations}", "0 or more")
        self.iterations = iterations

    def plan(self, seen: Seen) -> Plan:
        rows = zip(seen.demand, seen.capacity.tolist(), seen.seeds.tolist(), strict=True)
        found = [ruin_and_recreate(seen.distances(row), demand, capacity, self.iterations, seed) for row, (demand, capacity, seed) in enumerate(rows)]
        order, via = zip(*map(joined, found), strict=True)
        return np.stack(order), np.stack(via)
