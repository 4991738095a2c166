"""A round on the CPU, compiled: match by match what `RepeatedGame._step` says in torch for a whole batch. Nothing given is changed.

A round in torch is some thirty calls, each of which goes through all matches; this is one that goes through them once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def advance(
    place: int,  # of this round in its block
    play: NDArray[Any],  # [N] float64, and
    after: NDArray[Any],  # [N * 4] int32: the library
    action: NDArray[Any],  # [B] int64
    seat: NDArray[Any],  # [B] int64
    luck: NDArray[Any],  # [B] float64, of this round
    slip: NDArray[Any],  # [B, 2] bool, of this round; [0, 2] where no hand trembles
    payoffs: NDArray[Any],  # [B, 4, 2] float64
    block: NDArray[Any],  # [B, up to BLOCK] int8, from here on the arrays of Match
    machine: NDArray[Any],
    totals: NDArray[Any],
) -> Any:
    """reward [B, 2], then the new block, machine and totals; None where an action is neither 0 nor 1. Nothing branches on what is played."""
    rows = len(action)
    reward, sums = np.empty((rows, 2)), np.empty((rows, 2))
    record, states = block.copy(), np.empty_like(machine)
    trembling = len(slip) > 0
    for r in range(rows):
        own, state, sits = action[r], machine[r], seat[r]
        if own & ~1:
            return None
        other = np.int64(luck[r] >= play[state])
        if trembling:
            own ^= slip[r, sits]
            other ^= slip[r, 1 - sits]
        states[r] = after[4 * state + 2 * other + own]  # the opponent's own action stands first
        joint = (own << (1 - sits)) | (other << sits)
        record[r, place] = joint
        mine, theirs = payoffs[r, joint, sits], payoffs[r, joint, 1 - sits]
        reward[r, 0], reward[r, 1] = mine, theirs
        sums[r, 0], sums[r, 1] = totals[r, 0] + mine, totals[r, 1] + theirs
    return reward, record, states, sums
