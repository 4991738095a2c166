from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sqlalchemy import select
from toy_domains import Policy, aim, entrant, shop, shop_score, village, walk

from arena import leases, registry
from arena.errors import ArenaError
from arena.evaluation import execute, request
from arena.integrity import verify
from arena.scoring import standing, standing_of_means
from arena.standings import suites, summarise
from arena.store import open_store
from arena.store.schema import runs


@pytest.fixture
def kept(tmp_path):
    with open_store(None, tmp_path / "home") as opened:
        yield opened


def run(store, task, candidate, chunk=None, seed=0):
    return execute(store, request(store, task, candidate, seed, chunk), task, candidate)


def measured(store, run_id):
    entry = next(e for e in store.entries(run_id) if e.candidate)
    return store.metric_vectors(entry.id)


def failures(store, run_id):
    """scenario -> (step, code, detail) at the candidate's first role."""
    entry = next(e for e in store.entries(run_id) if e.candidate)
    return {f["scenario"]: (f["step"], f["code"], f["detail"]) for f in store.failures(run_id) if f["entry_id"] == entry.id}


# ---- the failure table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "step", "code", "detail"),
    [
        ("breaks_down:CrashesInAct", 4, "agent.crash", "ValueError: the model file ran away"),
        ("breaks_down:CrashesInBegin", 0, "agent.crash", "RuntimeError: no memory of the last chunk"),
        ("breaks_down:Leaves", 0, "agent.died", "SystemExit: 3"),
        ("breaks_down:Cancels", 0, "agent.crash", "asyncio.exceptions.CancelledError: by the event loop"),
        ("breaks_down:CrashesUnprintably", 0, "agent.crash", "<exception str() failed>"),
        ("breaks_down:CrashesAtLength", 0, "agent.crash", "ValueError: xxx"),
        ("answers_wrongly:WrongShape", 4, "agent.illegal", "shape (8, 1), expected (8,)"),
        ("answers_wrongly:WholeFloats", 4, "agent.illegal", "dtype float32 (first value 50.0), expected integers of Discrete(301)"),
        ("answers_wrongly:NotANumber", 4, "agent.illegal", "dtype float32 (first value nan)"),
        ("answers_wrongly:Booleans", 4, "agent.illegal", "dtype bool (first value True)"),
        ("answers_wrongly:Nothing", 4, "agent.illegal", "None of type NoneType, expected numbers"),
        ("answers_wrongly:Words", 4, "agent.illegal", "'fifty' of type str, expected numbers"),
        ("answers_wrongly:Complex", 4, "agent.illegal", "complex64"),
        ("answers_wrongly:Sparse", 4, "agent.illegal", "sparse_coo"),
        ("answers_wrongly:HugeUnsigned", 4, "agent.illegal", "18446744073709551566"),
    ],
)
def test_what_fails_every_scenario(kept, tiny, from_file, agent, step, code, detail):
    done = run(kept, tiny, from_file(agent))
    assert done.status == "complete"
    found = failures(kept, done.id)
    assert set(found) == set(range(16)) and {(s, c) for s, c, _ in found.values()} == {(step, code)}
    assert all(detail in text for _, _, text in found.values())
    vectors = measured(kept, done.id)
    assert (vectors["score"] == tiny.floor).all() and np.isnan(vectors["value"]).all()
    line = kept.board(tiny.id)[0]
    assert (line["headline"], line["failed"], line["n"]) == (-1.0, 16, 16)
    assert verify(kept, done.id, tiny).ok


