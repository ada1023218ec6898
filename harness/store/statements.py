"""Statements that SQLite and PostgreSQL spell differently."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite


def now(connection: Connection) -> datetime:
    """Return the time by the database's clock, since those of several machines differ."""
    if connection.dialect.name == "postgresql":
        return connection.scalars(select(func.clock_timestamp())).one().astimezone(UTC)
    return datetime.now(UTC)


def insert_new(connection: Connection, table: Table) -> Any:
    """Return an insertion that leaves rows which are there as they are."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def ensure(connection: Connection, table: Table, **row: Any) -> bool:
    """Insert a row unless it is there; say whether it was not."""
    return bool(connection.execute(insert_new(connection, table).values(**row)).rowcount)
