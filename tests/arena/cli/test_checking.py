"""verify and replay on honest, altered and failed recordings."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import zstandard

from arena.store import open_store

TASK = "bidding/tiny-v1"
BAD = Path(__file__).parents[2] / "agents_bad"


def test_verify_finds_everything_as_stored_and_marks_the_board(arena, known):
    sampled = arena("verify", 1, "--sample", 0.5, "--json").document
    assert sampled["ok"] and sampled["runs"][0]["chunks"] == 1
    assert not arena("leaderboard", "--json").document["boards"][0]["lines"][2]["verified"]
    done = arena("verify", 1, 2, 3)
    assert done.code == 0 and done.out.count("all as stored") == 3
    assert all(line["verified"] for line in arena("leaderboard", "--json").document["boards"][0]["lines"])
    assert arena("list", "runs", "--json").document["runs"][0]["verified"] is True


def test_an_altered_recording_gives_exit_code_5_and_the_place(arena, known):
    with open_store(None, known) as store:
        path = known / "recordings" / (digest := store.chunks(2)[1]["recording_digest"])[:2] / f"{digest}.zst"
    with zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True) as reader:
        block = bytearray(reader.read())
    block[-900] ^= 1
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(block)))
    done = arena("verify", 2)
    assert done.code == 5
    assert "first in scenario" in done.out and "at step" in done.out
    found = arena("verify", 2, "--json")
    assert found.code == 5 and not found.document["ok"]
    assert {m["chunk"] for m in found.document["runs"][0]["mismatches"]} == {1}
    assert arena("list", "runs", "--json").document["runs"][1]["verified"] is False
    assert "FAILED" in arena("status", 2).out


def test_an_altered_measurement_gives_exit_code_5(arena, known):
    with sqlite3.connect(known / "arena.db") as connection:
        metric, blob = connection.execute(
            "SELECT metric_id, vals FROM measurements JOIN entries ON entries.id = entry_id WHERE run_id = 2 AND start = 0 LIMIT 1"
        ).fetchone()
        values = np.frombuffer(blob, "<f8").copy()
        values[3] += 0.5
        connection.execute(
            "UPDATE measurements SET vals = ? WHERE metric_id = ? AND start = 0 AND entry_id = (SELECT id FROM entries WHERE run_id = 2)",
            (values.tobytes(), metric),
        )
    connection.close()
    (mismatch,) = arena("verify", 2, "--json").document["runs"][0]["mismatches"]
    assert mismatch["scenario"] == 3 and "stored" in mismatch["what"]


def test_verify_refuses_runs_of_another_task_content_and_runs_without_chunks(arena, known):
    with sqlite3.connect(known / "arena.db") as connection:
        connection.execute("UPDATE tasks SET digest = 'other'")
    connection.close()
    done = arena("verify", 1, "--json")
    assert done.code == 2 and done.document["code"] == "task.changed" and done.document["context"]["expected"] == "other"
    assert arena("verify", 99).code == 6


def test_replay_prints_steps_and_metrics_as_stored(arena, known, tmp_path):
    done = arena("replay", 2, "--scenario", 3, "--rows", 6, "--json").document
    assert done["steps_total"] == 100 and [step["step"] for step in done["steps"]] == [0, 1, 2, 97, 98, 99]
    assert all(metric["derived"] == metric["stored"] for metric in done["metrics"])
    with open_store(None, known, read_only=True) as store:
        entry = store.entries(2)[0].id
        assert done["score"] == store.metric_vectors(entry)["score"][3]
    text = arena("replay", 2, "--scenario", 3, "--rows", 6).out
    assert " ..." in text and "derived" in text and "bidder" in text
    assert len(arena("replay", 2, "--scenario", 3, "--rows", 0, "--json").document["steps"]) == 100


def test_replay_shows_what_the_domain_says_of_a_step(arena):
    arena("run", "-q", "-t", "repeated_games/tiny-v1", "-a", "tft")
    lines = arena("replay", 1, "--scenario", 3).out.splitlines()
    assert lines[1].split() == "step player round own_move other_move letters own_points other_points own_total other_total".split()
    assert [line.split() for line in lines[2:4]] == ["0 0 1 0 1 J F 0 10 0 10".split(), "1 1 2 1 1 F F 5 5 5 15".split()], "against alld"
    assert max(map(len, lines)) <= 100
    assert arena("replay", 1, "--scenario", 3, "--json").document["steps"][1]["state"]["letters"] == "F F"


def test_replay_draws_figures_into_one_file_that_needs_no_network(arena, known, tmp_path):
    done = arena("replay", 2, "-s", 0, "--figure", tmp_path / "deep" / "episode.html")
    page = (tmp_path / "deep" / "episode.html").read_text()
    assert done.code == 0 and "episode.html" in done.err
    assert page.count("plotly-graph-div") >= 4 and '<script src="http' not in page
    (tmp_path / "file").touch()
    refused = arena("replay", 2, "-s", 0, "--figure", tmp_path / "file" / "episode.html")
    assert refused.code == 2 and "cannot be written" in refused.err


def test_replay_of_a_failed_scenario_tells_the_failure(arena):
    arena("run", "-q", "-t", TASK, "-a", BAD / "breaks_down.py:CrashesInAct")
    done = arena("replay", 1, "--scenario", 5)
    assert done.code == 0 and "failed at step 4 (agent.crash): ValueError" in done.out
    found = arena("replay", 1, "--scenario", 5, "--json").document
    assert found["failure"]["step"] == 4 and found["score"] == -1 and {m["stored"] for m in found["metrics"]} == {None}


@pytest.mark.parametrize(("scenario", "code", "said"), [(16, 2, "has scenarios 0..15"), (-1, 2, "Invalid value")])
def test_replay_of_what_is_not_there(arena, known, scenario, code, said):
    done = arena("replay", 2, "--scenario", scenario)
    assert done.code == code and said in done.err
