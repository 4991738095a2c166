"""What compiled searches share. Where Numba assigns a slice it also compiles the words of the error of shapes that differ, three CPU seconds for
every function that does; a loop costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def put(row: NDArray[Any], at: int, piece: NDArray[Any]) -> None:
    """row[at:at + len(piece)] = piece; `piece` is no view of what is written."""
    for i in range(len(piece)):
        row[at + i] = piece[i]


@njit(cache=True)
def turn(row: NDArray[Any], low: int, high: int) -> None:
    """Turn round row[low..high], both included."""
    while low < high:
        row[low], row[high] = row[high], row[low]
        low += 1
        high -= 1


@njit(cache=True)
def uniform(luck: NDArray[np.uint64]) -> float:
    """The next number in [0, 1)."""
    return np.float64(bits(luck) >> np.uint64(11)) * 2.0**-53


@njit(cache=True)
def below(luck: NDArray[np.uint64], n: int) -> int:
    """The next integer of 0..n-1."""
    return np.int64(bits(luck) >> np.uint64(33)) % n


@njit(cache=True)
def bits(luck: NDArray[np.uint64]) -> np.uint64:
    """The next 64 bits: SplitMix64 (Steele, Lea and Flood 2014)."""
    luck[0] += np.uint64(0x9E3779B97F4A7C15)
    z = luck[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
