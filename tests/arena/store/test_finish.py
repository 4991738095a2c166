from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from arena.errors import ArenaError
from arena.store import SuiteInput


def board(store, task_id):
    """The lines of a board without the time of their last change."""
    lines = store.board(task_id, with_draws=True)
    return [{**{k: v for k, v in line.items() if k != "updated"}, "draws": line["draws"].tobytes()} for line in lines]


def test_finishing_writes_the_line_of_the_agent(world):
    task, agent = world.task(), world.agent()
    run = world.played(task, agent, seed=7, failed=())
    world.store.finish(run.id, world.summarise)
    row = world.store.run_row(run.id)
    assert (row.status, row.owner, row.lease_until, row.n_done) == ("complete", None, None, 3) and row.finished >= row.started >= row.created
    assert world.store.entries(run.id)[0].status == "complete"
    (line,) = world.store.board(task, with_draws=True)
    expected = np.mean(0.5 + np.arange(30) / 1000)
    assert line["headline"] == pytest.approx(expected, abs=1e-15) and line["agent"] == "pid" and line["run_set"] == [run.id]
    assert (line["runs"], line["runs_unfinished"], line["verified"], line["n"], line["failed"]) == (1, 0, False, 30, 0)
    assert line["draws"].dtype == np.float32 and line["draws"].shape == (2000,)


def test_the_pool_names_everything_a_score_needs(world):
    task, agent = world.task(), world.agent()
    world.finished(task, agent, seed=9, value=0.1)
    run = world.played(task, agent, seed=2, value=0.4, failed=())
    entry = world.store.entries(run.id)[0]
    seen = []
    world.store.finish(run.id, lambda pool: seen.append(pool) or world.summarise(pool))
    (pool,) = seen
    assert (pool.task_id, pool.agent_id, pool.role, pool.seeds) == (task, agent, "bidder", (2, 9))
    assert pool.run_ids[0] == run.id and pool.entry_ids[0] == entry.id
    assert pool.scores.shape == (2, 30) and pool.scores[0, 3] == 0.4 + 0.003 and pool.scores[1, 3] == 0.1 + 0.003
    np.testing.assert_array_equal(pool.metric("value"), 100 * pool.scores)
    assert not pool.failed.any() and pool.decision_ns.tolist() == [60_000] * 2 and pool.decisions.tolist() == [60] * 2
    with pytest.raises(ArenaError) as error:
        pool.metric("speed")
    assert error.value.code == "unknown.metric"


def test_failed_scenarios_are_marked_in_the_pool(world):
    task, agent = world.task(), world.agent()
    run = world.request(task, agent)
    entry = world.store.entries(run.id)[0]
    world.store.acquire(run.id, "w")
    for chunk, failed in ((0, (3,)), (1, ()), (2, (20, 29))):
        world.store.commit_chunk(run.id, world.chunk(entry, chunk, failed=failed))
    world.store.finish(run.id, world.summarise)
    (line,) = world.store.board(task)
    assert line["failed"] == 3


def test_a_whole_set_task_has_no_score_per_scenario(world):
    task, agent = world.task(headline="of_means"), world.agent()
    run = world.request(task, agent)
    entry = world.store.entries(run.id)[0]
    world.store.acquire(run.id, "w")
    for chunk in range(3):
        result = world.chunk(entry, chunk)
        world.store.commit_chunk(run.id, replace(result, measurements={(entry.id, "value"): result.measurements[entry.id, "value"]}))

    def summarise(pool):
        assert pool.scores is None
        mean = float(pool.metric("value").mean())
        return replace(world.summarise(replace(pool, scores=pool.metric("value"))), headline=mean, iqm=float("nan"), cvar10=None)

    world.store.finish(run.id, summarise)
    (line,) = world.store.board(task)
    assert line["headline"] == pytest.approx(51.45) and line["iqm"] is None and line["cvar10"] is None


def test_all_complete_runs_of_an_agent_are_pooled_in_the_order_of_their_seeds(world):
    task, agent, other = world.task(), world.agent(), world.agent("other")
    world.finished(task, other, value=0.9)
    for seed, value in ((5, 0.2), (1, 0.4), (3, 0.6)):
        world.finished(task, agent, seed, value)
    seeds = []
    last = world.played(task, agent, seed=4, value=0.8)
    world.store.finish(last.id, lambda pool: seeds.append(pool.seeds) or world.summarise(pool))
    assert seeds == [(1, 3, 4, 5)]
    best, mine = world.store.board(task)
    assert best["agent"] == "other" and mine["runs"] == 4 and mine["headline"] == pytest.approx(0.5 + 0.0145)


