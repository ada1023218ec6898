"""MLflow's tables in a database: all of them at once, or none.

MLflow makes its tables in some hundred steps, and on SQLite each step is final. A process that dies
meanwhile, or does the same at the same time as another one, leaves tables that MLflow can neither
use nor complete. So here the steps run elsewhere, or in one transaction, and under a lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import URL, Engine, create_engine, func, inspect, make_url, select
from sqlalchemy.pool import StaticPool

from bench.harness.core.errors import Infrastructure
from bench.harness.core.store_url import redacted_url
from bench.harness.store.postgresql import postgresql_engine
from bench.harness.store.sqlite import BUSY_SECONDS

_VERSION, _COPY = "alembic_version", "_alembic_tmp_"
_LOCK = 0x6D6C666C6F77  # "mlflow"
_LOCK_SECONDS = 120.0
_QUIET_SECONDS = 10.0
"""Without a new table for this long, nobody is at work on half-made tables any more."""
# What MLflow itself puts into tables that nobody has used.
_OWN_ROWS = {_VERSION: "1", "experiments": "experiment_id = 0", "workspaces": "name = 'default'"}


def make_tables(uri: str, database: Any, location: str) -> None:
    """Make MLflow's tables in a SQLite or PostgreSQL database, or complete them.

    `database` is the module `mlflow.store.db.utils`, and `location` the URI of the folder for files
    of runs that name no experiment. Any number of processes may do this at once,
    and each may die at any moment. Half-made tables in which nothing is recorded are made anew.
    Raises Infrastructure where something is recorded and they cannot be completed.
    """
    url = make_url(uri)
    expected = set(database.Base.metadata.tables) | {_VERSION}
    # MLflow compares the revision itself, and says what to do.
    if url.get_backend_name() == "sqlite":
        path = url.database or ""
        with closing(_connect(path)) as connection:
            if not _is_complete(_names(connection), expected):
                _make_on_sqlite(connection, url, database, expected, location)
    elif url.get_backend_name() == "postgresql":
        _make_on_postgresql(url, database, expected, location)


def _is_complete(names: set[str], expected: set[str]) -> bool:
    return expected <= names and not any(name.startswith(_COPY) for name in names)


# SQLite


def _make_on_sqlite(
    connection: sqlite3.Connection, url: URL, database: Any, expected: set[str], location: str
) -> None:
    # In memory, where making them takes seconds but holds no lock.
    with _memory(database, location) as made:
        known = expected | set(database.InitialBase.metadata.tables) | _names(made)
        if _present(connection, known):
            _wait_for_quiet(connection, expected)
        with _transaction(connection):
            names = _names(connection)
            if _is_complete(names, expected):
                return
            present = _present(connection, known)
            if not _has_records(connection, present):
                for name in present:
                    connection.execute(f"DROP TABLE {_quoted(name)}")
                _copy(made, connection)
                return
    _upgrade(connection, url, database)


@contextmanager
def _memory(database: Any, location: str) -> Iterator[sqlite3.Connection]:
    """Yield a database in memory that has MLflow's tables."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        database._initialize_tables(engine)
        _add_default_experiment(engine, database, location)
        with closing(engine.raw_connection()) as pooled:
            connection = pooled.driver_connection
            assert isinstance(connection, sqlite3.Connection)
            yield connection
    finally:
        engine.dispose()


