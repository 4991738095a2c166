"""What is written down of a run, and how it is found again."""

from __future__ import annotations

import sqlite3

import pytest
from loopback import answers, first, refuses, says

from arena import registration
from arena.chat.endpoint import Attempt
from arena.chat.transcripts import INVALID, Call, Place, Reader, Transcript, path_of
from arena.errors import ArenaError


def call(scenario, step, stage="choose", ask=0, source="live", text="J", **more):
    return Call(Place(scenario, step, stage, ask), "k", source, [{"role": "user", "content": "é?"}], text, **more)


def test_calls_come_back_as_they_were(tmp_path):
    path = tmp_path / "t.sqlite"
    wrote = Transcript(path, {"task": "toy-v1", "seed": 0})
    attempts = [Attempt(429, 0.1, "busy", 0.5), Attempt(200, 0.2)]
    wrote.pay(call(1, 0, "predict", attempts=attempts, seconds=0.8, input_tokens=10, output_tokens=1, money=0.5, at=1.0))
    wrote.add([call(1, 0, "choose", source="cache", at=2.0), call(0, 0, source="shared", at=3.0)])
    wrote.choose([(Place(1, 0, "choose"), "J"), (Place(1, 0, "predict"), INVALID)])
    reader = Reader(path)
    assert reader.about == {"task": "toy-v1", "seed": 0} and reader.scenarios() == [0, 1]
    first_, second = reader.calls(1)
    assert (first_.place.stage, second.place.stage) == ("predict", "choose") and first_.attempts == attempts and first_.money == 0.5
    assert (first_.choice, second.choice, reader.calls(0)[0].choice) == (INVALID, "J", None) and first_.messages[0]["content"] == "é?"
    found = reader.summary()
    assert (found.calls, found.live, found.shared, found.cached, found.retries, found.invalid) == (3, 1, 1, 1, 1, 1)
    assert found.spent.tokens == 11 and found.spent.money == 0.5 and found.p50 == found.p95 == 0.8


def test_a_repeat_from_the_cache_leaves_what_was_paid_and_a_failure_gives_way(tmp_path):
    wrote = Transcript(tmp_path / "t.sqlite")
    wrote.pay(call(0, 0, seconds=0.5, input_tokens=7))
    wrote.add([call(0, 1, source="failed", text="", error="no")])
    wrote.add([call(0, 0, source="cache"), call(0, 1, source="cache")])
    rows = Reader(tmp_path / "t.sqlite").calls()
    assert [row.source for row in rows] == ["live", "cache"] and rows[0].input_tokens == 7 and rows[0].seconds == 0.5
    wrote.pay(call(0, 0, text="F"))
    assert Reader(tmp_path / "t.sqlite").calls(0)[0].text == "F" and wrote.spent.calls == 2


def test_a_payment_is_kept_when_the_process_dies(tmp_path):
    wrote = Transcript(tmp_path / "t.sqlite")
    wrote.pay(call(0, 0, input_tokens=7))  # never closed
    again = Transcript(tmp_path / "t.sqlite")
    assert again.spent.tokens == 7 and again.spent.calls == 1


def test_it_is_found_by_run_and_role_and_kept_only_for_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ARENA_HOME", str(tmp_path))
    path = path_of("abc", "player")
    Transcript(path).close()
    assert path == tmp_path / "chat" / "runs" / "abc-player.sqlite" and path.is_file() and path_of("abc", "row") != path
    Transcript(path_of("", "player")).close()
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_a_form_names_no_endpoint():
    """Whoever fills one in must not have the worker send its secrets anywhere."""
    for more in ("endpoint=https://elsewhere.example/v1, key_env=OTHER_SECRET", "key_env=OTHER_SECRET"):
        with pytest.raises(ArenaError) as caught:
            registration.requested({"kind": "builtin", "name": "mine", "source": f"llm(model=m, {more})", "tasks": ["repeated_games/*"]})
        assert caught.value.code == "agent.source" and "terminal" in caught.value.hint


def test_what_is_no_transcript_is_told(tmp_path):
    path = tmp_path / "other.sqlite"
    sqlite3.connect(path).execute("CREATE TABLE x (y)")
    for wrong in (path, tmp_path / "absent.sqlite"):
        with pytest.raises(ArenaError) as caught:
            Reader(wrong)
        assert caught.value.code == "store.chat" and wrong.name in caught.value.message
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArenaError) as caught:
        Transcript(tmp_path / "file" / "t.sqlite")
    assert caught.value.code == "store.chat"


def test_latencies_and_failures_of_a_real_client(server, client, question, tmp_path):
    server.reply = first(refuses(500), answers(str.upper), says("J"))
    one = client(concurrency=1)
    one.complete([question("a"), question("b", scenario=1)])
    found = Reader(tmp_path / "run.sqlite").summary()
    assert found.retries == 1 and found.live == 2 and 0 < found.p50 <= found.p95
    calls = Reader(tmp_path / "run.sqlite").calls()
    assert all(call.seconds == sum(attempt.seconds + attempt.wait for attempt in call.attempts) for call in calls)
    assert found.p95 <= max(call.seconds for call in calls)
