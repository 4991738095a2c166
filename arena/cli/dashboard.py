"""`arena dashboard`: the pages in a browser, and beside them a worker that does what they ask for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Annotated
from urllib.error import URLError
from urllib.request import urlopen

import typer

from arena import settings
from arena.cli.output import AsJson, deliver, notice
from arena.errors import ArenaError

START = 60.0  # seconds the server may take
GRACE = 15.0  # seconds a worker may take to give its run back
ARENA = "import sys; from arena.cli import main; sys.exit(main())"


def dashboard(
    port: Annotated[int, typer.Option("--port", help="Port; 0: any that is free.", min=0, max=65535)] = 8501,
    with_worker: Annotated[bool, typer.Option("--with-worker", help="Also do what the pages ask for: checks and runs.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
    as_json: AsJson = False,
) -> int:
    """Browse boards, runs and agents; register agents and queue runs.

    Listens on this machine only. Ctrl-C ends it, and the worker with it. ARENA_DASHBOARD_MODE=public hides all actions.
    """
    number = free_port(port)
    # `--home`, `--store` and `--log` of this command hold for what it starts, too
    flags = {f"ARENA_{s.name.upper()}": s.value for s in settings.settings() if s.origin == "flag"}
    server = [sys.executable, "-m", "streamlit", "run", str(page()), "--server.port", str(number), "--server.headless", str(no_browser).lower()]
    commands = [server, *([[sys.executable, "-c", ARENA, "worker"]] if with_worker else [])]
    address = f"http://localhost:{number}"
    with children(commands, {**os.environ, **flags}) as (started, asked_to_end):
        if wait_for(address, started[0], asked_to_end):
            document = {"url": address, "server": started[0].pid, "worker": started[1].pid if with_worker else None}
            deliver("arena.dashboard/1", document, as_json, lambda: print(f"dashboard at {address}; Ctrl-C ends it"))
        while started[0].poll() is None and not asked_to_end.is_set():
            if with_worker and started[1].poll() is not None:
                notice(f"the worker ended (exit code {started[1].returncode}); the dashboard goes on without it")
                with_worker = False
            time.sleep(0.2)
        if asked_to_end.is_set():
            return 0
    raise ArenaError("internal", f"the dashboard ended with exit code {started[0].returncode}", "what it printed above says why")


def page() -> Path:
    """The entry file of the installed pages. They are found, not imported: Streamlit does that."""
    package = find_spec("dashboard")
    if package is None or package.origin is None:
        raise ArenaError("dashboard.missing", "the package `dashboard` is not installed", "pip install arena-bench")
    return Path(package.origin).parent / "app.py"


def free_port(wanted: int) -> int:
    """The port, if nobody has it. Raises ArenaError `dashboard.port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", wanted))
        except OSError as error:
            raise ArenaError("dashboard.port", f"port {wanted} is taken ({error.strerror})", "name another one, or --port 0 for any") from error
        return int(probe.getsockname()[1])


def wait_for(address: str, server: subprocess.Popen[bytes], asked_to_end: Event) -> bool:
    """Whether the server answers; false where the command is asked to end before. Raises ArenaError where it ends or does not answer."""
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        if asked_to_end.is_set():
            return False
        try:
            with urlopen(f"{address}/_stcore/health", timeout=1):
                return True
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    raise ArenaError("internal", f"the dashboard at {address} does not answer", "what it printed above says why")


@contextmanager
def children(commands: list[list[str]], environment: dict[str, str]) -> Iterator[tuple[list[subprocess.Popen[bytes]], Event]]:
    """Processes that live as long as the block: asked to end, then killed. In it SIGINT and SIGTERM do not interrupt, they set the event: no
    moment is left, the start of a process or its end, in which one could be forgotten. What they print goes to stderr: results alone are on
    stdout.
    """
    asked_to_end = Event()
    before = [(number, signal.signal(number, lambda *_: asked_to_end.set())) for number in (signal.SIGINT, signal.SIGTERM)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            # a session of their own: Ctrl-C reaches them once, through us
            started.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True))
        yield started, asked_to_end
    finally:
        for process in started:
            process.terminate()
        end = time.monotonic() + GRACE
        for process in started:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for number, handler in before:
            signal.signal(number, handler)
