"""What the benchmarks of every domain share: CPU seconds, one thread, rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time
from typing import Any

import torch

Row = dict[str, Any]


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of the fastest of `repeats` calls after a first one that warms up; 0 repeats: of that first call."""
    times = []
    for _ in range(repeats + 1):
        start = process_time()
        call()
        times.append(process_time() - start)
    return min(times[1:] or times)


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def row(what: str, value: float, unit: str, target: float | None, peer: float | None = None) -> Row:
    """Rates are better when larger, seconds when smaller."""
    rate = unit.endswith("/s")
    ok = None if target is None else bool(value >= target if rate else value <= target)
    ratio = None if peer is None else value / peer if rate else peer / value
    return {"what": what, "value": value, "unit": unit, "target": target, "ok": ok, "peer": peer, "ratio": ratio}
