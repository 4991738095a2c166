"""Orienteering by insertion, and by the iterated search of domains/combinatorial/collect.py."""

from __future__ import annotations

from agents.combinatorial.planner import Plan, Planner, Seen, padded
from arena.errors import ArenaError
from domains.combinatorial.collect import collect


class PrizeInsertion(Planner):
    """Insertion of the node of most prize per detour, until nothing fits."""

    problems = ("op",)
    iterations: int = 0

    def plan(self, seen: Seen) -> Plan:
        rows = zip(seen.prize, seen.budget.tolist(), seen.seeds.tolist(), strict=True)
        tours = [collect(seen.distances(row), prize, budget, self.iterations, seed) for row, (prize, budget, seed) in enumerate(rows)]
        return padded(tours, seen.n), None


class IteratedInsertion(PrizeInsertion):
    """The iterated search: so many times a stretch dropped, the rest shortened, the tour grown again with noise."""

    def __init__(self, iterations: int = 1000) -> None:
        if iterations < 0:
            raise ArenaError("agent.parameters", f"iterations = {iterations}", "0 or more")
        self.iterations = iterations
