"""From a URL to a database at the newest schema, or a sentence that says why not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    column,
    inspect,
    select,
    table,
)

from bench.harness.core.errors import Infrastructure
from bench.harness.core.store_url import STORE_HINT, redacted_url
from bench.harness.store.failures import database_errors
from bench.harness.store.folder_names import NAMED_FROM, name_folders
from bench.harness.store.postgresql import long_statements, postgresql_engine
from bench.harness.store.sqlite import (
    BUSY_SECONDS,
    READ_ONLY,
    read_only_place,
    reading_engine,
    writing_engine,
)
from bench.harness.store.tables import VERSION_TABLE, store

_UPGRADE_LOCK = 0x62656E6368  # "bench"


def artifacts_of(url: URL) -> Path:
    """Return the folder for pictures and reports: beside a SQLite file, else in ./mlruns."""
    if url.get_backend_name() == "sqlite":
        return Path(url.database or "").parent / "artifacts"
    return Path("mlruns/artifacts").absolute()


def open_engine(url: URL, create: bool) -> Engine:
    """Return an engine on a database whose bench tables are at the newest revision.

    Several processes may do this at once. Without `create`, a store must be there.
    """
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite:
        check_file(Path(url.database or ""), create)
    engine = _sqlite_engine(url) if sqlite else postgresql_engine(url)
    try:
        with database_errors(url), long_statements():
            _upgrade(engine, url, create)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _sqlite_engine(url: URL) -> Engine:
    path = Path(url.database or "")
    return reading_engine(path) if read_only_place(path) else writing_engine(url)


def check_file(path: Path, create: bool) -> None:
    """Raise Infrastructure where there is no file of a store, or it cannot be made or written."""
    if os.path.isdir(path):
        raise Infrastructure(f"The store {path} is a folder, not a file; {STORE_HINT}.")
    if os.path.exists(path) and not os.path.isfile(path):
        # Reading a pipe would wait for somebody to write to it.
        raise Infrastructure(f"The store {path} is not a file; {STORE_HINT}.")
    if not create:
        if not os.path.exists(path):
            raise _no_store(str(path))
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Infrastructure(
            f"The folder {path.parent} of the store cannot be made: {error.strerror}. "
            f"Make it, or {STORE_HINT}."
        ) from error
    if place := read_only_place(path):
        raise read_only_error(path, place)


def read_only_error(path: Path, place: Path) -> Infrastructure:
    """Return the error for a store that cannot be written to."""
    return Infrastructure(
        f"The store {path} cannot be written to, since {place} is read-only; "
        f"make it writable or {STORE_HINT}."
    )


def _upgrade(engine: Engine, url: URL, create: bool) -> None:
    folder = Path(__file__).parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        revision = _revision(connection, tables)
        known = {script.revision for script in scripts.walk_revisions()}
        if revision is not None and revision not in known:
            raise _too_new(url, revision, _needed(connection), head)
    if revision is None and not create:
        raise _no_store(redacted_url(url))
    reads_only = engine.get_execution_options().get(READ_ONLY, False)
    if reads_only and revision != head:
        raise Infrastructure(
            f"The store {url.database} has bench's tables at revision {revision}, which must be "
            f"upgraded to {head} first, but it is read-only. Copy it, with the files beside it, "
            "to a folder that you may write to."
        )
    if url.get_backend_name() == "sqlite" and not reads_only:
        _refuse_foreign(tables, url)
        _retry(lambda: _write_ahead(engine))
    if revision == head:
        return
    with engine.execution_options(bench_writing=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    if revision is not None and revision < NAMED_FROM:
        name_folders(engine, artifacts_of(url) / "bench")


def _revision(connection: Connection, tables: set[str]) -> str | None:
    if VERSION_TABLE not in tables:
        return None
    return connection.scalar(select(table(VERSION_TABLE, column("version_num"))))


def _needed(connection: Connection) -> str | None:
    """Return the oldest version of bench that can use the tables, where they say so."""
    columns = inspect(connection).get_columns(store.name)
    if all(each["name"] != "needs" for each in columns):
        return None
    return connection.scalar(select(store.c.needs))


def _too_new(url: URL, revision: str, needed: str | None, head: str | None) -> Infrastructure:
    needs = f"They need bench {needed} or newer" if needed else "They need a newer bench"
    return Infrastructure(
        f"The store {redacted_url(url)} has bench's tables at revision {revision}, newer than "
        f"{head}, the newest that is known here. {needs}, and this is {version('bench-harness')}: "
        f"upgrade bench-harness, or {STORE_HINT}."
    )


def _refuse_foreign(tables: set[str], url: URL) -> None:
    ours = VERSION_TABLE in tables
    mlflows = {"experiments", "runs"} <= tables
    if tables and not ours and not mlflows:
        some = ", ".join(sorted(tables)[:3])
        raise Infrastructure(
            f"The store {url.database} belongs to another program: it has the tables {some}. "
            f"Nothing was changed in it; {STORE_HINT}."
        )


def _write_ahead(engine: Engine) -> None:
    # In SQLite's default journal a reader makes a writer fail; the file remembers this setting.
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _retry(action: Callable[[], None]) -> None:
    """Repeat while another process holds the file: changing the journal does not wait for it."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return action()
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _no_store(name: str) -> Infrastructure:
    return Infrastructure(
        f"There is no store at {name}; `bench compare` makes one, and --store names another."
    )
