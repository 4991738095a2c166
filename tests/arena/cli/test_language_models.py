"""Runs of language models from the command line: told what they cost, stopped, resumed, repeated offline; never a secret in a file."""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from arena.chat import endpoint as endpoints
from arena.chat.transcripts import Reader, path_of
from arena.store import open_store

spec = importlib.util.spec_from_file_location("loopback", Path(__file__).parents[1] / "chat" / "loopback.py")
loopback = sys.modules.setdefault("loopback", importlib.util.module_from_spec(spec))
if not hasattr(loopback, "Loopback"):
    spec.loader.exec_module(loopback)

TASK = "repeated_games/tiny-v1"
SECRET = "sk-very-secret-1234"


def changing(text):
    return "JF"[len(text) % 3 == 0]


def dumb(share):
    """No letter for one question in `share`, however often it is asked for."""
    return lambda handler, body: handler.send(200, loopback.completion("dunno" if len(body["messages"][0]["content"]) % share == 0 else "J"))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(endpoints, "FIRST_WAIT", 0.001)
    served = loopback.Loopback(loopback.answers(changing))
    yield served
    served.stop()


@pytest.fixture
def llm(server):
    return f"llm(endpoint={server.url},model=toy)"


def board(arena):
    (line,) = arena("leaderboard", TASK, "--json").document["boards"][0]["lines"]
    return line["score"], line["lo"], line["hi"]


def transcript(home):
    """Of run 1."""
    with open_store(None, home, read_only=True) as store:
        return path_of(store.run_row(1).uid, "player")


def states(arena):
    return [row["status"] for row in arena("list", "runs", "--json").document["runs"]]


def test_a_run_tells_its_cost_before_and_keeps_what_was_said(arena, server, home, monkeypatch):
    monkeypatch.setenv("TOY_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    found = arena("run", "-t", TASK, "-a", f"llm(endpoint={server.url},model=toy,key_env=TOY_KEY)")
    assert found.code == 0 and "at most 200 calls" in found.err and found.err.index("at most 200 calls") < found.err.index("complete")
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert arena("verify", "1").code == 0
    (entry,) = arena("show", "run", "1", "--json").document["entries"]
    reader = Reader(transcript(home))
    summary = reader.summary()
    assert entry["usage"]["calls"] == summary.spent.calls == len(server.bodies) and entry["usage"]["input_tokens"] == 100 * len(server.bodies)
    assert reader.scenarios() == list(range(20)) and len(reader.calls()) == 200 and all(call.choice in "JF" for call in reader.calls())
    reader.close()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 3 and all(SECRET.encode() not in path.read_bytes() for path in files)


def test_a_budget_stops_a_run_which_goes_on_under_a_larger_one(arena, llm, server, home, tmp_path, monkeypatch):
    monkeypatch.setenv("ARENA_CHAT_TOKENS", "12000")
    stopped = arena("run", "-t", TASK, "-a", llm, "--chunk", "5")
    assert stopped.code == 2 and "budget of this run, 12,000 tokens" in stopped.err and "which may stop it" in stopped.err
    assert states(arena) == ["queued"] and 0 < len(server.bodies) <= 12000 / 102
    asked = len(server.bodies)
    assert arena("resume", "1").code == 2 and len(server.bodies) == asked  # still spent
    monkeypatch.setenv("ARENA_CHAT_TOKENS", "1e6")
    assert arena("resume", "1").code == 0 and states(arena) == ["complete"] and arena("verify", "1").code == 0
    texts = [body["messages"][0]["content"] for body in server.bodies]
    assert len(texts) == len(set(texts)) > asked  # nothing was paid twice
    interrupted = board(arena)
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "undisturbed"))
    assert arena("run", "-t", TASK, "-a", llm).code == 0 and board(arena) == interrupted
    # and once more offline, from the answers alone
    server.stop()
    shutil.copytree(home / "chat", tmp_path / "offline" / "chat")
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "offline"))
    monkeypatch.setenv("ARENA_CHAT_CACHE", "only")
    offline = arena("run", "-t", TASK, "-a", llm)
    assert offline.code == 0 and board(arena) == interrupted and "nothing is sent" in offline.err
    missed = arena("run", "-t", TASK, "-a", llm, "--seed", "1")
    assert missed.code == 2 and "is kept under" in missed.err and "ARENA_CHAT_CACHE" in missed.err and sorted(states(arena)) == ["complete", "queued"]


