"""Brings an exported folder into a store: all of it or nothing, and a second time nothing new."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from bench.harness.core.errors import Infrastructure
from bench.harness.store.changes import IMPORT_LOCK
from bench.harness.store.postgresql import long_statements
from bench.harness.store.results import Store
from bench.harness.store.transfer.bundle import FILES, Bundle, sha256
from bench.harness.store.transfer.columns import TRANSFER_TABLES
from bench.harness.store.transfer.merge import Merge


@dataclass(frozen=True)
class ImportResult:
    """What an import changed."""

    added: Mapping[str, int]
    """Table, without "bench_" → new rows."""
    updated: Mapping[str, int]
    """Table → rows that were further in the folder than here."""
    renamed: Mapping[str, str]
    """Comparison in the folder → its id here, where another one has that id."""
    renumbered: int
    """Trials whose attempt is another number here."""
    running: int
    """Comparisons and trials that run here, and were left alone."""
    files: int
    """Reports and pictures that were written."""

    @property
    def is_empty(self) -> bool:
        """Whether everything was here already."""
        return not (any(self.added.values()) or any(self.updated.values()) or self.files)


def import_folder(folder: Path, open_store: Callable[[], Store]) -> ImportResult:
    """Check a folder, open the store, and bring into it what it does not have.

    Raises Usage where the folder was not exported by bench; Infrastructure where a newer
    version did that, where it is damaged, or the store fails: then nothing was changed.
    """
    bundle = Bundle.open(folder)
    bundle.check()
    with open_store() as store:
        # What still runs afterwards is alive, and left alone.
        store.end_dead()
        with long_statements(), store._write() as connection:
            merge = _merged(connection, bundle)
        files = _Files(store, bundle, merge).copy()
    return ImportResult(
        merge.added, merge.updated, merge.renamed, merge.renumbered, merge.running, files
    )


def _merged(connection: Connection, bundle: Bundle) -> Merge:
    if connection.dialect.name == "postgresql":
        # Two imports follow each other, and new attempts wait; whoever trains goes on.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({IMPORT_LOCK})")
    merge = Merge(connection)
    for rows in bundle.rows(TRANSFER_TABLES["comparison"]):
        merge.recognise(rows)
    for part in TRANSFER_TABLES.values():
        for rows in bundle.rows(part):
            merge.take(part, rows)
    merge.finish()
    return merge


class _Files:
    """Reports and pictures, brought in once their rows are."""

    def __init__(self, store: Store, bundle: Bundle, merge: Merge) -> None:
        self._place = store.artifacts / "bench"
        self._bundle, self._merge = bundle, merge

    def copy(self) -> int:
        """Write the files that are missing or others; return how many."""
        return sum(self._bring(name, sha) for name, sha in sorted(self._bundle.files.items()))

    def _bring(self, name: str, digest: str) -> bool:
        owner, _, rest = name.partition("/")
        target = self._place / self._merge.renamed.get(owner, owner) / rest
        try:
            if target.exists() and (owner in self._merge.ahead or sha256(target) == digest):
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            hidden = target.with_name(f".{secrets.token_hex(8)}")
            try:
                shutil.copyfile(self._bundle.folder / FILES / name, hidden)
                os.replace(hidden, target)
            finally:
                hidden.unlink(missing_ok=True)
        except OSError as error:
            raise Infrastructure(
                f"{target} cannot be written: {error.strerror}. All results are in the store; "
                "import the folder again for the rest of its files."
            ) from error
        return True
