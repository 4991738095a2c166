"""The queue of jobs: taken once, given back by death, ended once; on both engines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from arena.errors import ArenaError
from arena.store.schema import jobs


def test_a_job_from_asking_to_its_end(store):
    asked = store.enqueue("register", {"kind": "http", "name": "far"})
    assert (asked.status, asked.owner, store.job(asked.id)["stalled"]) == ("queued", None, False)
    taken = store.next_job("worker-1")
    assert taken.id == asked.id and taken.status == "running" and taken.spec == asked.spec
    assert store.next_job("worker-2") is None
    assert store.renew_job(taken.id, "worker-1") and not store.renew_job(taken.id, "worker-2")
    assert store.event(None, "info", "check.ok", "legal actions", job_id=taken.id)
    assert [e["message"] for e in store.job_events(taken.id)] == ["legal actions"] and store.events(None) == []
    assert not store.end_job(taken.id, "worker-2", "done")
    assert store.end_job(taken.id, "worker-1", "done", {"agent": "far@1"})
    assert store.job(taken.id)["result"] == {"agent": "far@1"} and store.job(taken.id)["finished"]
    assert not store.cancel_job(taken.id)
    with pytest.raises(ArenaError, match="no job is called '99'"):
        store.job(99)
    with pytest.raises(ArenaError, match="kinds: register, run"):
        store.enqueue("dance", {})


def test_a_dead_workers_job_is_taken_over_and_a_cancelled_one_is_lost(store):
    first, second = store.enqueue("run", {"n": 1}), store.enqueue("run", {"n": 2})
    assert store.next_job("dead").id == first.id
    store.write(lambda c: c.execute(update(jobs).where(jobs.c.id == first.id).values(lease_until=1)))
    assert [(j["id"], j["stalled"]) for j in store.jobs()] == [(second.id, False), (first.id, True)]
    assert store.next_job("heir").id == first.id and not store.end_job(first.id, "dead", "done")
    assert store.cancel_job(first.id) and not store.end_job(first.id, "heir", "done")
    assert store.job(first.id)["result"]["code"] == "job.cancelled"
    assert [j["id"] for j in store.jobs(status="queued")] == [second.id] and store.jobs(before=second.id)[0]["id"] == first.id


def test_workers_that_ask_at_once_get_different_jobs(store):
    wanted = {store.enqueue("run", {"n": n}).id for n in range(12)}
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda n: store.next_job(f"worker-{n}"), range(16)))
    found = [job.id for job in taken if job is not None]
    assert sorted(found) == sorted(wanted)
