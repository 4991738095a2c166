"""The kernel's step on the CPU, compiled: row by row what `Combinatorial._step` says in torch for a whole batch.

A step in torch is some forty calls, each of which costs more than the arithmetic of a row; this is one. Only where distances are unrounded:
the integer metrics of files, and other devices, take the torch path. Nothing given is changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

TSP, ATSP, CVRP, OP, KP = range(5)  # places in kernel.PROBLEMS
READ = {  # what of the instance a problem's step reads; for the rest it gets NOTHING, because every view of a tensor costs a microsecond
    "tsp": ("size", "coords"),
    "atsp": ("size", "matrix"),
    "cvrp": ("size", "coords", "demand", "capacity"),
    "op": ("coords", "prize", "budget"),
    "kp": ("demand", "prize"),
}
NOTHING: dict[str, NDArray[Any]] = {
    "size": np.zeros(0, np.int64),
    "coords": np.zeros((0, 0, 2)),
    "matrix": np.zeros((0, 0, 0)),
    "demand": np.zeros((0, 0), np.int64),
    "capacity": np.zeros(0, np.int64),
    "prize": np.zeros((0, 0), np.int64),
    "budget": np.zeros(0),
}
NO_LEFT, NO_VIA = np.zeros(0, np.int64), np.zeros((0, 0), np.bool_)


@njit(cache=True)
def _way(problem: int, coords: NDArray[Any], matrix: NDArray[Any], r: int, a: int, b: int) -> float:
    """From node a to node b of row r."""
    if problem == ATSP:
        return matrix[r, a, b]
    x, y = coords[r, a, 0] - coords[r, b, 0], coords[r, a, 1] - coords[r, b, 1]
    return np.sqrt(x * x + y * y)


@njit(cache=True)
def advance(
    problem: int,
    action: NDArray[Any],  # from here on the arrays of Instances and Partial under their names there
    free: NDArray[Any],
    mask: NDArray[Any],
    origin: NDArray[Any],
    order: NDArray[Any],
    done: NDArray[Any],
    count: NDArray[Any],
    left: NDArray[Any],
    via: NDArray[Any],
    size: NDArray[Any],
    coords: NDArray[Any],
    matrix: NDArray[Any],
    demand: NDArray[Any],
    capacity: NDArray[Any],
    prize: NDArray[Any],
    budget: NDArray[Any],
) -> Any:
    """reward [B, 1], then the new free, mask, origin, order, done, count, left and via; None where an action is not legal."""
    rows, nodes = free.shape
    for r in range(rows):
        if not (0 <= action[r] < mask.shape[1] and (done[r] or mask[r, action[r]])):
            return None
    reward = np.zeros((rows, 1))
    free, mask, origin, order = free.copy(), mask.copy(), origin.copy(), order.copy()
    done, count, left, via = done.copy(), count.copy(), left.copy(), via.copy()
    for r in range(rows):
        if done[r]:
            continue
        j, k, o = action[r], count[r], origin[r]
        through = False
        if problem == CVRP:
            through, j = j & 1 == 1, j >> 1
            via[r, k] = through
            left[r] = (capacity[r] if through else left[r]) - demand[r, j]
        elif problem == KP:
            left[r] -= demand[r, j]
        elif problem == OP:
            left[r] -= _way(problem, coords, matrix, r, o, j)
        free[r, j], order[r, k], count[r] = False, j, k + 1
        if problem != KP:
            origin[r] = j
        if problem == OP or problem == KP:
            reward[r, 0] = prize[r, j] + (prize[r, 0] if problem == OP and k == 0 else 0)
            most = left[r] + (1e-9 * max(abs(budget[r]), 1.0) if problem == OP else 0.0)
            over = True
            for i in range(nodes):
                if problem == KP:
                    fits = free[r, i] and demand[r, i] <= left[r]
                else:
                    fits = free[r, i] and _way(problem, coords, matrix, r, j, i) + _way(problem, coords, matrix, r, i, 0) <= most
                mask[r, i] = fits
                over = over and not fits
        else:
            over = k + 1 >= size[r] - 1
            if through:
                way = _way(problem, coords, matrix, r, o, 0) + _way(problem, coords, matrix, r, 0, j)
            else:
                way = _way(problem, coords, matrix, r, o, j)
            reward[r, 0] = -(way + _way(problem, coords, matrix, r, j, 0) if over else way)
            if problem == CVRP:
                mask[r, 2 * j + 1] = False
                for i in range(nodes):
                    mask[r, 2 * i] = free[r, i] and demand[r, i] <= left[r]
            else:
                mask[r, j] = False
        if over:
            done[r] = mask[r, 0] = True
    return reward, free, mask, origin, order, done, count, left, via
