from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from arena.errors import ArenaError
from arena.store import database, open_store
from arena.store.database import display, filesystem_type, parse_url, sqlite_writer

REPOSITORY = Path(__file__).parents[3]


def refused(*arguments, **options) -> ArenaError:
    with pytest.raises(ArenaError) as error:
        open_store(*arguments, **options).close()
    return error.value


def test_opening_creates_what_is_missing_and_finds_it_again(empty_place):
    with open_store(empty_place.url, empty_place.home) as first:
        agent = first.ensure_agent("pid", "classical", "builtin", {})
        assert (empty_place.home / "recordings").is_dir()
    with open_store(empty_place.url, empty_place.home) as second:
        assert second.agent("pid") == agent and second.check() == []


def test_processes_that_open_an_empty_place_at_once_create_it_once(empty_place):
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(empty_place.url, empty_place.home), range(4)))
    ids = {store.ensure_environment({"a": 1}) for store in stores}
    for store in stores:
        store.close()
    assert len(ids) == 1


def test_a_reader_sees_what_is_written_and_can_write_nothing(world):
    reader = world.open(read_only=True)
    task = world.task()
    assert reader.task("dom/task-v1").id == task
    with pytest.raises(ArenaError) as error:
        reader.event(None, "info", "x", "y")
    assert error.value.code == "store.readonly"
    with pytest.raises(ArenaError) as direct, reader.reading() as connection:
        connection.execute(text("DELETE FROM tasks"))
    assert direct.value.code == "store.readonly"
    assert [row["id"] for row in reader.tasks()] == [task]
    reader.close()


def test_reading_only_does_not_create(empty_place):
    error = refused(empty_place.url, empty_place.home, read_only=True)
    assert error.code == "store.missing" and not empty_place.home.exists()


@pytest.mark.parametrize(("found", "code", "hint"), [("0000", "store.newer", "upgrade arena"), ("9999", "store.newer", "upgrade arena")])
@pytest.mark.parametrize("read_only", [False, True])
def test_an_unknown_schema_is_refused(empty_place, found, code, hint, read_only):
    with open_store(empty_place.url, empty_place.home) as store:
        store.write(lambda c: c.execute(text("UPDATE arena_version SET version_num = :v"), {"v": found}))
    error = refused(empty_place.url, empty_place.home, read_only=read_only)
    assert error.code == code and error.hint == hint and found in error.message


def test_the_tables_of_another_program_are_left_alone(empty_place):
    with open_store(empty_place.url, empty_place.home) as store:
        store.write(lambda c: c.execute(text("DROP TABLE arena_version")))
    error = refused(empty_place.url, empty_place.home)
    assert error.code == "store.foreign"


def test_postgres_may_hold_other_tables_too(postgres, tmp_path):
    url = postgres.create()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (id int)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
    engine.dispose()
    with open_store(url, tmp_path) as store:
        assert store.tasks() == []


def test_default_and_sqlite_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_url(None, Path("home")).database == str(tmp_path / "home" / "arena.db")
    assert parse_url("sqlite:///x.db", tmp_path).database == str(tmp_path / "x.db")
    odd = tmp_path / "a b?c#d%20é" / "x.db"
    with open_store(f"sqlite:///{str(odd).replace('%', '%25').replace('?', '%3F')}", tmp_path / "home") as store:
        store.event(None, "info", "a", "b")
        assert store.path is not None and store.path.exists() and store.events(None)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://u:s3cret@h/d", "nonsense", "postgresql://u:s3cret@h:port/d"])
def test_addresses_that_cannot_be_used(url, tmp_path):
    error = refused(url, tmp_path)
    assert error.code == "store.url" and "s3cret" not in f"{error} {error.context}" and error.__cause__ is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgres_addresses(scheme, tmp_path):
    assert parse_url(f"{scheme}://u:p@h/d", tmp_path).drivername == "postgresql+psycopg"


