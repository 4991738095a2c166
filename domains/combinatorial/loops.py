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


@njit(cache=True)
def _way(place: NDArray[Any], explicit: bool, r: int, a: int, b: int) -> float:
    """From node a to node b of row r."""
    if explicit:
        return place[r, a, b]
    x, y = place[r, a, 0] - place[r, b, 0], place[r, a, 1] - place[r, b, 1]
    return np.sqrt(x * x + y * y)


@njit(cache=True)
def advance(
    problem: int,
    explicit: bool,  # whether `place` is the matrix of distances
    action: NDArray[Any],
    free: NDArray[Any],  # from here on the arrays of Partial, in its order
    mask: NDArray[Any],
    origin: NDArray[Any],
    left: NDArray[Any],
    order: NDArray[Any],
    via: NDArray[Any],
    done: NDArray[Any],
    count: NDArray[Any],
    size: NDArray[Any],  # from here on those of Instances
    place: NDArray[Any],  # coords or matrix
    demand: NDArray[Any],
    limit: NDArray[Any],  # capacity or budget
    prize: NDArray[Any],
) -> Any:
    """reward [B, 1], then the new arrays of Partial; None where an action is not legal."""
    rows, nodes = free.shape
    for r in range(rows):
        if not (0 <= action[r] < mask.shape[1] and (done[r] or mask[r, action[r]])):
            return None
    reward = np.zeros((rows, 1))
    free, mask, origin, left = free.copy(), mask.copy(), origin.copy(), left.copy()
    order, via, done, count = order.copy(), via.copy(), done.copy(), count.copy()
    for r in range(rows):
        if done[r]:
            continue
        j, k, o = action[r], count[r], origin[r]
        through = False
        if problem == CVRP:
            through, j = j & 1 == 1, j >> 1
            via[r, k] = through
            left[r] = (limit[r] if through else left[r]) - demand[r, j]
        elif problem == KP:
            left[r] -= demand[r, j]
        elif problem == OP:
            left[r] -= _way(place, explicit, r, o, j)
        free[r, j], order[r, k], count[r] = False, j, k + 1
        if problem != KP:
            origin[r] = j
        if problem == OP or problem == KP:
            reward[r, 0] = prize[r, j] + (prize[r, 0] if problem == OP and k == 0 else 0)
            most = left[r] + (1e-9 * max(abs(limit[r]), 1.0) if problem == OP else 0.0)
            over = True
            for i in range(nodes):
                if problem == KP:
                    fits = free[r, i] and demand[r, i] <= left[r]
                else:
                    fits = free[r, i] and _way(place, explicit, r, j, i) + _way(place, explicit, r, i, 0) <= most
                mask[r, i] = fits
                over = over and not fits
        else:
            over = k + 1 >= size[r] - 1
            if through:
                way = _way(place, explicit, r, o, 0) + _way(place, explicit, r, 0, j)
            else:
                way = _way(place, explicit, r, o, j)
            reward[r, 0] = -(way + _way(place, explicit, r, j, 0) if over else way)
            if problem == CVRP:
                mask[r, 2 * j + 1], room = False, left[r]
                for i in range(nodes):
                    mask[r, 2 * i] = free[r, i] and demand[r, i] <= room
            else:
                mask[r, j] = False
        if over:
            done[r] = mask[r, 0] = True
    return reward, free, mask, origin, left, order, via, done, count
