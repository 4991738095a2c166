"""`arena data fetch` and `check` with several domains: who downloads, whose files they are."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from arena import registry, settings
from arena.registry import DomainSpec, TaskSpec
from domains.bidding import DOMAIN as BIDDING
from domains.combinatorial import fetch
from domains.combinatorial.files import find

SQUARE = "TYPE : TSP\nDIMENSION : 4\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n1 0 0\n2 0 10\n3 10 10\n4 10 0\nEOF\n"
TASK = TaskSpec("tsplib-real-v1", "real", 2, "two squares", needs="tsplib")
TOURS = DomainSpec(
    "combinatorial", "tours", (TASK,), "nowhere:load", check="domains.combinatorial.files:check_folder", fetch="domains.combinatorial.fetch:fetch"
)


@pytest.fixture
def two(monkeypatch):
    """Two domains that read files, one of which downloads; its task is there when two instances are."""
    bidding = registry.task

    def task(reference):
        if not reference.startswith("combinatorial"):
            return bidding(reference)
        return SimpleNamespace(n=len(find(settings.data_root(), "tsplib", ["a", "b"])))

    monkeypatch.setattr(registry, "domains", lambda: {"bidding": BIDDING, "combinatorial": TOURS})
    monkeypatch.setattr(registry, "task", task)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server of two instances on this machine, as a mirror of the origin."""
    served = tmp_path / "served"
    (served / "some" / "where").mkdir(parents=True)
    files = {}
    for name in ("a.tsp", "b.tsp"):
        (served / "some" / "where" / name).write_text(SQUARE)
        files[name] = {"path": f"some/where/{name}", "sha256": hashlib.sha256(SQUARE.encode()).hexdigest(), "bytes": len(SQUARE)}
    monkeypatch.setattr(fetch, "origins", lambda: {"tsplib": files})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch_downloads_into_the_home_folder_where_tasks_find_it(arena, home, two, mirror):
    before = next(row for row in arena("data", "list", "--json").document["tasks"] if row["needs"] == "tsplib")
    assert not before["found"] and "arena data fetch tsplib" in before["expected"]
    done = arena("data", "fetch", "tsplib", "--base-url", mirror, "--json")
    folder = home / "data" / "combinatorial" / "tsplib"
    assert done.code == 0 and [(Path(file["path"]), file["state"]) for file in done.document["files"]] == [
        (folder / "a.tsp", "fetched"),
        (folder / "b.tsp", "fetched"),
    ]
    assert done.document["root"] == str(home / "data") and done.document["tasks"][0]["scenarios"] == 2
    assert (folder / "a.tsp").read_text() == SQUARE
    assert next(row for row in arena("data", "list", "--json").document["tasks"] if row["needs"] == "tsplib")["found"]


def test_fetch_goes_to_the_data_folder_by_task_and_tells_what_it_kept(arena, two, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("ARENA_ORIGIN", mirror)
    place = tmp_path / "my data"
    assert arena("data", "fetch", "combinatorial/tsplib-real", "--data", place).code == 0
    (place / "combinatorial" / "tsplib" / "a.tsp").write_text("changed")
    done = arena("data", "fetch", "tsplib", "--data", place)
    assert done.code == 2 and "1 refused, 1 kept" in done.out and "a.tsp is another file" in done.out and "2 scenarios" in done.out


def test_fetch_without_a_network_says_so(arena, two):
    done = arena("data", "fetch", "tsplib", "--base-url", "http://127.0.0.1:9")
    assert done.code == 2 and "no connection" in done.err and "ARENA_ORIGIN" in done.err and done.out == ""


def test_fetch_of_what_nobody_may_pass_on_says_which_files(arena, two):
    done = arena("data", "fetch", "rtbcontrol", "--json")
    assert done.code == 2 and done.document["files"] == [] and "test.txt" in done.document["tasks"][0]["expected"]


def test_check_finds_out_whose_files_they_are(arena, two, tmp_path):
    tours, campaign, neither = (tmp_path / name for name in ("tours", "1458", "neither"))
    for folder in (tours, campaign, neither):
        folder.mkdir()
    (tours / "a.tsp").write_text(SQUARE)
    (campaign / "test.theta.txt").write_text("0 50 0.001\n1 60 0.002\n")
    (neither / "notes.md").write_text("nothing")
    assert arena("data", "check", tours, "--json").document["domain"] == "combinatorial"
    assert arena("data", "check", campaign, "--json").document["domain"] == "bidding"
    done = arena("data", "check", neither)
    assert done.code == 2 and "no domain knows the files" in done.err and "--domain bidding or combinatorial" in done.err
    assert arena("data", "check", neither, "--domain", "combinatorial").code == 0
    both = arena("data", "check", tmp_path)
    assert both.code == 2 and "bidding and combinatorial both know files" in both.err
    (tours / "a.tsp").write_text(SQUARE.replace("10 10", "10 ten"))
    assert "'ten'" in arena("data", "check", tmp_path, "-d", "combinatorial").out
    (tmp_path / "empty").mkdir()
    assert "holds no files" in arena("data", "check", tmp_path / "empty").err
    assert "is not a folder" in arena("data", "check", tmp_path / "nowhere").err


def test_check_says_once_what_it_says_of_many_files(arena, two, tmp_path):
    (tmp_path / "some").mkdir()
    for name in ("some/a.tsp", "some/b.tsp", "c.tsp", "d.tsp"):
        (tmp_path / name).write_text(SQUARE)
    (tmp_path / "e.tsp").write_text(SQUARE.replace("10 10", "10 ten"))
    done = arena("data", "check", tmp_path, "-d", "combinatorial")
    assert done.code == 2 and done.out.splitlines()[0].endswith(": 5 files") and done.out.count(" yes ") == done.out.count(" NO ") == 1
    same = next(line for line in done.out.splitlines() if " yes " in line)
    assert "c.tsp, d.tsp, some/a.tsp" in same and " 4  tsp   yes    16 " in same and "and 1 more" in done.out
    assert len(arena("data", "check", tmp_path, "-d", "combinatorial", "--json").document["files"]) == 5


def test_a_domain_that_reads_no_files_is_not_asked(arena, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "domains", lambda: {"bidding": BIDDING, "combinatorial": replace(TOURS, check="")})
    (tmp_path / "test.theta.txt").write_text("0 50 0.001\n")
    assert arena("data", "check", tmp_path, "--json").document["domain"] == "bidding"
    assert arena("data", "check", tmp_path, "-d", "combinatorial").code == 6
