"""Where chunks are played: `inline` (this process), `local` (worker processes here), `ray` (a Ray cluster). Results do not depend on it."""

from __future__ import annotations

import os
import re

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
    found = re.fullmatch(r"([a-z]+)(?:\[(\d+)\])?", name)
    kind = found[1] if found else ""
    if found is None or kind not in ENGINES or (kind == "inline" and found[2]):
        raise unknown("engine", name, ENGINES, "local[4] has four workers")
    if kind == "inline":
        return Inline()
    size = int(found[2]) if found[2] else workers or len(os.sched_getaffinity(0))
    if kind == "local":
        return Local(size)
    from arena.engines.ray import Ray

    return Ray(size)
