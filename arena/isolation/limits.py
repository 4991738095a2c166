"""What an agent may use. A task declares its own; what it leaves open is as below."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from arena.errors import ArenaError


@dataclass(frozen=True)
class Limits:
    """Time counts per live scenario, so that the size of a chunk does not matter.

    load_s: seconds until the agent is made; begin_s: for `begin`, per chunk (what it takes longer comes from the bank)
    act_s: for one decision: a call that serves b live rows may take b * act_s
    bank_s: per scenario, for the excess: a chunk of n scenarios may in all take n * bank_s longer
    memory: bytes beyond what the libraries take at the start; on a GPU of resident memory only, for CUDA reserves far more
    cpu_s: seconds of processor time per scenario; None: as many as the clock allows one core
    threads: that numerical libraries may start
    """

    load_s: float = 60.0
    begin_s: float = 60.0
    act_s: float = 0.2
    bank_s: float = 1.0
    memory: float = 4e9
    cpu_s: float | None = None
    threads: int = 1

    @classmethod
    def of(cls, declared: Mapping[str, float]) -> Self:
        """The limits of a task. Raises ArenaError `task.limits` for a name that does not exist or a value that is no positive number."""
        known = {f.name for f in fields(cls)}
        for name, value in declared.items():
            if name not in known:
                raise ArenaError("task.limits", f"no limit is called {name!r}", f"limits: {', '.join(sorted(known))}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ArenaError("task.limits", f"limit {name} = {value!r}", "a limit is a positive number")
        return cls(**{name: int(value) if name == "threads" else float(value) for name, value in declared.items()})  # type: ignore[arg-type]

    def cpu_of(self, rows: int, decisions: int) -> float:
        """Processor seconds that a chunk may use."""
        if self.cpu_s is not None:
            return rows * self.cpu_s
        return self.threads * (self.begin_s + rows * (self.bank_s + decisions * self.act_s))
