"""`arena register`, `retire`, `worker`, `run --queue`, suites and engines: what is printed, and what the exit codes say."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time

import pytest

TASK = "bidding/tiny-v1"
MINE = "class Mine:\n    def act(self, obs):\n        return {bid}\n"


@pytest.fixture
def mine(tmp_path):
    def write(bid=40, name="mine.py"):
        (tmp_path / name).write_text(MINE.format(bid=bid))
        return f"{name}:Mine"

    return write


def test_register_then_run(arena, mine):
    done = arena("register", mine(), "--name", "my-bidder", "--task", "bidding/*")
    assert done.code == 0 and re.fullmatch(
        r"agent my-bidder@1 registered \(process isolation\)   contract ok   1600/1600 legal   [\d.e-]+ ms/decision\n", done.out
    ), done.out
    assert "next: arena run -t bidding/standard-v1 -a my-bidder" in done.err
    again = arena("register", mine(), "--name", "my-bidder", "--json").document
    assert (again["version"], again["new"], again["level"], again["kind"]) == (1, False, "process", "file")
    assert arena("register", mine(41), "--name", "my-bidder", "--json").document["version"] == 2
    listed = arena("list", "agents", "-t", TASK, "--json").document["agents"]
    assert [(a["version"], a["kind"], a["summary"]) for a in listed if a["agent"] == "my-bidder"] == [(2, "file", "from mine.py:Mine")]
    played = arena("run", "-t", TASK, "-a", "my-*", "-a", "my-bidder@1", "-a", "const", "--json").document
    assert {run["agent"] for run in played["runs"]} == {"my-bidder", "const"} and [run["status"] for run in played["runs"]] == ["complete"] * 3
    assert {line["label"] for line in played["boards"][0]["lines"]} == {"my-bidder@1", "my-bidder@2", "const"}
    shown = arena("show", "run", 1, "--json").document["entries"][0]
    assert shown["level"] == "process" and shown["peak_memory"] > 0 and "process, " in arena("status", 1).out
    assert arena("verify", 1, 2, 3).code == 0


def test_what_is_wrong_is_said_rule_by_rule(arena, mine):
    done = arena("register", mine(999), "--name", "wild", "-t", "bidding/*")
    assert done.code == 2 and done.out == ""
    assert "legal      BROKEN" in done.err and "finite     ok" in done.err and "error: wild breaks the contract: legal: " in done.err
    found = arena("register", mine(999), "--name", "wild", "-t", "bidding/*", "--json").document
    assert found["code"] == "agent.contract" and {c["rule"] for c in found["context"]["checks"] if c["ok"] is False} >= {"legal"}
    assert arena("list", "agents", "--stored", "--json").document["agents"] == []
    assert arena("check", mine(999)).code == 2 and arena("check", mine()).code == 0


def test_retired_agents_are_out_of_the_way_and_come_back(arena, mine):
    for bid in (40, 41):
        arena("register", "-q", mine(bid), "--name", "mine", "-t", "bidding/*")
    assert arena("retire", "mine@2").out == "mine@2 retired\n"
    assert arena("run", "-t", TASK, "-a", "mine", "--dry-run", "--json").document["runs"][0]["agent"] == "mine"
    versions = {row["agent"]: row["version"] for row in arena("list", "agents", "--json").document["agents"]}
    assert versions["mine"] == 1
    assert arena("retire", "mine").out == "mine@1 retired\nmine@2 retired\n"
    assert "mine" not in {row["agent"] for row in arena("list", "agents", "--json").document["agents"]}
    assert arena("retire", "mine", "--undo").out == "mine@1 is back\nmine@2 is back\n" and arena("retire", "nobody").code == 6


def test_what_is_queued_is_played_by_a_worker(arena, process, mine):
    arena("register", "-q", mine(), "--name", "mine", "-t", "bidding/*")
    queued = arena("run", "-t", TASK, "-a", "mine", "-a", "const", "--queue", "--json").document["runs"]
    assert [(run["run"], run["status"]) for run in queued] == [(1, "queued"), (2, "queued")]
    assert "they are played by: arena worker" in arena("run", "-t", TASK, "-a", "pid", "--queue").out
    done = process("worker", "--once", "--engine", "local[1]")
    assert done.code == 0 and done.out == "0 jobs and 3 runs, 0 failed\n", done.err
    assert {row["status"] for row in arena("list", "runs", "--json").document["runs"]} == {"complete"}


def test_a_worker_is_stopped_by_ctrl_c_and_gives_back_what_it_has(arena, process, home, tmp_path):
    import signal

    (tmp_path / "slow.py").write_text("import time\ndef slow(obs):\n    time.sleep(0.05)\n    return 40\n")
    assert arena("run", "-t", TASK, "-a", "slow.py:slow", "--queue", "--chunk", 1).code == 0
    made = process("worker", wait=False)
    limit = time.monotonic() + 60
    while arena("status", 1, "--json").document["status"] != "running":
        assert time.monotonic() < limit and made.poll() is None
        time.sleep(0.1)
    made.send_signal(signal.SIGINT)
    out, err = made.communicate(timeout=60)
    assert made.returncode == 0 and "what was under way waits for the next worker" in err and "Traceback" not in err
    assert arena("status", 1, "--json").document["status"] == "queued"


@pytest.mark.parametrize(("suite", "tasks"), [("quick", {TASK}), ("standard", None), ("all", None)])
def test_suites_over_all_domains(arena, suite, tasks):
    from arena import registry

    agents = ("-a", "pid", "-a", "cpa-cap") if suite == "all" else ("-a", "pid")
    found = {run["task"] for run in arena("run", "-t", suite, *agents, "--dry-run", "--json").document["runs"]}
    wanted = {f"bidding/{name}" for name in registry.domains()["bidding"].suite} if suite == "standard" else tasks
    assert found == wanted if wanted else found > {TASK, "bidding/standard-v1", "bidding/cpa-v1"}


def test_settings_choose_the_engine(arena, monkeypatch):
    monkeypatch.setenv("ARENA_ENGINE", "lokal")
    done = arena("run", "-t", TASK, "-a", "const")
    assert done.code == 6 and "did you mean local?" in done.err
    assert arena("run", "-t", TASK, "-a", "const", "--engine", "inline").code == 0
    monkeypatch.setenv("ARENA_WORKERS", "many")
    assert "a number from 1 on, or auto" in arena("run", "-t", TASK, "-a", "pid", "--engine", "local").err


def test_a_terminal_shows_one_progress_over_all_runs(home, tmp_path):
    """On a real terminal, several runs: a bar for the one at hand and one for all."""
    words = [sys.executable, "-c", "import sys; from arena.cli import main; sys.exit(main(sys.argv[1:]))"]
    main, terminal = pty.openpty()
    command = [*words, "run", "-t", "quick", "-a", "pid", "-a", "const", "-a", "lin"]
    environment = os.environ | {"ARENA_HOME": str(home), "TERM": "xterm", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    environment.pop("NO_COLOR", None)
    made = subprocess.Popen(command, stderr=terminal, stdout=subprocess.PIPE, cwd=tmp_path, env=environment)
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(main, 65536):
            shown += piece
    except OSError:  # the other end is closed
        pass
    out = made.communicate()[0].decode()
    assert made.returncode == 0 and "rank" in out
    text = shown.decode()
    assert "all runs" in text and "run 3 of 3" in text and "run 1 of 3" in text
