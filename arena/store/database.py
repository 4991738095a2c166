"""Two engines per store: one writes, one can only read. Every error of the database becomes an `ArenaError` that says what to do."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, Table, create_engine, event, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from arena.errors import ArenaError
from arena.store.schema import runs

T = TypeVar("T")

BUSY_TIMEOUT_MS = 30_000
RETRIES = 5
FIRST_WAIT = 0.05  # seconds, doubled at every retry

# statfs(2), f_type. SQLite's write-ahead log needs shared memory and locks that these do not give to several machines.
NETWORK_FILE_SYSTEMS = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x65735546: "FUSE",
    0x01021997: "9P",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
}


def parse_url(url: str | None, home: Path) -> URL:
    """The address of the database: SQLite beside the recordings unless told otherwise. Errors never repeat the text (it may hold a password).

    Raises ArenaError store.url.
    """
    hint = "give sqlite:///path/to/arena.db or postgresql://user:password@host/database (special characters in the password as %40)"
    if url is None:
        return URL.create("sqlite", database=str((home / "arena.db").resolve()))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ArenaError("store.url", "the address of the store cannot be read", hint) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ArenaError("store.url", f"the store does not speak {parsed.drivername!r}", hint)
    if not parsed.database or parsed.database == ":memory:":
        raise ArenaError("store.url", "a store on SQLite needs a file: several processes share it", hint)
    return URL.create("sqlite", database=str(Path(parsed.database).expanduser().resolve()))


def display(url: URL) -> str:
    """The address without its secrets."""
    secret = [key for key in url.query if "password" in key.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def filesystem_type(path: Path) -> int | None:
    """`f_type` of the file system that holds `path` or its nearest existing parent; None where statfs is unknown."""
    if sys.platform != "linux":
        return None
    while not path.exists():
        path = path.parent
    answer = ctypes.create_string_buffer(256)  # struct statfs has 120 bytes, f_type is its first word
    if ctypes.CDLL(None, use_errno=True).statfs(str(path).encode(), answer) != 0:
        return None
    return ctypes.c_uint32.from_buffer(answer).value


def refuse_network(path: Path) -> None:
    kind = NETWORK_FILE_SYSTEMS.get(filesystem_type(path) or 0)
    if kind is not None:
        raise ArenaError(
            "store.network",
            f"{path} lies on a network file system ({kind}), where SQLite loses data when several processes write",
            "keep the store on a local disk (ARENA_HOME), or use PostgreSQL: ARENA_STORE=postgresql://user:password@host/database",
            path=str(path),
            filesystem=kind,
        )


def disk_error(error: OSError, path: Path) -> ArenaError:
    """What an `OSError` on a file of the store means to its user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArenaError("store.full", f"no space left for {path}", "free some space, then resume: nothing committed is lost", path=str(path))
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = "choose a folder you may write: ARENA_HOME"
        return ArenaError("store.readonly", f"{path} cannot be written ({error.strerror})", hint, path=str(path))
    return ArenaError("store.io", f"{path}: {error.strerror or error}", "look at the disk, then run `arena db check`", path=str(path))


