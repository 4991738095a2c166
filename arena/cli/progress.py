"""How far a run is, on stderr: a bar with rate, time left and failures on a terminal, one line at the end elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from arena.cli.output import console, duration, literal, notice

if TYPE_CHECKING:
    from rich.progress import TaskID

    from arena.evaluation import Progress


class Watcher:
    """Progress of runs that are played one after the other: of the one at hand and, where several are known beforehand, of all.

    quiet: nothing is shown; runs: those that are known beforehand, with `scenarios` in all
    """

    def __init__(self, quiet: bool, runs: Sequence[int] = (), scenarios: int = 0) -> None:
        self.quiet, self.runs, self.scenarios = quiet, len(runs), scenarios
        self.bar = None
        self.line: TaskID | None = None
        self.whole: TaskID | None = None
        self.last: Progress | None = None
        self.begun, self.before, self.size = 0, 0, 0  # runs begun, scenarios of those that ended, scenarios of the one at hand
        self.started = time.perf_counter()
        if not quiet and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = [TextColumn("{task.description}", markup=False), BarColumn(24), TextColumn("{task.fields[words]}", markup=False)]
            self.bar = Bar(*columns, console=console(stderr=True))

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
            if self.runs > 1:
                self.whole = self.bar.add_task(f"{'all runs':12}", total=float(self.scenarios), words="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, title: str, name: str, scenarios: int = 0) -> None:
        self.last, self.begun = None, self.begun + 1
        self.before, self.size = self.before + self.size, scenarios
        if self.bar is not None:
            self.bar.console.print(literal(title))
            self.line = self.bar.add_task(f"{literal(name):12}", total=1.0, words="")
            self._overall(0.0)
        else:
            notice((f"[{self.begun}/{self.runs}] " if self.runs > 1 else "") + title, self.quiet)

    def report(self, progress: Progress) -> None:
        self.last = progress
        if self.bar is not None and self.line is not None:
            self.bar.update(self.line, completed=progress.done, total=progress.total, words=_words(progress))
            self._overall(progress.done + self.size - progress.total)

    def _overall(self, done: float) -> None:
        """The bar of all runs: which one is at hand, and when the last will be done, going by the scenarios so far."""
        if self.bar is None or self.whole is None:
            return
        finished, spent = self.before + done, time.perf_counter() - self.started
        left = f"  eta {duration(spent / finished * (self.scenarios - finished))}" if finished > 0 else ""
        self.bar.update(self.whole, completed=finished, words=f"run {self.begun} of {self.runs}{left}")

    def end(self, status: str) -> None:
        if self.bar is None:
            played = f"{_words(self.last)}, {duration(self.last.seconds)}" if self.last is not None else "nothing was left to play"
            notice(f"  {status}: {played}", self.quiet)
        else:
            self._overall(self.size)


def _words(progress: Progress) -> str:
    rate = progress.done / progress.seconds if progress.seconds > 0 else 0.0
    left = (progress.total - progress.done) / rate if rate > 0 else None
    words = [f"{int(progress.done):,}/{progress.total:,}", f"{rate:,.0f} scen/s" if rate >= 10 else f"{rate:.3g} scen/s"]
    if progress.done < progress.total:
        words.append(f"eta {duration(left)}")
    return "  ".join([*words, f"failures {progress.failures}"])
