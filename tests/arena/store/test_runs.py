from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import text

from arena.errors import ArenaError
from arena.store import EntryRequest, Failure, RunRequest, write_recording


@pytest.fixture
def run(world):
    return world.request(world.task(), world.agent(), digest="one")


def test_the_same_request_is_the_same_run(world, run):
    again = world.request(run.task_id, world.agent(), digest="one")
    assert again == run and run.status == "queued"
    assert len(world.store.entries(run.id)) == 1
    assert world.request(run.task_id, world.agent(), digest="two").id != run.id


def test_the_lineup_keeps_its_order(world):
    pid, fill = world.agent("pid"), world.agent("fill")
    lineup = [EntryRequest("seller", 1, pid, mode="plan", level="process"), EntryRequest("buyer", -1, fill, candidate=False)]
    request = RunRequest(world.task(), "r", "l", 3, False, 10, 3, world.store.ensure_environment({}), {"x": 1}, lineup)
    run = world.store.request_run(request)
    first, second = world.store.entries(run.id)
    assert (first.role, first.seat, first.agent_id, first.candidate, first.mode, first.level) == ("seller", 1, pid, True, "plan", "process")
    assert (second.role, second.candidate, second.mode) == ("buyer", False, None)
    with pytest.raises(ArenaError, match="at least one entry"):
        world.store.request_run(replace(request, entries=[], request_digest="s"))


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_asking_again_queues_a_dropped_run(world, run, status):
    world.store.acquire(run.id, "a")
    world.store.release(run.id, "a", status)
    assert world.store.run_row(run.id).status == status
    assert world.request(run.task_id, world.agent(), digest="one").status == "queued"


def test_a_live_worker_keeps_its_run(world, run):
    assert world.store.acquire(run.id, "a", lease=60)
    with pytest.raises(ArenaError, match="worked on by a") as error:
        world.store.acquire(run.id, "b")
    assert error.value.code == "run.owned" and 50 < error.value.context["remaining"] <= 60
    assert world.store.acquire(run.id, "a"), "its own worker may take it again"
    assert world.store.run_row(run.id).owner == "a"


def test_a_dead_workers_run_is_taken_over(world, run):
    world.store.acquire(run.id, "a")
    assert not world.store.stalled()
    world.store.write(lambda c: c.execute(text("UPDATE runs SET lease_until = lease_until - 61000000")))
    assert [row.id for row in world.store.stalled()] == [run.id]
    assert world.store.acquire(run.id, "b")
    assert not world.store.stalled()
    assert not world.store.renew(run.id, "a") and world.store.renew(run.id, "b", lease=100)
    assert not world.store.release(run.id, "a", "failed") and world.store.run_row(run.id).status == "running"


def test_two_workers_that_start_the_same_run(world, run):
    def start(owner):
        try:
            return world.store.acquire(run.id, owner)
        except ArenaError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(start, [f"w{k}" for k in range(8)]))
    assert sorted(map(str, answers)) == ["True"] + ["run.owned"] * 7


def test_renewing_prolongs_the_lease(world, run):
    world.store.acquire(run.id, "a", lease=1)
    before = world.store.run_row(run.id).lease_until
    assert world.store.renew(run.id, "a", lease=100)
    assert world.store.run_row(run.id).lease_until > before + 90e6


def test_a_cancelled_run_is_lost_to_its_worker(world, run):
    world.store.acquire(run.id, "a")
    assert world.store.cancel(run.id) and not world.store.cancel(run.id)
    assert not world.store.renew(run.id, "a")
    row = world.store.run_row(run.id)
    assert (row.status, row.owner, row.lease_until) == ("cancelled", None, None) and row.finished is not None
    assert world.store.acquire(run.id, "b") and world.store.run_row(run.id).finished is None


def test_whatever_stopped_can_be_put_back_in_the_queue(world, run):
    store = world.store
    assert not store.requeue(run.id)  # it waits already
    store.acquire(run.id, "a", lease=60)
    assert not store.requeue(run.id)  # somebody works on it
    store.renew(run.id, "a", lease=-1)
    assert [row.id for row in store.stalled()] == [run.id] and store.requeue(run.id)
    assert (store.run_row(run.id).status, store.run_row(run.id).owner) == ("queued", None) and not store.renew(run.id, "a")
    for status in ("failed", "cancelled"):
        store.acquire(run.id, "b")
        store.release(run.id, "b", status)
        assert store.requeue(run.id) and store.next_queued("c").id == run.id
        assert store.run_row(run.id).finished is None
        store.release(run.id, "c", "queued")


def test_release_knows_three_states(world, run):
    world.store.acquire(run.id, "a")
    with pytest.raises(ArenaError, match="'complete'"):
        world.store.release(run.id, "a", "complete")
    assert world.store.release(run.id, "a", "queued")
    row = world.store.run_row(run.id)
    assert (row.status, row.owner, row.finished) == ("queued", None, None) and row.started is not None


def test_unknown_runs(world, run):
    for call in (world.store.run_row, world.store.run, lambda id: world.store.acquire(id, "a"), lambda id: world.store.commit_chunk(id, None)):
        with pytest.raises(ArenaError) as error:
            call(run.id + 1000)
        assert error.value.code == "unknown.run"