def _add_default_experiment(engine: Engine, database: Any, location: str) -> None:
    """Enter the experiment that MLflow would enter, whose statement cannot hold every path."""
    table, now = database.Base.metadata.tables["experiments"], round(time.time() * 1000)
    with engine.begin() as connection:
        if connection.scalar(select(table.c.experiment_id).limit(1)) is None:
            connection.execute(
                table.insert().values(
                    experiment_id=0,
                    name="Default",
                    artifact_location=location,
                    lifecycle_stage="active",
                    creation_time=now,
                    last_update_time=now,
                    workspace="default",
                )
            )


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy all tables with their rows, indexes and triggers."""
    query = "SELECT name, sql FROM sqlite_master WHERE type {} 'table' AND sql IS NOT NULL"
    tables = [
        (name, sql)
        for name, sql in source.execute(query.format("="))
        if not name.startswith("sqlite_")
    ]
    for _, sql in tables:
        target.execute(sql)
    for name, _ in tables:
        for row in source.execute(f"SELECT * FROM {_quoted(name)}").fetchall():
            marks = ", ".join("?" * len(row))
            target.execute(f"INSERT INTO {_quoted(name)} VALUES ({marks})", row)
    # Indexes, triggers and views come last: they refer to tables.
    for _, sql in source.execute(query.format("<>")).fetchall():
        target.execute(sql)


def _upgrade(connection: sqlite3.Connection, url: URL, database: Any) -> None:
    """Let MLflow complete tables in which something is recorded, in one transaction."""
    # MLflow's steps must not commit: the transaction around them does.
    with closing(_connect(url.database or "", _Held)) as held:
        engine = create_engine("sqlite://", creator=lambda: held, poolclass=StaticPool)
        try:
            with _transaction(held):
                _undo_copies(held)
                database._initialize_tables(engine)
        except Exception as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())[:300].rstrip(". ")
            raise Infrastructure(
                f"MLflow's tables in {redacted_url(url)} are half made, and MLflow cannot complete "
                f"them: {reason}. Other runs are recorded there, so bench leaves them as they are. "
                "bench's own tables are complete. Restore the file from a copy, or give MLflow "
                "another database: `bench db sync --tracking-uri sqlite:///FILE`."
            ) from error


class _Held(sqlite3.Connection):
    """A connection that ends transactions only by statements."""

    def commit(self) -> None:
        """Do nothing."""

    def rollback(self) -> None:
        """Do nothing."""


def _undo_copies(connection: sqlite3.Connection) -> None:
    """Remove the copies of tables that a step was about to put in their places."""
    names = _names(connection)
    for copy in sorted(name for name in names if name.startswith(_COPY)):
        original = copy.removeprefix(_COPY)
        if original in names:
            connection.execute(f"DROP TABLE {_quoted(copy)}")
        else:
            connection.execute(f"ALTER TABLE {_quoted(copy)} RENAME TO {_quoted(original)}")


def _wait_for_quiet(connection: sqlite3.Connection, expected: set[str]) -> None:
    """Return when the tables are complete, or nobody has made one for some seconds."""
    seen, since = None, time.monotonic()
    while time.monotonic() < since + _QUIET_SECONDS:
        version = connection.execute("PRAGMA schema_version").fetchone()[0]
        if version != seen:
            seen, since = version, time.monotonic()
            if _is_complete(_names(connection), expected):
                return
        time.sleep(0.2)


def _present(connection: sqlite3.Connection, known: Collection[str]) -> list[str]:
    """Return MLflow's tables, half-made ones too."""
    return sorted(name for name in _names(connection) if name in known or name.startswith(_COPY))


def _has_records(connection: sqlite3.Connection, tables: Collection[str]) -> bool:
    """Return whether somebody has used these tables."""
    for name in tables:
        own = _OWN_ROWS.get(name.removeprefix(_COPY), "0")
        query = f"SELECT 1 FROM {_quoted(name)} WHERE NOT ({own}) LIMIT 1"
        if connection.execute(query).fetchone():
            return True
    return False


def _connect(path: str, kind: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, factory=kind)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _names(connection: sqlite3.Connection) -> set[str]:
    return {
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# PostgreSQL


def _make_on_postgresql(url: URL, database: Any, expected: set[str], location: str) -> None:
    """Let MLflow make its tables, whose steps are one transaction there."""
    ours = postgresql_engine(url)
    theirs = None
    try:
        with ours.connect() as connection:
            if expected <= set(inspect(connection).get_table_names()):
                return
            # Not in the lock function of the database, which would wait without end.
            deadline = time.monotonic() + _LOCK_SECONDS
            while not connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
                if time.monotonic() > deadline:
                    raise Infrastructure(
                        f"Another process has been making MLflow's tables in {redacted_url(url)} "
                        f"for {_LOCK_SECONDS:g} seconds. End it, and run `bench db sync`."
                    )
                time.sleep(0.2)
            theirs = database.create_sqlalchemy_engine(url.render_as_string(hide_password=False))
            if not database._all_tables_exist(theirs):
                database._initialize_tables(theirs)
                _add_default_experiment(theirs, database, location)
    finally:
        ours.dispose()
        if theirs is not None:
            theirs.dispose()
