"""How much of a trial does not depend on where its budget ends.

Revision 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COMMENT = (
    "Its first updates that do not depend on where its budget ends; NULL: all, or not recorded"
)
COUNTED = {
    "examples": "Cases run through the network, once for every pass",
    "products": "Products with the Gauss-Newton matrix or the Hessian",
}


def upgrade() -> None:
    """Add anytime_updates to trials, and say what all of examples and products are."""
    op.add_column("bench_trial", sa.Column("anytime_updates", sa.BigInteger(), comment=COMMENT))
    if op.get_bind().dialect.name == "postgresql":
        for table in ("bench_trial", "bench_measurement"):
            for name, comment in COUNTED.items():
                op.alter_column(table, name, comment=comment)
