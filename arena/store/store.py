"""The store: one object over everything that is kept, and how it is opened."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from arena.errors import ArenaError
from arena.store import migrate, recordings, schema
from arena.store.database import (
    disk_error,
    display,
    explain,
    parse_url,
    postgres_engine,
    refuse_network,
    sqlite_reader,
    sqlite_writer,
)
from arena.store.files import publish
from arena.store.jobs import Jobs
from arena.store.schema import chunks, runs
from arena.store.sharing import Sharing

_CREATED = "it is created by the first `arena run` or `arena register`"


class Store(Jobs, Sharing):
    """All that is kept about agents, tasks, runs and scores. Made by `open_store`; shared by threads, not by forked processes."""

    def __init__(self, url: URL, home: Path, writer: Engine | None, reader: Engine) -> None:
        super().__init__(url, home, writer, reader)
        self._plans = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def backup(self, path: Path) -> Path:
        """A consistent copy of the database as one SQLite file, while others write; also from PostgreSQL. Copy `recordings/` afterwards:
        files only ever come before the rows that name them. Raises ArenaError store.exists, store.full, store.readonly.
        """
        path = path.resolve()
        if self.path is not None:
            return migrate.vacuum_into(self.path, path)
        if path.exists():
            raise ArenaError("store.exists", f"{path} exists already", "choose another name for the backup", path=str(path))
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open_store(f"sqlite:///{partial}", self.home) as copy, self._reader.connect() as source:
                source = source.execution_options(isolation_level="REPEATABLE READ", yield_per=1000)
                for table in schema.metadata.sorted_tables:
                    for rows in source.execute(select(table)).mappings().partitions():
                        copy.write(lambda c, table=table, rows=rows: c.execute(table.insert(), [dict(row) for row in rows]))  # type: ignore[misc]
            publish(partial, path)
        except DBAPIError as error:
            raise explain(error, self.place) or error from error
        finally:
            for leftover in path.parent.glob(f"{partial.name}*"):
                leftover.unlink()
        return path

    def check(self) -> list[str]:
        """Everything that is wrong, in words; empty where all is well. Reads the whole database, not the content of recordings."""
        found: list[str] = []
        with self.reading() as connection:
            if not self.is_postgres:
                found += [f"{self.place}: {row[0]}" for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
                lost = connection.exec_driver_sql("PRAGMA foreign_key_check")
                found += [f"{self.place}: a row of {row[0]} refers to a lost row of {row[2]}" for row in lost]
            done = select(chunks.c.run_id, func.count().label("n")).group_by(chunks.c.run_id).subquery()
            count = func.coalesce(done.c.n, 0)
            query = select(runs.c.id, runs.c.n_done, runs.c.n_chunks, runs.c.status, count).outerjoin(done, done.c.run_id == runs.c.id)
            for run_id, n_done, n_chunks, status, n in connection.execute(query.where((runs.c.n_done != count) | (runs.c.status == "complete"))):
                if n_done != n:
                    found.append(f"run {run_id} counts {n_done} chunks and has {n}")
                if status == "complete" and n != n_chunks:
                    found.append(f"run {run_id} is complete with {n} of {n_chunks} chunks")
            used = select(chunks.c.recording_digest).where(chunks.c.recording_digest.is_not(None)).distinct()
            found += [
                f"recording {digest} is missing" for digest in connection.scalars(used) if not recordings.recording_path(self.home, digest).exists()
            ]
        return found

    def gc(self, min_age: float = 86_400) -> list[Path]:
        """Remove recordings that no chunk refers to and files left by crashes, older than `min_age` seconds; what was removed."""
        with self.reading() as connection:
            referenced = set(connection.scalars(select(schema.recordings.c.digest)))
        try:
            return recordings.gc(self.home, referenced, min_age)
        except OSError as error:
            raise disk_error(error, self.home / "recordings") from error


def open_store(url: str | None, home: Path, *, read_only: bool = False) -> Store:
    """Open the store at `url`, by default the SQLite file `home/arena.db`; `home` holds the recordings. Creates what is not there yet.

    url: None, `sqlite:///path` or `postgresql://user:password@host/database`
    Raises ArenaError store.url, store.network, store.old, store.newer, store.foreign, store.damaged, store.readonly, store.full,
    store.busy, store.missing (only for reading, and nothing there), store.unreachable, store.denied, store.driver.
    """
    home = home.expanduser().resolve()
    address = parse_url(url, home)
    if address.drivername == "sqlite":
        path = Path(str(address.database))
        _prepare_file(path, home, read_only)
        writer, reader = None if read_only else sqlite_writer(path), sqlite_reader(path)
    else:
        writer, reader = None if read_only else postgres_engine(address, False), postgres_engine(address, True)
    store = Store(address, home, writer, reader)
    try:
        _require_schema(store, read_only)
        if not read_only:
            (home / "recordings").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        store.close()
        raise disk_error(error, home) from error
    except BaseException:
        store.close()
        raise
    return store


def upgrade_store(url: str | None, home: Path) -> Path | None:
    """Bring an older store to the schema of this version; the path of the backup made first (SQLite: a copy beside the file).

    All changes are one transaction: interrupted, it leaves the old schema, and can be run again. PostgreSQL: back up with pg_dump before.
    Raises ArenaError store.newer, store.foreign, store.missing, store.full, store.damaged.
    """
    home = home.expanduser().resolve()
    address = parse_url(url, home)
    if address.drivername != "sqlite":
        engine = postgres_engine(address, False)
        place, backup = display(address), None
    else:
        path = Path(str(address.database))
        _prepare_file(path, home, read_only=True)
        engine, place, backup = sqlite_writer(path, foreign_keys=False), str(path), None
    try:
        with engine.connect() as connection:
            found = migrate.revision(connection)
        if found is None:
            raise ArenaError("store.missing", f"there is no store in {place}", _CREATED, place=place)
        if found == schema.REVISION:
            return None
        if address.drivername == "sqlite":
            backup = _free_name(path.with_name(f"{path.name}.{found}.backup"))
            migrate.vacuum_into(path, backup)
        migrate.run(engine, place)
        return backup
    except DBAPIError as error:
        raise explain(error, place) or error from error
    finally:
        engine.dispose()


def _free_name(path: Path) -> Path:
    number = 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _prepare_file(path: Path, home: Path, read_only: bool) -> None:
    if sqlite3.sqlite_version_info < (3, 35):
        raise ArenaError("store.driver", f"SQLite {sqlite3.sqlite_version} lacks UPDATE ... RETURNING", "use a Python with SQLite 3.35 or newer")
    refuse_network(path)
    try:
        if read_only and not path.exists():
            raise ArenaError("store.missing", f"there is no store at {path}", _CREATED, path=str(path))
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
            home.mkdir(parents=True, exist_ok=True)
            # SQLite would open such a file all the same and fail at the first commit, perhaps hours later.
            if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise disk_error(error, path) from error


def _require_schema(store: Store, read_only: bool) -> None:
    def look(connection: Connection) -> str | None:
        found = migrate.revision(connection)
        if found is not None:
            migrate.require_current(found, store.place)
        return found

    if read_only:
        with store.reading() as connection:
            if look(connection) is None:
                raise ArenaError("store.missing", f"there is no store in {store.place}", _CREATED, place=store.place)
        return
    if store.write(look) is None:
        engine = store._writer if store.path is None else sqlite_writer(store.path, foreign_keys=False)
        assert engine is not None
        try:
            migrate.run(engine, store.place)
        finally:
            if engine is not store._writer:
                engine.dispose()