@pytest.mark.parametrize(
    ("agent", "found"),
    [
        ("answers_wrongly:OutOfRange", {3: (4, "value 301, allowed 0..300"), 7: (4, "value -1, allowed 0..300")}),
        ("answers_wrongly:HugeInts", {1: (4, str(2**63)), 2: (4, str(-(2**70))), 3: (4, "value 40000, allowed 0..300")}),
        ("answers_wrongly:Ragged", {0: (4, "shape (1,), expected ()")}),
        ("answers_wrongly:Slots", {2: (10, "value nan, allowed -4.0..4.0"), 5: (10, "value inf"), 6: (10, "value 4.000")}),
    ],
)
def test_an_illegal_row_fails_alone(kept, tiny, from_file, agent, found):
    per_chunk = agent.endswith(("HugeInts", "Ragged"))  # these choose rows, the others scenarios
    done = run(kept, tiny, from_file(agent))
    wanted = {row + start: what for row, what in found.items() for start in ((0, 8) if per_chunk else (0,))}
    seen = failures(kept, done.id)
    assert set(seen) == set(wanted)
    for scenario, (step, text) in wanted.items():
        assert seen[scenario][:2] == (step, "agent.illegal") and text in seen[scenario][2]
    same = run(kept, tiny, from_file("odd_but_legal:Flat") if agent.endswith("Slots") else registry.candidate("const(bid=50)"))
    if not agent.endswith("Slots"):
        others = np.array([i not in wanted for i in range(16)])
        for name, vector in measured(kept, done.id).items():
            assert np.array_equal(vector[others], measured(kept, same.id)[name][others]), "nobody else is harmed"
            assert (vector[~others] == -1).all() if name == "score" else np.isnan(vector[~others]).all()
    assert verify(kept, done.id, tiny).ok


def test_a_broken_agent_harms_no_other(kept, tiny, from_file):
    agent = registry.candidate("const(bid=60)")
    before = run(kept, tiny, agent)
    alone = {name: vector.copy() for name, vector in measured(kept, before.id).items()}
    line = kept.board(tiny.id)[0]
    for name in ("breaks_down:CrashesInAct", "odd_but_legal:WritesObservations", "answers_wrongly:OutOfRange"):
        run(kept, tiny, from_file(name))
    again = run(kept, tiny, agent, seed=1)
    assert all(np.array_equal(vector, alone[name]) for name, vector in measured(kept, again.id).items())
    assert {k: line[k] for k in ("headline", "lo", "hi")} == {
        k: v for k, v in next(x for x in kept.board(tiny.id) if x["agent"] == line["agent"]).items() if k in ("headline", "lo", "hi")
    }


def test_what_breaks_at_the_end_fails_nothing_but_is_told(kept, tiny, from_file):
    done = run(kept, tiny, from_file("breaks_down:CrashesInEnd"))
    assert not failures(kept, done.id) and done.status == "complete"
    events = [e for e in kept.events(done.id) if e["code"] == "agent.crash"]
    assert len(events) == 2 and "cannot let go" in events[0]["message"]


def test_a_crashed_agent_is_made_anew_for_the_next_chunk(kept, tiny, from_file):
    done = run(kept, tiny, from_file("breaks_down:CrashesOnce"), chunk=4)
    assert set(failures(kept, done.id)) == {0, 1, 2, 3}


def test_the_whole_story_is_kept_once(kept, tiny, from_file):
    done = run(kept, tiny, from_file("breaks_down:CrashesInAct"))
    found = failures(kept, done.id)
    assert 'raise ValueError("the model file ran away")' in found[0][2] and "Traceback" in found[0][2]
    assert found[1][2] == "ValueError: the model file ran away"
    assert all(len(f[2]) <= 2048 for f in found.values())


def test_masked_actions(kept):
    task = walk()
    done = run(kept, task, entrant("left", lambda obs, brief, step: torch.where(brief.scenario % 2 == 0, 1, 2)))
    found = failures(kept, done.id)
    assert set(found) == set(range(0, 20, 2)) and found[0] == (0, "agent.illegal", "value 1, allowed 2 of the mask: 0, 2")


# ---- giving up --------------------------------------------------------------------------------------------------------


def crash_where(scenarios):
    def act(obs, brief, step):
        if step == 2 and bool(torch.isin(brief.scenario, torch.tensor(scenarios)).any()):
            raise RuntimeError("here")
        return torch.full((len(obs["live"]),), 50)

    return entrant("crash", act)


