"""An import that is killed: forks children that import a bundle and end themselves with SIGKILL just before their n-th statement or file.

Called by test_killed.py as a program of its own, so that only a process without threads is forked.
usage: killed_importer.py URL HOME BUNDLE STRIDE; prints one JSON line: [exit status, rows of all tables, recordings there] after every child.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch
from sqlalchemy import Engine, event, func, select

from arena.bundle import import_bundle, reading
from arena.store import open_store
from arena.store.schema import metadata

torch.set_num_threads(1)


def child(url: str | None, home: Path, bundle: Path, last: int) -> int:
    """Exit status of a child that lives for so many steps: statements after the store was opened, recordings."""
    pid = os.fork()
    if pid == 0:
        with open_store(url, home) as store:
            left = [last]

            def count(*_: object) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(Engine, "before_cursor_execute", count)
            event.listen(Engine, "commit", count)
            put = reading.put_recording
            reading.put_recording = lambda *arguments: (count(), put(*arguments))
            import_bundle(store, bundle)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def state(url: str | None, home: Path) -> list[object]:
    with open_store(url, home) as store, store.reading() as connection:
        rows = {table.name: connection.scalar(select(func.count()).select_from(table)) for table in metadata.sorted_tables}
        return [rows, len(list((home / "recordings").glob("*/*.zst"))), store.check()]


def main(url: str, home: str, bundle: str, stride: str) -> None:
    place = None if url == "-" else url
    with open(bundle, "rb") as file:
        reading._checked(file, Path(bundle))  # everything is loaded before anything is forked
    open_store(place, Path(home)).close()
    log, code, last = [], -9, 0
    while code != 0 and last < 500:
        code = child(place, Path(home), Path(bundle), last)
        log.append([code, *state(place, Path(home))])
        last += int(stride)
    print(json.dumps(log))


if __name__ == "__main__":
    main(*sys.argv[1:])
