"""The store: the class that records results and returns them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from sqlalchemy import URL, Connection, Engine, select

from bench.harness.core.errors import Infrastructure
from bench.harness.core.store_url import parse_store_url
from bench.harness.core.text import visible
from bench.harness.store import tables as t
from bench.harness.store.engine import artifacts_of, open_engine, read_only_error
from bench.harness.store.failures import database_errors
from bench.harness.store.nights import StoreNights
from bench.harness.store.sqlite import READ_ONLY, FileWatch, read_only_place


class Store(StoreNights):
    """The results database behind one URL; safe to use from several threads and processes.

    If the database fails, every method raises `bench.harness.core.errors.Infrastructure` with a
    sentence without password; what was recorded before stays.
    """

    def __init__(self, engine: Engine, url: URL) -> None:
        self._engine = engine
        self._url = url
        self.read_only: bool = engine.get_execution_options().get(READ_ONLY, False)
        """Whether this is a SQLite file that cannot be written to."""
        watched = self._path is not None and not self.read_only
        self._watch = FileWatch(self._path) if watched and self._path else None
        with self._read() as connection:
            self.id: str = connection.scalar(select(t.store.c.id)) or ""
            """A random name that identifies this database."""

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> Store:
        """Open the store; create or upgrade its tables. Without `create` the store must exist.

        `url` is `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`. Raises Usage for
        any other URL, and Infrastructure if the store cannot be used.
        """
        read = parse_store_url(url)
        return cls(open_engine(read, create), read)

    def end_abandoned(self) -> None:
        """End the runs of dead processes, so that no reader sees them as running.

        Where this store cannot be written to, they stay: reading needs no right to write.
        """
        if not self.read_only and self.is_running():
            # A store that is away fails at the next question.
            with suppress(Infrastructure):
                self.end_dead()

    @property
    def artifacts(self) -> Path:
        """The folder for pictures and reports: next to a SQLite file, else in ./mlruns."""
        return artifacts_of(self._url)

    def files_of_trial(self, trial_id: int) -> Path:
        """Return the folder of a trial's pictures, which are copied to its run in MLflow.

        The folder has the trial's uuid as its name, because several stores may share a place.
        """
        return self._folder(f"trial-{self.trial(trial_id).uuid}")

    def files_of_comparison(self, comparison_id: str) -> Path:
        """Return the folder of a comparison's report and pictures."""
        return self._folder(comparison_id)

    def _folder(self, name: str) -> Path:
        # The name comes from a row, which another program may have written.
        if not re.fullmatch(r"[\w-]+", name):
            raise Infrastructure(f"{visible(name)} is not a name from bench, so it has no files.")
        return self.artifacts / "bench" / name

    @property
    def _path(self) -> Path | None:
        return Path(self._url.database or "") if self._url.drivername == "sqlite" else None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        if self._watch is not None:
            self._watch.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        if self.read_only and self._path:
            raise read_only_error(self._path, read_only_place(self._path) or self._path)
        if self._watch is not None:
            self._watch.check()
        engine = self._engine.execution_options(bench_writing=True)
        with database_errors(self._url), engine.begin() as connection:
            yield connection
