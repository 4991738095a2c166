"""Light commands stay light: time to the first word, and what they import."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "pandas", "sqlalchemy", "scipy", "numba", "streamlit", "plotly")
PROBE = """
import sys
from arena.cli import main
code = main(sys.argv[1:])
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def best_of_three(words):
    """Processor seconds: a busy machine makes nobody slow."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_help_is_there_at_once():
    nothing = best_of_three([sys.executable, "-c", "pass"])
    usage = best_of_three([sys.executable, "-c", "from arena.cli import main; main(['--help'])"])
    assert usage < max(0.5, 10 * nothing) and usage / nothing < 20, (usage, nothing)


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (("--help",), (*HEAVY, "numpy", "rich")),
        (("run", "--help"), (*HEAVY, "numpy")),
        (("list", "domains"), HEAVY),
        (("list", "tasks"), HEAVY),
        (("list", "agents", "-t", "bidding/tiny-v1"), HEAVY),
        (("leaderboard", "--help"), HEAVY),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(tmp_path, words, heavy):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=heavy), *words], capture_output=True, text=True, env={**os.environ, "ARENA_HOME": str(tmp_path)}
    )
    assert done.returncode == 0 and done.stdout
    assert done.stderr.splitlines()[-1] == "[]"


def test_boards_and_runs_are_read_without_torch(played):
    commands = [
        ["leaderboard"],
        ["list", "runs"],
        ["status"],
        ["status", "1"],
        ["compare", "pid", "dual", "-t", "bidding/tiny-v1"],
        ["show", "agent", "pid"],
    ]
    script = f"import sys; from arena.cli import main; print([main(words) for words in {commands}], 'torch' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "ARENA_HOME": str(played)})
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0, 0, 0] False False", done.stderr
