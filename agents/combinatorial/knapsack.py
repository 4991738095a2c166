"""Knapsacks packed to the optimum: dynamic programming over the capacity, and branch and bound with a limit on its nodes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agents.combinatorial.planner import Plan, Planner, Seen, padded
from arena.errors import ArenaError
from domains.combinatorial.compiled import put
from domains.combinatorial.exact import knapsack

Integers = NDArray[np.int64]

MOST = 2**31  # bytes of a table


def branch_and_bound(value: Integers, weight: Integers, capacity: int, nodes: int) -> tuple[int, Integers, bool]:
    """Value and items (ascending) of the best packing found, and whether it is proven best within so many `nodes`.

    Depth first, items by value per weight, the fractional bound (Horowitz and Sahni, J. ACM 21, 1974). value, weight [n] integers >= 0.
    """
    order = np.argsort(-(value / np.maximum(weight, 1e-9)), kind="stable")
    most, taken, proven = _branch(value[order].astype(np.int64), weight[order].astype(np.int64), int(capacity), int(nodes))
    return int(most), np.sort(order[taken]), bool(proven)


@njit(cache=True)
def _branch(value: Integers, weight: Integers, capacity: int, nodes: int) -> tuple[int, NDArray[np.bool_], bool]:
    n = len(value)
    worth, heavy = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)  # of the items before
    for i in range(n):
        worth[i + 1], heavy[i + 1] = worth[i] + value[i], heavy[i] + weight[i]
    now, best, most, have, room, j = np.zeros(n, np.bool_), np.zeros(n, np.bool_), -1, 0, capacity, 0
    for _ in range(nodes):
        end = np.searchsorted(heavy, heavy[j] + room, side="right") - 1  # items j..end-1 all fit
        bound = have + worth[end] - worth[j]
        if end < n:
            bound += (room - heavy[end] + heavy[j]) * value[end] // weight[end]
        if bound > most:
            now[j:end] = True
            have, room = have + worth[end] - worth[j], room - heavy[end] + heavy[j]
            j = end + 1  # that item does not fit: left out
            if j < n:
                continue
            if have > most:
                most = have
                put(best, 0, now)
            j = n
        while j > 0 and not now[j - 1]:
            j -= 1
        if j == 0:
            return most, best, True
        now[j - 1] = False  # the last item packed is left out instead
        have, room = have - value[j - 1], room + weight[j - 1]
    if most < 0:
        most, best = have, now
    return most, best, False


class DynamicProgramming(Planner):
    """The optimum, by dynamic programming over the capacity: time and memory grow with items x capacity."""

    problems = ("kp",)

    def plan(self, seen: Seen) -> Plan:
        chosen = []
        for value, weight, capacity in zip(seen.prize, seen.demand, seen.capacity.tolist(), strict=True):
            table = len(weight) * min(capacity, int(weight.sum()))
            if table > MOST:
                raise ArenaError("agent.memory", f"a table of {table / 2**30:.1f} GiB", "a capacity this large is for branch and bound")
            chosen.append(knapsack(value, weight, capacity)[1])
        return padded(chosen, seen.n), None


class BranchAndBound(Planner):
    """Depth-first branch and bound, the best packing after at most so many `nodes`: proven on uniform items, rarely on correlated ones."""

    problems = ("kp",)

    def __init__(self, nodes: int = 1_000_000) -> None:
        if nodes < 1:
            raise ArenaError("agent.parameters", f"nodes = {nodes}", "at least 1")
        self.nodes = nodes

    def plan(self, seen: Seen) -> Plan:
        rows = zip(seen.prize, seen.demand, seen.capacity.tolist(), strict=True)
        return padded([branch_and_bound(value, weight, capacity, self.nodes)[1] for value, weight, capacity in rows], seen.n), None
