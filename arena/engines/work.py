"""One run's work, cut into chunks: what travels to a worker, what comes back, and the agents that stay seated between chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from arena import registry, settings
from arena.errors import ArenaError
from arena.making import build
from arena.registry import Candidate
from arena.rollout import DETAIL, Episode, Failure, Player, players, rollout
from arena.task import Task

ATTEMPTS = 3  # at a chunk whose worker dies
IN_FLIGHT = 4  # chunks per worker: enough to keep it busy, few enough to hold in memory


class Chunk(NamedTuple):
    """Scenarios start .. start + n - 1 of a task."""

    number: int
    start: int
    n: int


@dataclass(frozen=True)
class Played:
    """What came of a chunk. attempt: how many workers it took; seconds: of the one that played it."""

    episode: Episode
    seconds: float
    attempt: int = 1


@dataclass(frozen=True)
class Work:
    """A run as its workers see it. `key` tells runs apart; `opponent` plays the other role of a match."""

    key: str
    task: Task
    candidate: Candidate
    seed: int
    device: str
    opponent: Candidate | None = None

    @cached_property
    def packed(self) -> Packed:
        """The work in a form that travels. Raises ArenaError `engine.task` for a task that only this process knows."""
        if not self.task.reference:
            raise ArenaError("engine.task", f"{self.task.id} was made in this process, no other can make it", "use the engine `inline`")
        root = settings.data_root()
        chosen = {"home": str(settings.home().resolve()), "data": str(root.resolve()) if root else None}
        chosen["isolation"] = settings.setting("isolation").value
        agents = [_packed(self.candidate), *([] if self.opponent is None else [_packed(self.opponent)])]
        return Packed(self.key, self.task.reference, self.task.digest, agents, self.seed, self.device, chosen)


@dataclass(frozen=True)
class Packed:
    """`Work` on its way. agents: the candidate, and its opponent in a match; settings: those of the driver, which count wherever the worker is."""

    key: str
    task: str
    task_digest: str
    agents: Sequence[Mapping[str, Any]]
    seed: int
    device: str
    settings: Mapping[str, str | None]

    def unpack(self) -> Work:
        """The work as this process knows it. Raises ArenaError `infra.worker` where task or agent are others here than at the driver's."""
        settings.override(**self.settings)
        task = registry.task(self.task)
        if task.digest != self.task_digest:
            raise ArenaError("infra.worker", f"{self.task} has other content at this worker", "give all machines the same code and data")
        candidate, *others = map(_unpacked, self.agents)
        return Work(self.key, task, candidate, self.seed, self.device, *others)


def _packed(candidate: Candidate) -> dict[str, Any]:
    return {f.name: getattr(candidate, f.name) for f in fields(Candidate) if f.name != "make"}


def _unpacked(agent: Mapping[str, Any]) -> Candidate:
    source = agent["source"]
    if source is not None:
        return Candidate(**agent, make=lambda: build(source))
    candidate = registry.candidate(str(agent["spec"].get("reference", agent["name"])))
    if candidate.digest != agent["digest"]:
        raise ArenaError("infra.worker", f"{candidate.name} has other content at this worker", "give all machines the same code")
    return candidate


def candidate_roles(task: Task) -> tuple[str, ...]:
    """The roles that the candidate plays; its score stands at the first."""
    return task.candidates or (task.role,)


def cast(task: Task, candidate: Candidate, opponent: Candidate | None = None) -> dict[str, Candidate]:
    """Who plays which role: the candidate those that are judged (in a match its opponent the second), the task's frozen agents the others."""
    roles = dict.fromkeys(candidate_roles(task), candidate)
    if opponent is not None:
        assert task.pair is not None
        roles[task.pair[1]] = opponent
    return roles | {role: registry.candidate(reference) for role, reference in task.fill.items()}


def seat(task: Task, candidate: Candidate, opponent: Candidate | None = None) -> dict[str, Player]:
    """Fresh agents in all roles, as `cast` says. `leave` lets them go. An error names the `role` whose agent cannot be had in its context."""
    view = task.view
    agents: dict[str, Any] = {}
    try:
        for role, player in cast(task, candidate, opponent).items():
            try:
                agents[role] = player.enter(view)
            except ArenaError as error:
                error.context.setdefault("role", role)
                raise
        return players(task.domain, agents)
    except BaseException:
        for agent in agents.values():
            agent.close()
        raise


def leave(lineup: Mapping[str, Player]) -> None:
    """The agents of a line-up are no longer needed. One that fails even at that has already been judged."""
    for player in lineup.values():
        with suppress(Exception):
            player.agent.close()


class Crew:
    """The agents of one run, seated; warm between chunks, made anew after a breakdown."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.lineup: dict[str, Player] | None = None
        self.broken = False  # an agent of this run has broken down before

    def play(self, chunk: Chunk, watch: Callable[[int], None] | None = None) -> Played:
        """Play a chunk to its end. `watch` is called with the step, now and then."""
        work, began = self.work, time.perf_counter()
        if self.lineup is None:
            try:
                self.lineup = seat(work.task, work.candidate, work.opponent)
            except ArenaError as error:
                if not self.broken or error.passing:
                    raise
                return Played(_unplayed(work.task, chunk, error), time.perf_counter() - began)  # it could be made once: this is its failure too
        episode = rollout(
            work.task.domain, work.task.rows(chunk.start, chunk.n), self.lineup, task=work.task.view,
            ids=torch.arange(chunk.start, chunk.start + chunk.n), seed=work.seed, device=work.device, watch=watch,
            run=work.key,
        )  # fmt: skip
        if episode.crashes:
            self.broken = True
            self.close()  # whatever state the crash left is gone
        return Played(episode, time.perf_counter() - began)

    def close(self) -> None:
        if self.lineup is not None:
            lineup, self.lineup = self.lineup, None
            leave(lineup)


def _unplayed(task: Task, chunk: Chunk, error: ArenaError) -> Episode:
    """A chunk that an agent could not even be made for again after it had broken down."""
    nothing = {m.name: np.full(chunk.n, np.nan) for m in task.domain.metrics_spec}
    role = str(error.context.get("role", task.role))
    failures = [Failure(role, row, 0, "agent.died", error.message[:DETAIL]) for row in range(chunk.n)]
    return Episode(nothing, {}, failures, {}, {role: error.message}, {})


class Result(Protocol):
    """A chunk that is being played."""

    def result(self, timeout: float | None = None) -> Played:
        """Raises TimeoutError while it is not done, and whatever playing it raised."""


class Engine(Protocol):
    """Where chunks are played. Chunks of one run are submitted in order; a chunk whose worker dies is played again, `ATTEMPTS` times in all."""

    name: str

    @property
    def capacity(self) -> int:
        """Chunks that should be under way at once."""

    def submit(self, work: Work, chunk: Chunk, watch: Callable[[int], None]) -> Result:
        """Have a chunk played. `watch` is called only where that costs nothing: in this process."""

    def drop(self) -> None:
        """Forget all that is under way: nobody waits for it any more."""

    def close(self) -> None:
        """End the workers."""
