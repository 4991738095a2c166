"""The worker: jobs to their results, runs to their boards, and what it does with those that nobody can play."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from sqlalchemy import update

from arena import registry
from arena.artifacts import upload
from arena.engines import Inline
from arena.evaluation import request
from arena.registration import submit
from arena.store import open_store
from arena.store.schema import runs
from arena.worker import Worker

TASK = "bidding/tiny-v1"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ARENA_STORE", raising=False)
    with open_store(None, tmp_path / "home") as store:
        yield store


def work(store):
    return Worker(store, Inline()).run(once=True)


@pytest.fixture
def anywhere(place, monkeypatch):
    """A store on either engine, which the settings name."""
    monkeypatch.setenv("ARENA_HOME", str(place.home))
    monkeypatch.setenv("ARENA_STORE", place.url) if place.url else monkeypatch.delenv("ARENA_STORE", raising=False)
    with open_store(place.url, place.home) as store:
        yield store


def test_a_registration_that_was_asked_for_and_then_a_benchmark(anywhere):
    kept = anywhere
    asked = submit(kept, {"kind": "builtin", "name": "soft", "source": "pid(kp=0.3)", "tasks": ["bidding/*"], "token_env": None})
    assert kept.agents() == [] and work(kept)["jobs"][0]["status"] == "done"
    job = kept.job(asked.id)
    assert job["result"]["agent"] == "soft@1" and {c["ok"] for c in job["result"]["checks"]} == {True}
    log = [(e["code"], e["level"]) for e in kept.job_events(asked.id)]
    assert log[0] == ("check.begin", "info") and log[-1] == ("agent.registered", "info") and ("check.legal", "info") in log
    benchmark = kept.enqueue("run", {"task": TASK, "agent": "soft", "seed": 3})
    done = work(kept)
    run = kept.job(benchmark.id)["run_id"]  # a database other tests emptied goes on counting
    assert done["runs"] == [{"run": run, "status": "complete", "error": None}]
    assert kept.run_row(run).seed == 3 and [line["agent"] for line in kept.board(TASK)] == ["soft"]


def test_what_fails_its_check_is_the_result_of_the_job(kept, monkeypatch):
    monkeypatch.setenv("ARENA_ALLOW_UPLOAD_CODE", "1")
    code = b"def wild(obs):\n    return 999\n"
    name = hashlib.sha256(code).hexdigest()
    upload("").mkdir(parents=True)
    upload(f"{name}.py").write_bytes(code)
    asked = submit(kept, {"kind": "file", "name": "wild", "source": f"upload:{name}", "attribute": "wild", "tasks": ["bidding/*"]})
    assert work(kept)["jobs"][0]["status"] == "failed"
    result = kept.job(asked.id)["result"]
    assert result["code"] == "agent.contract" and [c["rule"] for c in result["checks"] if c["ok"] is False] == ["legal"]
    assert kept.agents() == [] and "error" in {e["level"] for e in kept.job_events(asked.id)}


@pytest.mark.parametrize(
    ("spec", "code"),
    [({"task": "bidding/nothing-v1", "agent": "pid"}, "unknown.task"), ({"task": TASK, "agent": "nobody"}, "unknown.agent")],
)
def test_a_run_that_cannot_be_made_fails_its_job_and_nothing_else(kept, spec, code):
    asked, fine = kept.enqueue("run", spec), kept.enqueue("run", {"task": TASK, "agent": "pid", "seed": 0})
    done = work(kept)
    assert [job["status"] for job in done["jobs"]] == ["failed", "done"] and kept.job(asked.id)["result"]["code"] == code
    assert kept.run_row(kept.job(fine.id)["run_id"]).status == "complete"


def test_runs_of_dead_workers_are_taken_over(kept, tiny):
    row = request(kept, tiny, registry.candidate("pid"))
    assert kept.acquire(row.id, "gone:1:ab")
    kept.write(lambda c: c.execute(update(runs).where(runs.c.id == row.id).values(lease_until=1)))
    assert [run.id for run in kept.stalled()] == [row.id]
    assert work(kept)["runs"][0]["status"] == "complete"


def test_a_run_whose_agent_is_gone_fails_with_the_reason(kept, tiny, tmp_path):
    path = tmp_path / "here.py"
    path.write_text("def f(obs):\n    return 40\n")
    row = request(kept, tiny, registry.candidate(f"{path}:f"))
    path.unlink()
    fine = request(kept, tiny, registry.candidate("pid"))
    assert [(run["run"], run["status"], run["error"]) for run in work(kept)["runs"]] == [
        (row.id, "failed", "unknown.file"), (fine.id, "complete", None),
    ]  # fmt: skip
    assert "there is no file" in kept.events(row.id)[0]["message"]


def test_a_run_that_the_machine_keeps_from_being_played_does_not_wait_for_ever(kept, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("arena.worker.LOOK", 0.01)
    (tmp_path / "sign").mkdir()
    bad = Path(__file__).parents[1] / "agents_bad" / "worse.py"
    row = request(kept, tiny, registry.candidate(f"{bad}:EndsItsWorkers(sign={tmp_path / 'sign'},times=99)"))
    done = work(kept)["runs"]
    assert [run["error"] for run in done] == ["infra.nursery"] * 3 and kept.run_row(row.id).status == "failed"
    assert kept.events(row.id)[-1]["code"] == "run.gave_up" and not kept.failures(row.id)


def test_two_workers_share_what_waits(kept, tiny, tmp_path):
    for seed in range(6):
        request(kept, tiny, registry.candidate("random"), seed)
    done = []

    def one():
        with open_store(None, tmp_path / "home") as store:
            done.append([run["run"] for run in work(store)["runs"]])

    workers = [threading.Thread(target=one) for _ in range(2)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert sorted(done[0] + done[1]) == [1, 2, 3, 4, 5, 6] and kept.board(TASK)[0]["runs"] == 6


def test_a_worker_remembers_its_newest_runs_and_counts_all(kept, tiny, monkeypatch):
    monkeypatch.setattr("arena.worker.KEPT", 2)
    rows = [request(kept, tiny, registry.candidate("const"), seed) for seed in range(3)]
    worker = Worker(kept, Inline())
    assert [run["run"] for run in worker.run(once=True)["runs"]] == [row.id for row in rows[1:]] and worker.total == {"runs": 3}
