"""What tests of several folders share: toy domains, agents from files, stores on both engines."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
import torch

from arena import registry

HERE = Path(__file__).parent
torch.set_num_threads(1)
hypothesis.settings.register_profile("arena", deadline=None)  # a busy machine is no fault of an example
hypothesis.settings.load_profile("arena")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background: commands would inherit that Ctrl-C does nothing
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _load(name: str, path: Path) -> ModuleType:
    """A helper module under a name of its own: with `tests` on the path, its folders would hide the packages they test."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_load("toy_domains", HERE / "toy_domains.py")
_load("toy_matches", HERE / "toy_matches.py")
_stores = _load("store_fixtures", HERE / "arena" / "store" / "conftest.py")
postgres, place, store = _stores.postgres, _stores.place, _stores.store


@pytest.fixture
def from_file():
    """The candidate `file:Class` of tests/agents_bad."""
    return lambda name: registry.candidate(str(HERE / "agents_bad" / name.replace(":", ".py:")))


@pytest.fixture(scope="session")
def tiny():
    return registry.task("bidding/tiny-v1")


@pytest.fixture
def with_roshambo(monkeypatch):
    """The registry knows the toy game of two agents."""
    from toy_matches import ROSHAMBO

    known = registry.domains()
    monkeypatch.setattr(registry, "domains", lambda: {**known, "roshambo": ROSHAMBO})
