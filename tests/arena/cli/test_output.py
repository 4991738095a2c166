"""Streams: colour and progress on terminals only, nothing lost where a name is long, no crash where the reader leaves."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from arena.cli.output import Column, duration, figure, literal, score, share, size, span, table

TASK = "bidding/tiny-v1"
START = "import sys; from arena.cli import main; sys.exit(main())"


def on_terminal(words, home, **variables):
    """stdout and stderr of a command that believes to be on a terminal of 120 columns."""
    main, terminal = pty.openpty()
    env = {**os.environ, "ARENA_HOME": str(home), "TERM": "xterm-256color", "COLUMNS": "120", **variables}
    env = {name: value for name, value in env.items() if value is not None}
    made = subprocess.Popen([sys.executable, "-c", START, *words], stdout=terminal, stderr=terminal, stdin=terminal, env=env)
    os.close(terminal)
    seen = b""
    try:
        while part := os.read(main, 65536):
            seen += part
    except OSError:
        pass  # Linux says EIO when the last writer has left
    os.close(main)
    assert made.wait(timeout=60) == 0
    return seen.decode()


def test_colour_on_a_terminal_and_none_with_no_color(played):
    assert "\x1b[1m" in on_terminal(["list", "tasks"], played, NO_COLOR=None)
    assert "\x1b" not in on_terminal(["list", "tasks"], played, NO_COLOR="1")
    plain = on_terminal(["list", "tasks", "--json"], played, NO_COLOR=None)
    assert "\x1b" not in plain and plain.lstrip().startswith("{")


def test_a_progress_bar_on_a_terminal(home):
    seen = on_terminal(["run", "-t", TASK, "-a", "const"], home, NO_COLOR=None)
    assert "16/16" in seen and "scen/s" in seen and "failures 0" in seen and "\x1b[?25l" in seen


def test_a_reader_that_leaves_is_no_error(played):
    words = f"{sys.executable} -c '{START}' list tasks | true"
    env = {**os.environ, "ARENA_HOME": str(played), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {words}"], capture_output=True, text=True, env=env)
    assert done.stderr == "" and done.returncode == 0


def test_no_cell_is_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    long = "a" * 70
    table([Column("name"), Column("value", right=True)], [(long, "1"), ("[bold]b[/bold]", "22")])
    out = capsys.readouterr().out
    assert long in out and "[bold]b[/bold]" in out
    lines = out.splitlines()
    assert len(lines[1]) == len(lines[2]) == 77 and "\x1b" not in out


def test_folded_cells_keep_every_word(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    words = " ".join(f"word{number}" for number in range(12))
    table([Column("name"), Column("text", fold=True)], [("x", words)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(line.split()) for line in lines[1:]).removeprefix("x ") == words


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (score(0.41249), "0.412"), (score(None), "-"), (score(float("nan")), "-"),
        (span(0.412, 0.398, 0.427), "0.412 [0.398, 0.427]"), (span(-0.041, -0.049, -0.033, "+"), "-0.041 [-0.049, -0.033]"),
        (span(1.0, None, None), "1.000"),
        (figure(0.0123456), "0.0123"), (figure(1234567.0), "1,234,567"), (figure(None), "-"), (figure(0.0), "0"),
        (share(0.0), "0 %"), (share(0.0312), "3.1 %"), (share(1.0), "100 %"), (share(0.00052), "0.052 %"),
        (size(950), "950 B"), (size(1_500_000), "1.5 MB"), (duration(4.04), "4.0 s"),
        (duration(64), "1:04 min"), (duration(7300), "2:01 h"), (duration(None), "?"),
        (literal("a\x1b[31m\tb"), "a\\x1b[31m\\tb"),
    ],
)  # fmt: skip
def test_figures_as_people_read_them(shown, expected):
    assert shown == expected
