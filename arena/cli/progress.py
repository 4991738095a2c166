"""How far a run is, on stderr: a bar with rate, time left and failures on a terminal, one line at the end elsewhere."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from arena.cli.output import console, duration, literal, notice

if TYPE_CHECKING:
    from rich.progress import TaskID

    from arena.evaluation import Progress


class Watcher:
    """Progress of runs that are played one after the other. `quiet`: nothing is shown."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar = None
        self.line: TaskID | None = None
        self.last: Progress | None = None
        if not quiet and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = [TextColumn("{task.description}", markup=False), BarColumn(24), TextColumn("{task.fields[words]}", markup=False)]
            self.bar = Bar(*columns, console=console(stderr=True))

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, title: str, name: str) -> None:
        self.last = None
        if self.bar is not None:
            self.bar.console.print(literal(title))
            self.line = self.bar.add_task(f"{literal(name):12}", total=1.0, words="")
        else:
            notice(title, self.quiet)

    def report(self, progress: Progress) -> None:
        self.last = progress
        if self.bar is not None and self.line is not None:
            self.bar.update(self.line, completed=progress.done, total=progress.total, words=_words(progress))

    def end(self, status: str) -> None:
        if self.bar is None:
            played = f"{_words(self.last)}, {duration(self.last.seconds)}" if self.last is not None else "nothing was left to play"
            notice(f"  {status}: {played}", self.quiet)


def _words(progress: Progress) -> str:
    rate = progress.done / progress.seconds if progress.seconds > 0 else 0.0
    left = (progress.total - progress.done) / rate if rate > 0 else None
    words = [f"{int(progress.done):,}/{progress.total:,}", f"{rate:,.0f} scen/s" if rate >= 10 else f"{rate:.3g} scen/s"]
    if progress.done < progress.total:
        words.append(f"eta {duration(left)}")
    return "  ".join([*words, f"failures {progress.failures}"])
