"""The engine of a Ray cluster, or of Ray on one machine: the same code. One actor per worker; the driver alone writes to the store.

All machines need the same code and data, and the agents' artifacts under the same home folder. `RAY_ADDRESS` names a cluster.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from arena.engines.work import ATTEMPTS, IN_FLIGHT, Chunk, Crew, Packed, Played, Work
from arena.errors import ArenaError

try:
    import ray
except ImportError as error:
    raise ArenaError("engine.ray", "the engine `ray` needs the package ray", "pip install 'arena-bench[ray]'") from error


class Seat:
    """In an actor: plays chunks of one run after the other."""

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.crew: Crew | None = None

    def play(self, packed: Packed, chunk: Chunk) -> Played:
        if self.crew is None or self.crew.work.key != packed.key:
            if self.crew is not None:
                self.crew.close()
                self.crew = None
            self.crew = Crew(packed.unpack())
        return self.crew.play(chunk)


class Ray:
    name = "ray"

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ArenaError("engine.workers", f"{workers} workers", "one at least: --workers N")
        self.size, self.turn = workers, 0
        self.started = not ray.is_initialized()
        if self.started:
            address = os.environ.get("RAY_ADDRESS")
            alone: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **alone)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ArenaError("infra.ray", f"Ray cannot be reached: {error}".split("\n")[0], "check RAY_ADDRESS, or unset it") from error
        self.actors: list[Any] = []
        self.heirs: dict[Any, Any] = {}
        self.packed: tuple[str, Any] = ("", None)

    @property
    def capacity(self) -> int:
        return IN_FLIGHT * self.size

    def submit(self, work: Work, chunk: Chunk, watch: Callable[[int], None]) -> _Pending:
        if self.packed[0] != work.key:
            self.packed = (work.key, ray.put(work.packed))  # once for all chunks of the run
        while len(self.actors) < self.size:
            self.actors.append(self.made(work.device))
        self.turn += 1
        return _Pending(self, self.actors[self.turn % self.size], work.device, chunk, self.packed[1])

    def made(self, device: str) -> Any:
        """A new actor. Neither it nor its tasks are repeated by Ray: the row of a chunk in the store decides, and we count the attempts."""
        gpus = 1 / self.size if device != "cpu" else 0
        made = ray.remote(Seat).options(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        return made.remote(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))

    def successor(self, dead: Any, device: str) -> Any:
        """Who takes the place of a dead actor: one for all chunks it had."""
        if dead in self.actors:
            self.actors[self.actors.index(dead)] = self.heirs[dead] = self.made(device)
        return self.heirs[dead]

    def drop(self) -> None:
        actors, self.actors = self.actors, []
        for actor in actors:
            ray.kill(actor)

    def close(self) -> None:
        self.drop()
        if self.started:
            ray.shutdown()


class _Pending:
    """A chunk some actor plays."""

    def __init__(self, engine: Ray, actor: Any, device: str, chunk: Chunk, packed: Any) -> None:
        self.engine, self.actor, self.device, self.chunk, self.packed, self.attempt = engine, actor, device, chunk, packed, 1
        self.reference = actor.play.remote(packed, chunk)

    def result(self, timeout: float | None = None) -> Played:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                played: Played = ray.get(self.reference, timeout=None if until is None else max(0.0, until - time.monotonic()))
                return replace(played, attempt=self.attempt)
            except ray.exceptions.GetTimeoutError:
                raise TimeoutError from None
            except ray.exceptions.RayActorError as error:
                self._again(error)
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise cause if isinstance(cause, ArenaError) else ArenaError("internal", f"{type(cause).__name__}: {cause}") from error

    def _again(self, error: Exception) -> None:
        if self.attempt == ATTEMPTS:
            message = f"chunk {self.chunk.number}: {ATTEMPTS} workers died of it"
            raise ArenaError("infra.worker", message, "look at memory and disk; arena resume goes on") from error
        self.attempt += 1
        self.actor = self.engine.successor(self.actor, self.device)
        self.reference = self.actor.play.remote(self.packed, self.chunk)
