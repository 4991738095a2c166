"""`arena crossplay`: who plays whom, what is printed, the queue; and frozen opponents shown with their task."""

from __future__ import annotations

import csv
import io

import pytest

TASK = "roshambo/tiny-v1"
PURE = ("-a", "toy-rock", "-a", "toy-paper", "-a", "toy-scissors")


@pytest.fixture(autouse=True)
def known_game(with_roshambo):
    pass


def test_the_matrix_is_played_once_and_printed(arena):
    done = arena("crossplay", "-t", "roshambo/tiny", *PURE)
    assert done.code == 0
    assert done.out.splitlines()[0] == "roshambo/tiny-v1   12 scenarios, 3 agents, 9 of 9 pairs, few scenarios: wide intervals"
    assert "mean score of the agent as row, against the one as column (95 %)" in done.out
    (rock,) = [line for line in done.out.splitlines() if line.startswith("toy-rock  ") and line.count("[") == 3]
    assert rock.split()[1::3] == ["-1.000", "0.000", "1.000"], "against paper, rock and scissors"
    assert "[9/9]" in done.err and "toy-rock against toy-paper" in done.err
    assert "ratings depend on the pool; toy-paper@1 has 1000" in done.out and done.out.count("1000 [") == 3
    again = arena("crossplay", "-t", TASK, *PURE)
    assert again.out == done.out and again.err == "", "nothing is played again"
    assert arena("crossplay", "-t", TASK).out == done.out, "without agents: all that have met"
    alone = arena("crossplay", "-t", TASK, "-a", "toy-rock", "-a", "toy-paper")
    assert "2 agents, 4 of 4 pairs" in alone.out
    assert arena("leaderboard", TASK).out.count("unranked") == 5


def test_the_document_and_the_table(arena):
    found = arena("crossplay", "-t", TASK, *PURE, "--seeds", "2", "--json").document
    assert [(run["agent"], run["opponent"], run["seed"]) for run in found["runs"]][:2] == [("toy-rock", "toy-rock", 0), ("toy-rock", "toy-paper", 0)]
    assert len(found["runs"]) == 18 and {run["status"] for run in found["runs"]} == {"complete"}
    assert found["unrated"] is None and found["reference"] == "toy-paper@1" and len(found["pairs"]) == 9
    rows = list(csv.DictReader(io.StringIO(arena("crossplay", "-t", TASK, "--csv").out)))
    assert [(row["row"], row["column"], float(row["score"])) for row in rows] == [(p["row"], p["column"], p["score"]) for p in found["pairs"]]
    assert arena("show", "run", 2, "--json").document["ranked"] is False
    assert [row["agents"] for row in arena("list", "runs", "-n", 17, "--json").document["runs"]][-1] == ["toy-rock@1", "toy-paper@1"]


def test_without_a_winner_the_reason_stands_in_the_place_of_ratings(arena):
    done = arena("crossplay", "-t", "roshambo/nobody-wins-v1", *PURE)
    assert done.code == 0 and "no ratings: its task declares no winner" in done.out and "1000" not in done.out


def test_failures_are_told_with_who_failed(arena):
    done = arena("crossplay", "-t", TASK, "-a", "toy-rock", "-a", "toy-quitter")
    assert done.code == 3
    assert "toy-quitter failed scenario 0 at step 0 (agent.illegal)" in done.err and "toy-rock failed" not in done.err
    assert "4 matches are void for an agent whose opponent failed" in done.out
    found = arena("crossplay", "-t", TASK, "-a", "toy-rock", "-a", "toy-quitter", "--json").document
    assert [run["failures"] for run in found["runs"]] == [0, 4, 0, 4]
    assert arena("verify", 1, 2, 3, 4).code == 0


def test_the_queue_and_the_way_back(arena):
    queued = arena("crossplay", "-t", TASK, *PURE, "--queue", "--json").document
    assert [run["agent"] for run in queued["runs"]][:2] == ["toy-rock against toy-rock", "toy-rock against toy-paper"]
    assert {run["status"] for run in queued["runs"]} == {"queued"}
    waiting = arena("crossplay", "-t", TASK)
    assert waiting.code == 0 and "0 of 9 pairs" in waiting.out and "..." in waiting.out
    assert arena("resume", 2, "-q").out == f"the payoff matrix: arena crossplay -t {TASK}\n"
    assert arena("worker", "--once", "-q").code == 0
    assert "9 of 9 pairs" in arena("crossplay", "-t", TASK).out
    assert arena("crossplay", "-t", TASK, "--queue").code == 2


