"""Downloads from a real server on this machine: whole and right, or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

from arena import download
from arena.errors import EXIT_STORE, ArenaError
from domains.combinatorial import fetch as module
from domains.combinatorial.fetch import fetch, origins

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "combinatorial"
CONTENT = {f"a{k}.tsp": f"NAME : a{k}\n".encode() * (k + 1) for k in range(5)}


@pytest.fixture
def known(monkeypatch):
    """A set of five files, as origins.json would list it."""
    files = {n: {"path": f"owner/repo/commit/{n}", "sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in CONTENT.items()}
    monkeypatch.setattr(module, "origins", lambda: {"tsplib": files})
    return files


@pytest.fixture
def server():
    """A server of CONTENT on this machine; `answers` changes what it says to a file: a status, other bytes, or "cut" in the middle."""
    answers, asked = {}, Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/owner/repo/commit/")
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


def names(folder: Path) -> list[str]:
    """Everything that lies there, hidden files too."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_all_files_come_whole_and_a_second_time_nothing_is_asked(known, server, tmp_path):
    seen = []
    reports = fetch("tsplib", tmp_path, server.origin + "/", lambda done, total: seen.append((done, total)))
    assert [report.state for report in reports] == ["fetched"] * 5 and seen == [(k, 5) for k in range(1, 6)]
    folder = tmp_path / "combinatorial" / "tsplib"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert [report.state for report in fetch("tsplib", tmp_path, server.origin)] == ["kept"] * 5 and sum(server.asked.values()) == 5


def test_a_file_of_the_users_is_never_overwritten(known, server, tmp_path):
    mine = tmp_path / "combinatorial" / "tsplib" / "a2.tsp"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    states = {report.path.name: report for report in fetch("tsplib", tmp_path, server.origin)}
    assert states["a2.tsp"].state == "refused" and str(mine) in states["a2.tsp"].message and mine.read_text() == "mine"
    assert Counter(report.state for report in states.values()) == {"fetched": 4, "refused": 1} and server.asked["a2.tsp"] == 0


def test_files_that_are_wrong_or_not_there_leave_nothing_and_the_others_come(known, server, tmp_path):
    server.answers |= {"a1.tsp": 404, "a3.tsp": b"<html>sign in</html>"}
    states = {report.path.name: report for report in fetch("tsplib", tmp_path, server.origin)}
    assert names(tmp_path) == ["a0.tsp", "a2.tsp", "a4.tsp"]
    assert states["a1.tsp"].state == "failed" and "is not there (404)" in states["a1.tsp"].message
    assert states["a3.tsp"].state == "failed" and known["a3.tsp"]["sha256"][:12] in states["a3.tsp"].message
    assert "20 bytes for 40" in states["a3.tsp"].message
    server.answers.clear()
    assert Counter(report.state for report in fetch("tsplib", tmp_path, server.origin)) == {"fetched": 2, "kept": 3}


@pytest.mark.parametrize(("answer", "said"), [("cut", "broke off"), (503, "503 Service Unavailable"), (429, "429"), (403, "403")])
def test_what_breaks_off_goes_on_from_there(known, server, tmp_path, answer, said):
    server.answers["a2.tsp"] = answer
    with pytest.raises(ArenaError) as caught:
        fetch("tsplib", tmp_path, server.origin)
    error = caught.value
    assert error.code == "data.network" and said in error.message and server.origin in error.message and "--base-url" in error.hint
    assert names(tmp_path) == ["a0.tsp", "a1.tsp"] and error.context["fetched"] == 2 and server.asked["a3.tsp"] == 0
    server.answers.clear()
    assert Counter(report.state for report in fetch("tsplib", tmp_path, server.origin)) == {"fetched": 3, "kept": 2}


def test_nobody_answers(known, server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(ArenaError) as caught:
        fetch("tsplib", tmp_path, server.origin)
    assert caught.value.code == "data.network" and "is there a network" in caught.value.message and names(tmp_path) == []


def test_a_server_that_never_answers_is_given_up(known, tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ArenaError) as caught:
        fetch("tsplib", tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert caught.value.code == "data.network" and "nothing came for 0.2 s" in caught.value.message and names(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_no_half_file(known, server, tmp_path, monkeypatch):
    class Full:
        def __init__(self, **options):
            pass

        def __call__(self, url, output, pooch):
            if Path(output).name.startswith(".a1"):
                Path(output).write_bytes(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            Path(output).write_bytes(CONTENT[url.rsplit("/", 1)[1]])

    monkeypatch.setattr(pooch, "HTTPDownloader", Full)
    with pytest.raises(ArenaError) as caught:
        fetch("tsplib", tmp_path, server.origin)
    assert caught.value.code == "infra.disk" and caught.value.exit_code == EXIT_STORE and "No space left" in caught.value.message
    assert names(tmp_path) == ["a0.tsp"] and "--data" in caught.value.hint


def test_a_folder_that_cannot_be_made(known, server, tmp_path):
    (tmp_path / "combinatorial").write_text("a file where a folder should be")
    with pytest.raises(ArenaError) as caught:
        fetch("tsplib", tmp_path, server.origin)
    assert caught.value.code == "infra.disk" and not server.asked


def test_an_interrupted_download_leaves_nothing(known, server, tmp_path, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch, "file_hash", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("tsplib", tmp_path, server.origin)
    assert names(tmp_path) == []


def test_unknown_data_and_odd_origins(tmp_path):
    with pytest.raises(ArenaError) as caught:
        fetch("tsplip", tmp_path)
    assert caught.value.code == "unknown.data" and "tsplib" in caught.value.hint
    with pytest.raises(ArenaError) as caught:
        fetch("tsplib", tmp_path, "file:///etc")
    assert caught.value.code == "data.origin"


def test_the_origins_are_the_shared_files():
    known = origins()
    assert set(known) == {"tsplib", "cvrplib"} and [len(files) for files in known.values()] == [43, 24]
    for files in known.values():
        for name, wanted in files.items():
            assert wanted["path"].endswith(f"/{name}") and len(wanted["path"].split("/")[2]) == 40  # a commit: its files never change
    if not DATA.is_dir():
        pytest.skip(f"no files of TSPLIB: {DATA} is absent (set ARENA_DATA)")
    for data, files in known.items():
        for name, wanted in files.items():
            content = (DATA / ("atsp" if name.endswith(".atsp") else data) / name).read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (wanted["sha256"], wanted["bytes"]), name


def test_the_origins_are_plain_data():
    text = (Path(module.__file__).parent / "origins.json").read_text()
    assert json.loads(text) == origins() and "http" not in text
