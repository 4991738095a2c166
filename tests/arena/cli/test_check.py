"""`arena check`: what it says, how it ends, and that it says it for every kind of reference; what `arena new` says it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

TASK = "bidding/tiny-v1"
BAD = Path(__file__).parents[2] / "agents_bad"


def test_an_agent_that_keeps_the_contract(arena):
    done = arena("check", "pid")
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0].startswith("agent pid   contract ok   1600/1600 legal   0.")
    assert lines[0].endswith(f" ms/decision   on {TASK}")
    assert [line.split()[:2] for line in lines[2:]] == [
        [rule, "ok"] for rule in "fits runs legal finite mask repeatable reset batch inputs outputs time".split()
    ]
    assert max(map(len, lines)) <= 100 and done.err == ""


def test_an_agent_that_breaks_it_is_told_in_which_step_by_what(arena):
    done = arena("check", f"{BAD / 'breaks_one_rule.py'}:Reset")
    assert done.code == 2 and "agent reset   contract broken (reset)   1600/1600 legal" in done.out
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.out.splitlines()[2:] if line[0] != " "}
    assert rows["reset"][0] == "BROKEN" and rows["reset"][1].startswith("scenario 0, step 0: 51 in an agent's first chunk, 54 in a later one")
    assert rows["batch"][0] == "-" and rows["legal"][0] == "ok"
    assert max(map(len, done.out.splitlines())) <= 100


def test_the_document_of_a_broken_contract(arena):
    done = arena("check", f"{BAD / 'breaks_one_rule.py'}:Reset", "--json")
    found = done.document
    assert done.code == 2 and done.err == "" and found["ok"] is False and found["task"] == TASK
    assert {check["rule"]: check["ok"] for check in found["checks"] if check["ok"] is not True} == {"reset": False, "batch": None}


def test_an_agent_that_breaks_down_in_a_process_of_its_own(arena):
    done = arena("check", f"{BAD / 'breaks_down.py'}:Leaves", "--json")
    (broken,) = [check for check in done.document["checks"] if check["ok"] is False]
    assert done.code == 2 and broken["rule"] == "runs" and broken["detail"].startswith("act, step 0, with 8 scenarios: ")


def test_what_an_agent_prints_does_not_mix_with_the_report(arena, monkeypatch):
    monkeypatch.setenv("ARENA_ISOLATION", "inline")
    done = arena("check", f"{BAD / 'odd_but_legal.py'}:Chatty", "--json")
    assert done.code == 0 and done.document["ok"] and "thinking" not in done.out and "thinking" in done.err


def test_the_task_may_be_chosen(arena):
    done = arena("check", "const(bid=60)", "-t", "bidding/first-price", "--json")
    assert done.code == 0 and done.document["task"] == "bidding/first-price-v1" and done.document["agent"] == "const(bid=60)"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("piddd",), 6, "did you mean pid"),
        (("pid", "-t", "bidding/tinny"), 6, "bidding/tiny-v1"),
        (("cpa-cap", "-t", TASK), 2, f"cpa-cap does not play {TASK}"),
        (("nosuch.py:Agent",), 6, "nosuch.py"),
        ((), 2, "AGENT"),
    ],
)
def test_what_cannot_be_checked_is_an_error(arena, words, code, told):
    done = arena("check", *words)
    assert done.code == code and told in done.err and done.out == ""


def test_a_file_that_cannot_be_loaded_does_not_fit(arena, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n\n\ndef act(obs):\n    return 1\n")
    done = arena("check", "broken.py", "--json")
    (broken,) = [check for check in done.document["checks"] if check["ok"] is False]
    assert done.code == 2 and broken["rule"] == "fits" and "nothing_of_that_name" in broken["detail"]


# ---- arena new -------------------------------------------------------------------------------------------------------


def test_new_says_what_it_wrote_and_what_comes_next(arena, tmp_path):
    done = arena("new", "agent", "my-agent", "--json")
    assert done.code == 0 and [Path(name).name for name in done.document["files"]] == ["my_agent.py", "test_my_agent.py"]
    assert done.document["next"][0]["command"] == "arena check my_agent.py:MyAgent"
    assert arena(*done.document["next"][0]["command"].split()[1:]).code == 0
    found = arena("new", "domain", "corner-shop", "--dir", "mine", "--json").document
    assert found["kind"] == "domain" and all(Path(name).is_relative_to(tmp_path / "mine" / "corner-shop") for name in found["files"])
    text = arena("new", "agent", "other", "-t", "bidding/standard", "--batched")
    assert "wrote other.py\n" in text.out and "arena run -t bidding/standard-v1 -a other.py:Other" in text.out
    assert max(map(len, text.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("agent", "my-agent"), 2, "my_agent.py is there already"),
        (("agent", "Mine"), 2, "is no name for an agent"),
        (("agent", "mine", "-t", "bidding/tinny"), 6, "bidding/tiny-v1"),
        (("domain", "bidding"), 2, "is known already"),
        (("domain",), 2, "NAME"),
    ],
)
def test_what_cannot_be_written_is_an_error(arena, tmp_path, words, code, told):
    (tmp_path / "my_agent.py").write_text("mine")
    done = arena("new", *words)
    assert done.code == code and told in done.err and [path.name for path in tmp_path.iterdir()] == ["my_agent.py"]
