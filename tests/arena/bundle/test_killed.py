from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_helpers import board

from arena.bundle import import_bundle
from arena.integrity import verify
from arena.store import open_store

IMPORTER = Path(__file__).with_name("killed_importer.py")


def killed(origin, place, tiny, stride):
    """Import again and again, each time killed `stride` steps later, and once to the end."""
    home, bundle = origin
    command = [sys.executable, str(IMPORTER), place.url or "-", str(place.home), str(bundle), str(stride)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    log = json.loads(done.stdout)
    assert len(log) > 30 / stride and log[-1][0] == 0 and {code for code, *_ in log[:-1]} == {-9}
    whole = log[-1][1]
    assert (whole["runs"], whole["chunks"], whole["recordings"], whole["failures"]) == (4, 10, 8, 3)
    for _, rows, files, problems in log:
        assert rows == whole or not any(rows.values())
        assert problems == [] and files <= 8
    assert any(files == 8 and not any(rows.values()) for _, rows, files, _ in log), "all files, no row: what a collector removes after a day"
    with open_store(place.url, place.home) as store, open_store(None, home, read_only=True) as there:
        found = import_bundle(store, bundle)
        assert not any(run.added for run in found.runs) and all(verify(store, run.run, tiny).ok for run in found.runs)
        assert board(store, tiny.id) == board(there, tiny.id)


def test_an_import_killed_at_any_moment_leaves_the_store_as_it_was_or_complete(origin, place, tiny):
    killed(origin, place, tiny, 11)


@pytest.mark.slow
def test_an_import_killed_at_every_moment(origin, place, tiny):
    killed(origin, place, tiny, 1)
