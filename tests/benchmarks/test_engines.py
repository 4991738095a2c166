from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_engine_is_measured():
    """What is found is not judged here: the machine may be busy."""
    command = [sys.executable, "-m", "benchmarks.engines", "--chunks", "20", "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert {"bare loop", "inline", "local[1]", "local[2]", "store"} <= set(figures)
    assert figures["inline"]["ms added, p50"] < figures["local[1]"]["ms added, p50"] < figures["local[1]"]["ms one at a time, p50"]
    assert all(value > 0 for values in figures.values() for value in values.values())