def test_the_queue_is_served_in_order_and_each_run_once(world):
    task, agent = world.task(), world.agent()
    queued = [world.request(task, agent, seed=k).id for k in range(12)]
    assert world.store.next_queued("first").id == queued[0]
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda k: world.store.next_queued(f"w{k}"), range(13)))
    ids = [row.id for row in taken if row is not None]
    assert len(ids) == len(set(ids)), "a run was given to two workers"
    while (row := world.store.next_queued("last")) is not None:  # on PostgreSQL a worker passes over rows that others hold at that moment
        ids.append(row.id)
    assert sorted(ids) == queued[1:]
    assert world.store.run_row(queued[5]).status == "running"


def test_a_chunk_is_committed_once(world, run):
    store, entry = world.store, world.store.entries(run.id)[0]
    store.acquire(run.id, "a")
    assert store.commit_chunk(run.id, world.chunk(entry, 1, value=0.25))
    assert not store.commit_chunk(run.id, world.chunk(entry, 1, value=0.75, failed=(12,)))
    assert store.done_chunks(run.id) == {1} and store.run_row(run.id).n_done == 1
    scores = store.scores([entry.id])[0]
    assert np.isnan(scores[:10]).all() and np.isnan(scores[20:]).all()
    np.testing.assert_array_equal(scores[10:20], 0.25 + np.arange(10, 20) / 1000)
    assert store.entries(run.id)[0].failures == 0 and not store.failures(run.id)


def test_totals_grow_with_the_chunks(world, run):
    store, entry = world.store, world.store.entries(run.id)[0]
    for chunk, failed in ((2, (20, 29)), (0, ()), (1, (15,))):
        assert store.commit_chunk(run.id, world.chunk(entry, chunk, failed=failed))
    total = store.entries(run.id)[0]
    assert (total.failures, total.decision_ns_total, total.decisions, total.peak_rss) == (3, 60_000, 60, 1002)
    assert [(f["scenario"], f["step"], f["code"], f["role"]) for f in store.failures(run.id)] == [
        (k, 3, "agent.crash", "bidder") for k in (15, 20, 29)
    ]
    merged = store.timings(run.id)[entry.id]
    assert merged["hist"][10] == 60 == merged["hist"].sum() and merged["usage"] == {"tokens": 21}


def test_vectors_come_back_bit_by_bit(world, run):
    entry = world.store.entries(run.id)[0]
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7e308, np.pi, 1 / 3, 0.1, -1.0])
    result = replace(world.chunk(entry, 0), measurements={(entry.id, "value"): odd, (entry.id, "score"): odd[::-1]})
    world.store.commit_chunk(run.id, result)
    vectors = world.store.metric_vectors(entry.id)
    assert vectors["value"][:10].tobytes() == odd.tobytes() and vectors["score"][:10].tobytes() == odd[::-1].tobytes()


def test_a_result_that_does_not_fit_its_run_is_refused_whole(world, run):
    entry = world.store.entries(run.id)[0]
    good = world.chunk(entry, 0)
    other = world.store.entries(world.request(run.task_id, world.agent()).id)[0]
    bad = [
        replace(good, start=25),
        replace(good, n=0),
        replace(good, measurements={(entry.id, "speed"): np.zeros(10)}),
        replace(good, measurements={(entry.id, "score"): np.zeros(9)}),
        replace(good, measurements={(other.id, "score"): np.zeros(10)}),
        replace(good, failures=[Failure(other.id, 1, 1, "agent.crash")]),
    ]
    for result in bad:
        with pytest.raises(ArenaError) as error:
            world.store.commit_chunk(run.id, result)
        assert error.value.code == "store.chunk"
    assert world.store.done_chunks(run.id) == set() and np.isnan(world.store.scores([entry.id])).all()


def test_long_and_strange_failure_texts_are_kept_short(world, run):
    entry = world.store.entries(run.id)[0]
    failure = Failure(entry.id, 4, 1, "agent.crash", "\0<b>é\U0001f4a5" + "x" * 10_000)
    world.store.commit_chunk(run.id, replace(world.chunk(entry, 0), failures=[failure]))
    (stored,) = world.store.failures(run.id)
    assert stored["detail"].startswith("\N{REPLACEMENT CHARACTER}<b>é\U0001f4a5xx") and len(stored["detail"].encode()) <= 2050


def test_a_recording_is_noted_once_and_must_exist(world, run):
    entry = world.store.entries(run.id)[0]
    digest = write_recording(world.place.home, {"bidder": np.arange(20).reshape(2, 10)})
    for chunk in (0, 1):
        assert world.store.commit_chunk(run.id, world.chunk(entry, chunk, recording=digest))
    assert [c["recording_digest"] for c in world.store.chunks(run.id)] == [digest] * 2
    with pytest.raises(ArenaError) as error:
        world.store.commit_chunk(run.id, world.chunk(entry, 2, recording="0" * 64))
    assert error.value.code == "store.recording_missing" and world.store.done_chunks(run.id) == {0, 1}


def test_events_after_the_last_one_seen(world, run):
    store = world.store
    ids = [store.event(run.id, "info", "chunk.done", f"chunk {k} \0", {"k": k}) for k in range(3)]
    store.event(None, "info", "store.opened", "no run")
    assert [(e["id"], e["data"]) for e in store.events(run.id, after=ids[0])] == [(ids[1], {"k": 1}), (ids[2], {"k": 2})]
    assert [e["message"] for e in store.events(run.id, limit=1)] == ["chunk 0 \N{REPLACEMENT CHARACTER}"]
    assert [e["code"] for e in store.events(None)] == ["store.opened"]