def test_the_order_in_which_runs_are_finished_leaves_no_trace(world):
    task = world.task()
    lines = []
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        for seed in order:
            world.finished(task, world.agent(name), seed, value=0.3 + seed / 7)
        lines += [line for line in world.store.board(task, with_draws=True) if line["agent"] == name]
    assert lines[0]["headline"] == lines[1]["headline"] and lines[0]["draws"].tobytes() == lines[1]["draws"].tobytes()


def test_finishing_twice_changes_nothing(world):
    task, agent = world.task(), world.agent()
    run = world.finished(task, agent)
    once = board(world.store, task)
    world.store.finish(run.id, world.summarise)
    assert board(world.store, task) == once


def test_a_run_that_finishes_during_the_computation_is_pooled_too(world):
    """The interleaving that loses a run without the second look at the set of runs."""
    task, agent = world.task(), world.agent()
    first, second = (world.played(task, agent, seed, value) for seed, value in ((0, 0.2), (1, 0.6)))
    sizes = []

    def slow(pool):
        sizes.append(len(pool.run_ids))
        if len(sizes) == 1:
            world.store.finish(second.id, world.summarise)
        return world.summarise(pool)

    world.store.finish(first.id, slow)
    assert sizes == [1, 2]
    (line,) = world.store.board(task)
    assert line["runs"] == 2 and line["run_set"] == [first.id, second.id] and line["headline"] == pytest.approx(0.4145)


