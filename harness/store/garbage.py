"""Garbage collection: removes rows and files that nothing in the store refers to any more.

Several stores may keep their files in one folder, so a file is removed only if a row of this store
says what it belongs to.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select

from bench.harness.core.errors import Infrastructure
from bench.harness.store import tables as t
from bench.harness.store.changes import IMPORT_LOCK
from bench.harness.store.postgresql import long_statements
from bench.harness.store.results import Store

_UUID = re.compile(r"[0-9a-f]{32}")
_CHECKPOINT = re.compile(r"([0-9a-f]{8})-(\d{4,})\.(?:\d{6,}\.ckpt|new)")
"""The names that `bench.harness.training.checkpoint` gives to checkpoints of a fleet."""
_SPOOLED = re.compile(r"([0-9a-f]{32})-\d+-[0-9a-f]{8}\.jsonl")
"""The names that `bench.harness.store.spool` gives to its files."""

# A process that starts or adopts a trial writes to one of these tables first, and so waits.
_LOCKED = ", ".join(table.name for table in (t.protocol, t.method, t.context, t.comparison_trial))

_UNLINKED: ColumnElement[bool] = (
    t.trial.c.status.not_in(("planned", "running"))
    & t.trial.c.id.not_in(select(t.comparison_trial.c.trial_id))
    & t.trial.c.id.not_in(select(t.fleet_trial.c.trial_id))
)
_LINKED = select(t.trial).where(~_UNLINKED).subquery().c
_UNUSED: tuple[tuple[Table, ColumnElement[bool], str, str], ...] = (
    (
        t.measurement,
        t.measurement.c.trial_id.in_(select(t.trial.c.id).where(_UNLINKED)),
        "measurements",
        "of these trials",
    ),
    (t.trial, _UNLINKED, "trials", "no comparison has them"),
    (t.method, t.method.c.key.not_in(select(_LINKED.method_key)), "methods", "no trial has them"),
    (
        t.protocol,
        t.protocol.c.key.not_in(select(_LINKED.protocol_key))
        & t.protocol.c.key.not_in(select(t.comparison.c.protocol_key)),
        "protocols",
        "neither trial nor comparison has them",
    ),
    (
        t.context,
        t.context.c.digest.not_in(select(_LINKED.context_digest)),
        "contexts",
        "no trial has them",
    ),
)
"""Tables in the order in which rows can be removed, with the condition, the kind and the reason."""


@dataclass(frozen=True)
class GarbageGroup:
    """Rows or files of one kind that nothing refers to."""

    kind: str
    count: int
    bytes: int | None
    """Of files."""
    why: str


def collect(
    store: Store, say: Callable[[Sequence[GarbageGroup]], None], *, dry_run: bool = False
) -> Sequence[GarbageGroup]:
    """Remove all rows and files that nothing refers to; return them, grouped by kind.

    `say` gets the groups before anything is removed. Nothing is removed of a comparison that is
    not done, or of a process that lives. Raises Infrastructure if a file cannot be removed; all
    rows stay then.
    """
    store.end_dead()
    with ExitStack() as held:
        held.enter_context(long_statements())
        connection = held.enter_context(store._read() if dry_run else store._write())
        if not dry_run and connection.dialect.name == "postgresql":
            # The lock is needed because an import locks tables in another order. SQLite allows
            # only one writing transaction at a time.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({IMPORT_LOCK})")
            connection.exec_driver_sql(f"LOCK TABLE {_LOCKED} IN SHARE ROW EXCLUSIVE MODE")
        files = (
            ("folders of pictures", _pictures(connection, store), "of these trials"),
            ("checkpoints", _checkpoints(connection, store), "their fleets have ended"),
            ("spool files", _spool_files(connection, store, held), "their trials are not here"),
        )
        heaps = [*_rows(connection), *(_files(*each) for each in files)]
        heaps = [heap for heap in heaps if heap.count]
        if not heaps:
            return heaps
        say(heaps)
        if not dry_run:
            # Files first: if one cannot be removed, the rows still say what it belongs to.
            for _, paths, _ in files:
                for path in paths:
                    _remove(path)
            for table, unused, _, _ in _UNUSED:
                connection.execute(delete(table).where(unused))
    return heaps


def _rows(connection: Connection) -> Iterator[GarbageGroup]:
    for table, unused, kind, why in _UNUSED:
        count = connection.scalar(select(func.count()).select_from(table).where(unused))
        yield GarbageGroup(kind, count or 0, None, why)


def _files(kind: str, paths: Sequence[Path], why: str) -> GarbageGroup:
    return GarbageGroup(kind, len(paths), sum(map(_size, paths)), why)


def _pictures(connection: Connection, store: Store) -> list[Path]:
    """Return the folders of trials that no comparison has."""
    uuids = connection.scalars(select(t.trial.c.uuid).where(_UNLINKED))
    # Another program may have written to the store, so the names are checked.
    folders = [store.artifacts / "bench" / f"trial-{u}" for u in uuids if _UUID.fullmatch(u)]
    return [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]


def _checkpoints(connection: Connection, store: Store) -> list[Path]:
    """Return the checkpoints of fleets that have ended in comparisons that are done."""
    fleet, comparison = t.fleet.c, t.comparison.c
    query = (
        select(fleet.comparison_id, fleet.number)
        .join(t.comparison, comparison.id == fleet.comparison_id)
        .where(fleet.status == "ended", comparison.status == "done")
    )
    ended = {(row.comparison_id, row.number) for row in connection.execute(query)}
    found = _matching(store.artifacts.parent / "checkpoints", _CHECKPOINT)
    return [path for path, named in found if (named[1], int(named[2])) in ended]


def _spool_files(connection: Connection, store: Store, held: ExitStack) -> list[Path]:
    """Return the spool files of dead processes whose trials are all unknown to this store.

    They stay locked until the end, so that no other process reads them meanwhile.
    """
    found = []
    # A larger number may belong to the store of which this is a copy: both have the same id.
    newest = connection.scalar(select(func.max(t.trial.c.id))) or 0
    for path, named in _matching(store.artifacts.parent / "spool", _SPOOLED):
        if named[1] != store.id:
            continue
        try:
            file = held.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # Its process lives, or another process has just removed it.
            continue
        ids = _trials_in(file)
        if ids and max(ids) <= newest and not _any_linked(connection, ids):
            found.append(path)
    return found


def _any_linked(connection: Connection, ids: Collection[int]) -> bool:
    query = select(_LINKED.id).where(_LINKED.id.in_(ids)).limit(1)
    return connection.scalar(query) is not None


def _trials_in(file: BinaryIO) -> set[int] | None:
    """Return the ids of the trials of a spool file; None if the file cannot be read."""
    try:
        # The last line may be incomplete, because its process died.
        lines = [line for line in file if line.endswith(b"\n")]
        rows = (row for line in lines for name, row in json.loads(line).items() if name != "owner")
        return {int(row["trial_id"]) for row in rows}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _matching(folder: Path, names: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        path = folder / name
        if (named := names.fullmatch(name)) and path.is_file() and not path.is_symlink():
            yield path, named


def _size(path: Path) -> int:
    within = path.rglob("*") if path.is_dir() else (path,)
    return sum(each.lstat().st_size for each in within if each.is_file())


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Infrastructure(
            f"{path} cannot be removed: {error.strerror or error}. All rows of the store are "
            "unchanged; allow bench to remove it, and run the command again."
        ) from error
