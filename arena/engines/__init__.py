"""Where chunks are played: `inline` (this process), `local` (worker processes here), `ray` (a Ray cluster). Results do not depend on it."""

from __future__ import annotations

import os

from arena.engines.inline import Inline
from arena.engines.local import Local
from arena.engines.work import Chunk, Crew, Engine, Played, Work
from arena.errors import unknown

ENGINES = ("inline", "local", "ray")

__all__ = ["ENGINES", "Chunk", "Crew", "Engine", "Inline", "Local", "Played", "Work", "open_engine"]


def open_engine(name: str = "inline", workers: int | None = None) -> Engine:
    """The engine of that name, e.g. `local` or `local[4]`. workers: None: as many as there are processors.

    Raises ArenaError unknown.engine, engine.workers, engine.ray (the package is not there).
    """
    kind, _, count = name.partition("[")
    if kind not in ENGINES or (count and not (count.endswith("]") and count[:-1].isdecimal())):
        raise unknown("engine", name, ENGINES, "local[4] has four workers")
    if kind == "inline":
        return Inline()
    size = int(count[:-1]) if count else workers or len(os.sched_getaffinity(0))
    if kind == "local":
        return Local(size)
    from arena.engines.ray import Ray

    return Ray(size)
