"""The decisions on the paper's claims.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make bench_claim."""
    op.create_table(
        "bench_claim",
        sa.Column("id", sa.String(length=8), nullable=False, comment="8 random hexadecimal digits"),
        sa.Column("claim", sa.Integer(), nullable=False, comment="Number of the claim"),
        sa.Column("version", sa.Integer(), nullable=False, comment="Version of its rule"),
        sa.Column(
            "preset", sa.String(length=64), nullable=False, comment="quick, standard or paper"
        ),
        sa.Column(
            "rule_digest",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the file that the rule stands in",
        ),
        sa.Column(
            "decision",
            sa.String(length=16),
            nullable=False,
            comment="holds, does not hold or cannot tell",
        ),
        sa.Column(
            "body", sa.Text(), nullable=False, comment="JSON: statements, intervals and comparisons"
        ),
        sa.Column("created", sa.DateTime(), nullable=False, comment="When it was decided"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bench_claim")),
        comment="What the trials of a pre-registered rule say of a claim",
    )
    op.create_index(op.f("ix_bench_claim_created"), "bench_claim", ["created"])
