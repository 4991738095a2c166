"""Where luck comes from: a scenario's seed from its name, an agent's uniforms from a counter hash. The same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

SPLITS = ("train", "val", "test")


def scenario_seed(task_id: str, split: str, index: int) -> int:
    """The 128-bit seed of one scenario: the first 16 bytes (big-endian) of sha256("task id/split/index")."""
    return int.from_bytes(hashlib.sha256(f"{task_id}/{split}/{index}".encode()).digest()[:16], "big")


def scenario_seeds(task_id: str, split: str, indices: Sequence[int]) -> list[int]:
    return [scenario_seed(task_id, split, int(index)) for index in indices]


def _signed(value: int) -> int:
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN, _MIX1, _MIX2 = (_signed(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch shifts int64 arithmetically."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def hash64(value: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014) on int64, which wraps as unsigned 64-bit arithmetic does."""
    value = value + _GOLDEN
    value = (value ^ _shift(value, 30)) * _MIX1
    value = (value ^ _shift(value, 27)) * _MIX2
    return value ^ _shift(value, 31)


def stream_key(*parts: object) -> int:
    """A signed 64-bit key for a named stream of uniforms."""
    return _signed(int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big"))


def uniforms(key: int, scenario: Tensor, step: int, k: int) -> Tensor:
    """Uniforms in [0, 1), float64 [B, k]: a pure function of (key, scenario id, step, position), equal on every device.

    Integer arithmetic only; the top 53 bits become the mantissa.
    """
    counter = torch.arange(k, dtype=torch.int64, device=scenario.device)
    rows = hash64(hash64(scenario.to(torch.int64) ^ key) + step)
    return _shift(hash64(rows[:, None] + counter), 11).to(torch.float64) * 2.0**-53
