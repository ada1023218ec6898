"""Statements that SQLite and PostgreSQL spell differently."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from bench.harness.core.errors import Usage
from bench.harness.core.notices import say
from bench.harness.core.text import shortened, visible
from bench.harness.store import tables as t

_TIMES = (
    t.comparison.c.created,
    t.claim.c.created,
    t.baseline.c.accepted,
    t.night.c.created,
    t.noise.c.created,
)
"""By these, records are ordered."""
_SMALL_STEP = timedelta(minutes=1)
"""Clocks that are set over the network go back by less, and nobody need know."""


def now(connection: Connection) -> datetime:
    """Return the time by the database's clock, since those of several machines differ."""
    if connection.dialect.name == "postgresql":
        return connection.scalars(select(func.clock_timestamp())).one().astimezone(UTC)
    return datetime.now(UTC)


def next_time(connection: Connection) -> datetime:
    """Return the present time, or a later one that comes after everything on record.

    Records are ordered by their times. If the clock went back, or was ahead, the newest record lies
    in the future; what comes after it must not count as older. A sentence says so.
    """
    time = now(connection)
    newest = max(
        filter(None, (connection.scalar(select(func.max(c))) for c in _TIMES)), default=time
    )
    if newest < time:
        return time
    if newest - time > _SMALL_STEP:
        say(
            f"The clock says {time:%Y-%m-%d %H:%M} UTC, but the newest record of the store is from "
            f"{newest:%Y-%m-%d %H:%M}: the clock went back, or was ahead. The new record gets a "
            "time after that one, so that it counts as newer. Check the clock."
        )
    # Two records of the same time could not be ordered.
    return newest + timedelta(microseconds=1)


def at_most(limit: int | None) -> int | None:
    """Return a limit of rows as every database takes it; Usage where it is below 0."""
    if limit is not None and limit < 0:
        raise Usage(f"limit={limit}: allowed are whole numbers from 0 on, or none.")
    return None if limit is None else min(limit, 2**31 - 1)


def insert_new(connection: Connection, table: Table) -> Any:
    """Return an insertion that leaves rows which are there as they are."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def ensure(connection: Connection, table: Table, **row: Any) -> bool:
    """Insert a row unless it is there; say whether it was not.

    Raises Usage for a text that is longer than its column, which only some databases notice.
    """
    for name, value in row.items():
        length = getattr(table.c[name].type, "length", None)
        if isinstance(value, str) and length is not None and len(value) > length:
            raise Usage(
                f"The {name} {visible(shortened(value, 40))} has {len(value)} characters, and a "
                f"store keeps at most {length}: choose a shorter one."
            )
    return bool(connection.execute(insert_new(connection, table).values(**row)).rowcount)
