"""Solvers of others, called in one way: PyVRP (MIT), and LKH through elkai (an optional extra: not for commercial use).

Distances [n, n] float64, the start or depot at node 0. Solvers count in integers: whole distances are handed over as they are, others in
millionths or so (`in_integers`). Orders are the nodes in turn without node 0. Effort is counted in iterations or runs, never in seconds, so every
result can be had again; a larger effort or another seed is another result.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arena.errors import ArenaError

Integers = NDArray[np.int64]

UNIT = 1e6  # integers per unit of length
LOAD_UNIT = 1e4  # the same where loads are limited: PyVRP's penalty ends at 10^5 per unit of load, and with finer lengths overload would be cheap
VRP_MOST, LKH_MOST = 2.0**40, 1e7  # largest distance PyVRP (int64, sums of many) and LKH (int32, times 100) are given
AGAIN = 8  # runs at most, each twice as long as the one before
PATIENCE = 50  # iterations after which PyVRP adapts its penalties; its own 500 is half of a short search


def in_integers(matrix: ArrayLike, most: float, up: bool = False, unit: float = UNIT) -> tuple[Integers, float]:
    """The matrix in integers no larger than `most`, and how many of them make one unit of length: 1 where all distances are whole, else `unit`.

    up: rounded up, not to the nearest. Raises ArenaError `solver.range` for a distance that is negative, no number, or (whole) above `most`.
    """
    lengths = np.array(matrix, np.float64)
    np.fill_diagonal(lengths, 0.0)
    if not (np.isfinite(lengths).all() and (lengths >= 0).all()):
        raise ArenaError("solver.range", "distances that are negative or no number", "all must be finite and >= 0")
    largest = float(lengths.max())
    whole = bool((lengths == np.rint(lengths)).all())
    if whole and largest > most:
        raise ArenaError("solver.range", f"a distance of {largest:.0f}", f"this solver counts in integers up to {most:.0f}: divide them")
    unit = 1.0 if whole else min(unit, most / largest)
    if whole:
        return lengths.astype(np.int64), 1.0
    return np.ceil(lengths * unit - 1e-6 if up else np.floor(lengths * unit + 0.5)).astype(np.int64), unit


# ---- PyVRP --------------------------------------------------------------------------------------------------------------


def pyvrp_routes(matrix: ArrayLike, demand: Integers, capacity: int, iterations: int, seed: int = 0) -> list[Integers]:
    """Routes that serve all customers 1..n-1; demand [n], each at most `capacity`. PyVRP 0.14: iterated local search (Wouda and others 2024)."""
    lengths, _ = in_integers(matrix, VRP_MOST, unit=LOAD_UNIT)
    clients = [{"delivery": [int(load)]} for load in demand[1:]]
    return _pyvrp(lengths, clients, {"num_available": len(clients), "capacity": [int(capacity)]}, iterations, seed)


def pyvrp_tour(matrix: ArrayLike, iterations: int, seed: int = 0) -> Integers:
    """The order [n-1] of a closed tour, as the one route of one vehicle."""
    lengths, _ = in_integers(matrix, VRP_MOST)
    return _pyvrp(lengths, [{}] * (len(lengths) - 1), {"num_available": 1}, iterations, seed)[0]


def pyvrp_orienteering(matrix: ArrayLike, prize: Integers, budget: float, iterations: int, seed: int = 0) -> Integers:
    """The order of a closed tour no longer than `budget` that collects much prize: one vehicle, its distance limited, clients optional.

    One unit of prize outweighs all of the budget. Distances that are not whole are rounded up, the budget down: what fits in integers fits.
    """
    lengths, unit = in_integers(matrix, VRP_MOST, up=True)
    limit = int(min(np.floor(budget * unit), len(lengths) * lengths.max()))  # no tour is longer
    near = np.flatnonzero(lengths[0] + lengths[:, 0] <= limit)  # node 0 and what can be reached at all
    if len(near) < 2:
        return np.zeros(0, np.int64)
    clients = [{"prize": int(worth) * (limit + 1), "required": False} for worth in prize[near[1:]]]
    routes = _pyvrp(np.ascontiguousarray(lengths[np.ix_(near, near)]), clients, {"num_available": 1, "max_distance": limit}, iterations, seed)
    return near[routes[0]] if routes else np.zeros(0, np.int64)


def _pyvrp(lengths: Integers, clients: Sequence[dict[str, Any]], vehicle: dict[str, Any], iterations: int, seed: int) -> list[Integers]:
    """Routes of the best solution found. The search passes through overloaded routes: where it ends with nothing else, it runs again twice as long.

    Raises ArenaError `solver.infeasible` after AGAIN such runs.
    """
    import pyvrp
    from pyvrp.exceptions import PenaltyBoundWarning
    from pyvrp.stop import MaxIterations

    data = pyvrp.ProblemData(
        [pyvrp.Location(0, 0)] * len(lengths),
        [pyvrp.Client(node, **client) for node, client in enumerate(clients, 1)],
        [pyvrp.Depot(0)],
        [pyvrp.VehicleType(**vehicle)],
        [lengths],
        [np.zeros_like(lengths)],
    )
    params = pyvrp.SolveParams(penalty=pyvrp.PenaltyParams(solutions_between_updates=PATIENCE))
    for effort in (iterations * 2**again for again in range(AGAIN)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PenaltyBoundWarning)  # a short search may well end at the largest penalty
            best = pyvrp.solve(data, MaxIterations(effort), seed=seed, collect_stats=False, display=False, params=params).best
        if best.is_feasible():
            return [np.array([visit.idx + 1 for visit in route if visit.is_client()], np.int64) for route in best.routes()]
    raise ArenaError("solver.infeasible", f"PyVRP found no feasible solution in {effort} iterations", "give it more")


# ---- LKH ------------------------------------------------------------------------------------------------------------------


def lkh_tour(matrix: ArrayLike, runs: int = 1) -> Integers:
    """The order [n-1] LKH 3 finds for a closed tour, symmetric or not (Helsgaun, EJOR 126, 2000); the best of `runs`.

    Raises ArenaError `agent.missing` without the extra `lkh`.
    """
    elkai = lkh()
    lengths, _ = in_integers(matrix, LKH_MOST)
    if len(lengths) < 4:  # LKH wants more nodes, and in a tour of three only the direction can matter
        orders = [np.arange(1, len(lengths)), np.arange(1, len(lengths))[::-1]]
        return min(orders, key=lambda order: int(lengths[np.append(0, order), np.append(order, 0)].sum())).astype(np.int64)
    tour = np.array(elkai.DistanceMatrix(lengths.tolist()).solve_tsp(runs)[:-1], np.int64)
    return np.roll(tour, -int(np.flatnonzero(tour == 0)[0]))[1:]


def lkh() -> Any:
    """The elkai module. Raises ArenaError `agent.missing` where it is not installed."""
    try:
        import elkai
    except ImportError as error:
        hint = "pip install 'arena-bench[lkh]' (LKH inside: academic and non-commercial use only)"
        raise ArenaError("agent.missing", "LKH is not installed: there is no module elkai", hint) from error
    return elkai
