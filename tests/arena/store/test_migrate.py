"""The machinery of upgrades, tried on a made-up revision that comes after the newest one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, make_url, text

from arena.errors import ArenaError
from arena.store import migrate, open_store, schema, upgrade_store
from arena.store.database import postgres_engine, sqlite_writer

REPOSITORY = Path(__file__).parents[3]
NEXT = '''"""A made-up change: a column, and a table copied because SQLite cannot change its column."""
import os
import signal
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "{before}"


def upgrade():
    op.add_column("agents", sa.Column("stars", sa.Integer(), server_default="3", nullable=False))
    with op.batch_alter_table("tasks") as batch:
        batch.alter_column("floor", existing_type=sa.Double(), nullable=True)
    if os.environ.get("DIE_IN_MIGRATION"):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("ORPHAN_IN_MIGRATION"):
        op.execute("DELETE FROM tasks")
'''
UPGRADE = """
import sys; from pathlib import Path
from arena.store import migrate, schema, upgrade_store
migrate.SCRIPTS, schema.REVISION = Path(sys.argv[1]), "0003"
upgrade_store(sys.argv[3] or None, Path(sys.argv[2]))
"""


@pytest.fixture
def scripts(tmp_path):
    """The migrations and one more."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "0003_made_up.py").write_text(NEXT.format(before=schema.REVISION))
    return folder


@pytest.fixture
def filled(empty_place, open_world):
    """A store of the present revision with a finished run."""
    with open_world(empty_place) as world:
        world.finished(world.task(), world.agent())
    return empty_place


def content(place):
    """All rows of all tables, read without the code of the store."""
    with open_store(place.url, place.home) as store, store.reading() as connection:
        return {name: sorted(map(repr, connection.execute(table.select()))) for name, table in schema.metadata.tables.items()}


def test_the_code_knows_its_newest_revision():
    assert ScriptDirectory.from_config(migrate.config()).get_current_head() == schema.REVISION


def test_tables_and_migrations_agree(empty_place):
    with open_store(empty_place.url, empty_place.home) as store:
        store.write(lambda connection: command.check(migrate.config(connection)))
        extra = Column("extra", Integer)
        schema.agents.append_column(extra)
        try:
            with pytest.raises(Exception, match="extra"):
                store.write(lambda connection: command.check(migrate.config(connection)))
        finally:
            schema.agents._columns.remove(extra)


def test_an_older_store_is_refused_and_upgraded_with_its_rows(filled, scripts, monkeypatch):
    before = content(filled)
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    monkeypatch.setattr(schema, "REVISION", "0003")
    for read_only in (False, True):
        with pytest.raises(ArenaError, match="arena db upgrade") as error:
            open_store(filled.url, filled.home, read_only=read_only)
        assert error.value.code == "store.old" and error.value.context["found"] == "0002"
    backup = upgrade_store(filled.url, filled.home)
    with open_store(filled.url, filled.home) as store, store.reading() as connection:
        assert connection.execute(text("SELECT stars FROM agents")).scalars().all() == [3]
        assert store.check() == [] and store.board("dom/task-v1")[0]["agent"] == "pid"
        if filled.url is None:  # the copied table kept its keys
            assert {row[2] for row in connection.exec_driver_sql("PRAGMA foreign_key_list(metrics)")} == {"tasks"}
    assert content(filled) == before
    assert upgrade_store(filled.url, filled.home) is None, "nothing is left to do"
    if filled.url is None:
        monkeypatch.undo()
        with open_store(f"sqlite:///{backup}", filled.home) as old:
            assert old.check() == [] and old.board("dom/task-v1")[0]["agent"] == "pid"
    else:
        assert backup is None


@pytest.mark.parametrize("trouble", ["DIE_IN_MIGRATION", "ORPHAN_IN_MIGRATION"])
def test_an_interrupted_upgrade_leaves_the_old_store_and_can_be_run_again(filled, scripts, monkeypatch, trouble):
    if trouble == "ORPHAN_IN_MIGRATION" and filled.url is not None:
        pytest.skip("PostgreSQL checks keys at once")
    before = content(filled)
    arguments = [sys.executable, "-c", UPGRADE, str(scripts), str(filled.home), filled.url or ""]
    done = subprocess.run(arguments, cwd=REPOSITORY, env={trouble: "1", "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert done.returncode == (-9 if trouble == "DIE_IN_MIGRATION" else 1), done.stderr
    if trouble == "ORPHAN_IN_MIGRATION":
        assert "rows lost what they refer to" in done.stderr
    assert content(filled) == before, "the old schema is whole and opens with the old code"
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    monkeypatch.setattr(schema, "REVISION", "0003")
    backup = upgrade_store(filled.url, filled.home)
    assert content(filled) == before
    if filled.url is None:
        assert backup.name == "arena.db.0002.backup-2", "the backup of the first attempt is kept"


def test_there_is_nothing_to_upgrade_in_an_empty_place(empty_place):
    with pytest.raises(ArenaError) as error:
        upgrade_store(empty_place.url, empty_place.home)
    assert error.value.code == "store.missing"


def test_a_newer_store_is_not_downgraded(filled):
    with open_store(filled.url, filled.home) as store:
        store.write(lambda c: c.execute(text("UPDATE arena_version SET version_num = '0777'")))
    with pytest.raises(ArenaError) as error:
        upgrade_store(filled.url, filled.home)
    assert error.value.code == "store.newer"


def test_a_backup_is_a_store_of_its_own(filled, tmp_path):
    before = content(filled)
    path = tmp_path / "copies" / "monday.db"
    with open_store(filled.url, filled.home) as store:
        assert store.backup(path) == path
        with pytest.raises(ArenaError) as error:
            store.backup(path)
        assert error.value.code == "store.exists"
    assert [file.name for file in path.parent.iterdir()] == ["monday.db"]
    with open_store(f"sqlite:///{path}", filled.home) as copy:
        assert copy.check() == []
        with copy.reading() as connection:
            assert {name: sorted(map(repr, connection.execute(table.select()))) for name, table in schema.metadata.tables.items()} == before


def test_a_store_of_the_first_version_is_upgraded_with_its_rows(empty_place):
    """As version 0.1 left it: its tables, an event among them, made by its own migration."""
    path = empty_place.home / "arena.db"
    engine = schema_of(empty_place, path, "0001")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO events (id, run_id, at, level, code, message) VALUES (7, NULL, 1, 'notice', 'x', 'twins')"))
    engine.dispose()
    with pytest.raises(ArenaError) as error:
        open_store(empty_place.url, empty_place.home)
    assert error.value.code == "store.old"
    upgrade_store(empty_place.url, empty_place.home)
    with open_store(empty_place.url, empty_place.home) as store:
        assert store.check() == [] and [(e["id"], e["message"], e["job_id"]) for e in store.events(None)] == [(7, "twins", None)]
        assert store.event(None, "notice", "x", "next") == 8 or empty_place.url is not None
        assert store.enqueue("run", {"task": "t"}).status == "queued"


def schema_of(place, path, revision):
    if place.url is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = sqlite_writer(path, foreign_keys=False) if place.url is None else postgres_engine(make_url(place.url), False)
    with engine.begin() as connection:
        command.upgrade(migrate.config(connection), revision)
    return engine
