"""A worker that is killed: forks children that play a run, and ends them with SIGKILL in the middle of things.

Called by test_exactly_once.py as a program of its own, so that only a process without threads is forked.
usage: attacked_worker.py URL HOME MODE COUNT SEED; prints one JSON line: what happened.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Engine, event, update

from arena import registry
from arena.environment import environment
from arena.errors import ArenaError
from arena.evaluation import Progress, execute, request
from arena.store import RunRow, Store, open_store
from arena.store.schema import runs

os.environ["ARENA_ISOLATION"] = "inline"  # what is attacked is the run; agents in processes of their own have tests of theirs
AGENT = str(Path(__file__).parents[1] / "agents_bad" / "moody.py:Moody")
torch.set_num_threads(1)


class Attack:
    def __init__(self, url: str | None, home: Path) -> None:
        self.url, self.home = url, home
        self.task, self.agent = registry.task("bidding/tiny-v1"), registry.candidate(AGENT)
        assert len(self.task.digest) == 64 and self.task.vectors and environment()  # loaded before anything is forked

    def ask(self, store: Store) -> RunRow:
        return request(store, self.task, self.agent, chunk=1)

    def child(self, work: Callable[[Store, RunRow], None], kill_after: float | None = None) -> int:
        """Exit status of a forked child that works on the run, a minute after the last owner was heard of."""
        pid = os.fork()
        if pid == 0:
            with open_store(self.url, self.home) as store:
                row = self.ask(store)
                store.write(lambda c: c.execute(update(runs).where(runs.c.status == "running").values(lease_until=0)))
                work(store, row)
            os._exit(0)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def play(self, store: Store, row: RunRow, report: Callable[[Progress], None] | None = None) -> None:
        execute(store, row, self.task, self.agent, report)

    def play_until(self, statement: int) -> Callable[[Store, RunRow], None]:
        """Kills itself just before the database executes its n-th statement."""

        def work(store: Store, row: RunRow) -> None:
            left = [statement]

            @event.listens_for(Engine, "before_cursor_execute")
            def count(*_: Any) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            self.play(store, row)

        return work

    def play_on_a_full_disk(self, store: Store, row: RunRow) -> None:
        """From the fifth chunk on no file may grow beyond 200 bytes."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        def fill(progress: Progress) -> None:
            if progress.done == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))

        try:
            self.play(store, row, fill)
        except ArenaError as error:
            os._exit(7 if error.code.startswith("store.") else 1)

    def state(self) -> tuple[str, int]:
        with open_store(self.url, self.home) as store:
            row = self.ask(store)
        return row.status, row.n_done


def kills(attack: Attack, count: int, rng: random.Random) -> list[Any]:
    """Kill the run again and again, then let it finish: at random moments, by statement and by the clock in turn, and once all chunks
    are there at every second statement of what remains."""
    log: list[Any] = []
    status, n_done = attack.state()
    statement = 8
    while len(log) < count and status != "complete":
        if n_done == 16:
            code = attack.child(attack.play_until(statement))
            statement += 2
        elif len(log) % 4 == 3:
            code = attack.child(attack.play, rng.uniform(0.05, 0.15))
        else:
            code = attack.child(attack.play_until(rng.randrange(4, 40)))
        status, n_done = attack.state()
        log.append([code, status, n_done])
    assert attack.child(attack.play) == 0
    return log


def main(url: str, home: str, mode: str, count: str, seed: str) -> None:
    attack, rng = Attack(None if url == "-" else url, Path(home)), random.Random(int(seed))
    if mode == "full":
        print(json.dumps([attack.child(attack.play_on_a_full_disk), *attack.state()]))
    else:
        print(json.dumps(kills(attack, int(count), rng)))


if __name__ == "__main__":
    main(*sys.argv[1:])
