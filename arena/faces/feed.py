"""Which scenario a row plays next, and the scenarios themselves, drawn in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arena.record import Record
from arena.task import Task

BLOCK = 64  # most scenarios drawn ahead for a single row
Flags = NDArray[np.bool_]


class Feed:
    """The scenarios of `rows` rows, one episode after the other.

    Row i starts from a key (its seed); its k-th scenario is a pure function of (key, k): a 31-bit index of the train or val split, or for
    the test split (key + k * rows) mod n, so that rows seeded with s, s + 1, ... go through the test set together. Rows of equal key play
    equal scenarios whatever batch they stand in (on train and val).
    """

    def __init__(self, task: Task, rows: int, split: str) -> None:
        self.task, self.rows, self.split = task, rows, split
        # Test scenarios of two blocks may differ in shape, so they are drawn one at a time.
        self.most = 1 if split == "test" and len(task.blocks) > 1 else min(BLOCK, task.chunk)
        self.keys = [0] * rows
        self.count = [0] * rows
        self.used: Flags = np.ones(rows, np.bool_)
        self.ahead: Any = None  # next scenario of every row that is not used
        self.ahead_index: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.block: Any = None  # scenarios count .. of a single row
        self.place = self.size = 0

    def seed(self, keys: Sequence[int | None]) -> None:
        """Start the sequences of the rows afresh; a row whose key is None goes on in its own."""
        for row, key in enumerate(keys):
            if key is not None:
                self.keys[row], self.count[row], self.used[row] = key, 0, True
                self.place = self.size = 0

    def index(self, row: int, k: int) -> int:
        key = self.keys[row]
        if self.split == "test":
            return (key + k * self.rows) % self.task.n
        return int.from_bytes(hashlib.sha256(f"{key}/{k}".encode()).digest()[:4], "big") >> 1

    def next(self, wanted: Flags) -> tuple[Record, NDArray[np.int64]]:
        """A record of all rows whose `wanted` rows hold their next scenario (the others: anything), and the indices [rows]."""
        if self.rows == 1:
            return self._next_of_one()
        short = wanted & self.used
        if short.any():
            self._refill()
        self.used |= wanted
        return self.ahead, self.ahead_index.copy()

    def _refill(self) -> None:
        """Draw the next scenario of every row that has used its own: one draw serves as many rows as possible."""
        rows = np.flatnonzero(self.used)
        for row in rows.tolist():
            self.ahead_index[row] = self.index(row, self.count[row])
            self.count[row] += 1
        drawn = self.task.sample(self.split, self.ahead_index[rows].tolist())
        if len(rows) < self.rows:
            place = np.zeros(self.rows, np.int64)
            place[rows] = np.arange(len(rows))
            drawn = drawn[torch.from_numpy(place)].where(torch.from_numpy(self.used), self.ahead)
        self.ahead, self.used = drawn, np.zeros(self.rows, np.bool_)

    def _next_of_one(self) -> tuple[Record, NDArray[np.int64]]:
        """Blocks grow 1, 2, 4 ...: a seeded reset costs one scenario, a long run draws many at once."""
        k = self.count[0]
        if self.place == self.size:
            self.size = min(self.most, max(1, 2 * self.size))
            self.block = self.task.sample(self.split, [self.index(0, k + j) for j in range(self.size)])
            self.place = 0
        scenario = self.block[slice(self.place, self.place + 1)]
        self.place += 1
        self.count[0] += 1
        return scenario, np.array([self.index(0, k)])
