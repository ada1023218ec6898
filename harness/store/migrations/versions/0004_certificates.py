"""What a comparison of two trials rests on, and names that hold in every store.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DIGESTS = {
    "theta_digest": "SHA-256 of the initial parameters, in the trial's precision",
    "method_source": "SHA-256 of the source of the method alone",
    "problem_source": "SHA-256 of the source of the problem alone",
}
TEXTS = {
    "seed_plan": "JSON: which random streams follow from the seed, and how",
    "command": "The command that makes this trial again",
}


def upgrade() -> None:
    """Add columns to bench_store and bench_trial; name every trial that is there."""
    op.add_column(
        "bench_store",
        sa.Column(
            "needs",
            sa.Text(),
            nullable=False,
            server_default="0.1.0",
            comment="The oldest version of bench that can use these tables",
        ),
    )
    op.add_column(
        "bench_trial",
        sa.Column(
            "uuid",
            sa.String(length=32),
            nullable=False,
            server_default="",
            comment="32 hexadecimal digits that name it in every store that it is copied to",
        ),
    )
    for name, comment in DIGESTS.items():
        op.add_column("bench_trial", sa.Column(name, sa.String(length=64), comment=comment))
    for name, comment in TEXTS.items():
        op.add_column("bench_trial", sa.Column(name, sa.Text(), comment=comment))
    # From the store's name and the trial's number, so that copies of one store that are upgraded
    # each by itself agree.
    postgresql = op.get_bind().dialect.name == "postgresql"
    number = "lpad(to_hex(id), 12, '0')" if postgresql else "printf('%012x', id)"
    op.execute(
        "UPDATE bench_trial SET uuid = "
        f"(SELECT substr(bench_store.id, 1, 20) FROM bench_store) || {number}"
    )
    op.create_index(op.f("ix_bench_trial_uuid"), "bench_trial", ["uuid"], unique=True)