def test_an_agent_that_broke_three_chunks_in_a_row_is_not_asked_again(kept, tiny):
    done = run(kept, tiny, crash_where([1, 4, 7, 11]), chunk=2)
    codes = {scenario: code for scenario, (_, code, _) in failures(kept, done.id).items()}
    assert codes == {**dict.fromkeys([0, 1, 4, 5, 6, 7, 10, 11], "agent.crash")}, "two in a row, then one: never three"
    done = run(kept, tiny, crash_where([2, 4, 7]), chunk=2, seed=1)
    codes = {scenario: code for scenario, (_, code, _) in failures(kept, done.id).items()}
    assert codes == {**dict.fromkeys(range(2, 8), "agent.crash"), **dict.fromkeys(range(8, 16), "agent.gave_up")}
    assert done.status == "complete" and verify(kept, done.id, tiny).ok
    assert [c["recording_digest"] is None for c in kept.chunks(done.id)] == [False] * 4 + [True] * 4


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_giving_up_survives_an_interruption(kept, tiny, stop):
    agent = crash_where([2, 4, 7])
    wanted = run(kept, tiny, agent, chunk=2)
    row = request(kept, tiny, agent, seed=1, chunk=2)
    interrupt_after(kept, row, tiny, agent, stop)
    done = execute(kept, row, tiny, agent)
    assert failures(kept, done.id) == failures(kept, wanted.id)


def interrupt_after(store, row, task, candidate, chunks, error=KeyboardInterrupt):
    def report(progress):
        if progress.done == sum(n for _, n in task.chunks(row.chunk_size)[:chunks]):
            raise error

    with pytest.raises(error):
        execute(store, row, task, candidate, report)


# ---- interrupted, owned, taken over -----------------------------------------------------------------------------------


def test_an_interrupt_leaves_the_run_queued_with_its_chunks(kept, tiny):
    agent = registry.candidate("random")
    row = request(kept, tiny, agent, chunk=2)
    interrupt_after(kept, row, tiny, agent, 3)
    left = kept.run_row(row.id)
    assert (left.status, left.n_done, left.owner) == ("queued", 3, None) and not kept.events(row.id)
    assert execute(kept, left, tiny, agent).status == "complete"
    assert request(kept, tiny, agent).id == row.id, "asking again is the same run"


def test_an_agent_that_interrupts_in_this_process_is_taken_at_its_word(kept, tiny, from_file, monkeypatch):
    elsewhere = run(kept, tiny, from_file("breaks_down:Interrupts"))  # in a process of its own that is nobody else's Ctrl-C
    assert elsewhere.status == "complete" and {f["code"] for f in kept.failures(elsewhere.id)} == {"agent.crash"}
    monkeypatch.setenv("ARENA_ISOLATION", "inline")
    row = request(kept, tiny, from_file("breaks_down:Interrupts"))
    with pytest.raises(KeyboardInterrupt):
        execute(kept, row, tiny, from_file("breaks_down:Interrupts"))
    assert kept.run_row(row.id).status == "queued" and row.id != elsewhere.id
    assert [kept.entries(number)[0].level for number in (elsewhere.id, row.id)] == ["process", "inline"]


def test_a_live_workers_run_is_not_touched(kept, tiny):
    agent = registry.candidate("random")
    row = request(kept, tiny, agent)
    kept.acquire(row.id, "somebody else")
    with pytest.raises(ArenaError) as error:
        execute(kept, row, tiny, agent)
    assert error.value.code == "run.owned" and kept.run_row(row.id).owner == "somebody else"


def test_a_dead_workers_run_is_taken_over_where_it_stands(kept, tiny):
    agent = registry.candidate("random")
    row = request(kept, tiny, agent, chunk=4)
    interrupt_after(kept, row, tiny, agent, 2)
    before = kept.chunks(row.id)
    kept.acquire(row.id, "dead", lease=0.01)
    time.sleep(0.03)
    assert execute(kept, row, tiny, agent).status == "complete"
    assert kept.chunks(row.id)[:2] == before, "finished chunks are not played again"