def test_a_server_that_fails_leaves_the_run_to_be_resumed(arena, llm, server):
    server.reply = loopback.refuses(503, "the model is loading")
    failed = arena("run", "-t", TASK, "-a", llm)
    assert failed.code == 4 and "the model is loading" in failed.err and "in 7 attempts" in failed.err and states(arena) == ["queued"]
    server.reply = loopback.answers(changing)
    assert arena("resume").code == 0 and states(arena) == ["complete"]
    (line,) = arena("leaderboard", TASK, "--json").document["boards"][0]["lines"]
    assert line["failed_rate"] == 0


def test_what_cannot_be_reached_or_is_misnamed_stores_nothing(arena, server, home):
    server.stop()
    gone = arena("run", "-t", TASK, "-a", f"llm(endpoint={server.url},model=toy)")
    assert gone.code == 4 and "cannot be reached" in gone.err and not arena("list", "agents", "--json").document.get("registered")
    login = arena("run", "-t", TASK, "-a", f"llm(endpoint=https://me:{SECRET}@host/v1,model=toy)")
    assert login.code == 2 and SECRET not in login.err + login.out
    assert all(SECRET.encode() not in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_a_plan_has_the_cost(arena, llm, server):
    (run,) = arena("run", "-t", TASK, "-a", llm, "--dry-run", "--json").document["runs"]
    assert run["cost"].startswith("at most 200 calls") and not server.bodies
    assert "at most 200 calls" in arena("run", "-t", TASK, "-a", llm, "--dry-run").out
    plain = arena("run", "-t", TASK, "-a", "tft", "--dry-run", "--json").document["runs"][0]
    assert plain["cost"] is None


def wait_for(server, questions):
    deadline = time.monotonic() + 120
    while len(server.bodies) < questions and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_run_with_many_invalid_answers_is_marked(arena, llm, server, home, tmp_path, monkeypatch):
    server.reply = dumb(7)
    told = arena("run", "-t", TASK, "-a", llm, "-a", "tft")
    assert told.code == 0 and "(unreliable)" in told.out and "more than 5 % of the answers of a run were invalid" in told.out
    reader = Reader(transcript(home))
    lost = {(call.place.scenario, call.place.step) for call in reader.calls() if call.place.ask == 2 and call.choice == ""}
    reader.close()
    model, strategy = sorted(arena("leaderboard", TASK, "--json").document["boards"][0]["lines"], key=lambda line: line["nature"] != "llm")
    assert model["invalid_rate"] == len(lost) / 200 > 0.05 and model["unreliable"]
    assert strategy["invalid_rate"] is None and not strategy["unreliable"]
    shown = arena("leaderboard", TASK).out
    head = next(line for line in shown.splitlines() if "score (95 %)" in line)
    assert " inv " in head and [("unreliable" in line) for line in shown.splitlines() if "%" in line and "tft" in line] == [False]
    (entry,) = arena("show", "run", "1", "--json").document["entries"]
    assert entry["invalid_rate"] == model["invalid_rate"] and entry["unreliable"] and "unreliable" in arena("show", "run", "1").out
    calls = entry["usage"]["calls"]
    # of decisions: how many calls it takes depends on what is asked at the same time, the share does not
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "in chunks"))
    assert arena("run", "-t", TASK, "-a", llm, "--chunk", "3").code == 0
    (entry,) = arena("show", "run", "1", "--json").document["entries"]
    assert entry["invalid_rate"] == model["invalid_rate"] and entry["usage"]["calls"] != calls


