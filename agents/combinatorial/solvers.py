"""Solvers of others as agents: PyVRP and LKH."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from agents.combinatorial.planner import Plan, Planner, Seen, joined, padded
from arena.errors import ArenaError
from arena.task import TaskView
from domains.combinatorial.solvers import lkh, lkh_tour, pyvrp_orienteering, pyvrp_routes, pyvrp_tour


class PyVrp(Planner):
    """PyVRP's iterated local search for `iterations`: routes, a tour as one route, orienteering as one route of optional customers."""

    problems = ("cvrp", "op", "tsp")

    def __init__(self, iterations: int = 1000) -> None:
        if iterations < 1:
            raise ArenaError("agent.parameters", f"iterations = {iterations}", "at least 1")
        self.iterations = iterations

    def plan(self, seen: Seen) -> Plan:
        seeds = (seen.seeds % 2**31).tolist()
        if seen.problem == "cvrp":
            rows = zip(seen.demand, seen.capacity.tolist(), seeds, strict=True)
            found = [joined(pyvrp_routes(seen.distances(row), *about, self.iterations, seed)) for row, (*about, seed) in enumerate(rows)]
            order, via = zip(*found, strict=True)
            return np.stack(order), np.stack(via)
        if seen.problem == "tsp":
            return np.stack([pyvrp_tour(seen.distances(row), self.iterations, seed) for row, seed in enumerate(seeds)]), None
        budgets = zip(seen.prize, seen.budget.tolist(), seeds, strict=True)
        tours = [pyvrp_orienteering(seen.distances(row), *about, self.iterations, seed) for row, (*about, seed) in enumerate(budgets)]
        return padded(tours, seen.n), None


class Lkh(Planner):
    """LKH 3, the best of `runs`. Needs the extra `lkh`, which is not for commercial use."""

    problems: ClassVar[tuple[str, ...]] = ("tsp", "atsp")

    def __init__(self, runs: int = 1) -> None:
        if runs < 1:
            raise ArenaError("agent.parameters", f"runs = {runs}", "at least 1")
        self.runs = runs

    def check(self, task: TaskView) -> None:
        """Raises ArenaError `agent.missing` without the extra, else as all planners."""
        super().check(task)
        lkh()

    def plan(self, seen: Seen) -> Plan:
        return np.stack([lkh_tour(seen.distances(row), self.runs) for row in range(len(seen))]), None
