"""The engine of worker processes on this machine: spawned once, kept warm, task and agents loaded once in each.

Each worker has a pipe of its own. What comes through it was pickled by our own code in a process of our own; agents that are not ours
are in processes of theirs, below the worker.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from arena.engines.work import ATTEMPTS, IN_FLIGHT, Chunk, Crew, Packed, Played, Work
from arena.errors import ArenaError

LEAVE = 5.0  # seconds a worker has to let its agents go


@dataclass
class _Order:
    """A chunk on its way: to whom its result goes, and how many workers have died of it."""

    work: Packed
    chunk: Chunk
    future: Future[Played]
    attempt: int = 1


class _Worker:
    def __init__(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, os.getpid()), name=f"arena worker {number}", daemon=False)
        self.process.start()
        theirs.close()
        self.order: _Order | None = None
        self.known = ""  # key of the work it was told last

    def give(self, order: _Order) -> None:
        self.order = order
        told = order.work if order.work.key != self.known else None
        self.known = order.work.key
        with contextlib.suppress(OSError):  # it is dead: its sentinel says so
            self.pipe.send((told, order.chunk))

    def end(self, kill: bool) -> None:
        self.pipe.close()  # it hears that, between two chunks
        if kill:
            self.process.terminate()
        self.process.join(LEAVE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Local:
    """`workers` processes; a result is a future that `result` drives, so that no thread is needed."""

    name = "local"

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ArenaError("engine.workers", f"{workers} workers", "one at least: --workers N")
        self.size, self.numbers = workers, itertools.count()
        self.workers: list[_Worker] = []
        self.waiting: deque[_Order] = deque()

    @property
    def capacity(self) -> int:
        return IN_FLIGHT * self.size

    def submit(self, work: Work, chunk: Chunk, watch: Callable[[int], None]) -> _Pending:
        order = _Order(work.packed, chunk, Future())
        self.waiting.append(order)
        self.turn(0.0)
        return _Pending(self, order.future)

    def turn(self, timeout: float) -> None:
        """Hand out what waits, take what has come; return at the first result or after `timeout` seconds."""
        self._hand_out()
        busy = {w.pipe: w for w in self.workers if w.order is not None}
        if not busy:
            return
        sentinels = {w.process.sentinel: w for w in busy.values()}
        for ready in wait([*busy, *sentinels], timeout):
            worker = busy[ready] if isinstance(ready, Connection) else sentinels[ready]  # type: ignore[index]
            if worker.order is not None:
                self._take(worker)
        self._hand_out()

    def _hand_out(self) -> None:
        while self.waiting:
            free = next((w for w in self.workers if w.order is None), None)
            if free is None:
                if len(self.workers) >= self.size:
                    return
                free = _Worker(next(self.numbers))
                self.workers.append(free)
            free.give(self.waiting.popleft())

    def _take(self, worker: _Worker) -> None:
        """The result of a worker, or its death: then the chunk is played again by another."""
        order = worker.order
        assert order is not None
        try:
            if not worker.pipe.poll() and worker.process.is_alive():
                return
            ok, value = worker.pipe.recv()
        except (EOFError, OSError):
            worker.order = None
            self.workers.remove(worker)
            worker.end(kill=True)
            self._lost(order, worker.process.exitcode)
            return
        worker.order = None
        if ok:
            order.future.set_result(replace(value, attempt=order.attempt))
        else:
            order.future.set_exception(value)

    def _lost(self, order: _Order, code: int | None) -> None:
        if order.attempt < ATTEMPTS:
            order.attempt += 1
            self.waiting.appendleft(order)
            return
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        order.future.set_exception(
            ArenaError(
                "infra.worker", f"chunk {order.chunk.number}: {ATTEMPTS} workers died of it ({how})", "look at memory and disk; arena resume goes on"
            )
        )

    def drop(self) -> None:
        self.waiting.clear()
        for worker in [w for w in self.workers if w.order is not None]:
            self.workers.remove(worker)
            worker.end(kill=True)

    def close(self) -> None:
        self.waiting.clear()
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.pipe.close()
        for worker in workers:
            worker.end(kill=worker.order is not None)


class _Pending:
    """A chunk some worker plays. Waiting for it moves the others along too."""

    def __init__(self, engine: Local, future: Future[Played]) -> None:
        self.engine, self.future = engine, future

    def result(self, timeout: float | None = None) -> Played:
        until = None if timeout is None else time.monotonic() + timeout
        while not self.future.done():
            left = 1.0 if until is None else until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.engine.turn(left)
        return self.future.result()


# ---- in the worker -------------------------------------------------------------------------------------------------


def serve(pipe: Connection, driver: int) -> None:
    """Play chunks until the driver hangs up or is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver's: it ends its workers itself
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    crew: Crew | None = None

    def watch(step: int) -> None:
        if os.getppid() != driver:
            os._exit(0)

    try:
        while True:
            try:
                told, chunk = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                if told is not None:
                    if crew is not None:
                        crew.close()
                    crew = None
                    crew = Crew(told.unpack())
                if crew is None:
                    raise ArenaError("infra.worker", "the worker was told no work", "arena resume goes on")
                answer: tuple[bool, Any] = True, crew.play(chunk, watch)
            except Exception as error:
                answer = False, error if isinstance(error, ArenaError) else ArenaError("internal", f"{type(error).__name__}: {error}")
            pipe.send(answer)
    finally:
        if crew is not None:
            crew.close()
