"""The SQLite file of a store: connections that write, connections that only read, and its files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from bench.harness.core.errors import Infrastructure
from bench.harness.core.store_url import STORE_HINT

BUSY_SECONDS = 30
READ_ONLY = "bench_read_only"
"""The execution option of an engine that cannot write."""
_Identity = tuple[int, int] | None


def read_only_place(path: Path) -> Path | None:
    """Return which of the folder and the file of a store cannot be written to; None if both can."""
    places = (each for each in (path.parent, path) if os.path.exists(each))
    return next((each for each in places if not os.access(each, os.W_OK)), None)


def writing_engine(url: URL) -> Engine:
    """Return an engine whose transactions hold a lock over what they have read."""
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        # Python's own transactions begin too late to hold a lock over what was read.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        # Kibibytes. Trials are recorded side by side and read one by one: each page many times.
        connection.execute("PRAGMA cache_size=-65536")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("bench_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def reading_engine(path: Path) -> Engine:
    """Return an engine for a store whose file, or folder, cannot be written to."""
    connect = reader(path)
    return create_engine(
        "sqlite://",
        creator=lambda: connect(check_same_thread=False),
        hide_parameters=True,
        execution_options={READ_ONLY: True},
    )


def reader(path: Path) -> Callable[..., sqlite3.Connection]:
    """Return what makes connections that only read, also where nothing beside can be written."""
    uri, copy = f"{path.as_uri()}?mode=ro", None
    if read_only_place(path):
        try:
            _try(uri)
        except sqlite3.OperationalError:
            # A reader needs a file for its locks, and cannot make it there. So nobody writes.
            if _size(_beside(path, "-wal")):
                copy = tempfile.TemporaryDirectory(prefix="bench-")
                uri = _copied(path, Path(copy.name)).as_uri()
            else:
                uri = f"{path.as_uri()}?immutable=1"

    def connect(**options: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_SECONDS, factory=_Reader, **options
        )
        connection.copy = copy
        return connection

    return connect


class _Reader(sqlite3.Connection):
    """A connection that only reads."""

    copy: tempfile.TemporaryDirectory[str] | None = None
    """What it reads, where that is a copy; it is removed after the last connection."""


class FileWatch:
    """Notices that the files of a store are not those that were opened.

    SQLite would go on to write into a file that was moved or deleted, and into its log `-wal`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # While this is open, no process has a reason to remove the files beside.
        self._held = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        self._held.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
        files = (path, _beside(path, "-wal"), _beside(path, "-shm"))
        self._known = {file: _identity(file) for file in files}

    def check(self) -> None:
        """Raise Infrastructure where a file was moved, deleted or replaced."""
        for file, known in self._known.items():
            if known is None or _identity(file) == known:
                continue
            if file == self._path:
                raise Infrastructure(
                    f"The store {file} was moved or deleted; put it back or {STORE_HINT}."
                )
            raise Infrastructure(
                f"The file {file.name} beside the store {self._path} was moved, deleted or "
                "replaced while bench used it, so nothing more is written there. End all "
                "processes that use the store, put the file back if you can, and run the command "
                "again."
            )

    def close(self) -> None:
        """Let the files go."""
        self._held.close()


def _try(uri: str) -> None:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
    try:
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
    finally:
        connection.close()


def _copied(path: Path, folder: Path) -> Path:
    for file in (path, _beside(path, "-wal")):
        shutil.copyfile(file, folder / file.name)
    return folder / path.name


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _identity(path: Path) -> _Identity:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
