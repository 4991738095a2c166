"""Creating the schema, telling its age, upgrading it. Every change runs in one transaction: an interruption leaves the old schema whole."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from arena.errors import ArenaError
from arena.store import schema
from arena.store.database import disk_error, explain
from arena.store.files import publish

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x4152454E41  # PostgreSQL advisory lock: two processes that open an empty database create it once


def config(connection: Connection | None = None) -> Config:
    """The Alembic configuration, e.g. for `alembic.command.check`."""
    from alembic.config import Config

    config = Config(stdout=sys.stdout)  # as it is now; Alembic's own default is what it was at the first import
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def known_revisions() -> list[str]:
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()]


def revision(connection: Connection) -> str | None:
    """The revision of the schema, None where there is no store yet.

    Raises ArenaError store.foreign where a SQLite file belongs to another program.
    """
    tables = set(inspect(connection).get_table_names())
    if schema.VERSION_TABLE in tables:
        return str(connection.scalar(text(f"SELECT version_num FROM {schema.VERSION_TABLE}")))
    taken = tables & set(schema.metadata.tables) if connection.dialect.name == "postgresql" else tables
    if taken:
        raise ArenaError(
            "store.foreign",
            f"the database holds tables of another program ({', '.join(sorted(taken)[:3])}, ...) and no store",
            "choose another file or database",
        )
    return None


def require_current(found: str, place: str) -> None:
    """Raises ArenaError store.old or store.newer unless the schema is the one this code was written for."""
    if found == schema.REVISION:
        return
    context = {"place": place, "found": found, "expected": schema.REVISION}
    if found in known_revisions():
        hint = "run `arena db upgrade` (it makes a backup first)"
        raise ArenaError("store.old", f"{place} has schema {found}, this version needs {schema.REVISION}", hint, **context)
    raise ArenaError("store.newer", f"{place} has schema {found}, newer than {schema.REVISION} that this version knows", "upgrade arena", **context)


def run(engine: Engine, place: str) -> tuple[str | None, str]:
    """Bring the schema to the newest revision in one transaction: (revision before, revision after).

    `engine` must not enforce foreign keys on SQLite: a table is changed there by copying it, and the keys are checked at the end.
    """
    from alembic import command

    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            before = revision(connection)
            if before is not None and before != schema.REVISION and before not in known_revisions():
                require_current(before, place)
            command.upgrade(config(connection), "head")
            if connection.dialect.name == "sqlite":
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    raise ArenaError("store.damaged", f"{place}: {len(broken)} rows lost what they refer to", "nothing was changed", place=place)
            return before, schema.REVISION
    except DBAPIError as error:
        raise explain(error, place) or error from error


def vacuum_into(source: Path, target: Path) -> Path:
    """A consistent copy of a SQLite file while others write to it. The name appears only when the copy is whole.

    Raises ArenaError store.exists, store.full, store.damaged.
    """
    if target.exists():
        raise ArenaError("store.exists", f"{target} exists already", "choose another name for the backup", path=str(target))
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("VACUUM INTO ?", (str(partial),))
        finally:
            connection.close()
        publish(partial, target)
    except sqlite3.Error as error:
        raise explain(DBAPIError("VACUUM INTO", None, error), str(source)) or error from error
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        partial.unlink(missing_ok=True)
    return target