def test_few_invalid_answers_are_told_and_not_marked_and_the_worst_run_counts(arena, llm, server):
    server.reply = dumb(40)
    assert arena("run", "-t", TASK, "-a", llm).code == 0
    few = arena("leaderboard", TASK, "--json").document["boards"][0]["lines"][0]
    assert 0 < few["invalid_rate"] <= 0.05 and not few["unreliable"]
    board_shown = arena("leaderboard", TASK).out
    assert " inv " in board_shown and "unreliable" not in board_shown + arena("show", "run", "1").out
    server.reply = dumb(3)
    assert arena("run", "-t", TASK, "-a", llm, "--seed", "1").code == 0
    both = arena("leaderboard", TASK, "--json").document["boards"][0]["lines"][0]
    worst = arena("show", "run", "2", "--json").document["entries"][0]["invalid_rate"]
    assert both["runs"] == 2 and both["invalid_rate"] == worst > 0.05 and both["unreliable"]


def test_cross_play_tells_its_cost_before(arena, llm, server, monkeypatch):
    game = "repeated_games/crossplay-v1"
    server.reply = loopback.answers(lambda text: re.search(r"only: ([A-Z])", text)[1])  # whatever is listed first
    monkeypatch.setenv("ARENA_CHAT_TOKENS", "1e6")
    (planned,) = arena("crossplay", "-t", game, "-a", llm, "-a", "tft", "--dry-run", "--json").document["costs"]
    assert not server.bodies
    done = arena("crossplay", "-t", game, "-a", llm, "-a", "tft")
    n = arena("show", "task", game, "--json").document["scenarios"]
    # 3 of the 4 matches have the model in a seat, the one against itself in both
    line = next(line for line in done.err.splitlines() if "at most" in line)
    assert done.code == 0 and f"on {game}, 3 matches: at most {4 * 10 * n:,} calls" in line and "budget 1e+06 tokens a run" in line
    assert line == planned
    assert done.err.index("at most") < done.err.index("[1/4]") and 0 < len(server.bodies) <= 4 * 10 * n and "tft on" not in done.err
    assert "at most" not in arena("crossplay", "-t", game, "-a", llm, "-a", "tft").err, "all is played"
    more = arena("crossplay", "-t", game, "-a", llm, "-a", "tft", "-a", "allc", "--queue")
    assert f"2 matches: at most {2 * 10 * n:,} calls" in more.err and more.code == 0


def test_ctrl_c_does_not_wait_for_answers(process, arena, llm, server):
    server.reply = loopback.slow(30, loopback.says("J"))
    running = process("run", "-t", TASK, "-a", llm, wait=False)
    wait_for(server, 1)
    start = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=25)
    assert running.returncode == 130 and time.monotonic() - start < 20 and "arena resume 1" in told and "Traceback" not in told
    server.reply = loopback.answers(changing)
    assert arena("resume", "1").code == 0 and states(arena) == ["complete"]


def test_a_model_under_a_name_of_its_own(arena, llm, server, home):
    assert arena("register", llm, "--name", "my-model").code == 0
    asked = len(server.bodies)
    assert arena("run", "-t", TASK, "-a", "my-model").code == 0 and board(arena)
    assert len(server.bodies) == asked  # the check has asked all of it
    assert Reader(transcript(home)).summary().calls == 200


def test_after_a_crash_no_answer_is_asked_for_again(process, arena, llm, server, home, tmp_path, monkeypatch):
    server.reply = loopback.slow(0.05, loopback.answers(changing))
    running = process("run", "-t", TASK, "-a", llm, "--chunk", "5", wait=False)
    wait_for(server, 30)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert 30 <= len(server.bodies) < 120
    server.reply = loopback.answers(changing)
    shutil.copytree(home / "chat", tmp_path / "later" / "chat")  # a home without the run, which is the dead process's for a minute yet
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "later"))
    assert arena("run", "-t", TASK, "-a", llm).code == 0 and states(arena) == ["complete"]
    texts = [body["messages"][0]["content"] for body in server.bodies]
    assert len(texts) - len(set(texts)) <= 16  # at most those that were under way
