"""Nightly runs, and the noise that their thresholds come from.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make bench_night, bench_night_metric and bench_noise."""
    op.create_table(
        "bench_night",
        sa.Column(
            "uuid",
            sa.String(length=32),
            nullable=False,
            comment="Name of the night in every store that it is copied to",
        ),
        sa.Column("suite", sa.Text(), nullable=False, comment="Name of the suite that was run"),
        sa.Column(
            "suite_digest",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of what the suite asks for",
        ),
        sa.Column(
            "baseline",
            sa.Text(),
            nullable=False,
            comment="Name of the baseline it was held against",
        ),
        sa.Column(
            "status",
            sa.String(length=16),
            nullable=False,
            comment="running, clean, changed or failed",
        ),
        sa.Column("reason", sa.Text(), comment="Why it failed"),
        sa.Column("commit", sa.Text(), comment="Git commit of the folder that it ran in"),
        sa.Column(
            "info", sa.Text(), nullable=False, comment="JSON: user, host, path and command line"
        ),
        sa.Column("created", sa.DateTime(), nullable=False, comment="When it began"),
        sa.Column("ended", sa.DateTime(), comment="When it ended"),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_bench_night")),
        comment="A run of a suite that was held against a baseline",
    )
    op.create_index(op.f("ix_bench_night_created"), "bench_night", ["created"])
    op.create_table(
        "bench_night_metric",
        sa.Column("night", sa.String(length=32), nullable=False, comment="The night that found it"),
        sa.Column(
            "position", sa.Integer(), nullable=False, comment="0 is the first line of the report"
        ),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="digest, quality or time"),
        sa.Column(
            "protocol_key",
            sa.String(length=64),
            nullable=False,
            comment="The protocol of the comparison that it is part of",
        ),
        sa.Column("problem", sa.Text(), nullable=False, comment="Problem and preset, for people"),
        sa.Column("method", sa.Text(), nullable=False, comment="Label of the method"),
        sa.Column("metric", sa.Text(), nullable=False, comment="What was measured"),
        sa.Column(
            "direction", sa.String(length=16), nullable=False, comment="lower, higher or equal"
        ),
        sa.Column(
            "scale",
            sa.String(length=16),
            nullable=False,
            comment="log: values are natural logarithms",
        ),
        sa.Column(
            "context_digest",
            sa.String(length=64),
            nullable=False,
            comment="The context that it was measured in",
        ),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="What was found, against the reference",
        ),
        sa.Column("value", sa.Float(precision=53), comment="What was measured, on its scale"),
        sa.Column(
            "reference", sa.Float(precision=53), comment="What it was held against, on its scale"
        ),
        sa.Column(
            "threshold",
            sa.Float(precision=53),
            comment="The largest difference that is no finding",
        ),
        sa.Column(
            "sd",
            sa.Float(precision=53),
            comment="Standard deviation of a night's value where nothing changes",
        ),
        sa.Column(
            "digest", sa.String(length=64), comment="SHA-256, where that is what was measured"
        ),
        sa.Column("n", sa.Integer(), comment="Seeds or repetitions"),
        sa.Column(
            "comparison_id", sa.String(length=8), comment="The comparison that the night ran"
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="What there is to say of it"),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["bench_comparison.id"],
            name=op.f("fk_bench_night_metric_comparison_id_bench_comparison"),
        ),
        sa.ForeignKeyConstraint(
            ["night"],
            ["bench_night.uuid"],
            name=op.f("fk_bench_night_metric_night_bench_night"),
        ),
        sa.PrimaryKeyConstraint("night", "position", name=op.f("pk_bench_night_metric")),
        comment="One thing that a night has held against its baseline",
    )
    op.create_table(
        "bench_noise",
        sa.Column(
            "uuid",
            sa.String(length=32),
            nullable=False,
            comment="Name of the row in every store that it is copied to",
        ),
        sa.Column("suite", sa.Text(), nullable=False, comment="Name of the suite that was run"),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON: standard deviations by metric"),
        sa.Column("created", sa.DateTime(), nullable=False, comment="When it was measured"),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_bench_noise")),
        comment="How much a suite's metrics scatter on a machine where nothing changes",
    )
    op.create_index(op.f("ix_bench_noise_created"), "bench_noise", ["created"])
