"""Downloads of the released matches from a real server on this machine: whole and right, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from arena import download
from arena.errors import EXIT_STORE, ArenaError
from domains.repeated_games import fetch as module
from domains.repeated_games.fetch import fetch, origins
from domains.repeated_games.recorded import PLACES

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "repeated_games"
PLACE = "owner/repo/commit/data"  # in the repository files lie elsewhere than they come to lie
CONTENT = {"LICENSE.md": b"MIT", "pd/a.csv": b"a,b\n1,2\n", "pd/tft/b.csv": b"c\n3\n" * 20, "human_experiment/c.json": b"{}"}


@pytest.fixture
def known(monkeypatch):
    """Four files in three folders, as origins.json would list them."""
    files = {name: {"path": f"{PLACE}/{name}", "sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)} for name, body in CONTENT.items()}
    monkeypatch.setattr(module, "origins", lambda: files)
    return files


@pytest.fixture
def server():
    """A server of CONTENT on this machine; `answers` changes what it says to a file: a status, other bytes, or "cut" in the middle."""
    answers, asked = {}, Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix(f"/{PLACE}/")
            asked[name] += 1
            answer = answers.get(name, CONTENT.get(name, 404))
            if isinstance(answer, int):
                return self.send_error(answer)
            body = CONTENT[name] if answer == "cut" else answer
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if answer == "cut" else body)

        def log_message(self, *words):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    running.origin, running.answers, running.asked = f"http://127.0.0.1:{running.server_port}", answers, asked
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def files_in(folder: Path) -> dict[str, bytes]:
    """Everything that lies there, hidden files too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_come_whole_and_a_second_time_nothing_is_asked(known, server, tmp_path):
    seen = []
    reports = fetch("repeated_games", tmp_path, server.origin + "/", lambda done, total: seen.append((done, total)))
    assert [report.state for report in reports] == ["fetched"] * 4 and seen == [(k, 4) for k in range(1, 5)]
    assert files_in(tmp_path / "repeated_games") == CONTENT
    assert [report.state for report in fetch("repeated_games", tmp_path, server.origin)] == ["kept"] * 4 and sum(server.asked.values()) == 4


def test_what_is_wrong_or_the_users_own_is_left_and_the_others_come(known, server, tmp_path):
    server.answers |= {"LICENSE.md": 404, "pd/a.csv": b"<html>sign in</html>"}
    mine = tmp_path / "repeated_games" / "human_experiment" / "c.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    reports = {report.path.name: report for report in fetch("repeated_games", tmp_path, server.origin)}
    assert Counter(report.state for report in reports.values()) == {"failed": 2, "refused": 1, "fetched": 1}
    assert "is not there (404)" in reports["LICENSE.md"].message and "20 bytes for 8" in reports["a.csv"].message
    assert mine.read_text() == "mine" and str(mine) in reports["c.json"].message and server.asked["human_experiment/c.json"] == 0
    assert set(files_in(tmp_path / "repeated_games")) == {"pd/tft/b.csv", "human_experiment/c.json"}


@pytest.mark.parametrize(("answer", "said"), [("cut", "broke off"), (503, "503 Service Unavailable"), (403, "403")])
def test_what_breaks_off_goes_on_from_there(known, server, tmp_path, answer, said):
    server.answers["pd/tft/b.csv"] = answer
    with pytest.raises(ArenaError) as caught:
        fetch("repeated_games", tmp_path, server.origin)
    error = caught.value
    assert error.code == "data.network" and said in error.message and server.origin in error.message and "--base-url" in error.hint
    assert set(files_in(tmp_path)) == {"repeated_games/LICENSE.md", "repeated_games/pd/a.csv"} and error.context["fetched"] == 2
    server.answers.clear()
    assert Counter(report.state for report in fetch("repeated_games", tmp_path, server.origin)) == {"fetched": 2, "kept": 2}


def test_nobody_answers_or_never(known, server, tmp_path, monkeypatch):
    import socket

    server.shutdown()
    server.server_close()
    with pytest.raises(ArenaError, match="is there a network"):
        fetch("repeated_games", tmp_path, server.origin)
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ArenaError, match="nothing came for 0.2 s"):
        fetch("repeated_games", tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert files_in(tmp_path) == {}


def test_a_folder_that_cannot_be_made(known, server, tmp_path):
    (tmp_path / "repeated_games").write_text("a file where a folder should be")
    with pytest.raises(ArenaError) as caught:
        fetch("repeated_games", tmp_path, server.origin)
    assert caught.value.code == "infra.disk" and caught.value.exit_code == EXIT_STORE and not server.asked


def test_unknown_data_and_odd_origins(tmp_path):
    with pytest.raises(ArenaError) as caught:
        fetch("repeated_game", tmp_path)
    assert caught.value.code == "unknown.data" and "repeated_games" in caught.value.hint
    with pytest.raises(ArenaError) as caught:
        fetch("repeated_games", tmp_path, "file:///etc")
    assert caught.value.code == "data.origin"


def test_the_origins_hold_all_files_the_readers_look_for():
    known = origins()
    assert {places[0] for what, places in PLACES.items() if what != "experiments"} < set(known) and "http" not in json.dumps(known)
    assert {f"{PLACES['experiments'][0]}/game_{number}.csv" for number in range(1, 145)} < set(known)
    for name, wanted in known.items():
        owner, repository, commit, *_, last = wanted["path"].split("/")
        assert (owner, repository, len(commit), last) == ("eliaka", "repeatedgames", 40, name.split("/")[-1])  # a commit: its files never change
    in_checkout = {wanted["path"].split("/", 3)[3] for wanted in known.values()}
    assert {places[-1] for what, places in PLACES.items() if what != "experiments"} < in_checkout


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no released matches: {DATA} is absent (set ARENA_DATA)")
def test_the_origins_are_the_shared_files():
    there = [path.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.suffix in (".csv", ".json")]
    known = origins()
    assert len(there) >= 137
    for name in there:
        content = (DATA / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (known[name]["sha256"], known[name]["bytes"]), name
