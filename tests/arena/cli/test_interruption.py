"""Signals, live rivals and broken stores, each from a process of its own."""

from __future__ import annotations

import ctypes
import signal
import sqlite3
import time

import pytest

TASK = "bidding/tiny-v1"
SLOW = """
import os
import time
import torch
from arena.agent import Agent

class Slow(Agent):
    def act(self, obs):
        self.step = getattr(self, "step", -1) + 1
        if self.step >= 100 and os.path.exists(SIGN):
            time.sleep(0.05)
        return torch.full((len(obs["live"]),), 60)
"""


def state(home):
    """Status and committed chunks of run 1, read past the library; None before there is one."""
    if not (home / "arena.db").exists():
        return None
    connection = sqlite3.connect(f"file:{home / 'arena.db'}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT status, n_done FROM runs WHERE id = 1").fetchone()
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()


def wait_for(home, condition, made):
    limit = time.monotonic() + 60
    while not ((found := state(home)) and condition(*found)):
        assert made.poll() is None and time.monotonic() < limit, made.communicate()
        time.sleep(0.02)


@pytest.fixture
def slow(tmp_path):
    """Its first chunk takes no time, the others 5 s each as long as there is a file called slow."""
    (tmp_path / "slow.py").write_text(SLOW.replace("SIGN", repr(str(tmp_path / "slow"))))
    (tmp_path / "slow").touch()
    return "slow.py:Slow"


def test_ctrl_c_says_how_it_goes_on_and_resume_finishes_it(process, arena, home, slow, tmp_path):
    made = process("run", "-t", TASK, "-a", slow, "--chunk", 4, wait=False)
    wait_for(home, lambda status, done: done >= 1, made)
    rival = arena("run", "-t", TASK, "-a", slow, "--json")  # somebody starts the same run meanwhile
    assert rival.code == 2 and rival.document["code"] == "run.owned" and rival.document["context"]["run_id"] == 1
    assert made.poll() is None
    made.send_signal(signal.SIGINT)
    out, err = made.communicate(timeout=60)
    assert made.returncode == 130
    assert out == "" and "interrupted: run 1 has" in err and "arena resume 1" in err and "Traceback" not in err
    status, done = state(home)
    assert status == "queued" and 1 <= done < 4, "on a busy machine the rival took the time of another chunk"
    (tmp_path / "slow").unlink()
    finished = arena("resume", "--json")
    assert finished.code == 0 and finished.document["runs"][0]["status"] == "complete"
    assert arena("verify", 1).code == 0
    assert "nothing to resume" in arena("resume").err


def test_a_cancelled_run_ends_with_its_worker(process, arena, home, slow):
    made = process("run", "-t", TASK, "-a", slow, "--chunk", 1, wait=False)
    wait_for(home, lambda status, done: status == "running", made)
    cancelled = arena("cancel", 1, "--json").document["runs"]
    assert cancelled == [{"run": 1, "cancelled": True, "before": "running", "status": "cancelled"}]
    made.send_signal(signal.SIGTERM)  # by itself it would notice at the next renewal of its lease, 10 s later
    made.communicate(timeout=60)
    assert made.returncode == 130 and state(home)[0] == "cancelled"
    assert "nothing to cancel" in arena("cancel", 1).out
    assert arena("cancel", 7).code == 6


def test_a_run_whose_worker_died_is_shown_as_stalled_and_taken_over(arena, known):
    _execute(known, "UPDATE runs SET status = 'running', owner = 'gone:1:ab', lease_until = 1, finished = NULL WHERE id = 2")
    seen = arena("status", "--json").document
    assert seen["stalled"] == [2] and [run["status"] for run in seen["runs"]] == ["stalled"]
    assert "arena resume --stalled" in arena("status").out
    assert "arena resume 2" in arena("status", 2).out
    assert arena("resume", "--stalled").code == 0
    assert arena("status", 2, "--json").document["status"] == "complete"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda home: _garbage(home), "store.damaged"),
        (lambda home: _execute(home, "UPDATE arena_version SET version_num = '9999'"), "store.newer"),
        (lambda home: _execute(home, "ALTER TABLE arena_version RENAME TO other"), "store.foreign"),
    ],
)
def test_stores_that_cannot_be_used(arena, known, spoil, code):
    spoil(known)
    for command in (("leaderboard",), ("run", "-t", TASK, "-a", "const")):
        done = arena(*command, "--json")
        assert done.code == 4 and done.document["code"] == code and done.document["hint"]


def _garbage(home):
    for path in home.glob("arena.db*"):
        path.unlink()
    (home / "arena.db").write_bytes(b"no database" * 1000)


def _execute(home, statement):
    connection = sqlite3.connect(home / "arena.db")
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_read_only_home(process, known):
    def without_privileges():
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: what lets root write where nobody may
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)

    places = [known, *known.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        read = process("leaderboard", preexec_fn=without_privileges)
        write = process("cancel", 1, "--json", preexec_fn=without_privileges)
    finally:
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o644)
    assert read.code == 0 and "pid" in read.out
    assert write.code == 4 and write.document["code"] == "store.readonly"


def test_no_store_yet(arena, home):
    done = arena("leaderboard", "--json")
    assert done.code == 4 and done.document["code"] == "store.missing" and not home.exists()
