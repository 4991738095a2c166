"""Instances: the generators of the field's test sets, and how arrays become the kernel's record.

Uniform TSP of 100 nodes is the circulated seed-1234 set, of 200 to 1000 the seed-777 sets (bit-identical to the files in use, so nothing is
downloaded). All else is drawn per scenario from a counter-based generator: the same instance on every machine, in any batch.
Distributions: naver/bq-nco and wouterkool/attention-learn-to-route (CVRP, OP, KP), MatNet (ATSP, arXiv 2106.11113), Pisinger 2005 (hard KP).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arena.errors import ArenaError
from domains.combinatorial.distances import EUCLID
from domains.combinatorial.kernel import Instances

Arrays = dict[str, NDArray[Any]]
CAPACITY = {20: 30, 50: 40, 100: 50, 200: 80, 500: 100, 1000: 250}  # of a CVRP vehicle, by customers; results under another Q do not compare
BUDGET = {20: 2.0, 50: 3.0, 100: 4.0}  # of an OP tour; 4 also for more nodes
KNAPSACK = {50: 12_500, 100: 25_000, 200: 25_000, 500: 50_000, 1000: 100_000}  # capacity, by items
ATSP_UNIT = 1_000_000  # matrices hold integers / 10^6
HARD = ("strongly correlated", "inverse strongly correlated", "subset sum")
RANGE, SPREAD = 1000, 100  # of Pisinger's classes: R, and H instances of each
KNOWN = {100: 1234, 200: 777, 500: 777, 1000: 777}  # nodes -> seed of the circulated uniform TSP set


def generator(seed: int) -> np.random.Generator:
    """The generator of one scenario, from its 128-bit seed."""
    return np.random.Generator(np.random.Philox(seed))


# ---- one instance each ------------------------------------------------------------------------------------------------


def tsp(rng: np.random.Generator, n: int) -> Arrays:
    """n points uniform in the unit square."""
    return {"coords": rng.random((n, 2))}


def atsp(rng: np.random.Generator, n: int) -> Arrays:
    """Integers uniform on 0..10^6 - 1, closed under shortest paths so that the triangle inequality holds, over 10^6 (MatNet's class)."""
    cost = rng.integers(0, ATSP_UNIT, (n, n))
    np.fill_diagonal(cost, 0)
    for k in range(n):  # Floyd and Warshall
        np.minimum(cost, cost[:, k, None] + cost[k], out=cost)
    return {"matrix": cost / ATSP_UNIT}


def cvrp(rng: np.random.Generator, n: int) -> Arrays:
    """Depot and n customers uniform in the unit square, demands uniform on 1..9, capacity by n (CAPACITY)."""
    coords, demand = rng.random((n + 1, 2)), rng.integers(1, 10, n + 1)
    demand[0] = 0
    return {"coords": coords, "demand": demand, "capacity": np.int64(CAPACITY[n])}


def op(rng: np.random.Generator, n: int) -> Arrays:
    """Depot and n points uniform; prizes 1 + floor(99 (d / max d)) with the distance to the depot, so the farthest has 100; budget by n (BUDGET)."""
    coords = rng.random((n + 1, 2))
    far = np.sqrt(((coords - coords[0]) ** 2).sum(1))  # exactly rounded on every machine, unlike hypot
    prize = 1 + np.floor(99 * (far / far.max())).astype(np.int64)
    prize[0] = 0
    return {"coords": coords, "prize": prize, "budget": np.float64(BUDGET.get(n, 4.0))}


def kp(rng: np.random.Generator, n: int) -> Arrays:
    """Values and weights uniform on 1..998, independent; capacity by n (KNAPSACK)."""
    value, weight = rng.integers(1, 999, n), rng.integers(1, 999, n)
    return {"prize": value, "demand": weight, "capacity": np.int64(KNAPSACK[n])}


def kp_hard(rng: np.random.Generator, n: int, kind: int, h: int) -> Arrays:
    """Instance h = 1..100 of a class of HARD: capacity floor(h sum(w) / 101) (Pisinger, Computers & OR 32, 2005)."""
    drawn = rng.integers(1, RANGE + 1, n)
    shifted = drawn + RANGE // 10
    value, weight = ((shifted, drawn), (drawn, shifted), (drawn, drawn))[kind]
    return {"prize": value, "demand": weight, "capacity": np.int64(h * int(weight.sum()) // (SPREAD + 1))}


GENERATORS: dict[str, Callable[[np.random.Generator, int], Arrays]] = {"tsp": tsp, "atsp": atsp, "cvrp": cvrp, "op": op, "kp": kp}


# ---- many -------------------------------------------------------------------------------------------------------------


def drawn(problem: str, n: int, seeds: Sequence[int]) -> Arrays:
    """One instance per seed, stacked: {name: [B, ...]}. n: nodes, customers or items, as the field counts them."""
    return stacked([GENERATORS[problem](generator(seed), n) for seed in seeds])


def drawn_hard(n: int, seeds: Sequence[int], indices: Sequence[int], count: int = SPREAD) -> Arrays:
    """Hard knapsacks: `count` of each class in turn (h = 1..100), then again from the start."""
    cells = [(index // count % len(HARD), index % count % SPREAD + 1) for index in indices]
    return stacked([kp_hard(generator(seed), n, kind, h) for seed, (kind, h) in zip(seeds, cells, strict=True)])


@cache
def known(n: int) -> NDArray[np.float64]:
    """The circulated uniform TSP test set of n nodes: [10000, 100, 2] or [128, n, 2]."""
    return np.random.RandomState(KNOWN[n]).uniform(size=(10_000 if n == 100 else 128, n, 2))


def stacked(rows: Sequence[Arrays]) -> Arrays:
    if not rows:
        raise ArenaError("task.index", "no scenario was asked for", "give at least one index")
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def instances(
    *,
    coords: NDArray[Any] | None = None,
    metric: NDArray[Any] | int = EUCLID,
    matrix: NDArray[Any] | None = None,
    demand: NDArray[Any] | None = None,
    capacity: NDArray[Any] | int = 0,
    prize: NDArray[Any] | None = None,
    budget: NDArray[Any] | float = np.inf,
    best: NDArray[Any] | float = np.nan,
    size: NDArray[Any] | None = None,
) -> Instances:
    """The kernel's record from arrays [B, ...] (scalars hold for all rows); shapes as in `Instances`. `size` defaults to the whole width."""
    present = [array for array in (coords, matrix, demand, prize) if array is not None]
    rows, width = present[0].shape[:2]

    def row(value: Any, dtype: type) -> torch.Tensor:
        return torch.from_numpy(np.array(np.broadcast_to(np.asarray(value, dtype), (rows,))))

    def full(array: NDArray[Any] | None, dtype: type, empty: tuple[int, ...]) -> torch.Tensor:
        return torch.from_numpy(np.zeros((rows, *empty), dtype) if array is None else np.ascontiguousarray(array, dtype))

    return Instances(
        size=row(width if size is None else size, np.int64),
        coords=full(coords, np.float64, (0, 2)),
        metric=row(metric, np.int64),
        matrix=full(matrix, np.float64, (0, 0)),
        demand=full(demand, np.int64, (0,)),
        capacity=row(capacity, np.int64),
        prize=full(prize, np.int64, (0,)),
        budget=row(budget, np.float64),
        best=row(best, np.float64),
    )
