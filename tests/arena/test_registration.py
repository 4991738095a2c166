"""Registering agents: what is kept, what a change makes of it, what is refused, and that nothing of a refused one stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from arena import registry
from arena.artifacts import artifact, collect, upload
from arena.errors import ArenaError
from arena.evaluation import execute, request, stored_candidate
from arena.isolation import Isolated
from arena.registration import draft, register, submit
from arena.store import open_store

TASKS = ["bidding/*"]
FINE = """
from helper import BID  # a file of its own beside it
from pathlib import Path

class Fine:
    def __init__(self, more: int = 0):
        self.bid = BID + more + int((Path(__file__).parent / "data" / "add.txt").read_text())

    def act(self, obs):
        return self.bid
"""


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ARENA_STORE", raising=False)
    with open_store(None, tmp_path / "home") as store:
        yield store


def fine(bid=40):
    """A file with what it needs beside it."""
    Path("fine.py").write_text(FINE)
    Path("helper.py").write_text(f"BID = {bid}\n")
    Path("data").mkdir(exist_ok=True)
    Path("data/add.txt").write_text("2")
    return draft("fine.py:Fine", "fine", TASKS, [Path("helper.py"), Path("data")])


def bids(store, task, reference):
    """What an agent bids in its first decision, by running it."""
    agent = registry.candidate(reference)
    row = request(store, task, agent)
    assert execute(store, row, task, agent).status == "complete" and not store.failures(row.id)
    from arena.store import read_recording

    return int(read_recording(store.home, store.chunks(row.id)[0]["recording_digest"])["bidder"][0, 0])


def test_a_changed_file_is_a_new_version_and_old_ones_can_still_be_run(kept, tiny):
    told = []
    first = register(kept, fine(40), lambda rule, ok, detail: told.append((rule, ok)))
    assert (first.row.reference, first.new, first.level) == ("fine@1", True, "process") and dict(told)["legal"] is True
    again = register(kept, fine(40))
    assert (again.row.reference, again.new) == ("fine@1", False), "the same content is the same version"
    second = register(kept, fine(50))
    assert (second.row.reference, second.new) == ("fine@2", True)
    for path in ("fine.py", "helper.py", "data"):  # nobody needs the originals any more
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
    assert [bids(kept, tiny, name) for name in ("fine", "fine@1", "fine@2", "fine@1(more=7)")] == [52, 42, 52, 49]
    assert isinstance(registry.candidate("fine").enter(tiny.view), Isolated)
    board = {(line["agent"], line["version"]) for line in kept.board(tiny.id)}
    assert board == {("fine", 1), ("fine", 2), ("fine(more=7)", 1)}
    kept.retire_agent(second.row.id)
    assert registry.candidate("fine").version == 1
    register(kept, fine(50))
    assert registry.candidate("fine").version == 2, "registering it again brings it back"


def test_runs_of_registered_agents_are_resumed_by_what_is_kept(kept, tiny):
    row = register(kept, fine(40)).row
    run = request(kept, tiny, registry.candidate("fine"))
    register(kept, fine(60))
    found = stored_candidate(kept, run.id)
    assert (found.version, found.digest) == (row.version, row.artifact_digest)
    source = artifact(row.spec["artifact"])
    (source / "helper.py").write_text("BID = 300\n")
    with pytest.raises(ArenaError, match="were altered") as error:
        stored_candidate(kept, run.id)
    assert error.value.code == "agent.changed"
    shutil.rmtree(source)
    with pytest.raises(ArenaError, match="are not here") as error:
        registry.candidate("fine@1")
    assert error.value.code == "agent.artifact" and registry.candidate("fine@2").version == 2


def test_what_breaks_the_contract_leaves_nothing_behind(kept):
    Path("wild.py").write_text("def wild(obs):\n    return 999\n")
    with pytest.raises(ArenaError, match="wild breaks the contract: legal: ") as error:
        register(kept, draft("wild.py:wild", None, TASKS))
    checks = {check["rule"]: check["ok"] for check in error.value.context["checks"]}
    assert error.value.code == "agent.contract" and error.value.exit_code == 2 and checks["legal"] is False and checks["runs"] is True
    assert kept.agents() == [] and list(artifact("").iterdir()) == []


@pytest.mark.parametrize(
    ("source", "options", "code", "says"),
    [
        ("fine.py:Fine", {"name": "pid"}, "agent.taken", "pid is an agent that comes with Arena"),
        ("fine.py:Fine", {"name": "No Name"}, "agent.name", "'No Name' is no agent name"),
        ("fine.py:Fine", {"tasks": ["biding/*"]}, "unknown.task", "did you mean bidding/"),
        ("fine.py:Fine", {"nature": "clever"}, "unknown.nature", "clever"),
        ("fine.py:Fine", {"extra": [Path("nothing")]}, "unknown.file", "there is no file nothing"),
        ("fine.py:Fine", {"extra": [Path("link.py")]}, "agent.source", "link.py is a link"),
        ("fin.py:Fine", {}, "unknown.file", "there is no file fin.py"),
        ("model.zip", {}, "agent.untrusted", "arena convert model.zip --trust"),
        ("pidd", {}, "unknown.agent", "did you mean pid"),
        ("http:/somewhere", {}, "unknown.agent", "give file.py:Class"),
        ("nothing_here:Agent", {}, "unknown.module", "there is no module nothing_here"),
        ("pid", {"extra": [Path("helper.py")]}, "agent.source", "goes with a Python file"),
    ],
)
def test_what_cannot_be_registered_says_why(kept, source, options, code, says):
    fine()
    Path("link.py").symlink_to("helper.py")
    with pytest.raises(ArenaError) as error:
        draft(source, **({"name": "fine", "tasks": TASKS} | options))
    assert error.value.code == code and says in f"{error.value.message} {error.value.hint}"


def test_a_helper_that_was_left_at_home_is_named(kept):
    fine()
    with pytest.raises(ArenaError, match="ModuleNotFoundError") as error:
        register(kept, draft("fine.py:Fine", "fine", TASKS))
    assert error.value.code == "agent.contract" or "--with helper.py" in error.value.hint


def test_a_module_is_known_by_its_sources(kept, tiny, tmp_path):
    package = tmp_path / "mypack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "deep.py").write_text("class Deep:\n    def act(self, obs): return 30\n")
    first = register(kept, draft("mypack.deep:Deep", None, TASKS))
    assert (first.row.reference, first.row.kind) == ("deep@1", "file") and bids(kept, tiny, "deep") == 30
    (package / "deep.py").write_text("class Deep:\n    def act(self, obs): return 31\n")
    with pytest.raises(ArenaError, match="has changed since"):
        registry.candidate("deep")
    assert register(kept, draft("mypack.deep:Deep", None, TASKS)).row.reference == "deep@2" and bids(kept, tiny, "deep") == 31
    assert registry.candidate("mypack.deep:Deep").level == "process", "without being registered, too"


def test_an_agent_that_is_known_with_parameters_of_its_own(kept, tiny):
    found = register(kept, draft("pid(kp=0.3)", "soft", ()))
    assert (found.row.kind, found.row.nature, found.level) == ("builtin", "classical", "inline")
    agent = registry.candidate("soft")
    assert agent.tasks == registry.candidate("pid").tasks and agent.make().__dict__ == registry.candidate("pid(kp=0.3)").make().__dict__


def policy(path, n=301):
    """A bidder as an ONNX file: logits that are largest at bid 40."""
    weight = np.zeros((1, n), np.float32)
    weight[0, 40] = 1.0
    nodes = [
        helper.make_node("Unsqueeze", ["theta", "axis"], ["column"]),
        helper.make_node("Abs", ["column"], ["positive"]),
        helper.make_node("Add", ["positive", "one"], ["scale"]),
        helper.make_node("MatMul", ["scale", "weight"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.ones((1, 1), np.float32), "one"),
        numpy_helper.from_array(weight, "weight"),
    ]
    graph = helper.make_graph(
        nodes, "bidder", [helper.make_tensor_value_info("theta", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", n])], constants,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def test_an_onnx_file_is_registered_and_played_in_a_process_of_its_own(kept, tiny):
    policy("bidder.onnx")
    found = register(kept, draft("bidder.onnx", None, TASKS))
    assert (found.row.reference, found.row.kind, found.row.nature, found.level) == ("bidder@1", "onnx", "learned", "process")
    assert bids(kept, tiny, "bidder") == 40


# ---- asked for from elsewhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"kind": "file", "source": "upload:ab", "name": "x"}, "agent.kind"),
        ({"kind": "sb3", "source": "model.zip", "name": "x"}, "agent.kind"),
        ({"kind": "http", "source": "/etc/passwd", "name": "x"}, "agent.address"),
        ({"kind": "builtin", "source": "fine.py:Fine", "name": "x"}, "unknown.agent"),
        ({"kind": "builtin", "source": "pid(kp=0.3)", "name": ""}, "agent.name"),
        ({"kind": "builtin", "source": "pid(kp=0.3)", "name": "lin"}, "agent.taken"),
        ({"kind": "onnx", "source": "upload:../../secret", "name": "x"}, "agent.upload"),
        ({"kind": "onnx", "source": "upload:" + "0" * 64, "name": "x"}, "agent.upload"),
    ],
)
def test_what_may_not_be_asked_for(kept, spec, code):
    fine()
    with pytest.raises(ArenaError) as error:
        submit(kept, {"tasks": TASKS, **spec})
    assert error.value.code == code and kept.jobs() == []


def test_a_damaged_upload_is_refused(kept):
    upload("").mkdir(parents=True)
    upload(f"{'0' * 64}.onnx").write_bytes(b"something else")
    with pytest.raises(ArenaError, match="is damaged"):
        submit(kept, {"kind": "onnx", "source": "upload:" + "0" * 64, "name": "x", "tasks": TASKS})


def test_files_that_nothing_refers_to_are_collected(kept):
    row = register(kept, fine(40)).row
    upload("").mkdir(parents=True)
    for name in ("1" * 64, "2" * 64):
        upload(f"{name}.onnx").write_bytes(b"x")
    kept.enqueue("register", {"kind": "onnx", "source": "upload:" + "1" * 64})
    (artifact("") / ".left.tmp").mkdir()
    (artifact("") / ("3" * 64)).mkdir()
    assert collect(kept) == [], "what is young may be about to be referred to"
    assert {path.name for path in collect(kept, min_age=-1)} == {".left.tmp", "3" * 64, "2" * 64 + ".onnx"}
    assert artifact(row.spec["artifact"]).is_dir() and upload("1" * 64 + ".onnx").exists()
