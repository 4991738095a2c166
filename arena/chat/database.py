"""SQLite files below the home folder that several processes write at once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from arena import settings
from arena.errors import ArenaError

BUSY = 30.0  # s that a writer waits for the others


def folder() -> Path:
    """Where answers and transcripts lie."""
    return settings.home() / "chat"


def unkept(error: sqlite3.Error) -> ArenaError:
    """What is said where answers come that cannot be kept: no further one is to be paid for."""
    return ArenaError("infra.disk", f"answers cannot be kept in {folder()}: {error}", "free the disk and continue with arena resume RUN")


def opened(path: Path, schema: str) -> sqlite3.Connection:
    """A connection of its own transactions (autocommit), usable from several threads in turn; the file is made where it is not there.

    WAL with synchronous=NORMAL: what is committed outlives the process. Raises ArenaError `store.chat` for what cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(schema)
    except (OSError, sqlite3.Error) as error:
        raise ArenaError("store.chat", f"{path} cannot be opened: {error}", "free the disk, or move the file away: it is made anew") from error
    return connection
