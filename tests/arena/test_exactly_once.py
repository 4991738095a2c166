"""A run that is killed at any moment ends with the rows, measurements, standings and draws of an undisturbed one, to the last bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update

from arena import registry
from arena.evaluation import execute, request
from arena.integrity import verify
from arena.store import open_store
from arena.store.schema import chunks, entries, failures, measurements, metrics, runs, standing_draws, standings

WORKER = Path(__file__).with_name("attacked_worker.py")


def attack(place, mode, count=0, seed=0):
    command = [sys.executable, str(WORKER), place.url or "-", str(place.home), mode, str(count), str(seed)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=540, cwd=place.home.parent)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def content(store):
    """All rows that a run leaves, without what a clock decides and without row ids."""
    numbers = ("headline", "lo", "hi", "mean", "iqm", "cvar10", "sd", "failed", "runs", "runs_unfinished")
    queries = {
        "runs": select(runs.c.status, runs.c.n_done, runs.c.n_chunks, runs.c.owner, runs.c.request_digest),
        "chunks": select(chunks.c.chunk, chunks.c.start, chunks.c.n, chunks.c.recording_digest).order_by(chunks.c.chunk),
        "entries": select(entries.c.role, entries.c.status, entries.c.failures, entries.c.decisions),
        "measurements": select(metrics.c.name, measurements.c.start, measurements.c.n, measurements.c.vals)
        .join(metrics, metrics.c.id == measurements.c.metric_id)
        .order_by(metrics.c.name, measurements.c.start),
        "failures": select(failures.c.scenario, failures.c.step, failures.c.code, failures.c.detail).order_by(failures.c.scenario),
        "standings": select(*(standings.c[name] for name in numbers)),
        "draws": select(standing_draws.c.draws),
    }
    with store.reading() as connection:
        return {name: [tuple(row) for row in connection.execute(query)] for name, query in queries.items()}


@pytest.fixture(scope="module", autouse=True)
def without_walls():
    """As the attacked worker plays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARENA_ISOLATION", "inline")
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny, from_agents):
    with open_store(None, tmp_path_factory.mktemp("undisturbed")) as store:
        run = execute(store, request(store, tiny, from_agents, chunk=1), tiny, from_agents)
        assert run.status == "complete"
        found = content(store)
    assert len(found["chunks"]) == 16 and [f[0] for f in found["failures"]] == [2, 7, 12] and len(found["draws"]) == 1
    return found


@pytest.fixture(scope="module")
def from_agents():
    return registry.candidate(str(WORKER.parents[1] / "agents_bad" / "moody.py:Moody"))


def killed_as_undisturbed(place, tiny, undisturbed, count, seed):
    log = attack(place, "kill", count, seed)
    with open_store(place.url, place.home) as store:
        assert content(store) == undisturbed
        assert store.check() == []
        with store.reading() as connection:
            run_id = connection.scalar(select(runs.c.id))
        assert verify(store, run_id, tiny).ok
    return log


def test_a_run_killed_twenty_times(place, tiny, undisturbed):
    log = killed_as_undisturbed(place, tiny, undisturbed, 20, 3)
    dead = [entry for entry in log if entry[0] == -9]
    assert len(dead) >= 18
    assert any(n == 16 and status != "complete" for _, status, n in dead), "some between the last chunk and the finish"
    assert len({n for _, _, n in dead}) >= 4, "some early, some late"


def test_a_full_disk_leaves_the_run_to_be_resumed(tmp_path, tiny, undisturbed, from_agents):
    place = SimpleNamespace(url=None, home=tmp_path / "home")
    code, status, n_done = attack(place, "full")
    assert code == 7 and status in ("queued", "running") and n_done == 4, "running: the store could not even be told"
    with open_store(place.url, place.home) as store:
        store.write(lambda c: c.execute(update(runs).values(lease_until=0)))
        execute(store, request(store, tiny, from_agents), tiny, from_agents)
        assert content(store) == undisturbed and store.check() == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_runs_killed_at_sixty_moments(place, tiny, undisturbed, seed):
    assert sum(code == -9 for code, _, _ in killed_as_undisturbed(place, tiny, undisturbed, 60, seed)) >= 54
