"""Every row of the failure table, each produced by an agent made for it: recorded as designed, the host alive, no process left behind."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from arena import registry
from arena.errors import ArenaError
from arena.evaluation import execute, request
from arena.store import open_store

BAD = Path(__file__).parents[2] / "agents_bad"
LIMITS = {"act_s": 0.05, "bank_s": 0.02, "begin_s": 2.0, "load_s": 5.0, "memory": 3e8}


@pytest.fixture
def kept(tmp_path):
    with open_store(None, tmp_path / "home") as store:
        yield store


@pytest.fixture
def strict(tiny):
    """The tiny task with limits that a test can wait for."""
    return replace(tiny, limits=LIMITS)


@pytest.fixture(autouse=True)
def no_orphans():
    """Nothing that an agent started is alive when the test is over."""
    yield
    limit = time.monotonic() + 5
    while (left := [p.pid for p in psutil.process_iter(["cmdline"]) if "arena-orphan" in " ".join(p.info["cmdline"] or ())]) or _agents():
        assert time.monotonic() < limit, (left, _agents())
        time.sleep(0.02)


def _agents():
    """Agents' processes below this one: children of the nursery."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            parent = process.parent()
            if parent is not None and "arena.isolation.nursery" in " ".join(parent.cmdline()):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def played(store, task, name, chunk=8, **more):
    candidate = registry.candidate(f"{BAD / 'worse.py'}:{name}")
    row = request(store, task, candidate, chunk=chunk)
    done = execute(store, row, task, candidate)
    assert done.status == "complete"
    entry = store.entries(done.id)[0]
    assert entry.level == "process" and entry.failures == len(store.failures(done.id))
    return done, {f["scenario"]: f for f in store.failures(done.id)}


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("Exits", "agent.died", "ended with exit code 7"),
        ("Segfaults", "agent.died", "ended by signal 11 (SIGSEGV)"),
        ("IsKilled", "agent.died", "ended by signal 9 (SIGKILL)"),
        ("Hangs", "agent.timeout", "no answer in 0.5"),
        ("HangsDeaf", "agent.timeout", "to act on 8 scenarios it has 0.4 s and the bank of 0.1"),
        ("HangsInBegin", "agent.timeout", "to begin it has 2 s"),
        ("AllocatesAtOnce", "agent.memory", "limit 300 MB, peak"),
        ("AllocatesInTorch", "agent.memory", "stopped by the address space it may map"),
        ("Aborts", "agent.memory", "limit 300 MB, peak"),
        ("ClosesEverything", "agent.died", ""),
        ("TalksOutOfTurn", "agent.died", "does not keep to the protocol"),
        ("FakesAnArray", "agent.died", "does not keep to the protocol: an array that ends at byte"),
        ("Pickles", "agent.died", "does not keep to the protocol"),
        ("AnswersForEver", "agent.died", "a frame of"),
        ("BlamesTheMachine", "agent.crash", "it was the machine"),
    ],
)
def test_what_ends_a_process_fails_its_chunk_and_the_run_goes_on(kept, strict, name, code, says):
    began = time.monotonic()
    done, found = played(kept, strict, name)
    assert time.monotonic() - began < 30, "in bounded time"
    assert set(found) == set(range(16)) and {f["code"] for f in found.values()} == {code}
    assert {f["step"] for f in found.values()} == ({0} if name == "HangsInBegin" else {4})
    assert all(says in f["detail"] for f in found.values()), found[0]["detail"]
    scores = kept.scores([kept.entries(done.id)[0].id])
    assert (scores == strict.floor).all()
    assert not (BAD / "pwned").exists()


def test_memory_that_its_children_take_is_its_own(kept, strict):
    _, found = played(kept, replace(strict, limits=LIMITS | {"act_s": 1.0, "bank_s": 0.1}), "Leaks", chunk=16)
    assert {f["code"] for f in found.values()} == {"agent.memory"} and "stopped by its resident memory" in found[0]["detail"]


def test_processor_time_is_limited_too(kept, strict):
    limits = LIMITS | {"act_s": 1.0, "bank_s": 1.0, "cpu_s": 0.05}
    done, found = played(kept, replace(strict, limits=limits), "BurnsProcessor", chunk=16)
    assert {f["code"] for f in found.values()} == {"agent.died"} and "processor time (SIGXCPU)" in found[0]["detail"]


def test_another_chunk_gets_another_process(kept, strict):
    done, found = played(kept, strict, "ExitsOnce")
    assert set(found) == set(range(8)), "only the chunk in which it left"
    (event,) = [e for e in kept.events(done.id) if e["code"] == "agent.died"]
    assert event["data"]["output"] == "I have had enough\n" and event["message"].startswith("chunk 0: bidder: ")


def test_three_chunks_in_a_row_and_it_is_not_asked_any_more(kept, strict):
    done, found = played(kept, strict, "Exits", chunk=2)
    codes = [found[i]["code"] for i in range(16)]
    assert codes == ["agent.died"] * 6 + ["agent.gave_up"] * 10
    assert kept.entries(done.id)[0].decisions == 3 * 2 * 5, "it was not asked after that"