def slow(seconds, then):
    def act(obs, brief, step):
        time.sleep(seconds)
        then(step)
        return torch.full((len(obs["live"]),), 50)

    return entrant("slow", act)


def test_the_lease_is_renewed_while_an_agent_thinks(kept, tiny, monkeypatch):
    monkeypatch.setattr(leases, "RENEW", 0.02)
    until = []
    agent = slow(0.002, lambda step: until.append(kept.run_row(row.id).lease_until) if step % 20 == 0 else None)
    row = request(kept, tiny, agent)
    execute(kept, row, tiny, agent)
    assert len(set(until)) >= 3 and until == sorted(until)
    assert kept.run_row(row.id).lease_until is None
    assert not [t for t in threading.enumerate() if t.name.startswith("lease")], "the renewing thread ends with the run"


def test_a_cancelled_run_stops_within_its_chunk(kept, tiny, monkeypatch):
    monkeypatch.setattr(leases, "RENEW", 0.01)
    agent = slow(0.002, lambda step: kept.cancel(row.id) if step == 10 else None)
    row = request(kept, tiny, agent)
    with pytest.raises(ArenaError) as error:
        execute(kept, row, tiny, agent)
    assert error.value.code == "run.lost"
    left = kept.run_row(row.id)
    assert left.status == "cancelled" and left.n_done == 0


def test_a_bug_of_the_kernel_ends_the_run(kept):
    task = aim()
    task.domain.metrics = lambda scenario, state: {"miss": torch.where(torch.arange(len(state.miss)) == 1, torch.nan, state.miss)}
    agent = entrant("still", lambda obs, brief, step: torch.zeros(len(obs["live"]), 2))
    row = request(kept, task, agent)
    with pytest.raises(ArenaError, match="measured miss = nan in scenario 1") as error:
        execute(kept, row, task, agent)
    assert error.value.code == "kernel.nonfinite" and kept.run_row(row.id).status == "failed"
    assert kept.events(row.id)[-1]["code"] == "kernel.nonfinite"


# ---- whole-set scores -------------------------------------------------------------------------------------------------


def test_a_whole_set_score_from_run_to_board(kept):
    task = shop()
    agent = entrant("two", lambda obs, brief, step: torch.where((brief.scenario == 5) & (step == 1), 9, 2))
    done = run(kept, task, agent, chunk=7)
    vectors = measured(kept, done.id)
    assert set(vectors) == {"profit", "waste"}, "there is no score per scenario"
    assert set(failures(kept, done.id)) == {5} and np.isnan(vectors["profit"][5])
    ok = np.arange(40) != 5
    groups = np.arange(40) % 2
    means = {name: np.array([vectors[name][ok & (groups == g)].mean() for g in (0, 1)]) for name in ("profit", "waste")}
    line = kept.board(task.id)[0]
    assert line["headline"] == pytest.approx(39 / 40 * shop_score(means, {}) - 1 / 40)
    assert line["iqm"] is None and line["failed"] == 1
    assert line["violated"] == int((vectors["waste"][ok] > 3 * (1 + 1e-9)).sum()) > 0
    metrics = np.stack([vectors[name] for name in ("profit", "waste")], -1)[None]
    function = lambda m: shop_score({"profit": m[..., 0], "waste": m[..., 1]}, {})  # noqa: E731
    again = standing_of_means(np.nan_to_num(metrics), ok[None], groups, function, -1.0, task_digest=task.digest)
    assert (line["lo"], line["hi"]) == (again.lo, again.hi)
    assert verify(kept, done.id, task).ok and kept.board(task.id)[0]["verified"]


# ---- several roles ----------------------------------------------------------------------------------------------------


def three(obs, brief, step):
    """Effort 2, and 3 where it is allowed; in scenario 4, seat 1 tries it anyway."""
    effort = 2 + obs["action_mask"][..., 3].long()
    effort[brief.scenario == 4, 1] = 7
    return effort


