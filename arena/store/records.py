"""What goes into the store and what comes out of it: plain records, no behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MetricRecord:
    """One metric of a task. `direction` +1: more is better. Role: score, primary, constraint, objective or info."""

    name: str
    unit: str
    direction: int
    role: str
    threshold: float | None = None
    scale: float | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A frozen task. `vectors` (`ref0`, `ref1`, `group`, ...) each hold one float64 per scenario."""

    name: str
    domain: str
    tier: str
    digest: str
    config: Json
    n_scenarios: int
    headline: str = "mean"
    normalise: str = "scenario"
    floor: float = -1.0
    metrics: Sequence[MetricRecord] = ()
    vectors: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskRow:
    id: int
    uid: str
    name: str
    domain: str
    tier: str
    digest: str
    config: Json
    n_scenarios: int
    headline: str
    normalise: str
    floor: float
    registered: int


@dataclass(frozen=True, slots=True)
class AgentRow:
    id: int
    uid: str
    name: str
    version: int
    nature: str
    kind: str
    spec: Json
    digest: str
    artifact_digest: str | None
    domain: str | None
    tags: list[str]
    card: str
    created: int
    retired: int | None

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """Who plays a role. `seat` -1: all seats. The first candidate entry of a request carries the score of a ranked run."""

    role: str
    seat: int
    agent_id: int
    candidate: bool = True
    mode: str | None = None
    level: str = "inline"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run that somebody wants. Requests of equal `request_digest` are the same run."""

    task_id: int
    request_digest: str
    lineup_digest: str
    seed: int
    ranked: bool
    chunk_size: int
    n_chunks: int
    environment_id: int
    config: Json
    entries: Sequence[EntryRequest]


@dataclass(frozen=True, slots=True)
class RunRow:
    id: int
    uid: str
    task_id: int
    request_digest: str
    lineup_digest: str
    seed: int
    ranked: bool
    status: str
    chunk_size: int
    n_chunks: int
    n_done: int
    owner: str | None
    lease_until: int | None
    environment_id: int
    config: Json
    created: int
    started: int | None
    finished: int | None
    verified: bool | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """Something a worker is to do. spec and result: see arena/registration.py."""

    id: int
    uid: str
    kind: str
    spec: Json
    status: str
    owner: str | None
    lease_until: int | None
    run_id: int | None
    result: Json | None
    created: int
    started: int | None
    finished: int | None


@dataclass(frozen=True, slots=True)
class EntryRow:
    id: int
    run_id: int
    role: str
    seat: int
    agent_id: int
    candidate: bool
    mode: str | None
    level: str
    status: str
    failures: int
    decision_ns_total: int
    decisions: int
    peak_rss: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A scenario that an entry failed, with the step and the reason (`agent.crash`, `agent.illegal`, ...)."""

    entry_id: int
    scenario: int
    step: int
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """Decision times of one entry in one chunk. `hist` int64[64]: decisions that took [2^i, 2^(i+1)) ns. `peak_rss` in bytes."""

    hist: NDArray[np.int64]
    decision_ns: int
    decisions: int
    peak_rss: int = 0
    usage: Json | None = None


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """All that a chunk leaves behind, committed in one transaction.

    Scenarios are `start` to `start + n` of the task; every measurement vector is float64[n]. A failed scenario has NaN in its metrics
    and the task's floor in `score`.
    """

    chunk: int
    start: int
    n: int
    attempt: int
    seconds: float
    recording_digest: str | None
    measurements: Mapping[tuple[int, str], Vector]
    failures: Sequence[Failure] = ()
    timings: Mapping[int, Timing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StandingRecord:
    """One line of a board. `failed` and `violated` count scenarios over all pooled runs, `n` the scenarios of one run, `ms` is per
    decision, `draws` float32[2000]. What a task does not define (the IQM of a whole-set score) is None. `members`, of a suite only: the
    tasks it averages (none named: all tasks the agent stands on).
    """

    headline: float
    lo: float | None
    hi: float | None
    mean: float | None
    iqm: float | None
    cvar10: float | None
    sd: float | None
    failed: int
    violated: int
    ms: float | None
    n: int
    draws: NDArray[np.float32]
    members: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RatingRecord:
    """An agent's rating in one pool; `draws` float32 [draws]."""

    agent_id: int
    rating: float
    lo: float
    hi: float
    games: int
    draws: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PoolInput:
    """The complete ranked runs of one agent on one task and the run that is being finished, ordered by seed.

    scores: [R, n], None where the task has no per-scenario score; failed: bool [R, n]; decision_ns, decisions: int64 [R];
    `metric(name)` reads a further metric, [R, n].
    """

    task_id: int
    agent_id: int
    role: str
    run_ids: tuple[int, ...]
    entry_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    scores: Vector | None
    failed: NDArray[np.bool_]
    decision_ns: NDArray[np.int64]
    decisions: NDArray[np.int64]
    metric: Callable[[str], Vector]


@dataclass(frozen=True, slots=True)
class SuiteMember:
    """The agent's standing on one task, as a suite sees it."""

    task_id: int
    task: str
    domain: str
    tier: str
    role: str
    record: StandingRecord


@dataclass(frozen=True, slots=True)
class SuiteInput:
    """All standings of an agent, the one being written among them, without those of suites."""

    agent_id: int
    members: tuple[SuiteMember, ...]


Summarise = Callable[[PoolInput], StandingRecord]
Suites = Callable[[SuiteInput], Sequence[tuple[int, StandingRecord]]]
