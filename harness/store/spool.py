"""The spool: rows on disk while the store is away, which are written to it when it is back."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from itertools import groupby
from pathlib import Path
from typing import Annotated

from annotated_types import Gt, Lt

from bench.harness.core.records import Ledger, Measurement, Status
from bench.harness.core.schema import validated
from bench.harness.store.results import Store

TrialId = Annotated[int, Gt(0), Lt(2**31)]
_CHUNK = 1000


@dataclass(frozen=True)
class SpooledMeasurement:
    """A measurement on its way to the store."""

    trial_id: TrialId
    measurement: Measurement


@dataclass(frozen=True)
class SpooledEnd:
    """The end of a trial on its way to the store."""

    trial_id: TrialId
    status: Status
    reason: str | None
    ledger: Ledger
    last: Measurement | None


Entry = SpooledMeasurement | SpooledEnd
_KINDS: dict[type, str] = {SpooledMeasurement: "Measured", SpooledEnd: "Ended"}
"""The names of the entries in a spool file."""


def deliver(store: Store, entries: Sequence[Entry], owner: str | None = None) -> None:
    """Write all entries to the store, measurements first; entries that it has do no harm.

    Those of trials that another process has taken over from `owner` are left out.
    """
    measured = [(e.trial_id, e.measurement) for e in entries if isinstance(e, SpooledMeasurement)]
    for start in range(0, len(measured), _CHUNK):
        store.record(measured[start : start + _CHUNK], owner)
    for entry in entries:
        if isinstance(entry, SpooledEnd):
            ended = (entry.trial_id, entry.status, entry.reason, entry.ledger, entry.last)
            store.end(*ended, owner)


def replay(store: Store, folder: Path, say: Callable[[str], None]) -> int:
    """Write the rows that dead processes left in `folder` to the store; return how many.

    If a file has lines that bench did not write, it is renamed, and `say` gets a sentence.
    """
    count = 0
    for path in sorted(folder.glob(f"{store.id}-*.jsonl")):
        if not path.is_file():
            continue
        try:
            file = path.open("rb+", buffering=0)
        except FileNotFoundError:  # Another process has just done it.
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # Its process lives and will do it.
                continue
            count += _empty(store, path, file, say)
    return count


class Spool:
    """The spool file of one process; its name contains the id of the store."""

    def __init__(
        self, store: Store, folder: Path, say: Callable[[str], None], owner: str | None = None
    ) -> None:
        self.path = folder / f"{store.id}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._store, self._say, self._owner = store, say, owner
        self._file: FileIO | None = None

    def __bool__(self) -> bool:
        return self._file is not None

    def append(self, entries: Sequence[Entry]) -> None:
        """Write rows to disk, where they survive this process; raises OSError if that fails."""
        if not entries:
            return
        if self._file is None:
            self._file = self._make()
        size = self._file.seek(0, os.SEEK_END)
        rest = b"".join(self._line(e) for e in entries)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(size)
            raise

    def _line(self, entry: Entry) -> bytes:
        """Return the line of an entry, with the process that its trial belonged to."""
        plain = {"owner": self._owner, _KINDS[type(entry)]: asdict(entry)}
        return json.dumps(plain).encode() + b"\n"

    def deliver(self) -> None:
        """Write the rows to the store and remove the file; the file stays if the store fails."""
        if self._file is not None:
            _empty(self._store, self.path, self._file, self._say)
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Leave the file for `replay`."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _make(self) -> FileIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Locked before it gets the name that `replay` looks for.
        hidden = self.path.with_suffix(".new")
        file = hidden.open("wb+", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(self.path)
        return file


def _empty(store: Store, path: Path, file: FileIO, say: Callable[[str], None]) -> int:
    file.seek(0)
    # The last line may be incomplete, because its process died.
    lines = [line for line in file if line.endswith(b"\n")]
    read = [_read(line) for line in lines]
    lines_read = [line for line in read if line is not None]
    # Rows of trials that were removed from the store are dropped.
    known = store.known_trials({line.entry.trial_id for line in lines_read})
    kept = [line for line in lines_read if line.entry.trial_id in known]
    for owner, some in groupby(kept, key=lambda line: line.owner):
        deliver(store, [line.entry for line in some], owner)
    if strange := read.count(None):
        unread = path.with_suffix(".unread")
        path.rename(unread)
        say(f"{strange} of {len(lines)} lines in {unread} are not as bench writes them: left out.")
    path.unlink(missing_ok=True)
    return len(kept)


def _read(line: bytes) -> _SpoolLine | None:
    """Read one line back; None for a line that bench did not write."""
    try:
        read = validated(_SpoolLine, json.loads(line))
        return read if read.entry else None
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class _SpoolLine:
    """A line of a spool file, with the names of `_KINDS`."""

    Measured: SpooledMeasurement | None = None
    Ended: SpooledEnd | None = None
    owner: str | None = None

    @property
    def entry(self) -> Entry:
        """The only entry of the line; raises ValueError unless there is one."""
        (found,) = (each for each in (self.Measured, self.Ended) if each is not None)
        return found