def is_transient(error: DBAPIError) -> bool:
    """Whether trying the same transaction again can help: a lock, a deadlock, a serialisation failure."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(error.orig, "sqlstate", None) in ("40001", "40P01")


def explain(error: DBAPIError, place: str) -> ArenaError | None:
    """The `ArenaError` for a database error at `place` (an address without secrets); None where it is a bug of ours."""
    if is_transient(error):
        return ArenaError("store.busy", f"{place} stayed locked by another process", "wait for its writer or end it, then resume", place=place)
    if isinstance(error.orig, sqlite3.Error):
        return _explain_sqlite(_sqlite_code(error.orig), place)
    state = getattr(error.orig, "sqlstate", None) or ""
    words = str(error.orig)  # a refused connection has no SQLSTATE, only the words of the server
    if state == "53100":
        return ArenaError("store.full", f"the disk of {place} is full", "free some space on the server, then resume", place=place)
    if state in ("25006", "42501"):
        return ArenaError("store.readonly", f"{place} does not let this user write", "ask for write permission on the database", place=place)
    if state.startswith("28") or (not state and ("authentication failed" in words or "no password supplied" in words)):
        return ArenaError("store.denied", f"{place} refused the user name or password", "check ARENA_STORE", place=place)
    if state == "3D000" or (not state and 'database "' in words and "does not exist" in words):
        return ArenaError("store.missing", f"{place}: there is no such database", "create it first: createdb NAME", place=place)
    if error.connection_invalidated or state.startswith(("08", "57P")) or (not state and "connection" in words):
        return ArenaError("store.unreachable", f"{place} does not answer", "check host, port and whether the server runs", place=place)
    return None


def _sqlite_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the low byte: extended codes refine it


def _explain_sqlite(code: int, place: str) -> ArenaError | None:
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ArenaError(
            "store.damaged",
            f"{place} is damaged or not a SQLite file",
            "restore a backup (`arena db backup` writes them), or try to rescue rows with `sqlite3 FILE .recover`",
            path=place,
        )
    if code == sqlite3.SQLITE_FULL:
        return ArenaError("store.full", f"no space left for {place}", "free some space, then resume: nothing committed is lost", path=place)
    if code == sqlite3.SQLITE_READONLY:
        return ArenaError("store.readonly", f"{place} cannot be written", "choose a folder you may write: ARENA_HOME", path=place)
    if code == sqlite3.SQLITE_CANTOPEN:
        return ArenaError("store.readonly", f"{place} or its -wal file cannot be opened", "check the permissions of file and folder", path=place)
    if code == sqlite3.SQLITE_IOERR:
        return ArenaError("store.io", f"reading or writing {place} failed", "look at the disk, then run `arena db check`", path=place)
    return None


def sqlite_writer(path: Path, foreign_keys: bool = True) -> Engine:
    """An engine whose transactions take the write lock at once.

    A transaction that reads first and writes later fails without waiting when another one wrote in between, whatever the busy timeout.
    """
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(path, check_same_thread=False), poolclass=QueuePool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")  # first: the next line takes locks
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")

    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def sqlite_reader(path: Path) -> Engine:
    """An engine that cannot write, whatever it is asked, and never holds a lock that a writer waits for."""

    def connect() -> sqlite3.Connection:
        # where nobody may write beside a closed database, there is no log to read and SQLite must not try to make one
        sealed = not Path(f"{path}-wal").exists() and not os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
        address = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if sealed else ''}"
        return sqlite3.connect(address, uri=True, check_same_thread=False)

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        max_overflow=32,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA query_only=ON")

    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))  # one snapshot for all statements
    return engine


def postgres_engine(url: URL, read_only: bool) -> Engine:
    """An engine that, like SQLite with synchronous=NORMAL, commits without waiting for the disk.

    A crash of a process loses nothing. A power cut of the server may take the last commits, whole and in order; resuming makes them again.
    """
    try:
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, execution_options={"postgresql_readonly": read_only})
    except ModuleNotFoundError:
        raise ArenaError("store.driver", "PostgreSQL needs the psycopg package", "pip install 'arena-bench[postgres]'") from None

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.execute("SET synchronous_commit = off")
        connection.commit()

    return engine


class Database:
    """Transactions on either engine. Subclasses hold the statements."""

    def __init__(self, url: URL, home: Path, writer: Engine | None, reader: Engine) -> None:
        self.url, self.home, self._writer, self._reader = display(url), home, writer, reader
        self.is_postgres = reader.dialect.name == "postgresql"
        self.path = None if self.is_postgres else Path(str(url.database))
        self.place = self.url if self.path is None else str(self.path)

    def __repr__(self) -> str:
        return f"Store({self.url!r}{', read only' if self._writer is None else ''})"

    def close(self) -> None:
        for engine in (self._reader, self._writer):  # the writer last: closing it folds the write-ahead log into the file
            if engine is not None:
                engine.dispose()

    def write(self, work: Callable[[Connection], T]) -> T:
        """`work` in one transaction, repeated when another process was in the way; it must not keep state between attempts.

        Raises ArenaError store.busy, store.full, store.readonly, store.damaged, store.unreachable.
        """
        if self._writer is None:
            raise ArenaError("store.readonly", f"{self.place} was opened for reading only", "open it without read_only", place=self.place)
        for attempt in range(RETRIES + 1):
            try:
                with self._writer.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not is_transient(error) or attempt == RETRIES:
                    raise self._explained(error) from error
                time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5))
        raise AssertionError

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read-only snapshot."""
        try:
            with self._reader.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise self._explained(error) from error

    def insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT, which SQLAlchemy spells once per dialect."""
        return postgresql.insert(table) if self.is_postgres else sqlite.insert(table)

    def now(self, connection: Connection) -> int:
        """UTC microseconds by one clock for all: that of the PostgreSQL server, or of the only machine that a SQLite file has."""
        if self.is_postgres:
            return int(connection.scalar(text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")) or 0)
        return time.time_ns() // 1000

    def _explained(self, error: DBAPIError) -> Exception:
        explained = explain(error, self.place)
        if explained is not None and explained.code == "store.busy":
            holders = self._holders()
            if holders:
                explained.hint = f"at work now: {', '.join(holders)}. {explained.hint}"
                explained.context["holders"] = holders
        return explained or error

    def _holders(self) -> list[str]:
        """Who is at work, for the text of an error: readers are never locked out, and if they are we say nothing."""
        try:
            with self._reader.connect() as connection:
                query = select(runs.c.owner, runs.c.id).where(runs.c.status == "running", runs.c.lease_until > self.now(connection)).limit(3)
                return [f"{owner} (run {run})" for owner, run in connection.execute(query)]
        except DBAPIError:
            return []
