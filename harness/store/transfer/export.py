"""Writes what is recorded into a folder that another store can import."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, false, select

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.store import tables as t
from bench.harness.store.results import Store
from bench.harness.store.statements import now
from bench.harness.store.transfer.bundle import (
    FILES,
    MANIFEST,
    VERSION,
    bench_version,
    revisions,
    sha256,
)
from bench.harness.store.transfer.columns import TRANSFER_TABLES, Row, TransferTable, time_text
from bench.harness.store.transfer.tables import CHUNK_ROWS, Format, table_file

_HIDDEN = ".bench-export"
INTERRUPTED = "it was running when it was exported"


@dataclass(frozen=True)
class ExportResult:
    """What was written."""

    rows: Mapping[str, int]
    """Table, without "bench_" → rows."""
    files: int
    """Reports and pictures."""
    running: int
    """Trials that were running, and are interrupted where they are imported."""


def export(
    store: Store, folder: Path, comparisons: Collection[str], format: Format = "parquet"
) -> ExportResult:
    """Write comparisons of a store, or all of them where none is named, into a new folder.

    Raises Usage where the folder exists or there is no such comparison, Infrastructure where
    it cannot be written; then nothing is left of it.
    """
    ids = [store.comparison(id).id for id in comparisons]
    if os.path.lexists(folder):
        raise Usage(f"{folder} exists already: name a folder that does not, and it is made.")
    try:
        with _complete_folder(folder.absolute()) as hidden:
            return _Export(store, hidden, format).write(ids)
    except OSError as error:
        raise Infrastructure(
            f"{folder} cannot be written: {error.strerror}. Nothing is left of it; name a folder "
            "elsewhere, or make room."
        ) from error


@contextmanager
def _complete_folder(folder: Path) -> Iterator[Path]:
    """Give a hidden folder beside, which takes its name once it is complete.

    What exports that were killed have left there is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A name that is too long is noticed before the work.
    folder.mkdir()
    folder.rmdir()
    for left in folder.parent.glob(f".*{_HIDDEN}"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left)
    hidden = folder.parent / f".{secrets.token_hex(8)}{_HIDDEN}"
    hidden.mkdir()
    try:
        with _locked(hidden):
            yield hidden
            hidden.rename(folder)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which goes with this process; OSError where another has it."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


class _Export:
    def __init__(self, store: Store, folder: Path, format: Format) -> None:
        self._store, self._folder = store, folder
        self._format = format
        self._running = 0
        self._owners: list[str] = []
        """Folders below artifacts/bench of what was exported."""

    def write(self, ids: Collection[str]) -> ExportResult:
        conditions = _conditions(ids) if ids else {}
        with self._store._read() as connection:
            if connection.dialect.name == "postgresql":
                # One snapshot for all tables, which SQLite gives every transaction.
                connection.execution_options(isolation_level="REPEATABLE READ")
            time = now(connection)
            needs = connection.scalar(select(t.store.c.needs))
            tables = {
                part.name: self._table(connection, part, conditions.get(part.name), time)
                for part in TRANSFER_TABLES.values()
            }
        files = self._files()
        manifest = {
            "bench_export": VERSION,
            "format": self._format,
            "revision": revisions()[0],
            "bench": bench_version(),
            "needs": needs,
            "store": self._store.id,
            "exported": time_text(time),
            "tables": tables,
            "files": files,
        }
        (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        rows = {name: table["rows"] for name, table in tables.items()}
        return ExportResult(rows, len(files), self._running)

    def _table(
        self,
        connection: Connection,
        part: TransferTable,
        condition: ColumnElement[bool] | None,
        time: datetime,
    ) -> dict[str, Any]:
        """Write one table; return what the manifest says of it."""
        query = part.query(connection.dialect)
        if condition is not None:
            query = query.where(condition)
        path = self._folder / f"{part.name}.{self._format}"
        count = 0
        found = connection.execute(query, execution_options={"yield_per": CHUNK_ROWS})
        with table_file(path, part, self._format) as file:
            for rows in found.partitions():
                count += len(rows)
                plain = [part.portable(row._asdict()) for row in rows]
                file.write([self._settled(part, row, time) for row in plain])
        return {"file": path.name, "rows": count, "sha256": sha256(path)}

    def _settled(self, part: TransferTable, row: Row, time: datetime) -> Row:
        """Return a row as it is moved: what runs here is interrupted, its fleet planned."""
        if part.name == "comparison":
            self._owners.append(row["id"])
        elif part.name == "trial":
            self._owners.append(f"trial-{row['uuid']}")
        if row.get("status") != "running":
            return row
        if part.name == "fleet":
            return {**row, "status": "planned", "lease_owner": None}
        if part.name == "comparison":
            return {**row, "status": "interrupted", "ended": time}
        if part.name == "night":
            return {**row, "status": "failed", "ended": time, "reason": INTERRUPTED}
        self._running += 1
        return {**row, "status": "interrupted", "ended": time, "reason": INTERRUPTED}

    def _files(self) -> dict[str, str]:
        """Copy reports and pictures; return the SHA-256 of each by its name in the folder."""
        digests: dict[str, str] = {}
        place = self._store.artifacts / "bench"
        for owner in self._owners:
            for path in sorted(place.joinpath(owner).rglob("*")):
                # What a link leads to may be anybody's; what is hidden is half of a file.
                if path.is_file() and not path.is_symlink() and path.name[0] != ".":
                    name = f"{FILES}/{path.relative_to(place).as_posix()}"
                    copy = self._folder / name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
                    digests[name] = sha256(copy)
        return digests


def _conditions(ids: Collection[str]) -> dict[str, ColumnElement[bool]]:
    """Return which rows of each part comparisons refer to."""
    linked, taken, trial = t.comparison_trial.c, t.fleet_trial, t.trial.c
    of_fleets = select(taken.c.trial_id).join(t.fleet).where(t.fleet.c.comparison_id.in_(ids))
    chosen = select(linked.trial_id).where(linked.comparison_id.in_(ids)).union(of_fleets)
    is_chosen = trial.id.in_(chosen)
    of_comparisons = select(t.comparison.c.protocol_key).where(t.comparison.c.id.in_(ids))
    protocols = of_comparisons.union(select(trial.protocol_key).where(is_chosen))
    of = (t.plan, t.comparison_trial, t.fleet, t.verdict)
    return {
        **{table.name.removeprefix("bench_"): table.c.comparison_id.in_(ids) for table in of},
        "comparison": t.comparison.c.id.in_(ids),
        "fleet_trial": t.fleet.c.comparison_id.in_(ids),
        "trial": is_chosen,
        "measurement": t.measurement.c.trial_id.in_(chosen),
        "protocol": t.protocol.c.key.in_(protocols),
        "method": t.method.c.key.in_(select(trial.method_key).where(is_chosen)),
        "context": t.context.c.digest.in_(select(trial.context_digest).where(is_chosen)),
        # These hold for the store that they were entered in.
        **dict.fromkeys(("claim", "baseline", "night", "night_metric", "noise"), false()),
    }
