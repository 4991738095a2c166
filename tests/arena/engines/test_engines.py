"""The same run on every engine: bit-equal results, also of agents that fail; workers that die, runs that are cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from sqlalchemy import select, update

from arena import registry
from arena.engines import Chunk, Inline, Local, Work, open_engine
from arena.errors import ArenaError
from arena.evaluation import execute, request
from arena.store import open_store
from arena.store.schema import chunks, entries, failures, measurements, metrics, runs, standing_draws

BAD = Path(__file__).parents[2] / "agents_bad"
AGENTS = ["random", "pid", f"{BAD / 'moody.py'}:Moody", f"{BAD / 'breaks_down.py'}:CrashesInAct", f"{BAD / 'worse.py'}:ExitsOnce"]
QUERIES = {
    "chunks": select(chunks.c.chunk, chunks.c.start, chunks.c.n, chunks.c.recording_digest).order_by(chunks.c.run_id, chunks.c.chunk),
    "entries": select(entries.c.role, entries.c.status, entries.c.failures, entries.c.decisions).order_by(entries.c.id),
    "measurements": select(metrics.c.name, measurements.c.start, measurements.c.vals)
    .join(metrics, metrics.c.id == measurements.c.metric_id)
    .order_by(measurements.c.entry_id, metrics.c.name, measurements.c.start),
    "failures": select(failures.c.scenario, failures.c.step, failures.c.code).order_by(failures.c.entry_id, failures.c.scenario),
    "draws": select(standing_draws.c.draws).order_by(standing_draws.c.agent_id),
}


def content(store):
    with store.reading() as connection:
        return {name: [tuple(row) for row in connection.execute(query)] for name, query in QUERIES.items()}


@pytest.fixture
def kept(tmp_path):
    with open_store(None, tmp_path / "home") as store:
        yield store


def play_all(store, task, engine, chunk=3):
    for reference in AGENTS:
        candidate = registry.candidate(reference)
        row = request(store, task, candidate, seed=7, chunk=chunk)
        assert execute(store, row, task, candidate, engine=engine).status == "complete"
    return content(store)


@pytest.fixture(scope="module")
def inline(tmp_path_factory, tiny):
    with open_store(None, tmp_path_factory.mktemp("inline")) as store:
        return play_all(store, tiny, Inline())


@pytest.fixture(scope="module")
def local():
    engine = open_engine("local[2]")
    yield engine
    engine.close()


def test_worker_processes_find_the_same_to_the_bit(kept, tiny, inline, local):
    assert play_all(kept, tiny, local) == inline
    codes = {f[2] for f in inline["failures"]}
    assert len(inline["draws"]) == len(AGENTS) and codes == {"agent.illegal", "agent.crash", "agent.died", "agent.gave_up"}
    pids = [w.process.pid for w in local.workers]
    assert len(pids) == 2 and all(map(psutil.pid_exists, pids)), "they are kept warm"


def test_ray_finds_the_same_to_the_bit(kept, tiny, inline):
    pytest.importorskip("ray", reason="Ray is an optional extra")
    engine = open_engine("ray", 2)
    try:
        assert play_all(kept, tiny, engine) == inline
    finally:
        engine.close()


@pytest.mark.parametrize("size", [1, 7, 16])
def test_the_size_of_chunks_does_not_matter(kept, tiny, inline, local, size):
    candidate = registry.candidate("random")
    row = request(kept, tiny, candidate, seed=7, chunk=size)
    execute(kept, row, tiny, candidate, engine=local)
    again = content(kept)
    whole = [b"".join(v for n, _, v in found["measurements"] if n == "value")[: 16 * 8] for found in (again, inline)]
    assert whole[0] == whole[1]


def test_a_killed_worker_is_replaced_and_its_chunk_counted_once(kept, tiny, local, monkeypatch):
    """A worker is killed again and again while a run is played."""
    monkeypatch.setenv("ARENA_ISOLATION", "inline")
    stop, killed = threading.Event(), []

    def kill():
        while not stop.wait(0.6):
            for worker in local.workers[:1]:
                if worker.order is not None and len(killed) < 2:
                    killed.append(worker.process.pid)
                    os.kill(worker.process.pid, signal.SIGKILL)

    source = BAD / "slowly.py"
    candidate = registry.candidate(f"{source}:Slowly")
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        done = execute(kept, request(kept, tiny, candidate, chunk=2), tiny, candidate, engine=local)
    finally:
        stop.set()
        killer.join()
    assert done.status == "complete" and done.n_done == 8 and killed and not kept.failures(done.id)
    assert max(row["attempt"] for row in kept.chunks(done.id)) >= 2
    undisturbed = execute(kept, request(kept, tiny, registry.candidate(f"{source}:Slowly(nap=0.0)"), chunk=2), tiny, candidate)
    with kept.reading() as connection:
        query = select(chunks.c.recording_digest).order_by(chunks.c.chunk)
        first, second = (connection.scalars(query.where(chunks.c.run_id == run.id)).all() for run in (done, undisturbed))
    assert first == second


def test_a_chunk_that_kills_every_worker_ends_the_run_but_not_the_driver(kept, tiny, tmp_path, local, monkeypatch):
    monkeypatch.setenv("ARENA_ISOLATION", "inline")
    (tmp_path / "sign").mkdir()
    candidate = registry.candidate(f"{BAD / 'worse.py'}:EndsTheWorker(sign={tmp_path / 'sign'},times=9)")
    row = request(kept, tiny, candidate, chunk=8)
    with pytest.raises(ArenaError) as error:
        execute(kept, row, tiny, candidate, engine=local)
    assert error.value.code == "infra.worker" and "3 workers died of it (killed by signal 9)" in error.value.message
    assert kept.run_row(row.id).status == "queued" and not kept.failures(row.id), "it is not called the agent's fault"
    fine = registry.candidate("pid")
    assert execute(kept, request(kept, tiny, fine), tiny, fine, engine=local).status == "complete"


def test_what_only_this_process_knows_is_played_inline_only(kept, tiny, local):
    alone = replace(tiny, reference="")
    candidate = registry.candidate("pid")
    with pytest.raises(ArenaError, match="use the engine `inline`") as error:
        execute(kept, request(kept, alone, candidate), alone, candidate, engine=local)
    assert error.value.code == "engine.task"


def test_a_cancelled_run_stops_its_workers(kept, tiny, local, monkeypatch):
    monkeypatch.setattr("arena.leases.RENEW", 0.2)
    candidate = registry.candidate(f"{BAD / 'slowly.py'}:Slowly(nap=2)")
    row = request(kept, tiny, candidate, chunk=1)
    threading.Timer(1.0, lambda: kept.cancel(row.id)).start()
    began = time.monotonic()
    with pytest.raises(ArenaError) as error:
        execute(kept, row, tiny, candidate, engine=local)
    assert error.value.code == "run.lost" and kept.run_row(row.id).status == "cancelled" and time.monotonic() - began < 15


def test_workers_and_agents_end_when_the_driver_is_killed(tmp_path, tiny, monkeypatch):
    """kill -9 of the driver: nothing of it is alive a few seconds later, and the run, taken over, ends as an undisturbed one."""
    agent = f"{BAD / 'slowly.py'}:Slowly(nap=1)"
    words = ["run", "-t", "bidding/tiny-v1", "-a", agent, "--chunk", "3", "--engine", "local[1]"]
    code = "import sys; from arena.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = os.environ | {"ARENA_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    driver = subprocess.Popen([sys.executable, "-c", code, *words], env=environment, cwd=tmp_path, **silent)
    try:
        limit = time.monotonic() + 120
        while len(family := psutil.Process(driver.pid).children(recursive=True)) < 5:  # worker, its tracker, two nurseries, agent
            assert time.monotonic() < limit and driver.poll() is None, family
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.wait()
    gone, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, [process.cmdline() for process in alive]
    with open_store(None, tmp_path / "home") as store:
        assert store.runs()[0]["status"] == "running"
        store.write(lambda c: c.execute(update(runs).values(lease_until=0)))
        (stalled,) = store.stalled()
        monkeypatch.setenv("ARENA_HOME", str(tmp_path / "home"))
        done = execute(store, stalled, tiny, registry.candidate(agent))
        assert done.status == "complete" and done.n_done == 6 and not store.failures(1) and store.check() == []
        left = content(store)
    with open_store(None, tmp_path / "other") as store:
        candidate = registry.candidate(agent)
        execute(store, request(store, tiny, candidate, chunk=3), tiny, candidate)
        assert content(store) == left


@pytest.mark.parametrize("name", ["locall", "local[x]", "local[0]", "ray[", "inline[2"])
def test_engines_that_are_none(name):
    with pytest.raises(ArenaError) as error:
        open_engine(name).close()
    assert error.value.code in ("unknown.engine", "engine.workers") and error.value.hint


def test_a_worker_whose_task_differs_does_not_play_it(tiny, local):
    work = Work("elsewhere", tiny, registry.candidate("pid"), 0, "cpu")
    work.__dict__["packed"] = replace(work.packed, task_digest="0" * 64)
    with pytest.raises(ArenaError, match="has other content at this worker"):
        local.submit(work, Chunk(0, 0, 4), lambda step: None).result(60)
    work = Work("other agent", tiny, registry.candidate("pid"), 0, "cpu")
    work.__dict__["packed"] = replace(work.packed, agents=[{**work.packed.agents[0], "digest": "1" * 64}])
    with pytest.raises(ArenaError, match="pid has other content"):
        local.submit(work, Chunk(0, 0, 4), lambda step: None).result(60)


def test_no_more_chunks_are_under_way_than_workers_can_hold(kept, tiny):
    class Counting(Local):
        most = 0

        def submit(self, work, chunk, watch):
            pending = super().submit(work, chunk, watch)
            self.most = max(self.most, len(self.waiting) + sum(w.order is not None for w in self.workers))
            return pending

    engine = Counting(1)
    try:
        candidate = registry.candidate("pid")
        execute(kept, request(kept, tiny, candidate, chunk=1), tiny, candidate, engine=engine)
        assert 1 <= engine.most <= engine.capacity == 4
    finally:
        engine.close()
    assert np.isfinite(kept.board("bidding/tiny-v1")[0]["headline"])
