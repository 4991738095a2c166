"""The tables of the store, once for SQLite and PostgreSQL.

Keys are integers; `uid` is a UUIDv4 in hex for exports. Times are UTC microseconds since 1970. `vals` holds little-endian float64,
`draws` little-endian float32, `hist` little-endian int64 (of 64 bins those up to the last that counts anything). A new column or table
needs a revision in `migrations/versions`.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0002"  # the newest revision: what this code reads and writes
VERSION_TABLE = "arena_version"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER PRIMARY KEY numbers its rows itself on SQLite
Json = JSON(none_as_null=True)


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True)


def _uid() -> Column[str]:
    return Column("uid", Text, nullable=False, unique=True)


agents = Table(
    "agents",
    metadata,
    _id(),
    _uid(),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("nature", Text, nullable=False),  # classical | learned | llm | reference | other
    Column("kind", Text, nullable=False),  # builtin | file | sb3 | onnx | http | llm
    Column("spec", Json, nullable=False),  # factory and parameters; secrets only as names of environment variables
    Column("digest", Text, nullable=False, index=True),  # of nature, kind, spec, artifact and domain
    Column("artifact_digest", Text),
    Column("domain", Text),
    Column("tags", Json, nullable=False),
    Column("card", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("retired", BigInteger),
    UniqueConstraint("name", "version"),
)

tasks = Table(
    "tasks",
    metadata,
    _id(),
    _uid(),
    Column("name", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("tier", Text, nullable=False),  # tiny | standard | large | real | suite
    Column("digest", Text, nullable=False),
    Column("config", Json, nullable=False),
    Column("n_scenarios", Integer, nullable=False),
    Column("headline", Text, nullable=False),  # mean | iqm | of_means
    Column("normalise", Text, nullable=False),  # scenario | task
    Column("floor", Double, nullable=False),
    Column("registered", BigInteger, nullable=False),
    UniqueConstraint("name", "digest"),
)

metrics = Table(
    "metrics",
    metadata,
    _id(),
    Column("task_id", Id, ForeignKey("tasks.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("direction", Integer, nullable=False),  # +1: more is better
    Column("role", Text, nullable=False),  # score | primary | constraint | objective | info
    Column("threshold", Double),
    Column("scale", Double),
    UniqueConstraint("task_id", "name"),
)

task_vectors = Table(
    "task_vectors",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("vals", LargeBinary, nullable=False),
)

environments = Table(
    "environments",
    metadata,
    _id(),
    Column("digest", Text, nullable=False, unique=True),
    Column("detail", Json, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    _id(),
    _uid(),
    Column("task_id", Id, ForeignKey("tasks.id"), nullable=False),
    Column("request_digest", Text, nullable=False, unique=True),
    Column("lineup_digest", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("ranked", Boolean, nullable=False),
    Column("status", Text, nullable=False),  # queued | running | complete | failed | cancelled
    Column("chunk_size", Integer, nullable=False),
    Column("n_chunks", Integer, nullable=False),
    Column("n_done", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", BigInteger),
    Column("environment_id", Id, ForeignKey("environments.id"), nullable=False),
    Column("config", Json, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("started", BigInteger),
    Column("finished", BigInteger),
    Column("verified", Boolean),  # None: never replayed
    Index("ix_runs_task_id_status_id", "task_id", "status", "id"),
    Index("ix_runs_status_id", "status", "id"),
)

entries = Table(
    "entries",
    metadata,
    _id(),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("seat", Integer, nullable=False),  # -1: all seats of the role
    Column("agent_id", Id, ForeignKey("agents.id"), nullable=False),
    Column("candidate", Boolean, nullable=False),
    Column("mode", Text),
    Column("level", Text, nullable=False),  # inline | process | sandbox | remote
    Column("status", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("decision_ns_total", BigInteger, nullable=False),
    Column("decisions", BigInteger, nullable=False),
    Column("peak_rss", BigInteger, nullable=False),  # bytes
    UniqueConstraint("run_id", "role", "seat"),
    Index("ix_entries_agent_id_run_id", "agent_id", "run_id"),
)

chunks = Table(  # a row here is the commit mark of the chunk
    "chunks",
    metadata,
    Column("run_id", Id, ForeignKey("runs.id"), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("start", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("recording_digest", Text),
)

measurements = Table(
    "measurements",
    metadata,
    Column("entry_id", Id, ForeignKey("entries.id"), primary_key=True),
    Column("metric_id", Id, ForeignKey("metrics.id"), primary_key=True),
    Column("start", Integer, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("vals", LargeBinary, nullable=False),
)

failures = Table(
    "failures",
    metadata,
    Column("entry_id", Id, ForeignKey("entries.id"), primary_key=True),
    Column("scenario", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

timings = Table(
    "timings",
    metadata,
    Column("entry_id", Id, ForeignKey("entries.id"), primary_key=True),
    Column("start", Integer, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("hist", LargeBinary, nullable=False),
    Column("usage", Json),
)

standings = Table(
    "standings",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id"), primary_key=True),
    Column("role", Text, primary_key=True),
    Column("agent_id", Id, ForeignKey("agents.id"), primary_key=True),
    Column("headline", Double, nullable=False),
    Column("lo", Double),
    Column("hi", Double),
    Column("mean", Double),
    Column("iqm", Double),
    Column("cvar10", Double),
    Column("sd", Double),
    Column("failed", Integer, nullable=False),  # failed scenarios, summed over the pooled runs
    Column("violated", Integer, nullable=False),
    Column("ms", Double),  # per decision
    Column("n", Integer, nullable=False),  # scenarios of one run
    Column("runs", Integer, nullable=False),
    Column("runs_unfinished", Integer, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("run_set", Json, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Index("ix_standings_task_id_role_headline", "task_id", "role", "headline"),  # read backwards for the best first
    Index("ix_standings_agent_id", "agent_id"),
)

standing_draws = Table(
    "standing_draws",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id"), primary_key=True),
    Column("role", Text, primary_key=True),
    Column("agent_id", Id, ForeignKey("agents.id"), primary_key=True),
    Column("draws", LargeBinary, nullable=False),
)

ratings = Table(
    "ratings",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id"), primary_key=True),
    Column("pool_digest", Text, primary_key=True),
    Column("agent_id", Id, ForeignKey("agents.id"), primary_key=True),
    Column("rating", Double, nullable=False),
    Column("lo", Double),
    Column("hi", Double),
    Column("games", Integer, nullable=False),
    Column("draws", LargeBinary),
)

recordings = Table(
    "recordings",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),  # of the compressed file
    Column("codec", Text, nullable=False),
    Column("kept", Boolean, nullable=False),
    Column("path", Text, nullable=False),  # below `recordings/`
)

jobs = Table(  # what somebody asked for and a worker does: an agent to check and register, a run to request
    "jobs",
    metadata,
    _id(),
    _uid(),
    Column("kind", Text, nullable=False),  # register | run
    Column("spec", Json, nullable=False),
    Column("status", Text, nullable=False),  # queued | running | done | failed
    Column("owner", Text),
    Column("lease_until", BigInteger),
    Column("run_id", Id, ForeignKey("runs.id")),
    Column("result", Json),
    Column("created", BigInteger, nullable=False),
    Column("started", BigInteger),
    Column("finished", BigInteger),
    Index("ix_jobs_status_lease_until_id", "status", "lease_until", "id"),
)

events = Table(
    "events",
    metadata,
    _id(),
    Column("run_id", Id, ForeignKey("runs.id")),
    Column("at", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Json),
    Column("job_id", Id, ForeignKey("jobs.id")),
    Index("ix_events_run_id_id", "run_id", "id"),
    Index("ix_events_job_id_id", "job_id", "id"),
)