def test_a_dry_run_tells_what_is_there_and_plays_nothing(arena, home):
    words = ("crossplay", "-t", TASK, "-a", "toy-rock", "-a", "toy-paper", "--dry-run")
    fresh = arena(*words)
    assert fresh.code == 0 and "4 matches, time not known before a first match" in fresh.out and not home.exists()
    arena("crossplay", "-q", "-t", TASK, "-a", "toy-rock")
    arena("crossplay", "-t", TASK, "-a", "toy-paper", "--queue")
    plan = arena(*words, "--json").document
    assert [(run["agent"], run["opponent"], run["run"], run["status"], run["estimate"]) for run in plan["runs"]] == [
        ("toy-rock", "toy-rock", 1, "complete", "agent"),
        ("toy-rock", "toy-paper", None, "new", "task"),
        ("toy-paper", "toy-rock", None, "new", "task"),
        ("toy-paper", "toy-paper", 2, "queued", "task"),
    ]
    assert plan["runs"][0]["seconds"] == 0 and plan["seconds"] == sum(run["seconds"] for run in plan["runs"]) > 0 and plan["costs"] == []
    smaller = arena(*words, "--chunk", 1, "--json").document["runs"]
    assert [run["chunks"] == run["scenarios"] for run in smaller] == [False, True, True, False], "a match that is there keeps its chunks"
    assert "toy-rock against toy-rock" in arena(*words).out and len(arena("list", "runs", "--json").document["runs"]) == 2
    alone = arena("run", "-t", TASK, "-a", "toy-rock", "--dry-run", "--json").document["runs"]
    assert [(run["run"], run["status"]) for run in alone] == [(None, "new")], "a match is no run of the board"
    assert arena("crossplay", "-t", TASK, "--dry-run").code == 2


def test_what_cannot_be_played(arena):
    other = arena("crossplay", "-t", "bidding/tiny-v1", "-a", "pid")
    assert other.code == 2 and "seats no two agents against each other" in other.err
    stranger = arena("crossplay", "-t", TASK, "-a", "pid")
    assert stranger.code == 2 and "pid does not play roshambo/tiny-v1" in stranger.err
    nobody = arena("crossplay", "-t", TASK)
    assert nobody.code == 6 and f"arena crossplay -t {TASK} -a AGENT -a AGENT" in nobody.err
    caught = arena("crossplay", "-t", TASK, "-a", "toy-paper", "-a", "pi*")
    assert caught.code == 0 and "skipped on roshambo/tiny-v1: pid, pid-threshold (they do not play it)" in caught.err
    assert "1 agent, 1 of 1 pairs" in caught.out and "no ratings: one agent alone is not rated" in caught.out
    assert arena("crossplay", "-t", TASK, "-a", "pi*").code == 2


def test_a_match_that_cannot_go_on_leaves_the_others(arena, monkeypatch):
    from arena import evaluation

    honest = evaluation.execute

    def execute(store, run, task, candidate, *more):
        if candidate.name == "toy-rock" and more[-1].name == "toy-paper":
            raise ZeroDivisionError("the kernel")
        return honest(store, run, task, candidate, *more)

    monkeypatch.setattr(evaluation, "execute", execute)
    done = arena("crossplay", "-t", TASK, "-a", "toy-rock", "-a", "toy-paper")
    assert done.code == 1 and "ZeroDivisionError: the kernel" in done.err and "3 of 4 pairs" in done.out and "..." in done.out
    monkeypatch.setattr(evaluation, "execute", honest)
    assert "4 of 4 pairs" in arena("crossplay", "-t", TASK, "-a", "toy-rock", "-a", "toy-paper").out


def test_task_show_names_roles_and_frozen_opponents(arena, monkeypatch):
    from dataclasses import replace

    from toy_matches import roshambo

    from arena import registry

    shown = arena("task", "show", TASK)
    assert "plays row and column" in shown.out and "row against column: result says who wins" in shown.out
    assert arena("task", "show", TASK, "--json").document["candidates"] == ["row", "column"]
    against = replace(roshambo(outcome=""), candidates=("row",), fill={"column": "toy-rock"})
    monkeypatch.setattr(registry, "task", lambda reference: against)
    shown = arena("task", "show", TASK)
    digest = registry.candidate("toy-rock").digest
    assert f"toy-rock, frozen (digest {digest[:12]})" in " ".join(shown.out.split()) and "column is" in shown.out and "cross-play" not in shown.out
    assert against.digest in shown.out


def test_ctrl_c_names_the_matches_that_are_left(arena, monkeypatch):
    from arena import evaluation

    honest = evaluation.execute

    def execute(store, run, task, candidate, *more):
        if run.id == 3:
            raise KeyboardInterrupt
        return honest(store, run, task, candidate, *more)

    monkeypatch.setattr(evaluation, "execute", execute)
    done = arena("crossplay", "-t", TASK, "-a", "toy-rock", "-a", "toy-paper")
    assert done.code == 130 and done.out == "" and "arena resume 3 4" in done.err
    monkeypatch.setattr(evaluation, "execute", honest)
    assert arena("resume", "-q").code == 0 and "4 of 4 pairs" in arena("crossplay", "-t", TASK).out