def test_the_password_is_shown_nowhere(tmp_path, postgres, capfd, caplog):
    caplog.set_level("DEBUG")
    secret = "s3cret%40word"
    shown = display(parse_url(f"postgresql://me:{secret}@127.0.0.1:1/db?sslpassword={secret}&connect_timeout=2", tmp_path))
    assert shown == "postgresql+psycopg://me:***@127.0.0.1:1/db?connect_timeout=2"
    url = postgres.create()
    with open_store(url.replace("postgres:@", f"postgres:{secret}@"), tmp_path) as store:  # the test server trusts everybody
        assert "s3cret" not in repr(store) + store.url + repr(vars(store))
        with pytest.raises(DBAPIError) as bad:
            store.write(lambda c: c.execute(text("SELECT nothing FROM nowhere WHERE x = :x"), {"x": "hidden-value"}))
        assert "s3cret" not in str(bad.value) and "hidden-value" not in str(bad.value)
    texts = []
    for url in (f"postgresql://me:{secret}@127.0.0.1:1/db?connect_timeout=2", f"postgresql://me:{secret}@/x?host={tmp_path}"):
        error = refused(url, tmp_path)
        assert error.code == "store.unreachable"
        while error is not None:
            texts.append(f"{error!r} {error} {getattr(error, 'context', '')}")
            error = error.__cause__ or error.__context__
    out, err = capfd.readouterr()
    assert "s3cret" not in " ".join(texts) + out + err + caplog.text


def test_a_database_that_does_not_exist(postgres, tmp_path):
    url = postgres.create()
    assert refused(f"{url.split('?')[0]}nope?{url.split('?')[1]}", tmp_path).code == "store.missing"


# ---- trouble with files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"this is no database" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database(tmp_path, content, read_only):
    path = tmp_path / "arena.db"
    path.write_bytes(content)
    error = refused(None, tmp_path, read_only=read_only)
    assert error.code == "store.damaged" and str(path) in error.message and path.read_bytes() == content


def test_another_programs_sqlite_file(tmp_path):
    with sqlite3.connect(tmp_path / "arena.db") as other:
        other.execute("CREATE TABLE trials (id)")
    other.close()
    error = refused(None, tmp_path)
    assert error.code == "store.foreign" and "trials" in error.message


