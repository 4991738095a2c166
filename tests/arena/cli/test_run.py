"""`arena run`: which tasks and agents are meant, what is printed, which exit code comes back."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

TASK = "bidding/tiny-v1"
BAD = Path(__file__).parents[2] / "agents_bad"
OUT_OF_RANGE = """
import torch
from arena.agent import Agent

class Greedy(Agent):
    def act(self, obs):
        return torch.full((len(obs["live"]),), 301)

class Fine(Agent):
    def __init__(self, label: str = ""):
        self.label = label
    def act(self, obs):
        return torch.full((len(obs["live"]),), 60)
"""


def test_prints_the_board_on_stdout_and_progress_on_stderr(arena):
    done = arena("run", "-t", TASK, "-a", "const", "-a", "pid")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{TASK}   16 scenarios")
    assert lines[1].split() == "rank agent score (95 %) IQM worst10 fail ms/dec to the leader, paired".split()
    assert [line.split()[1] for line in lines[2:4]] == ["pid", "const"]
    assert "-0.613 [" in lines[3]
    assert max(map(len, lines)) <= 100
    assert "run 1 (" in done.err and "scen/s" in done.err and "failures 0" in done.err
    assert "scen/s" not in done.out and "\x1b" not in done.out + done.err


def test_asking_again_plays_nothing_again(arena):
    first = arena("run", "-t", TASK, "-a", "const")
    again = arena("run", "-t", "bidding/tiny", "-a", "const")
    assert again.code == 0 and again.out == first.out
    assert "nothing was left to play" in again.err
    assert arena("list", "runs", "--json").document["runs"][0]["run"] == 1


def test_globs_skip_who_does_not_play_and_names_raise(arena):
    done = arena("run", "-t", TASK, "-a", "c*")
    assert done.code == 0
    assert "skipped on bidding/tiny-v1: cpa-cap" in done.err
    assert [row["agent"] for row in arena("run", "-t", TASK, "-a", "c*", "--json").document["boards"][0]["lines"]] == ["const"]
    named = arena("run", "-t", TASK, "-a", "const", "-a", "cpa-cap")
    assert named.code == 2 and "cpa-cap does not play bidding/tiny-v1" in named.err and "arena list agents" in named.err
    both = arena("run", "-t", "bidding/tiny-*", "-a", "cpa-cap")
    assert both.code == 2 and "cpa-cap plays none of the tasks" in both.err


def test_several_seeds_are_pooled_into_one_line(arena):
    done = arena("run", "-t", TASK, "-a", "rand", "--seeds", 3, "--json").document
    assert [run["seed"] for run in done["runs"]] == [0, 1, 2]
    (line,) = done["boards"][0]["lines"]
    assert line["runs"] == 3 and line["to_leader"] is None and line["rank_range"] == [1, 1]
    refused = arena("run", "-t", TASK, "-a", "rand", "--seed", 1, "--seeds", 3)
    assert refused.code == 2 and "exclude each other" in refused.err


def test_chunk_size_does_not_change_the_scores(arena, home):
    whole = arena("run", "-t", TASK, "-a", "rand", "--json").document["boards"][0]["lines"][0]
    shutil.rmtree(home)
    small = arena("run", "-t", TASK, "-a", "rand", "--chunk", 3, "--json").document["boards"][0]["lines"][0]
    assert (whole["score"], whole["lo"], whole["hi"]) == (small["score"], small["lo"], small["hi"])
    assert arena("list", "runs", "--json").document["runs"][0]["chunks"] == 6


def test_dry_run_writes_nothing_and_knows_the_time_after_a_first_run(arena, home):
    plan = arena("run", "-t", TASK, "-a", "const", "-a", "pid", "--dry-run", "--json").document
    assert not home.exists()
    assert [run["status"] for run in plan["runs"]] == ["new", "new"] and plan["seconds"] is None
    (run,) = arena("run", "-t", TASK, "-a", "pid", "--chunk", 3, "--dry-run", "--json").document["runs"]
    assert run["chunks"] == -(-run["scenarios"] // 3)
    assert plan["bytes"] == sum(run["bytes"] for run in plan["runs"]) > 16 * 100
    arena("run", "-t", TASK, "-a", "const")
    after = arena("run", "-t", TASK, "-a", "const", "-a", "const", "--seeds", 2, "--dry-run")
    assert after.code == 0 and "run 1, complete" in after.out and "2 runs, about" in after.out
    guessed = arena("run", "-t", TASK, "-a", "const", "-a", "pid", "--dry-run", "--json").document["runs"]
    assert [(run["estimate"], run["seconds"] > 0) for run in guessed] == [("agent", False), ("task", True)]


def test_csv_holds_the_lines_of_the_board(arena):
    done = arena("run", "-q", "-t", TASK, "-a", "const", "-a", "pid", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert done.err == ""
    assert [(row["task"], row["agent"], row["position"]) for row in rows] == [(TASK, "pid", "1"), (TASK, "const", "2")]
    assert float(rows[0]["score"]) > float(rows[1]["score"])


@pytest.mark.parametrize(
    ("agent", "code", "detail"),
    [
        ("breaks_down.py:CrashesInAct", "agent.crash", "the model file ran away"),
        ("answers_wrongly.py:NotANumber", "agent.illegal", "nan"),
        ("answers_wrongly.py:WrongShape", "agent.illegal", "shape (8, 1), expected (8,)"),
        ("answers_wrongly.py:WholeFloats", "agent.illegal", "dtype float32"),
    ],
)
def test_an_agent_that_fails_is_ranked_with_its_failures_and_gives_exit_code_3(arena, agent, code, detail):
    done = arena("run", "-t", TASK, "-a", BAD / agent)
    assert done.code == 3
    assert "100 %" in done.out and "-1.000" in done.out
    assert code in done.err and detail in done.err and "arena status 1" in done.err
    run = arena("status", 1, "--json").document
    assert run["status"] == "complete" and run["failed"] == 16 and {f["code"] for f in run["failures"]} == {code}
    again = arena("run", "-q", "-t", TASK, "-a", BAD / agent, "--json")
    assert again.code == 3 and again.document["runs"][0]["failures"] == 16


def test_a_bid_out_of_range_fails_only_its_rows_and_says_what_was_allowed(arena, tmp_path):
    (tmp_path / "mine.py").write_text(OUT_OF_RANGE)
    done = arena("run", "-t", TASK, "-a", "mine.py:Greedy", "-a", "mine.py:Fine")
    assert done.code == 3
    assert "value 301, allowed 0..300" in done.err
    rows = arena("leaderboard", TASK, "--json").document["boards"][0]["lines"]
    assert [(row["agent"], row["failed"], row["kind"]) for row in rows] == [("fine", 0, "file"), ("greedy", 16, "file")]


def test_names_are_printed_as_they_are(arena, tmp_path):
    (tmp_path / "mine.py").write_text(OUT_OF_RANGE)
    done = arena("run", "-t", TASK, "-a", "mine.py:Fine(label=[red]x[/red])", "-a", "mine.py:Fine(label=\x1b[31mx)")
    assert done.code == 0
    assert "fine(label=[red]x[/red])" in done.out
    assert "fine(label=\\x1b[31mx)" in done.out and "\x1b" not in done.out + done.err


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("pdi", "did you mean pid"),
        ("nowhere.py:Class", "there is no file nowhere.py"),
        ("empty.py:Class", "no attribute is called"),
        ("broken.py:Class", "cannot be imported: ZeroDivisionError"),
        ("pid(gain=3)", "parameter gain"),
        ("pid@7", "pid@7 is not here"),
    ],
)
def test_agents_that_cannot_be_made_are_refused_before_anything_is_played(arena, tmp_path, agent, said):
    (tmp_path / "empty.py").write_text("x = 1")
    (tmp_path / "broken.py").write_text("x = 1 / 0")
    done = arena("run", "-t", TASK, "-a", agent)
    assert done.code in (2, 6)
    assert said in done.err and done.out == "" and "Traceback" not in done.err


def test_unknown_tasks_suggest_near_names(arena):
    done = arena("run", "-t", "bidding/tyni-v1", "-a", "pid", "--json")
    assert done.code == 6 and done.err == ""
    assert done.document["code"] == "unknown.task" and "bidding/tiny-v1" in done.document["hint"]
    assert arena("run", "-t", "biding/tiny-v1", "-a", "pid").err.count("did you mean bidding?") == 1
    assert arena("run", "-t", "bidding/zzz*", "-a", "pid").code == 6


def test_missing_real_data_says_which_files_and_where(arena):
    done = arena("run", "-t", "bidding/ipinyou-1458", "-a", "const")
    assert done.code == 2
    assert "no ipinyou files of campaign 1458" in done.err and "test.theta.txt" in done.err and "--data FOLDER" in done.err
    caught = arena("run", "-t", "bidding/ipinyou-*", "-a", "const", "--json").document
    assert caught["code"] == "run.nothing" and len(caught["context"]["skipped"]) == 9


def test_a_full_disk_is_told_before_anything_is_played(arena, home, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    done = arena("run", "-t", TASK, "-a", "const")
    assert done.code == 4 and "need up to 50 MB" in done.err and "has 1 MB free" in done.err
    assert not home.exists()


def test_a_gpu_that_is_not_there(arena):
    done = arena("run", "-t", TASK, "-a", "const", "--device", "cuda:7")
    assert done.code == 2 and "cuda:7 was asked for" in done.err
    assert arena("run", "-t", TASK, "-a", "const", "--device", "toaster").code == 2


def test_one_broken_run_of_several_does_not_stop_the_others(arena, monkeypatch):
    from arena import evaluation

    honest = evaluation.execute

    def execute(store, run, task, candidate, *more):
        if candidate.name == "const":
            raise ZeroDivisionError("the kernel")
        return honest(store, run, task, candidate, *more)

    monkeypatch.setattr(evaluation, "execute", execute)
    done = arena("run", "-t", TASK, "-a", "const", "-a", "pid")
    assert done.code == 1
    assert "ZeroDivisionError: the kernel" in done.err
    assert "pid" in done.out and "not on the board: run 1 of const@1" in done.out
    alone = arena("run", "-t", TASK, "-a", "const")
    assert alone.code == 1 and "error: ZeroDivisionError: the kernel" in alone.err and "ARENA_LOG=debug" in alone.err and "Traceback" not in alone.err
    debug = arena("--log", "debug", "run", "-t", TASK, "-a", "const")
    assert debug.code == 1 and "Traceback" in debug.err


def test_what_an_agent_prints_stays_out_of_the_document(arena, tmp_path):
    (tmp_path / "chatty.py").write_text("print('loading')\ndef bid(obs):\n    print('bidding')\n    return 40\n")
    done = arena("run", "-t", TASK, "-a", f"{tmp_path}/chatty.py:bid", "--json")
    assert done.document["runs"][0]["failures"] == 0 and done.err == ""
    printed = next(e for e in arena("show", "run", 1, "--json").document["events"] if e["code"] == "agent.output")
    assert printed["data"]["output"].startswith("loading\nbidding\n")
    again = arena("run", "-t", TASK, "-a", f"{tmp_path}/chatty.py:bid", "--seed", 1)
    assert "bid printed 1601 lines (arena show run 2), the last ones:\n  bidding\n" in again.err and "  bidding\n" not in again.out


def test_an_agent_that_refuses_the_history_lets_the_others_play(arena, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    for name, value in (("train", "0.01"), ("test", "0.02")):
        (folder / f"{name}.theta.txt").write_text("".join(f"0 {z} {value}\n" for z in range(1, 201)))
    done = arena("run", "-t", "bidding/ipinyou-1458-v1(n=100,c0=1/8)", "-a", "mcpc", "-a", "const", "--data", folder)
    assert done.code == 2 and "mcpc refuses" in done.err and "the cost per click is undefined" in done.err
    assert "warning: bidding/ipinyou-1458-v1: the history has no click" in done.err and "UserWarning" not in done.err
    assert [line.split()[1] for line in done.out.splitlines()[2:]] == ["const"]
    alone = arena("run", "-t", "bidding/ipinyou-1458-v1(n=100,c0=1/8)", "-a", "mcpc", "--data", folder, "--json")
    assert alone.code == 2 and alone.document["code"] == "history.clicks"
