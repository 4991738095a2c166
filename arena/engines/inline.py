"""The engine that plays in this process, one chunk after the other."""

from __future__ import annotations

from collections.abc import Callable

from arena.engines.work import Chunk, Crew, Played, Work


class Done:
    """A chunk that has been played."""

    def __init__(self, played: Played) -> None:
        self.played = played

    def result(self, timeout: float | None = None) -> Played:
        return self.played


class Inline:
    name, capacity = "inline", 1

    def __init__(self) -> None:
        self.crew: Crew | None = None

    def submit(self, work: Work, chunk: Chunk, watch: Callable[[int], None]) -> Done:
        if self.crew is None or self.crew.work.key != work.key:
            self.close()
            self.crew = Crew(work)
        return Done(self.crew.play(chunk, watch))

    def drop(self) -> None:
        self.close()

    def close(self) -> None:
        if self.crew is not None:
            crew, self.crew = self.crew, None
            crew.close()