def test_an_agent_that_cannot_be_made_again_fails_and_does_not_end_the_run(kept, strict, tmp_path):
    candidate = registry.candidate(f"{BAD / 'worse.py'}:LoadsOnce(sign={tmp_path / 'sign'})")
    done = execute(kept, request(kept, strict, candidate, chunk=4), strict, candidate)
    found = [(f["code"], f["detail"]) for f in kept.failures(done.id)]
    assert done.status == "complete" and [code for code, _ in found] == ["agent.died"] * 12 + ["agent.gave_up"] * 4
    assert "once was enough" in found[5][1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CannotLoad", "FileNotFoundError: weights.bin\nit printed: reading the weights"),
        ("DiesLoading", "ended with exit code 9"),
        ("HangsLoading", "no answer in 1"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_stored(kept, tiny, name, says):
    task = replace(tiny, limits=LIMITS | {"load_s": 1.0})
    with pytest.raises(ArenaError) as error:
        request(kept, task, registry.candidate(f"{BAD / 'worse.py'}:{name}"))
    assert error.value.code == "agent.incompatible" and error.value.exit_code == 2 and says in error.value.message
    assert kept.runs() == [] and kept.agents() == []


def test_whatever_an_agent_starts_ends_with_it(kept, strict):
    _, found = played(kept, replace(strict, limits=LIMITS | {"act_s": 1.0}), "LeavesChildren")
    assert {f["code"] for f in found.values()} == {"agent.died"} and "exit code 0" in found[0]["detail"]
    _, found = played(kept, replace(strict, limits=LIMITS | {"act_s": 1.0}), "KeepsChildren")
    assert not found  # and `no_orphans` sees that its daemons have gone


@pytest.mark.parametrize("name", ["Floods", "StartsThreads", "SavesUp"])
def test_bad_manners_that_cost_nobody_anything(kept, tiny, name):
    done, found = played(kept, replace(tiny, limits=LIMITS | {"act_s": 0.02, "bank_s": 1.0, "memory": 4e9}), name)
    assert not found
    printed = [e["data"]["output"] for e in kept.events(done.id) if e["code"] == "agent.output"]
    assert [(text[-8:], len(text)) for text in printed] == ([("the end\n", 65_536)] if name == "Floods" else [])
    assert kept.entries(done.id)[0].peak_rss > 0


def test_a_second_answer_is_not_taken_for_the_next_one(kept, strict):
    _, found = played(kept, strict, "AnswersTwice")
    assert {f["code"] for f in found.values()} == {"agent.died"} and "does not keep to the protocol" in found[0]["detail"]


def test_a_list_that_holds_itself_is_an_illegal_answer(kept, strict):
    _, found = played(kept, strict, "Nested")
    assert {f["code"] for f in found.values()} == {"agent.illegal"}


def test_its_environment_is_clean(kept, strict, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "hunter2")
    monkeypatch.setenv("ARENA_STORE_PASSWORD", "hunter2")
    monkeypatch.setenv("ARENA_ALLOWED", "yes")
    candidate = replace(registry.candidate(f"{BAD / 'worse.py'}:Secretive"), environment=("ARENA_ALLOWED", "NOT_THERE"))
    done = execute(kept, request(kept, strict, candidate), strict, candidate)
    assert not kept.failures(done.id)
    assert "allowed: yes" in next(e for e in kept.events(done.id) if e["code"] == "agent.output")["data"]["output"]


def test_the_folder_of_an_agent_is_its_own_and_gone_afterwards(kept, strict):
    done, _ = played(kept, strict, "TellsItsFolder")
    told = {e["data"]["output"].strip() for e in kept.events(done.id) if e["code"] == "agent.died"}
    assert len(told) == 2 and not any(Path(folder).exists() for folder in told)


def test_a_dead_nursery_is_nobodys_fault(kept, strict, tmp_path):
    """The process above the agents is killed: the run waits to be resumed, and goes on with another one."""
    (tmp_path / "sign").mkdir()
    candidate = registry.candidate(f"{BAD / 'worse.py'}:EndsItsWorkers(sign={tmp_path / 'sign'})")
    row = request(kept, strict, candidate)
    with pytest.raises(ArenaError) as error:
        execute(kept, row, strict, candidate)
    assert error.value.code == "infra.nursery" and kept.run_row(row.id).status == "queued" and not kept.failures(row.id)
    assert execute(kept, row, strict, candidate).status == "complete" and not kept.failures(row.id)


def test_open_files_do_not_pile_up(kept, strict):
    played(kept, strict, "ExitsOnce")
    before = len(os.listdir("/proc/self/fd"))
    for chunk in (1, 2):
        played(kept, replace(strict, limits=LIMITS | {"bank_s": 0.02 + chunk / 1000}), "ExitsOnce", chunk=chunk)
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_ctrl_c_while_the_nursery_thinks_leaves_no_wrong_answer(kept, strict):
    """An answer that nobody waited for is never taken for the next one; the next agent gets another nursery."""
    from arena.isolation.host import nurse

    candidate = registry.candidate(f"{BAD / 'worse.py'}:Secretive")
    first = candidate.enter(strict.view)
    old = nurse()

    class Interrupted:
        def __init__(self, control):
            self.control = control

        def __getattr__(self, name):
            return getattr(self.control, name)

        def recv(self, size):
            raise KeyboardInterrupt

    old.control, control = Interrupted(old.control), old.control
    with pytest.raises(KeyboardInterrupt):
        old.ask("look", token=first.token)
    old.control = control
    assert control.fileno() < 0
    first.close()
    second = candidate.enter(strict.view)
    assert nurse() is not old and second.nurse is nurse()
    second.close()
    old.process.wait(10)
