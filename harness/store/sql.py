"""Any question in SQL, to a connection that the database itself keeps from writing."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from bench.harness.core.errors import Usage
from bench.harness.core.store_url import parse_store_url
from bench.harness.store.engine import check_file
from bench.harness.store.failures import database_errors
from bench.harness.store.postgresql import long_statements, postgresql_engine
from bench.harness.store.sqlite import reader

_FETCH_ROWS = 1000
_READ_PRAGMAS = (
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "foreign_key_list",
)
"""Of SQLite's PRAGMAs, those that only show what tables are made of."""
_FAILURES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
)
"""Errors of SQLite that are the store's, and not the statement's."""
_STEPS = 100_000


@dataclass(frozen=True)
class Answer:
    """What a statement returns, row by row as the database finds them."""

    columns: tuple[str, ...]
    rows: Iterator[Sequence[Any]]


@contextmanager
def ask(store_url: str, statement: str) -> Iterator[Answer]:
    """Answer one statement that reads; nothing of the store is made, changed or upgraded.

    Raises Usage with the message of the database if the statement is wrong or would write,
    Infrastructure where there is no store or it fails.
    """
    url = parse_store_url(store_url)
    try:
        statement.encode()
    except UnicodeEncodeError:
        raise _statement_error("the statement is not UTF-8") from None
    answering = _sqlite if url.get_backend_name() == "sqlite" else _postgresql
    with database_errors(url), long_statements(), answering(url, statement) as answer:
        yield answer


def plain(value: Any) -> Any:
    """Return a value as JSON has it: times in UTC as ISO 8601, a number that is not finite null."""
    if isinstance(value, Decimal):
        # What PostgreSQL makes of a sum of whole numbers.
        whole = value.is_finite() and value == value.to_integral_value()
        value = int(value) if whole else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, datetime):
        # The store's times are UTC and say no zone.
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return str(value)


@contextmanager
def _sqlite(url: URL, statement: str) -> Iterator[Answer]:
    path = Path(url.database or "")
    check_file(path, create=False)
    try:
        with closing(_read_only(path)) as connection:
            cursor = connection.execute(statement)
            if cursor.description is None:
                raise _statement_error("the statement returns nothing")
            yield Answer(tuple(column[0] for column in cursor.description), cursor)
    # Python 3.11 has a warning where there are several statements.
    except (sqlite3.Error, sqlite3.Warning) as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from None
        if code & 0xFF in _FAILURES:
            raise
        raise _statement_error(str(error)) from error


def _read_only(path: Path) -> sqlite3.Connection:
    connection = reader(path)(detect_types=sqlite3.PARSE_DECLTYPES)
    # Temporary tables neither: they are files as well.
    connection.execute("PRAGMA query_only = ON")
    connection.set_authorizer(_authorize)
    # Python hears of Ctrl-C only where the database calls it.
    connection.set_progress_handler(lambda: 0, _STEPS)
    return connection


def _authorize(action: int, subject: str | None, *_: str | None) -> int:
    """Refuse what makes another file, or a connection that writes."""
    setting = action == sqlite3.SQLITE_PRAGMA and (subject or "").lower() not in _READ_PRAGMAS
    refused = setting or action == sqlite3.SQLITE_ATTACH
    return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


def _time(text: bytes) -> datetime | str:
    try:
        return datetime.fromisoformat(text.decode()).replace(tzinfo=UTC)
    except ValueError:
        return text.decode()


# Used by connections alone that ask for types.
sqlite3.register_converter("DATETIME", _time)
sqlite3.register_converter("BOOLEAN", lambda text: text != b"0")


@contextmanager
def _postgresql(url: URL, statement: str) -> Iterator[Answer]:
    engine = postgresql_engine(url)
    import psycopg

    try:
        with closing(engine.raw_connection()) as pooled:
            connection = pooled.driver_connection
            assert isinstance(connection, psycopg.Connection)
            connection.read_only = True
            # After its first query a transaction cannot be made one that writes.
            connection.execute("SELECT 1")
            # A named cursor takes one statement alone, which must return rows; without parameters
            # no character of it stands for one.
            with connection.cursor("bench") as cursor:
                cursor.itersize = _FETCH_ROWS
                cursor.execute(statement.encode())
                names = tuple(column.name for column in cursor.description or ())
                yield Answer(names, iter(cursor))
    except psycopg.OperationalError as error:
        raise DBAPIError(None, None, error) from error
    except psycopg.Error as error:
        raise _statement_error(error.diag.message_primary or str(error)) from error
    finally:
        engine.dispose()


def _statement_error(said: str) -> Usage:
    return Usage(
        f"The database did not take the statement: {said.rstrip('.')}. `bench db sql` only reads: "
        'give it one statement that returns rows, such as "select id, command from '
        'bench_comparison"; docs/schema.md explains every table.'
    )
