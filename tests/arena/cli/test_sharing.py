"""export, import and card: what they print, what they refuse, with which exit code."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest

from arena import settings
from arena.store import open_store

TASK = "bidding/tiny-v1"


@pytest.fixture
def elsewhere(arena, tmp_path, monkeypatch):
    """Another home; commands go to it after it was called."""

    def move():
        monkeypatch.setenv("ARENA_HOME", str(tmp_path / "elsewhere"))
        return tmp_path / "elsewhere"

    return move


def scores(arena):
    boards = arena("leaderboard", "--json").document["boards"]
    return [[(line["agent"], line["score"], line["lo"], line["hi"]) for line in board["lines"]] for board in boards]


def test_results_go_from_one_home_to_another(arena, known, elsewhere):
    made = arena("export", "-t", TASK, "-o", "x.arena.zip")
    assert made.code == 0 and made.err == "" and made.out.startswith("x.arena.zip: 3 runs, 3 agents, 1 task, 6 recordings, 3 board lines; ")
    before = scores(arena)
    elsewhere()
    done = arena("import", "x.arena.zip")
    assert done.code == 0 and "3 runs added, 0 here already" in done.out and done.out.count("not verified") == 4
    assert done.out.rstrip().endswith("arena verify 1 2 3") and max(map(len, done.out.splitlines())) <= 100
    assert scores(arena) == [] and "unranked" in arena("list", "runs").out
    verified = arena("verify", 1, 2, 3)
    assert verified.code == 0 and verified.err.count("imported, joins the board") == 3
    assert scores(arena) == before
    again = arena("import", "x.arena.zip", "--verify", "--json").document
    assert [(run["added"], run["ranked"], run["verified"], run["mismatches"]) for run in again["runs"]] == [(False, True, True, None)] * 3


def test_import_verifies_at_once_if_asked_to(arena, known, elsewhere):
    arena("export", 2, 3, "-o", "x.arena.zip")
    before = scores(arena)
    elsewhere()
    done = arena("import", "x.arena.zip", "--verify", "--json")
    assert done.code == 0 and done.err == ""
    assert [(run["agent"], run["added"], run["ranked"], run["verified"], run["mismatches"]) for run in done.document["runs"]] == [
        ("pid@1", True, True, True, 0), ("dual@1", True, True, True, 0)
    ]  # fmt: skip
    assert scores(arena) == [[line for line in before[0] if line[0] != "const"]]


def test_a_damaged_bundle_is_refused_with_the_file_named(arena, known, elsewhere, tmp_path):
    arena("export", "--all", "-o", "x.arena.zip")
    content = bytearray((tmp_path / "x.arena.zip").read_bytes())
    content[content.index(b'{"agents"') + 500] ^= 1
    (tmp_path / "x.arena.zip").write_bytes(content)
    home = elsewhere()
    done = arena("import", "x.arena.zip")
    assert done.code == 5 and done.out == "" and "runs.json is damaged" in done.err
    found = arena("import", "x.arena.zip", "--json").document
    assert found["code"] == "bundle.damaged" and found["context"]["file"] == "runs.json"
    with open_store(None, home) as store:
        assert store.overview()["agents"] == 0 and not list((home / "recordings").glob("*/*"))


def test_results_that_differ_give_exit_code_5_and_are_on_no_board(arena, known, elsewhere, tmp_path):
    """The recording is honest, the stored numbers are not; the store that exports them does not know."""
    import sqlite3

    import numpy as np

    with sqlite3.connect(known / "arena.db") as connection:
        metric, blob = connection.execute(
            "SELECT metric_id, vals FROM measurements JOIN entries ON entries.id = entry_id JOIN metrics ON metrics.id = metric_id"
            " WHERE run_id = 2 AND start = 0 AND metrics.name = 'clicks'"
        ).fetchone()
        values = np.frombuffer(blob, "<f8") + 1
        where = "metric_id = ? AND start = 0 AND entry_id = (SELECT id FROM entries WHERE run_id = 2)"
        connection.execute(f"UPDATE measurements SET vals = ? WHERE {where}", (values.tobytes(), metric))
    connection.close()
    arena("export", "--all", "-o", "x.arena.zip")
    elsewhere()
    done = arena("import", "x.arena.zip", "--verify")
    assert done.code == 5 and "no: DIFFERS" in done.out and "8 values differ, first in scenario 0: clicks: stored" in done.err
    assert [line[0] for line in scores(arena)[0]] == ["dual", "const"]
    assert arena("list", "runs", "--json").document["runs"][1]["verified"] is False


def test_what_is_exported_has_to_be_said(arena, known, tmp_path):
    for words in (("-o", "x.zip"), (1, "--all", "-o", "x.zip"), (1, "-t", TASK, "-o", "x.zip"), (1,), ("--all", "--long", "-o", "x.parquet")):
        assert arena("export", *words).code == 2
    near = arena("export", "-t", "bidding/tinny-v1", "-o", "x.zip")
    assert near.code == 6 and TASK in near.err
    assert arena("export", 99, "-o", "x.zip").code == 6 and not (tmp_path / "x.zip").exists()
    (tmp_path / "file").write_text("")
    assert arena("export", 1, "-o", "file/x.zip").code == 2
    assert arena("import", "nothing.zip").code == 6


def test_every_value_for_pandas(arena, known, tmp_path):
    found = arena("export", "--long", "-t", "bidding/tiny", "-o", "x.parquet", "--json").document
    assert found["kind"] == "values" and found["values"] == 480 == pq.read_metadata(tmp_path / "x.parquet").num_rows
    assert arena("export", "--long", "-t", "bidding/*", "-o", "x.parquet").out.startswith("x.parquet: 480 values, ")


def test_an_imported_agent_of_a_file_says_that_it_cannot_be_run(arena, home, elsewhere, tmp_path):
    (tmp_path / "passing.py").write_text("def bid(obs):\n    return 60\n")
    assert arena("run", "-q", "-t", TASK, "-a", "passing.py").code == 0
    arena("export", "--all", "-o", "x.arena.zip")
    elsewhere()
    os.remove(tmp_path / "passing.py")
    assert arena("import", "x.arena.zip", "--verify").code == 0
    done = arena("run", "-t", TASK, "-a", "passing@1")
    assert done.code != 0 and "came with a bundle" in done.err and "register" in done.err
    assert arena("leaderboard", "--json").document["boards"][0]["lines"][0]["agent"] == "passing"


def test_a_card_is_printed_as_text(arena, known):
    done = arena("card", "pid")
    assert done.code == 0 and done.out.startswith("---\nlibrary_name: arena\n") and "| bidding/tiny-v1 | 0.613 [0.145, 1.080] |" in done.out
    assert arena("card", 2, "--json").document["agent"] == arena("card", "pid@1", "--json").document["agent"]
    with open_store(None, known) as store:
        store.ensure_agent("loud", "other", "file", {"x": 1}, card="\x1b[2Jgone")
    assert "\x1b" not in arena("card", "loud").out and "\\x1b[2Jgone" in arena("card", "loud").out
    missing = arena("card", "pidd")
    assert missing.code == 6 and "did you mean pid" in missing.err


def test_documents_name_what_they_hold(arena, known, elsewhere):
    made = arena("export", "--all", "-o", "x.arena.zip", "--json").document
    elsewhere()
    found = arena("import", "x.arena.zip", "--json").document
    assert found["sha256"] == made["sha256"] and len(found["runs"]) == made["runs"] == 3 and found["renamed"] == []
    assert json.dumps(found) and settings.home().name == "elsewhere"
