"""A store with two agents of ours and one from a file that fails some scenarios, and its bundle."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch

from arena import registry
from arena.bundle import export_runs
from arena.store import open_store

BAD = Path(__file__).parents[2] / "agents_bad"
_spec = importlib.util.spec_from_file_location("bundle_helpers", Path(__file__).with_name("bundle_helpers.py"))
sys.modules["bundle_helpers"] = _helpers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_helpers)
play, members = _helpers.play, _helpers.members


@pytest.fixture(scope="session")
def origin(tmp_path_factory):
    """(home, bundle): runs 1 to 4 of pid (seeds 0 and 1), dual and moody, which fails 3 of 16 scenarios; not to be written to."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("origin")
    task = registry.task("bidding/tiny-v1")
    source = folder / "secret place" / "moody.py"
    source.parent.mkdir()
    shutil.copy(BAD / "moody.py", source)
    with open_store(None, folder / "home") as store:
        pid = registry.candidate("pid")
        play(store, task, pid)
        play(store, task, pid, seed=1)
        play(store, task, registry.candidate("dual"), chunk=4)
        play(store, task, registry.candidate(f"{source}:Moody"))
        export_runs(store, [1, 2, 3, 4], folder / "x.arena.zip")
    return folder / "home", folder / "x.arena.zip"


@pytest.fixture
def bundle(origin):
    return origin[1]


@pytest.fixture(scope="session")
def original(origin):
    """The files of the bundle, by name."""
    return members(origin[1])


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """A home with an empty store, to be copied."""
    home = tmp_path_factory.mktemp("empty") / "home"
    open_store(None, home).close()
    return home


@pytest.fixture
def fresh(tmp_path, empty):
    with open_store(None, shutil.copytree(empty, tmp_path / "fresh")) as store:
        yield store
