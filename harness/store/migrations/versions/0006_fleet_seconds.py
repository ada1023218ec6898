"""The seconds of a fleet, and a trial's share of them, under two names.

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SHARE = "A trial's share: fleet_seconds / fleet_rows"
WHOLE = "Training time of the whole fleet; evaluation is off the clock"


def upgrade() -> None:
    """Add fleet_seconds to trials and measurements, and make seconds a trial's share of them."""
    for name in ("bench_trial", "bench_measurement"):
        column = sa.Column(
            "fleet_seconds",
            sa.Float(precision=53),
            nullable=False,
            server_default="0",
            comment=WHOLE,
        )
        op.add_column(name, column)
        if op.get_bind().dialect.name == "postgresql":
            op.alter_column(name, "seconds", comment=SHARE)
    op.execute("UPDATE bench_trial SET fleet_seconds = seconds, seconds = seconds / fleet_rows")
    op.execute(
        "UPDATE bench_measurement SET fleet_seconds = seconds, seconds = seconds / "
        "(SELECT fleet_rows FROM bench_trial WHERE bench_trial.id = bench_measurement.trial_id)"
    )