def test_runs_that_finish_at_once_are_all_pooled(world):
    task = world.task()
    for trial in range(5):
        agent = world.agent(f"agent{trial}")
        runs = [world.played(task, agent, seed) for seed in range(4)]
        barrier = threading.Barrier(4)

        def finish(run_id, barrier=barrier):
            calls = []

            def summarise(pool):
                if not calls:
                    barrier.wait(10)  # all four have read their pool before anyone writes
                calls.append(pool.run_ids)
                return world.summarise(pool)

            world.store.finish(run_id, summarise)

        threads = [threading.Thread(target=finish, args=(run.id,)) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        line = next(line for line in world.store.board(task) if line["agent"] == f"agent{trial}")
        assert line["run_set"] == sorted(run.id for run in runs)


def test_a_crash_between_last_chunk_and_finish_is_repaired(world):
    task, agent = world.task(), world.agent()
    run = world.played(task, agent)
    with pytest.raises(ZeroDivisionError):
        world.store.finish(run.id, lambda pool: 1 / 0)
    assert world.store.run_row(run.id).status == "running" and world.store.board(task) == []
    with world.open() as second:  # as a new process would
        assert second.acquire(run.id, "worker")
        assert second.done_chunks(run.id) == {0, 1, 2}
        second.finish(run.id, world.summarise)
        assert second.run_row(run.id).status == "complete" and len(second.board(task)) == 1


def test_a_complete_run_is_not_taken_again(world):
    run = world.finished(world.task(), world.agent())
    assert world.store.acquire(run.id, "b") is False
    assert not world.store.cancel(run.id) and world.store.run_row(run.id).status == "complete"


def test_missing_chunks_and_dropped_runs_are_not_completed(world):
    run = world.request(world.task(), world.agent())
    with pytest.raises(ArenaError) as error:
        world.store.finish(run.id, world.summarise)
    assert error.value.code == "run.not_running"
    world.store.acquire(run.id, "w")
    with pytest.raises(ArenaError, match="3 of 3 chunks") as error:
        world.store.finish(run.id, world.summarise)
    assert error.value.code == "run.unfinished"


def test_a_run_cancelled_during_the_computation_makes_no_line(world):
    task = world.task()
    run = world.played(task, world.agent())
    with pytest.raises(ArenaError) as error:
        world.store.finish(run.id, lambda pool: world.store.cancel(run.id) and world.summarise(pool))
    assert error.value.code == "run.not_running" and world.store.board(task) == []


def test_unranked_runs_only_become_complete(world):
    task, agent = world.task(), world.agent()
    run = world.played(task, agent, ranked=False)
    world.store.finish(run.id, lambda pool: pytest.fail("an unranked run has no standing"))
    assert world.store.run_row(run.id).status == "complete" and world.store.board(task) == []


def test_begun_and_dropped_seeds_show_on_the_board(world):
    task, agent = world.task(), world.agent()
    world.finished(task, agent)

    def unfinished():
        (line,) = world.store.board(task)
        return line["runs_unfinished"]

    run = world.request(task, agent, seed=1)
    assert unfinished() == 0
    world.store.acquire(run.id, "w")
    assert unfinished() == 1
    world.store.release(run.id, "w", "cancelled")
    assert unfinished() == 1
    assert world.store.cancel(world.request(task, agent, seed=2).id) and unfinished() == 1, "a run nobody began hides nothing"
    world.played(task, world.agent("other"))
    assert unfinished() == 1
    world.finished(task, agent, seed=3)
    assert unfinished() == 1


def test_nan_in_a_headline_or_its_draws_is_refused(world):
    task = world.task()
    run = world.played(task, world.agent())
    with pytest.raises(ArenaError) as error:
        world.store.finish(run.id, lambda pool: replace(world.summarise(pool), headline=float("nan")))
    assert error.value.code == "score.nonfinite" and world.store.board(task) == []


def test_a_line_is_verified_when_all_its_runs_are(world):
    task, agent = world.task(), world.agent()
    first, second = (world.finished(task, agent, seed) for seed in (0, 1))
    world.store.set_verified(first.id, True)
    assert [line["verified"] for line in world.store.board(task)] == [False]
    world.store.set_verified(second.id, True)
    assert [line["verified"] for line in world.store.board(task)] == [True]
    world.store.set_verified(first.id, False)
    assert [line["verified"] for line in world.store.board(task)] == [False] and world.store.run_row(first.id).verified is False


# ---- suites -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def suites(world):
    """A suite over all tasks of a domain: the mean of headlines and draws."""
    suite = world.task("dom", domain="dom", tier="suite")

    def compute(given: SuiteInput):
        members = [m for m in given.members if m.domain == "dom"]
        mean = float(np.mean([m.record.headline for m in members]))
        draws = np.mean([m.record.draws for m in members], axis=0, dtype=np.float64).astype(np.float32)
        assert len(draws) == 2000
        return [(suite, replace(members[0].record, headline=mean, draws=draws, members=tuple(m.task_id for m in members)))]

    return suite, compute


def test_suites_are_written_with_the_run(world, suites):
    suite, compute = suites
    agent = world.agent()
    tasks = [world.task(f"dom/t{k}-v1") for k in range(2)]
    elsewhere = world.task("zoo/t-v1", domain="zoo")
    runs = []
    for task, value in ((tasks[0], 0.2), (tasks[1], 0.6), (elsewhere, 0.0)):
        runs.append(world.played(task, agent, value=value).id)
        world.store.finish(runs[-1], world.summarise, compute)
    (line,) = world.store.board("dom", with_draws=True)
    assert line["task_id"] == suite and line["role"] == "" and line["headline"] == pytest.approx(0.4145)
    assert line["run_set"] == runs[:2] and line["runs"] == 2, "the other domain's run is not behind this line"
    assert line["draws"][7] == pytest.approx(0.4145, abs=1e-6)
    assert {row["task"] for row in world.store.standings(agent)} == {"dom", "dom/t0-v1", "dom/t1-v1", "zoo/t-v1"}


def test_two_tasks_that_finish_at_once_are_both_in_the_suite(world, suites):
    suite, compute = suites
    agent = world.agent()
    first, second = (world.played(world.task(f"dom/t{k}-v1"), agent, value=v) for k, v in ((0, 0.2), (1, 0.6)))
    calls = []

    def slow(given):
        calls.append(len(given.members))
        if len(calls) == 1:
            world.store.finish(second.id, world.summarise, compute)
        return compute(given)

    world.store.finish(first.id, world.summarise, slow)
    assert calls == [1, 2]
    (line,) = world.store.board(suite)
    assert line["headline"] == pytest.approx(0.4145) and line["run_set"] == [first.id, second.id]


def test_unfinished_runs_add_up_in_the_suite(world, suites):
    suite, compute = suites
    agent, task, other = world.agent(), world.task("dom/t0-v1"), world.task("dom/t1-v1")
    for tried in (task, other):
        run = world.request(tried, agent, seed=5)
        world.store.acquire(run.id, "w")
        world.store.release(run.id, "w", "failed")
        world.store.finish(world.played(tried, agent).id, world.summarise, compute)
    (line,) = world.store.board(suite)
    assert line["runs_unfinished"] == 2


def test_the_time_of_a_line_moves_on(world):
    task, agent = world.task(), world.agent()
    world.finished(task, agent)
    (before,) = world.store.board(task)
    time.sleep(0.002)
    world.finished(task, agent, seed=1)
    (after,) = world.store.board(task)
    assert after["updated"] > before["updated"]
