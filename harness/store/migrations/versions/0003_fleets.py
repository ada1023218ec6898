"""Plans, fleets and their leases.

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make bench_plan, bench_fleet and bench_fleet_trial; comparisons get an owner."""
    op.add_column(
        "bench_comparison",
        sa.Column(
            "lease_owner",
            sa.Text(),
            nullable=True,
            comment="The process that runs it, or ran it last",
        ),
    )
    # SQLite keeps no comments, and would copy the table to change one.
    if op.get_bind().dialect.supports_comments:
        op.alter_column(
            "bench_comparison",
            "status",
            existing_type=sa.String(length=16),
            existing_nullable=False,
            comment="planned (nobody runs it as a whole), running, done, failed or interrupted",
        )
    op.create_table(
        "bench_plan",
        sa.Column("comparison_id", sa.String(length=8), nullable=False, comment="The comparison"),
        sa.Column(
            "digest",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the canonical JSON of body",
        ),
        sa.Column(
            "body", sa.Text(), nullable=False, comment="JSON: what is needed to run it again"
        ),
        sa.Column(
            "shared",
            sa.Boolean(),
            nullable=False,
            comment="Whether any worker may lease its fleets",
        ),
        sa.Column("created", sa.DateTime(), nullable=False, comment="When it was entered"),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["bench_comparison.id"],
            name=op.f("fk_bench_plan_comparison_id_bench_comparison"),
        ),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_bench_plan")),
        comment="What a comparison was planned to run",
    )
    op.create_table(
        "bench_fleet",
        sa.Column(
            "id", sa.Integer(), nullable=False, comment="Number of the fleet, never used again"
        ),
        sa.Column(
            "comparison_id",
            sa.String(length=8),
            nullable=False,
            comment="The comparison it is part of",
        ),
        sa.Column(
            "number", sa.Integer(), nullable=False, comment="0 is the first fleet of the plan"
        ),
        sa.Column(
            "cost",
            sa.Float(precision=53),
            nullable=False,
            comment="Seconds of work on one thread by the planner's count",
        ),
        sa.Column(
            "task", sa.Text(), nullable=False, comment="JSON: its trials, as the plan names them"
        ),
        sa.Column(
            "status",
            sa.String(length=16),
            nullable=False,
            comment="planned, running, ended or failed",
        ),
        sa.Column(
            "lease_owner",
            sa.Text(),
            nullable=True,
            comment="The process that trains it, or trained it last",
        ),
        sa.Column(
            "heartbeat",
            sa.DateTime(),
            nullable=True,
            comment="When that process was last known alive",
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["bench_comparison.id"],
            name=op.f("fk_bench_fleet_comparison_id_bench_comparison"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bench_fleet")),
        sa.UniqueConstraint(
            "comparison_id", "number", name=op.f("uq_bench_fleet_comparison_id_number")
        ),
        sqlite_autoincrement=True,
        comment="Trials of a comparison that are trained together, by the process that leases them",
    )
    op.create_index(op.f("ix_bench_fleet_status"), "bench_fleet", ["status"])
    op.create_table(
        "bench_fleet_trial",
        sa.Column("fleet_id", sa.Integer(), nullable=False, comment="The fleet"),
        sa.Column(
            "position", sa.Integer(), nullable=False, comment="Row of the fleet; 0 is the first"
        ),
        sa.Column(
            "trial_id",
            sa.Integer(),
            nullable=False,
            comment="Its newest attempt at the trial of that row",
        ),
        sa.ForeignKeyConstraint(
            ["fleet_id"], ["bench_fleet.id"], name=op.f("fk_bench_fleet_trial_fleet_id_bench_fleet")
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["bench_trial.id"], name=op.f("fk_bench_fleet_trial_trial_id_bench_trial")
        ),
        sa.PrimaryKeyConstraint("fleet_id", "position", name=op.f("pk_bench_fleet_trial")),
        comment="Which trials the rows of a fleet are",
    )
