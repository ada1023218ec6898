"""The first tables.

Revision 0001, the first.
"""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables and give the database its random name."""
    op.create_table(
        "bench_context",
        sa.Column(
            "digest",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the canonical JSON of body",
        ),
        sa.Column(
            "body", sa.Text(), nullable=False, comment="JSON: device, versions, threads, rows, …"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_bench_context")),
        comment="What may change a measured time",
    )
    op.create_table(
        "bench_method",
        sa.Column(
            "key",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of name, backend and hyperparameters",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the optimizer"),
        sa.Column(
            "backend", sa.String(length=64), nullable=False, comment="What computes the update"
        ),
        sa.Column(
            "hyperparameters", sa.Text(), nullable=False, comment="JSON: every hyperparameter"
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_bench_method")),
        comment="An optimizer with its backend and hyperparameters",
    )
    op.create_table(
        "bench_protocol",
        sa.Column(
            "key",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the canonical JSON of body",
        ),
        sa.Column("problem", sa.Text(), nullable=False, comment="Name of the problem"),
        sa.Column(
            "preset", sa.String(length=64), nullable=False, comment="quick, standard or paper"
        ),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON: every field of the protocol"),
        sa.Column("created", sa.DateTime(), nullable=False, comment="When it was first used"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_bench_protocol")),
        comment="What must be equal for two trials to be compared",
    )
    op.create_table(
        "bench_store",
        sa.Column(
            "id", sa.String(length=32), nullable=False, comment="Random name of this database"
        ),
        sa.Column("created", sa.DateTime(), nullable=False, comment="When the tables were made"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bench_store")),
        comment="One row: names the database, so that rows spooled to disk find theirs",
    )
    op.create_table(
        "bench_comparison",
        sa.Column("id", sa.String(length=8), nullable=False, comment="8 random hexadecimal digits"),
        sa.Column("protocol_key", sa.String(length=64), nullable=False, comment="Its protocol"),
        sa.Column(
            "kind", sa.String(length=16), nullable=False, comment="comparison, run or tuning"
        ),
        sa.Column("command", sa.Text(), nullable=False, comment="The command that repeats it"),
        sa.Column(
            "status",
            sa.String(length=16),
            nullable=False,
            comment="running, done, failed or interrupted",
        ),
        sa.Column("created", sa.DateTime(), nullable=False, comment="When it began"),
        sa.Column("ended", sa.DateTime(), nullable=True, comment="When it ended"),
        sa.Column(
            "heartbeat",
            sa.DateTime(),
            nullable=False,
            comment="When its process was last known alive",
        ),
        sa.Column(
            "summary", sa.Text(), nullable=True, comment="JSON: the result as it was reported"
        ),
        sa.Column(
            "mlflow_run_id", sa.String(length=64), nullable=True, comment="Its run in MLflow"
        ),
        sa.Column(
            "mlflow_ended",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Whether its run in MLflow has ended",
        ),
        sa.ForeignKeyConstraint(
            ["protocol_key"],
            ["bench_protocol.key"],
            name=op.f("fk_bench_comparison_protocol_key_bench_protocol"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bench_comparison")),
        comment="A set of trials under one protocol",
    )
    op.create_index(
        op.f("ix_bench_comparison_created"), "bench_comparison", ["created"], unique=False
    )
    op.create_index(
        op.f("ix_bench_comparison_protocol_key"), "bench_comparison", ["protocol_key"], unique=False
    )
    op.create_table(
        "bench_trial",
        sa.Column(
            "id", sa.Integer(), nullable=False, comment="Number of the trial, never used again"
        ),
        sa.Column(
            "key",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of protocol, method and seed",
        ),
        sa.Column(
            "attempt", sa.Integer(), nullable=False, comment="1 for the first trial with this key"
        ),
        sa.Column("protocol_key", sa.String(length=64), nullable=False, comment="Its protocol"),
        sa.Column("method_key", sa.String(length=64), nullable=False, comment="Its method"),
        sa.Column(
            "label", sa.Text(), nullable=False, comment="What the method is called in tables"
        ),
        sa.Column("seed", sa.BigInteger(), nullable=False, comment="Root of its random streams"),
        sa.Column("purpose", sa.String(length=16), nullable=False, comment="reported or tuning"),
        sa.Column(
            "status",
            sa.String(length=16),
            nullable=False,
            comment="planned, running, budget (ran to its end), diverged, failed or interrupted",
        ),
        sa.Column(
            "reason", sa.Text(), nullable=True, comment="Why it ended before its budget was spent"
        ),
        sa.Column(
            "source_digest",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the source of method and problem",
        ),
        sa.Column("context_digest", sa.String(length=64), nullable=False, comment="Its context"),
        sa.Column(
            "info",
            sa.Text(),
            nullable=False,
            comment="JSON: user, host, folder, command line, commit",
        ),
        sa.Column(
            "fleet_rows",
            sa.Integer(),
            nullable=False,
            comment="Trials trained as one tensor program",
        ),
        sa.Column(
            "seconds_are",
            sa.String(length=8),
            nullable=False,
            comment="alone or shared on its machine",
        ),
        sa.Column("created", sa.DateTime(), nullable=False, comment="When it was entered"),
        sa.Column("started", sa.DateTime(), nullable=True, comment="When training began"),
        sa.Column("ended", sa.DateTime(), nullable=True, comment="When it ended"),
        sa.Column("lease_owner", sa.Text(), nullable=True, comment="The process that runs it"),
        sa.Column(
            "heartbeat",
            sa.DateTime(),
            nullable=True,
            comment="When that process was last known alive",
        ),
        sa.Column(
            "updates", sa.BigInteger(), server_default="0", nullable=False, comment="Updates made"
        ),
        sa.Column(
            "examples",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Cases whose gradient was taken",
        ),
        sa.Column(
            "gradients",
            sa.Float(precision=53),
            server_default="0",
            nullable=False,
            comment="Gradient-equivalents, all computations",
        ),
        sa.Column(
            "products",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Gauss-Newton products",
        ),
        sa.Column(
            "cg_steps",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Steps of conjugate gradients",
        ),
        sa.Column(
            "seconds",
            sa.Float(precision=53),
            server_default="0",
            nullable=False,
            comment="Training time; evaluation is off the clock",
        ),
        sa.Column(
            "peak_memory",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Bytes at most, of device or process",
        ),
        sa.Column(
            "train_metric",
            sa.Float(precision=53),
            nullable=True,
            comment="The metric on the whole training set",
        ),
        sa.Column(
            "test_metric",
            sa.Float(precision=53),
            nullable=True,
            comment="The metric on the whole test set",
        ),
        sa.Column(
            "train_loss",
            sa.Float(precision=53),
            nullable=True,
            comment="Mean training loss, without regulariser",
        ),
        sa.Column(
            "test_loss",
            sa.Float(precision=53),
            nullable=True,
            comment="Mean test loss, without regulariser",
        ),
        sa.Column(
            "nonfinite",
            sa.Text(),
            nullable=True,
            comment="JSON: which value is nan, +inf or -inf (and NULL in its own column)",
        ),
        sa.Column(
            "mlflow_run_id", sa.String(length=64), nullable=True, comment="Its run in MLflow"
        ),
        sa.Column(
            "mlflow_synced",
            sa.Integer(),
            server_default="-1",
            nullable=False,
            comment="Index of the last measurement that MLflow has; -1: none",
        ),
        sa.Column(
            "mlflow_ended",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Whether its run in MLflow has ended",
        ),
        sa.ForeignKeyConstraint(
            ["context_digest"],
            ["bench_context.digest"],
            name=op.f("fk_bench_trial_context_digest_bench_context"),
        ),
        sa.ForeignKeyConstraint(
            ["method_key"],
            ["bench_method.key"],
            name=op.f("fk_bench_trial_method_key_bench_method"),
        ),
        sa.ForeignKeyConstraint(
            ["protocol_key"],
            ["bench_protocol.key"],
            name=op.f("fk_bench_trial_protocol_key_bench_protocol"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bench_trial")),
        sa.UniqueConstraint("key", "attempt", name=op.f("uq_bench_trial_key_attempt")),
        sqlite_autoincrement=True,
        comment="protocol x method x seed, with ledger and values at its last measurement",
    )
    op.create_index(
        op.f("ix_bench_trial_protocol_key"), "bench_trial", ["protocol_key"], unique=False
    )
    op.create_index(op.f("ix_bench_trial_status"), "bench_trial", ["status"], unique=False)
    op.create_table(
        "bench_baseline",
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the baseline"),
        sa.Column(
            "accepted",
            sa.DateTime(),
            nullable=False,
            comment="When it was accepted; the newest holds",
        ),
        sa.Column(
            "comparison_id", sa.String(length=8), nullable=False, comment="The accepted comparison"
        ),
        sa.Column("note", sa.Text(), nullable=True, comment="Why it was accepted"),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["bench_comparison.id"],
            name=op.f("fk_bench_baseline_comparison_id_bench_comparison"),
        ),
        sa.PrimaryKeyConstraint("name", "accepted", name=op.f("pk_bench_baseline")),
        comment="An accepted comparison that later ones are held against",
    )
    op.create_table(
        "bench_comparison_trial",
        sa.Column("comparison_id", sa.String(length=8), nullable=False, comment="The comparison"),
        sa.Column("trial_id", sa.Integer(), nullable=False, comment="One of its trials"),
        sa.Column(
            "reused", sa.Boolean(), nullable=False, comment="Whether it was recorded earlier"
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["bench_comparison.id"],
            name=op.f("fk_bench_comparison_trial_comparison_id_bench_comparison"),
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["bench_trial.id"],
            name=op.f("fk_bench_comparison_trial_trial_id_bench_trial"),
        ),
        sa.PrimaryKeyConstraint(
            "comparison_id", "trial_id", name=op.f("pk_bench_comparison_trial")
        ),
        comment="Which trials a comparison consists of",
    )
    op.create_index(
        op.f("ix_bench_comparison_trial_trial_id"),
        "bench_comparison_trial",
        ["trial_id"],
        unique=False,
    )
    op.create_table(
        "bench_measurement",
        sa.Column("trial_id", sa.Integer(), nullable=False, comment="The trial that was evaluated"),
        sa.Column(
            "idx", sa.Integer(), nullable=False, comment="0 is the initial point; rising by one"
        ),
        sa.Column(
            "updates", sa.BigInteger(), server_default="0", nullable=False, comment="Updates made"
        ),
        sa.Column(
            "examples",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Cases whose gradient was taken",
        ),
        sa.Column(
            "gradients",
            sa.Float(precision=53),
            server_default="0",
            nullable=False,
            comment="Gradient-equivalents, all computations",
        ),
        sa.Column(
            "products",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Gauss-Newton products",
        ),
        sa.Column(
            "cg_steps",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Steps of conjugate gradients",
        ),
        sa.Column(
            "seconds",
            sa.Float(precision=53),
            server_default="0",
            nullable=False,
            comment="Training time; evaluation is off the clock",
        ),
        sa.Column(
            "peak_memory",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Bytes at most, of device or process",
        ),
        sa.Column(
            "train_metric",
            sa.Float(precision=53),
            nullable=True,
            comment="The metric on the whole training set",
        ),
        sa.Column(
            "test_metric",
            sa.Float(precision=53),
            nullable=True,
            comment="The metric on the whole test set",
        ),
        sa.Column(
            "train_loss",
            sa.Float(precision=53),
            nullable=True,
            comment="Mean training loss, without regulariser",
        ),
        sa.Column(
            "test_loss",
            sa.Float(precision=53),
            nullable=True,
            comment="Mean test loss, without regulariser",
        ),
        sa.Column(
            "nonfinite",
            sa.Text(),
            nullable=True,
            comment="JSON: which value is nan, +inf or -inf (and NULL in its own column)",
        ),
        sa.Column(
            "diagnostics",
            sa.Text(),
            nullable=False,
            comment="JSON: what the method reports of itself",
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["bench_trial.id"], name=op.f("fk_bench_measurement_trial_id_bench_trial")
        ),
        sa.PrimaryKeyConstraint("trial_id", "idx", name=op.f("pk_bench_measurement")),
        comment="One evaluation of a trial: what it had spent and what it had reached",
    )
    op.create_table(
        "bench_verdict",
        sa.Column("comparison_id", sa.String(length=8), nullable=False, comment="The comparison"),
        sa.Column("a", sa.Text(), nullable=False, comment="Label of one method"),
        sa.Column("b", sa.Text(), nullable=False, comment="Label of the other"),
        sa.Column(
            "position", sa.Integer(), nullable=False, comment="0 is the first pair of the report"
        ),
        sa.Column(
            "body", sa.Text(), nullable=False, comment="JSON: difference, interval, p and verdict"
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["bench_comparison.id"],
            name=op.f("fk_bench_verdict_comparison_id_bench_comparison"),
        ),
        sa.PrimaryKeyConstraint("comparison_id", "a", "b", name=op.f("pk_bench_verdict")),
        comment="What a comparison says of two methods",
    )

    op.bulk_insert(
        sa.table("bench_store", sa.column("id", sa.String), sa.column("created", sa.DateTime)),
        [{"id": uuid.uuid4().hex, "created": datetime.now(UTC).replace(tzinfo=None)}],
    )
