"""The five stores, and a home folder of a test's own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("dashboard_stores", Path(__file__).parent / "stores.py")
assert spec is not None and spec.loader is not None
sys.modules["dashboard_stores"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder that the pages read; nothing is in it yet."""
    monkeypatch.chdir(tmp_path)  # no settings file of the developer's
    monkeypatch.setenv("ARENA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ARENA_STORE", raising=False)
    return tmp_path / "home"