def test_workers_with_several_seats_under_a_frozen_planner(kept):
    task = village(("worker",), {"planner": "toy-planner"})
    done = run(kept, task, entrant("three", three))
    seats = kept.entries(done.id)
    assert [(e.role, e.candidate) for e in seats] == [("worker", True), ("planner", False)]
    found = failures(kept, done.id)
    assert set(found) == {4} and found[4][1] == "agent.illegal" and "value 7 of seat 1, allowed" in found[4][2]
    assert verify(kept, done.id, task).ok
    assert [(c["start"], c["n"]) for c in kept.chunks(done.id)] == [(0, 3), (3, 4)]
    assert seats[1].decisions == 3 * 6 + 1, "the planner decides every tenth step, in scenario 4 only once"


def test_a_planner_over_frozen_workers(kept):
    task = village(("planner",), {"worker": "toy-worker"})
    done = run(kept, task, entrant("low", lambda obs, brief, step: torch.full_like(obs["wealth"], 0.1, dtype=torch.float64)))
    assert not failures(kept, done.id) and np.allclose(measured(kept, done.id)["tax"], np.float32(0.1), rtol=0, atol=0)
    assert verify(kept, done.id, task).ok


def test_one_candidate_in_two_roles_has_two_entries_and_one_line(kept):
    task = village(("planner", "worker"), {})
    both = entrant("both", lambda obs, brief, step: three(obs, brief, step) if brief.role == "worker" else obs["wealth"].float() * 0 + 0.3)
    done = run(kept, task, both)
    assert [(e.role, e.candidate) for e in kept.entries(done.id)] == [("planner", True), ("worker", True)]
    found = failures(kept, done.id)
    assert set(found) == {4} and found[4][2].startswith("as worker: value 7"), "failed as a worker, it is failed where its score stands"
    assert len(kept.failures(done.id)) == 2 and len(kept.board(task.id)) == 1 and kept.board(task.id)[0]["failed"] == 1
    assert verify(kept, done.id, task).ok


def test_a_frozen_agent_that_fails_is_the_tasks_fault(kept):
    task = village(("planner",), {"worker": "toy-striker"})
    agent = entrant("low", lambda obs, brief, step: torch.full_like(obs["wealth"], 0.1).float())
    row = request(kept, task, agent)
    with pytest.raises(ArenaError, match="toy-striker, which village/planner-v1 seats as worker, failed in scenario 0 at step 0") as error:
        execute(kept, row, task, agent)
    assert error.value.code == "task.fill" and kept.run_row(row.id).status == "failed"


def test_an_empty_role_is_refused_before_anything_is_stored(kept):
    with pytest.raises(ArenaError, match="nobody plays 'worker'"):
        request(kept, village(("planner",), {}), entrant("x", lambda obs, brief, step: 0))
    with kept.reading() as connection:
        assert connection.execute(select(runs)).all() == []


def test_blocks_and_chunks_of_one_give_the_same(kept):
    task = village(("worker",), {"planner": "toy-planner"})
    one, all_ = run(kept, task, entrant("three", three), 1), run(kept, task, entrant("three too", three), 100)
    for name, vector in measured(kept, one.id).items():
        assert np.allclose(vector, measured(kept, all_.id)[name], rtol=1e-12, equal_nan=True)


# ---- lines of the board ------------------------------------------------------------------------------------------------


def pool(task, metrics, failed):
    runs_ = failed.shape[0]
    return SimpleNamespace(
        scores=np.zeros(failed.shape), failed=failed, decision_ns=np.full(runs_, 10), decisions=np.full(runs_, 5), metric=metrics.__getitem__
    )


