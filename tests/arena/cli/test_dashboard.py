"""`arena dashboard`: it serves the pages from any folder, and leaves nobody behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from urllib.request import urlopen

import psutil
import pytest


def begin(process, *arguments, **variables):
    """The started command and the document it prints once the server answers."""
    made = process("dashboard", "--port", 0, "--no-browser", "--json", *arguments, wait=False, **variables)
    lines = []
    while not lines or lines[-1] != "}\n":
        line = made.stdout.readline()
        assert line, made.communicate()
        lines.append(line)
    return made, json.loads("".join(lines))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_server_and_worker_end_with_it(process, ending):
    made, document = begin(process, *(["--with-worker"] if ending == signal.SIGINT else []))
    try:
        assert document["schema"] == "arena.dashboard/1" and (document["worker"] is None) == (ending == signal.SIGTERM)
        with urlopen(f"{document['url']}/_stcore/health", timeout=5) as answer:
            assert answer.status == 200
        children = psutil.Process(made.pid).children(recursive=True)
        assert {document["server"], document["worker"]} - {None} <= {child.pid for child in children}
        made.send_signal(ending)
        assert made.wait(timeout=30) == 0
        gone, alive = psutil.wait_procs(children, timeout=5)
        assert not alive
    finally:
        made.terminate()  # a second one changes nothing; after a failed assertion this ends its children, too
        made.communicate()


def test_it_ends_as_well_while_the_server_still_starts(process):
    made = process("dashboard", "--port", 0, "--no-browser", "--json", wait=False)
    while not (children := psutil.Process(made.pid).children()):
        assert made.poll() is None, made.communicate()
        time.sleep(0.05)
    made.send_signal(signal.SIGTERM)
    out, _ = made.communicate(timeout=30)
    assert (made.returncode, out) == (0, "")
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_a_server_that_ends_is_told_and_takes_the_worker_with_it(process):
    made, document = begin(process)
    os.kill(document["server"], signal.SIGKILL)
    out, err = made.communicate(timeout=30)
    assert made.returncode == 1 and json.loads(out)["message"] == "the dashboard ended with exit code -9"


def test_a_taken_port_is_refused_at_once(arena):
    with socket.socket() as rival:
        rival.bind(("localhost", 0))
        rival.listen()
        begun = time.monotonic()
        done = arena("dashboard", "--port", rival.getsockname()[1], "--no-browser", "--json")
    assert done.code == 2 and done.document["code"] == "dashboard.port" and time.monotonic() - begun < 2
