"""Boards and comparisons: the printed numbers are those of the store and the scoring functions."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from arena import scoring
from arena.store import open_store

TASK = "bidding/tiny-v1"


@pytest.fixture
def seen(arena, played, monkeypatch):
    """A command on the home that has been played in, which it does not change."""
    monkeypatch.setenv("ARENA_HOME", str(played))
    return arena


def test_leaderboard_shows_scores_ranks_and_paired_differences(seen, played):
    board = seen("leaderboard", TASK, "--json").document["boards"][0]
    assert [line["agent"] for line in board["lines"]] == ["dual", "pid", "const"]
    with open_store(None, played, read_only=True) as store:
        lines = store.board(TASK, with_draws=True)
        draws = np.array([line["draws"] for line in lines])
        ranks = scoring.ranks([line["headline"] for line in lines], draws)
        entries = [entry["entry_id"] for agent in lines for entry in store.pooled_entries(board_id(store), [agent["agent_id"]])]
        scores = store.scores(entries)
    for position, line in enumerate(board["lines"]):
        assert line["score"] == pytest.approx(scores[position].mean(), abs=1e-12)
        assert line["rank"] == ranks.shown[position] and line["rank_range"] == [ranks.best[position], ranks.worst[position]]
    gap = board["lines"][1]["to_leader"]
    assert gap["difference"] == pytest.approx((scores[1] - scores[0]).mean(), abs=1e-12)
    assert (gap["lo"], gap["hi"]) == scoring.interval(draws[1].astype(float) - draws[0])
    assert board["few"] and not board["ranked"] and board["off_board"] == []


def board_id(store):
    return store.task(TASK).id


def test_text_fits_100_columns_and_says_what_is_special(seen):
    text = seen("leaderboard").out
    assert max(map(len, text.splitlines())) <= 100
    assert "few scenarios: wide intervals" in text and "not ranked in the suite" in text
    assert "-0.199 [" in text


def test_long_boards_are_cut_where_there_are_several(seen):
    assert len(seen("leaderboard", "--top", 1).out.splitlines()) == 4
    assert "2 more: arena leaderboard bidding/tiny-v1" in seen("leaderboard", "--top", 1).out


@pytest.mark.parametrize("name", ["bidding/tiny-v1", "bidding/tiny", "bidding", "bidding/t*", "*"])
def test_ways_to_name_a_board(seen, name):
    assert [board["task"] for board in seen("leaderboard", name, "--json").document["boards"]] == [TASK]


def test_boards_that_are_empty_or_unknown(seen):
    empty = seen("leaderboard", "bidding/standard-v1")
    assert empty.code == 0 and "no standings yet" in empty.out
    unknown = seen("leaderboard", "bidding/tinny-v1")
    assert unknown.code == 6 and "did you mean bidding/tiny-v1" in unknown.err


def test_the_suite_of_a_domain_has_its_own_board(arena, monkeypatch):
    """A suite of the tiny task alone, so that its mean must be the task's own score, clipped at 1.2."""
    from dataclasses import replace

    from arena import registry

    shrunk = {name: replace(spec, suite=("tiny-v1",)) for name, spec in registry.domains().items()}
    monkeypatch.setattr(registry, "domains", lambda: shrunk)
    done = arena("run", "-t", "bidding", "-a", "pid", "-a", "const", "--json").document
    assert [run["task"] for run in done["runs"]] == [TASK, TASK]
    boards = {board["task"]: board for board in arena("leaderboard", "--json").document["boards"]}
    assert set(boards) == {TASK, "bidding"} and boards["bidding"]["members"] == [TASK]
    assert [line["score"] for line in boards["bidding"]["lines"]] == pytest.approx([line["score"] for line in boards[TASK]["lines"]])
    assert "mean of 1 tasks" in arena("leaderboard", "bidding").out


def test_what_is_not_on_the_board_is_visible(arena, known):
    with sqlite3.connect(known / "arena.db") as connection:
        connection.execute("UPDATE runs SET ranked = 0 WHERE id = 1")
        connection.execute(
            "INSERT INTO runs SELECT 9, 'u', task_id, 'r', 'l', 5, 1, 'failed', 8, 2, 1, NULL, NULL, environment_id, config, 1, 1, 1, NULL"
            " FROM runs WHERE id = 2"
        )
        connection.execute(
            "INSERT INTO entries SELECT 9, 9, role, seat, agent_id, candidate, mode, level, 'failed', 0, 0, 0, 0 FROM entries WHERE run_id = 2"
        )
    connection.close()
    text = arena("leaderboard").out
    assert "not on the board: run 9 of pid@1 (failed, 1/2 chunks)" in text
    assert "not on the board: run 1 of const@1 (complete, unranked, 2/2 chunks)" in text


