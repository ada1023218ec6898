"""What a comparison of two trials rests on, and names that hold in every store.

Revision 0004, after 0003.
"""

import hashlib
from datetime import datetime

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
    _name_trials(op.get_bind())
    op.create_index(op.f("ix_bench_trial_uuid"), "bench_trial", ["uuid"], unique=True)


def _name_trials(connection: sa.Connection) -> None:
    """Name every trial by what it is and when it was begun.

    Copies of one store that are upgraded each by itself then agree on what they have in common,
    and on nothing that was begun in one of them since.
    """
    trial = sa.table(
        "bench_trial",
        *(sa.column(name) for name in ("id", "uuid", "key", "attempt")),
        sa.column("created", sa.DateTime),
    )
    store = connection.scalar(sa.text("SELECT id FROM bench_store"))
    query = sa.select(trial.c.id, trial.c.key, trial.c.attempt, trial.c.created)
    names = [
        {"number": row.id, "name": _name(store, row.id, row.key, row.attempt, row.created)}
        for row in connection.execute(query)
    ]
    if names:
        named = trial.update().where(trial.c.id == sa.bindparam("number"))
        connection.execute(named.values(uuid=sa.bindparam("name")), names)


def _name(store: str, number: int, key: str, attempt: int, created: datetime) -> str:
    text = f"{store}/{number}/{key}/{attempt}/{created.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