def test_a_scenario_that_breaks_two_limits_is_violated_once(kept):
    task = aim()
    limit = task.domain.metrics_spec[0]
    task.domain.metrics_spec = (
        limit,
        replace(limit, name="a", role="constraint", direction=-1, threshold=1.0),
        replace(limit, name="b", role="constraint", direction=1, threshold=0.0, scale=2.0),
    )
    a = np.array([[2.0, 2.0, 1.0, 1.0 + 1e-12, np.nan, 0, 0, 0, 0, 0]])
    b = np.array([[-1.0, 1.0, -1.0, 0.0, np.nan, 0, 0, 0, 0, -1e-12]])
    failed = np.isnan(a)
    assert summarise(task, pool(task, {"a": a, "b": b}, failed)).violated == 3


def test_runs_are_pooled_and_the_mean_is_that_of_all(kept, tiny):
    agent = registry.candidate("random")
    each = [measured(kept, run(kept, tiny, agent, seed=seed).id)["score"] for seed in (2, 0, 1)]
    line = kept.board(tiny.id)[0]
    assert line["runs"] == 3 and line["headline"] == pytest.approx(np.mean(each), abs=1e-15)
    wanted = standing(np.stack([each[1], each[2], each[0]]), task_digest=tiny.digest)
    assert (line["lo"], line["hi"]) == (wanted.lo, wanted.hi)


def test_a_suite_is_the_mean_of_its_tasks_and_counts_the_runs_behind_it(kept, monkeypatch):
    first, second = walk(), replace(walk(), id="walk/more-v1")
    spec = registry.DomainSpec("walk", "", (), "", suite=("tiny-v1", "more-v1"))
    monkeypatch.setattr(registry, "domains", lambda: {"walk": spec})
    agent = entrant("right", lambda obs, brief, step: torch.full_like(obs["place"], 2))
    for seed in (0, 1):
        run(kept, first, agent, seed=seed)
    assert [line["runs"] for line in kept.board("walk/tiny-v1")] == [2]
    run(kept, second, agent)
    line = kept.board("walk")[0]
    parts = [kept.board(f"walk/{name}-v1")[0] for name in ("tiny", "more")]
    assert line["headline"] == pytest.approx(np.mean([p["headline"] for p in parts])) and line["n"] == 40
    assert line["runs"] == 3, "two of the one task, one of the other"
    assert suites(kept, aim(), SimpleNamespace(members=())) == [], "a domain nobody registered has no suite"


def test_the_overall_line_averages_domains_not_tasks(kept, monkeypatch):
    tasks = [walk(), replace(walk(), id="walk/more-v1"), aim()]
    specs = {"walk": registry.DomainSpec("walk", "", (), "", suite=("tiny-v1", "more-v1"))}
    specs["aim"] = registry.DomainSpec("aim", "", (), "", suite=(aim().id.split("/")[1],))
    monkeypatch.setattr(registry, "domains", lambda: specs)
    agent = registry.candidate("random")
    for task in tasks[:2]:
        run(kept, task, agent)
    assert kept.board("walk") and not kept.board("standard"), "nothing is imputed for a domain it has not played"
    run(kept, tasks[2], agent)
    (line,) = kept.board("standard")
    a, b, c = (kept.board(task.id)[0]["headline"] for task in tasks)
    clipped = [np.clip(value, -1.0, 1.2) for value in (a, b, c)]
    assert line["headline"] == pytest.approx((np.mean(clipped[:2]) + clipped[2]) / 2) and line["runs"] == 3
    assert kept.task("standard").domain == "overall"


def test_an_agent_is_refused_what_it_does_not_play(kept, tiny):
    agent = replace(entrant("x", lambda *_: 0), tasks=("walk/*",))
    with pytest.raises(ArenaError, match=r"x does not play bidding/tiny-v1; it plays walk/\*"):
        request(kept, tiny, agent)
    with kept.reading() as connection:
        assert connection.execute(select(runs)).all() == []


def test_a_mode_nobody_offers_is_refused(kept, tiny):
    class Odd(Policy):
        mode = "nightly"

    agent = registry.Candidate("odd", "builtin", "other", {}, "", lambda: Odd(None))
    with pytest.raises(ArenaError, match="has no mode 'nightly'; it has impression, slot"):
        request(kept, tiny, agent)