def test_versions_of_a_name_are_told_apart(arena, tmp_path):
    for number in (50, 60):
        (tmp_path / "mine.py").write_text(f"def mine(obs):\n    return {number}\n")
        assert arena("run", "-t", TASK, "-a", "mine.py:mine").code == 0
    text = arena("leaderboard").out
    assert "mine@1" in text and "mine@2" in text
    assert arena("compare", "mine@1", "mine@2", "-t", TASK).code == 0
    assert arena("compare", "mine", "mine@2", "-t", TASK).code == 2


# ---- compare -------------------------------------------------------------------------------------------------------


def test_compare_two(seen, played):
    done = seen("compare", "pid", "dual", "-t", TASK, "--json").document
    (row,) = done["comparisons"]
    with open_store(None, played, read_only=True) as store:
        entry = {name: store.pooled_entries(board_id(store), [store.agent(name).id])[0]["entry_id"] for name in ("pid", "dual")}
        gap = store.scores([entry["pid"]])[0] - store.scores([entry["dual"]])[0]
    assert row["difference"] == pytest.approx(gap.mean(), abs=1e-12)
    assert row["probability_of_improvement"] == pytest.approx((gap > 0).mean() + (gap == 0).mean() / 2)
    assert row["p"] == pytest.approx(0.0125, abs=0.01) and row["p_holm"] is None and row["few"]
    text = seen("compare", "pid", "dual", "-t", "bidding/tiny").out
    assert "dual is ahead of pid by 0.199" in text and "(Holm)" not in text


def test_compare_several_adjusts_by_holm(seen):
    rows = seen("compare", "pid", "dual", "const", "-t", TASK, "--json").document["comparisons"]
    assert [(row["a"], row["b"]) for row in rows] == [("pid", "dual"), ("pid", "const")]
    low, high = sorted(row["p"] for row in rows)
    assert sorted(row["p_holm"] for row in rows) == pytest.approx([2 * low, max(2 * low, high)])
    text = seen("compare", "pid", "dual", "const", "-t", TASK).out
    assert "p (Holm)" in text and text.count("is ahead of") == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("pid",), 2, "two agents at least"),
        (("pid", "pid"), 2, "compared with itself"),
        (("pid", "duall"), 6, "did you mean dual"),
        (("pid", "dual@4"), 6, "no agent"),
    ],
)
def test_comparisons_that_cannot_be_made(seen, words, code, said):
    done = seen("compare", *words, "-t", TASK)
    assert done.code == code and said in done.err


def test_compare_without_a_run_says_how_to_make_one(arena, known):
    assert arena("run", "-q", "-t", TASK, "-a", "lin", "--dry-run").code == 0
    with sqlite3.connect(known / "arena.db") as connection:
        connection.execute("DELETE FROM standings WHERE agent_id = (SELECT id FROM agents WHERE name = 'dual')")
    connection.close()
    done = arena("compare", "pid", "dual", "-t", TASK)
    assert done.code == 6 and f"arena run -t {TASK} -a 'dual'" in done.err


# ---- power ---------------------------------------------------------------------------------------------------------


def test_power_follows_the_formulas(seen, played):
    found = seen("task", "power", TASK, "--json").document
    with open_store(None, played, read_only=True) as store:
        scores = {}
        for line in store.board(TASK):
            entry = store.pooled_entries(board_id(store), [line["agent_id"]])[0]["entry_id"]
            scores[line["agent"]] = store.scores([entry])[0]
    pid = next(row for row in found["agents"] if row["agent"] == "pid")
    assert pid["sd"] == pytest.approx(scores["pid"].std(ddof=1))
    assert pid["scenarios"]["0.02"] == int(np.ceil((1.959963984540054 * pid["sd"] / 0.02) ** 2))
    first = found["neighbours"][0]
    assert (first["a"], first["b"]) == ("dual", "pid")
    assert first["sd"] == pytest.approx((scores["dual"] - scores["pid"]).std(ddof=1))
    assert "scenarios to find a paired difference" in seen("task", "power", "bidding/tiny").out
    assert seen("task", "power", "bidding/standard-v1").code == 6
