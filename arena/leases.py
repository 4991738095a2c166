"""Leases from a worker's side: under which name it holds runs and jobs, and how it keeps them while it works."""

from __future__ import annotations

import os
import platform
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from arena.errors import ArenaError

RENEW = 10.0  # seconds between renewals


def worker_name() -> str:
    """Who holds a lease: machine, process and something random."""
    return f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


@contextmanager
def renewing(renew: Callable[[], bool]) -> Iterator[threading.Event]:
    """Keep a lease while the block runs; the event is set when it is no longer ours."""
    over, lost = threading.Event(), threading.Event()

    def keep() -> None:
        while not over.wait(RENEW):
            try:
                if not renew():
                    lost.set()
            except ArenaError:
                pass  # busy: the lease outlasts several missed renewals

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()
