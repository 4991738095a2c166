"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("nature", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("artifact_digest", sa.Text()),
        sa.Column("domain", sa.Text()),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("retired", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
        sa.UniqueConstraint("name", "version", name="uq_agents_name_version"),
        sa.UniqueConstraint("uid", name="uq_agents_uid"),
    )
    op.create_index("ix_agents_digest", "agents", ["digest"])
    op.create_table(
        "environments",
        sa.Column("id", ID, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_environments"),
        sa.UniqueConstraint("digest", name="uq_environments_digest"),
    )
    op.create_table(
        "recordings",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_recordings"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("n_scenarios", sa.Integer(), nullable=False),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("normalise", sa.Text(), nullable=False),
        sa.Column("floor", sa.Double(), nullable=False),
        sa.Column("registered", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sa.UniqueConstraint("name", "digest", name="uq_tasks_name_digest"),
        sa.UniqueConstraint("uid", name="uq_tasks_uid"),
    )
    op.create_table(
        "metrics",
        sa.Column("id", ID, nullable=False),
        sa.Column("task_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("direction", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Double()),
        sa.Column("scale", sa.Double()),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_metrics_task_id"),
        sa.PrimaryKeyConstraint("id", name="pk_metrics"),
        sa.UniqueConstraint("task_id", "name", name="uq_metrics_task_id_name"),
    )
    op.create_table(
        "ratings",
        sa.Column("task_id", ID, nullable=False),
        sa.Column("pool_digest", sa.Text(), nullable=False),
        sa.Column("agent_id", ID, nullable=False),
        sa.Column("rating", sa.Double(), nullable=False),
        sa.Column("lo", sa.Double()),
        sa.Column("hi", sa.Double()),
        sa.Column("games", sa.Integer(), nullable=False),
        sa.Column("draws", sa.LargeBinary()),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_ratings_agent_id"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_ratings_task_id"),
        sa.PrimaryKeyConstraint("task_id", "pool_digest", "agent_id", name="pk_ratings"),
    )
    op.create_table(
        "runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("task_id", ID, nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("lineup_digest", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("ranked", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("chunk_size", sa.Integer(), nullable=False),
        sa.Column("n_chunks", sa.Integer(), nullable=False),
        sa.Column("n_done", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("environment_id", ID, nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger()),
        sa.Column("finished", sa.BigInteger()),
        sa.Column("verified", sa.Boolean()),
        sa.ForeignKeyConstraint(["environment_id"], ["environments.id"], name="fk_runs_environment_id"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_runs_task_id"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("request_digest", name="uq_runs_request_digest"),
        sa.UniqueConstraint("uid", name="uq_runs_uid"),
    )
    op.create_index("ix_runs_status_lease_until_id", "runs", ["status", "lease_until", "id"])
    op.create_index("ix_runs_task_id_status_id", "runs", ["task_id", "status", "id"])
    op.create_table(
        "standing_draws",
        sa.Column("task_id", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("agent_id", ID, nullable=False),
        sa.Column("draws", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_standing_draws_agent_id"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_standing_draws_task_id"),
        sa.PrimaryKeyConstraint("task_id", "role", "agent_id", name="pk_standing_draws"),
    )
    op.create_table(
        "standings",
        sa.Column("task_id", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("agent_id", ID, nullable=False),
        sa.Column("headline", sa.Double(), nullable=False),
        sa.Column("lo", sa.Double()),
        sa.Column("hi", sa.Double()),
        sa.Column("mean", sa.Double()),
        sa.Column("iqm", sa.Double()),
        sa.Column("cvar10", sa.Double()),
        sa.Column("sd", sa.Double()),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("violated", sa.Integer(), nullable=False),
        sa.Column("ms", sa.Double()),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("runs_unfinished", sa.Integer(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("run_set", JSON, nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_standings_agent_id"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_standings_task_id"),
        sa.PrimaryKeyConstraint("task_id", "role", "agent_id", name="pk_standings"),
    )
    op.create_index("ix_standings_agent_id", "standings", ["agent_id"])
    op.create_index("ix_standings_task_id_role_headline", "standings", ["task_id", "role", "headline"])
    op.create_table(
        "task_vectors",
        sa.Column("task_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("vals", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_vectors_task_id"),
        sa.PrimaryKeyConstraint("task_id", "name", name="pk_task_vectors"),
    )
    op.create_table(
        "chunks",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("recording_digest", sa.Text()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_chunks_run_id"),
        sa.PrimaryKeyConstraint("run_id", "chunk", name="pk_chunks"),
    )
    op.create_table(
        "entries",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("seat", sa.Integer(), nullable=False),
        sa.Column("agent_id", ID, nullable=False),
        sa.Column("candidate", sa.Boolean(), nullable=False),
        sa.Column("mode", sa.Text()),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("decision_ns_total", sa.BigInteger(), nullable=False),
        sa.Column("decisions", sa.BigInteger(), nullable=False),
        sa.Column("peak_rss", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_entries_agent_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_entries_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_entries"),
        sa.UniqueConstraint("run_id", "role", "seat", name="uq_entries_run_id_role_seat"),
    )
    op.create_index("ix_entries_agent_id_run_id", "entries", ["agent_id", "run_id"])
    op.create_table(
        "events",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", JSON),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_events_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_run_id_id", "events", ["run_id", "id"])
    op.create_table(
        "failures",
        sa.Column("entry_id", ID, nullable=False),
        sa.Column("scenario", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["entries.id"], name="fk_failures_entry_id"),
        sa.PrimaryKeyConstraint("entry_id", "scenario", name="pk_failures"),
    )
    op.create_table(
        "measurements",
        sa.Column("entry_id", ID, nullable=False),
        sa.Column("metric_id", ID, nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("vals", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["entries.id"], name="fk_measurements_entry_id"),
        sa.ForeignKeyConstraint(["metric_id"], ["metrics.id"], name="fk_measurements_metric_id"),
        sa.PrimaryKeyConstraint("entry_id", "metric_id", "start", name="pk_measurements"),
    )
    op.create_table(
        "timings",
        sa.Column("entry_id", ID, nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("hist", sa.LargeBinary(), nullable=False),
        sa.Column("usage", JSON),
        sa.ForeignKeyConstraint(["entry_id"], ["entries.id"], name="fk_timings_entry_id"),
        sa.PrimaryKeyConstraint("entry_id", "start", name="pk_timings"),
    )
