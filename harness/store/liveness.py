"""Detection of dead processes among those that the store records as running."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, exists, select, update

from bench.harness.store import tables as t
from bench.harness.store.owner import has_ended, is_here

DEAD_SECONDS = 60.0
"""A process without a heartbeat for this long, six periods, counts as dead on any host."""


def is_dead(row: Row[Any], limit: datetime) -> bool:
    """Return whether the owner of a row has ended, or has sent no heartbeat since `limit`."""
    return is_old(row, limit) or has_ended(row.lease_owner)


def is_old(row: Row[Any], limit: datetime) -> bool:
    """Return whether the owner of a row has sent no heartbeat since `limit`.

    A heartbeat from the future says nothing: the clock went back. A living process sends another
    one soon; one of this host counts as alive until then.
    """
    if row.heartbeat is None or row.heartbeat <= limit:
        return True
    return row.heartbeat > _future(limit) and not is_here(row.lease_owner)


def _future(limit: datetime) -> datetime:
    """Return what no heartbeat can be later than, if the clock did not go back."""
    return limit + timedelta(seconds=2 * DEAD_SECONDS)


def dead_rows(connection: Connection, table: Table, limit: datetime) -> list[Row[Any]]:
    """Return id, lease_owner and heartbeat of the running trials, or fleets, of dead processes."""
    query: Select[Any] = select(table.c.id, table.c.lease_owner, table.c.heartbeat)
    rows = connection.execute(query.where(table.c.status == "running").order_by(table.c.id))
    return [row for row in rows if is_dead(row, limit)]


def dead_comparisons(connection: Connection, limit: datetime) -> list[Row[Any]]:
    """Return id, lease_owner and heartbeat of the running comparisons whose process is dead.

    A comparison without heartbeat counts as alive while a trial that it started is alive.
    """
    table, linked = t.comparison, t.comparison_trial
    living = exists().where(
        linked.c.comparison_id == table.c.id,
        linked.c.reused.is_(False),
        linked.c.trial_id == t.trial.c.id,
        t.trial.c.status == "running",
        t.trial.c.heartbeat.between(limit, _future(limit)),
    )
    columns = (table.c.id, table.c.lease_owner, table.c.heartbeat, living.label("living"))
    query: Select[Any] = select(*columns).where(table.c.status == "running")
    rows = connection.execute(query.order_by(table.c.id))
    return [r for r in rows if has_ended(r.lease_owner) or (is_old(r, limit) and not r.living)]


def update_unless_alive(connection: Connection, table: Table, row: Row[Any], **values: Any) -> bool:
    """Change a running row of a dead process unless it has sent a heartbeat; return whether."""
    changed = connection.execute(
        update(table)
        .where(
            table.c.id == row.id,
            table.c.status == "running",
            table.c.lease_owner.is_not_distinct_from(row.lease_owner),
            table.c.heartbeat.is_not_distinct_from(row.heartbeat),
        )
        .values(**values)
    )
    return bool(changed.rowcount)
