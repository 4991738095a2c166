"""Jobs: what the dashboard asks for and a worker does; their log. Lists of runs by status are read in the order of their index."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("run_id", ID),
        sa.Column("result", JSON),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger()),
        sa.Column("finished", sa.BigInteger()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_jobs_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("uid", name="uq_jobs_uid"),
    )
    op.create_index("ix_jobs_status_lease_until_id", "jobs", ["status", "lease_until", "id"])
    with op.batch_alter_table("events") as events:
        events.add_column(sa.Column("job_id", ID))
        events.create_foreign_key("fk_events_job_id", "jobs", ["job_id"], ["id"])
    op.create_index("ix_events_job_id_id", "events", ["job_id", "id"])
    op.drop_index("ix_runs_status_lease_until_id", "runs")
    op.create_index("ix_runs_status_id", "runs", ["status", "id"])