def test_damage_inside_is_found_by_check(tmp_path):
    with open_store(None, tmp_path) as store:
        for k in range(400):
            store.ensure_agent(f"agent{k}", "classical", "builtin", {"k": k}, card="x" * 500)
        assert store.check() == []
    path = tmp_path / "arena.db"
    content = bytearray(path.read_bytes())
    for page in range(len(content) // 4096 // 2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xaa" * 200
    path.write_bytes(content)
    with open_store(None, tmp_path, read_only=True) as store:
        try:
            problems = store.check()
        except ArenaError as error:
            assert error.code == "store.damaged" and str(path) in error.message
        else:
            assert problems and str(path) in problems[0]


def test_a_truncated_file_is_damaged_not_empty(tmp_path):
    open_store(None, tmp_path).close()
    path = tmp_path / "arena.db"
    path.write_bytes(path.read_bytes()[:4096])
    assert refused(None, tmp_path).code == "store.damaged"


def test_check_finds_missing_recordings_and_wrong_counts(world):
    from arena.store import write_recording

    world.task()
    run = world.request(world.task(), world.agent())
    digest = write_recording(world.place.home, {"a": __import__("numpy").zeros(3)})
    world.store.commit_chunk(run.id, world.chunk(world.store.entries(run.id)[0], 0, recording=digest))
    assert world.store.check() == []
    shutil.rmtree(world.place.home / "recordings" / digest[:2])
    world.store.write(lambda c: c.execute(text("UPDATE runs SET n_done = 2, status = 'complete'")))
    assert world.store.check() == [
        f"run {run.id} counts 2 chunks and has 1",
        f"run {run.id} is complete with 1 of 3 chunks",
        f"recording {digest} is missing",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="statfs is read on Linux only")
def test_file_systems_are_told_apart(tmp_path):
    assert filesystem_type(Path("/proc")) == 0x9FA0
    assert filesystem_type(tmp_path / "not" / "there" / "yet") == filesystem_type(tmp_path) not in database.NETWORK_FILE_SYSTEMS


@pytest.mark.parametrize(("magic", "name"), [(0x6969, "NFS"), (0xFF534D42, "CIFS"), (0x65735546, "FUSE")])
def test_network_file_systems_are_refused(tmp_path, monkeypatch, magic, name):
    monkeypatch.setattr(database, "filesystem_type", lambda path: magic)
    error = refused(None, tmp_path / "home")
    assert error.code == "store.network" and name in error.message and "postgresql://" in error.hint
    assert not (tmp_path / "home").exists()


POWERLESS = """
import sys; from pathlib import Path
from arena.errors import ArenaError
from arena.store import open_store, write_recording
import numpy as np
home = Path(sys.argv[1])
with open_store(None, home, read_only=True) as store:
    print(len(store.tasks()), "tasks")
for act in (lambda: open_store(None, home), lambda: open_store(None, home / "below"), lambda: write_recording(home, {"a": np.zeros(2)})):
    try:
        act(); print("opened")
    except ArenaError as error:
        print(error.code, error.message)
"""


def drop_the_power_of_root() -> None:
    """Let permissions bind the superuser too: drop CAP_DAC_OVERRIDE from what the next program may have (prctl 24, PR_CAPBSET_DROP)."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the superuser is bound by permissions through prctl, on Linux only")
def test_a_folder_that_may_not_be_written(tmp_path):
    home = tmp_path / "home"
    with open_store(None, home) as store:
        store.ensure_environment({})
    for path, mode in ((home / "arena.db", 0o444), (home / "recordings", 0o555), (home, 0o555)):
        path.chmod(mode)
    arguments = [sys.executable, "-c", POWERLESS, str(home)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=REPOSITORY, preexec_fn=drop_the_power_of_root)
    home.chmod(0o755)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "store.readonly", "store.readonly", "store.readonly"], done.stdout + done.stderr
    assert str(home) in lines[1]


def test_a_full_disk_is_named_and_loses_nothing(tmp_path):
    with open_store(None, tmp_path) as store:
        store.ensure_agent("pid", "classical", "builtin", {})
        with store.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()

        def fill(connection):
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")  # what SQLite does at this limit is what it does on a full disk
            for k in range(1000):
                connection.execute(text("INSERT INTO environments (digest, detail) VALUES (:d, :x)"), {"d": str(k), "x": '"' + "y" * 2000 + '"'})

        with pytest.raises(ArenaError, match="no space left") as error:
            store.write(fill)
        assert error.value.code == "store.full" and str(tmp_path) in error.value.message
        with store.reading() as connection:
            assert connection.scalar(text("SELECT count(*) FROM environments")) == 0
        assert store.check() == []


def test_a_transaction_holds_the_write_lock_from_its_first_moment(tmp_path):
    """Taking it at the first write fails at once, whatever the busy timeout, when another process wrote since the first read."""
    with open_store(None, tmp_path) as store:

        def only_reads(connection):
            connection.execute(text("SELECT count(*) FROM runs")).scalar()
            rival = sqlite3.connect(store.path, timeout=0, isolation_level=None)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                rival.execute("BEGIN IMMEDIATE")
            assert rival.execute("SELECT count(*) FROM runs").fetchone() == (0,), "reading goes on"
            rival.close()
            return "held"

        assert store.write(only_reads) == "held"
        with store.reading() as connection:
            connection.execute(text("SELECT count(*) FROM runs")).scalar()
            assert store.event(None, "info", "x", "a reader stops nobody") == 1


def test_a_lock_that_stays_is_reported_with_its_holder(world, monkeypatch):
    if world.store.is_postgres:
        pytest.skip("PostgreSQL locks rows, not the store")
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 5)
    monkeypatch.setattr(database, "FIRST_WAIT", 0.001)
    run = world.request(world.task(), world.agent())
    world.store.acquire(run.id, "host-a:12")
    holder = sqlite3.connect(world.store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with world.open(read_only=True) as reader:
        assert reader.run_row(run.id).owner == "host-a:12", "readers are not locked out"
    second = database.Database(parse_url(None, world.place.home), world.place.home, sqlite_writer(world.store.path), world.store._reader)
    with pytest.raises(ArenaError, match="host-a:12") as error:
        second.write(lambda c: c.execute(text("DELETE FROM events")))
    assert error.value.code == "store.busy" and str(world.store.path) in error.value.message
    holder.execute("ROLLBACK")
    holder.close()
    second.write(lambda c: c.execute(text("DELETE FROM events")))
    second.close()


def test_a_transaction_that_was_in_the_way_is_repeated(store, monkeypatch):
    monkeypatch.setattr(database, "FIRST_WAIT", 0.001)
    attempts = []

    class Refused(Exception):
        sqlstate = "40001"

    def work(connection):
        attempts.append(connection.execute(text("INSERT INTO environments (digest, detail) VALUES ('a', '1') RETURNING id")).scalar())
        if len(attempts) < 4:
            raise OperationalError("...", None, Refused())
        return "done"

    assert store.write(work) == "done" and len(attempts) == 4
    with store.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM environments")) == 1


def test_nothing_here_imports_torch_and_opening_needs_no_alembic(tmp_path):
    open_store(None, tmp_path).close()
    code = "import sys; from pathlib import Path; from arena.store import open_store; open_store(None, Path(sys.argv[1])).tasks();"
    code += "print([name for name in ('torch', 'alembic', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]", done.stderr
