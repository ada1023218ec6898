"""Checkpoints: the states of a fleet on disk, from which an interrupted run continues."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from time import perf_counter, time
from typing import Any

import torch

from bench.harness.core.errors import Usage
from bench.harness.core.schema import Mismatch, validated
from bench.harness.core.spec import canonical_json

TIME_SHARE = 0.02
"""Share of a run's time that its checkpoints may take. An interruption then loses at most about 50
times the duration of one checkpoint."""

MIN_INTERVAL = 1.0
"""Shortest time between two checkpoints in seconds; losing one second does not matter."""

FIRST_COST = 0.1
"""Expected duration of the first checkpoint in seconds. It is then due after 5 s. A fleet that
takes less time can be trained again."""

RETRY_INTERVAL = 30.0
"""Seconds between a checkpoint that could not be written and the next try."""

FILES_KEPT = 2
"""Number of checkpoints of a fleet: the newest, and an earlier one in case it is damaged."""

VERSION = 1
"""Version of the file format. Files of a newer version are refused."""

MAGIC = b"bench checkpoint"
"""The first bytes of every file."""

HEADER_FIELDS = struct.Struct(">16sIQQ")
"""The header: MAGIC, VERSION, the length of the identity and the length of the state. After it come
a digest, the identity as JSON, and the state as torch.save writes it. The digest is the SHA-256 of
header, identity and state."""

HEADER_SIZE = HEADER_FIELDS.size + hashlib.sha256().digest_size
"""Bytes before the identity: header and digest."""


class Checkpoints:
    """The states of one fleet on disk; each is written completely or not at all.

    The newest two stay, in files NAME.000001.ckpt, NAME.000002.ckpt, … in `folder`, which is
    created when it is needed. `identity` has plain JSON values that say which trials a state
    belongs to; a state with another identity is never read. `say` receives sentences for the user.
    Only one process at a time may write the states of a fleet. Raises Usage for an identity that
    `canonical_json` refuses.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     checkpoints = Checkpoints(Path(folder), "fleet", {"seed": 0}, print)
    ...     checkpoints.write({"theta": torch.ones(2), "updates": 7})
    ...     checkpoints.read()
    True
    {'theta': tensor([1., 1.]), 'updates': 7}
    """

    def __init__(
        self, folder: Path, name: str, identity: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._name = name
        self._identity = canonical_json(identity)
        self._say = say
        self._pattern = re.compile(rf"{re.escape(name)}\.(\d{{6,}})\.ckpt")
        # A fixed name, so that the next process overwrites the file of a killed one.
        self._temporary = folder / f"{name}.new"
        self._refused: list[Path] = []
        self._reported = self._verified = False
        self._spent = 0.0
        self._expected = FIRST_COST
        self._not_before = -inf

    def due(self, elapsed: float) -> bool:
        """Return whether another checkpoint keeps the cost of all checkpoints within the limit.

            seconds spent + seconds of the last checkpoint <= TIME_SHARE · elapsed

        `elapsed` is the time in seconds that this process has been training and writing. Two
        checkpoints are at least MIN_INTERVAL seconds apart. After a failure the next one comes
        RETRY_INTERVAL seconds later at the earliest.
        """
        affordable = self._spent + self._expected <= TIME_SHARE * elapsed
        return affordable and perf_counter() >= self._not_before

    def write(self, state: Mapping[str, Any]) -> bool:
        """Write a state of tensors and plain values; return whether it is on disk.

        If the system refuses, `say` gets one sentence, and earlier checkpoints stay. If the state
        contains an object that cannot be saved, `say` gets one sentence, and no later call writes.
        """
        if self._not_before == inf:
            return False
        start = perf_counter()
        try:
            self._write(state)
        except OSError as error:
            self._report_write_error(error)
            self._not_before = perf_counter() + RETRY_INTERVAL
            return False
        except (_UnusableState, MemoryError) as why:
            reason = why if isinstance(why, _UnusableState) else "needs more memory"
            self._say(
                f"The state of fleet {self._name} cannot be saved: it {reason}. Training "
                "continues, but after an interruption this fleet starts from the beginning."
            )
            self._not_before = inf
            return False
        else:
            self._expected = perf_counter() - start
            self._not_before = perf_counter() + MIN_INTERVAL
            return True
        finally:
            self._spent += perf_counter() - start

    def read(self, load: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any] | None:
        """Return the newest complete state with this identity, on the CPU; None if there is none.

        `load` takes a state and raises Mismatch if it is not usable. `say` gets a sentence for
        every newer file that could not be used.
        """
        refused: dict[Path, str] = {}
        state, instead = None, "the fleet starts from the beginning"
        try:
            for file in reversed(self._files().values()):
                try:
                    state = self._load(file)
                    if load is not None:
                        load(state)
                except _UnusableState as why:
                    refused[file] = str(why)
                except Mismatch as fault:
                    state = None
                    refused[file] = f"is not as bench writes it: {fault}"
                else:
                    instead = f"the earlier {file.name} is used"
                    break
        except OSError as error:
            self._say(f"Checkpoints in {self._folder} {_unreadable(error)}; {instead}.")
        for file, why_not in refused.items():
            self._say(f"Checkpoint {file} {why_not}; {instead}.")
        self._refused = list(refused)
        return state

    def clear(self) -> None:
        """Remove all files of this fleet, and the folder if it is then empty."""
        try:
            for file in self._files().values():
                file.unlink(missing_ok=True)
            self._temporary.unlink(missing_ok=True)
        except OSError as error:
            self._say(
                f"The checkpoints of fleet {self._name} in {self._folder} could not be removed "
                f"({_reason(error)}). They are not needed any more; you can delete them."
            )
        # Fails if other fleets have files in the folder.
        with suppress(OSError):
            self._folder.rmdir()

    def _files(self) -> dict[int, Path]:
        """Return the files by number, the oldest first."""
        try:
            found = map(self._pattern.fullmatch, os.listdir(self._folder))
        except FileNotFoundError:
            return {}
        numbers = {int(each[1]): self._folder / each[0] for each in found if each}
        return dict(sorted(numbers.items()))

    def _usable_files(self) -> list[Path]:
        # A refused file does not help if a newer one is damaged.
        return [file for file in self._files().values() if file not in self._refused]

    def _write(self, state: Mapping[str, Any]) -> None:
        saved, identity = _serialized(state), self._identity.encode()
        if not self._verified:
            # A state that cannot be read must be found now, not after an interruption.
            _parsed(saved)
            self._verified = True
        fields = HEADER_FIELDS.pack(MAGIC, VERSION, len(identity), len(saved))
        self._folder.mkdir(parents=True, exist_ok=True)
        number = max(self._files(), default=0) + 1
        try:
            with open(self._temporary, "wb") as out:
                for part in (fields, _digest(fields, identity, saved), identity, saved):
                    out.write(part)
                out.flush()
                os.fsync(out.fileno())
            os.replace(self._temporary, self._folder / f"{self._name}.{number:06d}.ckpt")
        except BaseException:
            with suppress(OSError):
                self._temporary.unlink()
            raise
        _sync(self._folder)
        for old in set(self._files().values()) - set(self._usable_files()[-FILES_KEPT:]):
            with suppress(OSError):
                old.unlink()

    def _report_write_error(self, error: OSError) -> None:
        if self._reported:
            return
        self._reported = True
        consequence = "start from the beginning"
        with suppress(OSError):
            if usable := self._usable_files():
                age = max(0.0, time() - usable[-1].stat().st_mtime)
                consequence = f"continue from {usable[-1].name}, which is {age:.0f} s old"
        self._say(
            f"The state of fleet {self._name} could not be written to {self._folder} "
            f"({_reason(error)}). Training continues; a run that is resumed now would "
            f"{consequence}."
        )

    def _load(self, file: Path) -> dict[str, Any]:
        try:
            with open(file, "rb") as source:
                size = os.fstat(source.fileno()).st_size
                head = source.read(HEADER_SIZE)
                length = _length_of_identity(head, size)
                identity, state = source.read(length), source.read()
        except OSError as error:
            raise _UnusableState(_unreadable(error)) from error
        if _digest(head[: HEADER_FIELDS.size], identity, state) != head[HEADER_FIELDS.size :]:
            raise _UnusableState("is damaged: its SHA-256 is wrong")
        try:
            there = validated(dict[str, Any], json.loads(identity))
            different = _differences(there, json.loads(self._identity))
        except (Usage, ValueError, RecursionError):
            raise _UnusableState("does not say to which trials it belongs") from None
        if different:
            raise _UnusableState(f"belongs to other trials: {different}")
        return _parsed(state)


_NO_FILE_OF_TORCH = (
    *(RuntimeError, ValueError, TypeError, LookupError, EOFError, AttributeError),
    *(ArithmeticError, AssertionError, struct.error),
)
"""The errors of torch.load for content that torch.save did not write."""


class _UnusableState(Exception):
    """The reason why a file is not used or a state is not saved; the name precedes it."""


def _parsed(state: bytes | memoryview) -> dict[str, Any]:
    try:
        read: dict[str, Any] = torch.load(io.BytesIO(state), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise _UnusableState("has an object that is neither tensor nor plain value") from error
    except _NO_FILE_OF_TORCH as error:
        raise _UnusableState("has a state that torch cannot read") from error
    return read


def _serialized(state: Mapping[str, Any]) -> memoryview:
    # In memory, although this needs as much memory as the state: torch must not meet a write error.
    # It would still try to complete the archive, and raise another error or abort the process.
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
    except OSError:
        raise
    except (AttributeError, TypeError, RuntimeError, pickle.PicklingError) as error:
        raise _UnusableState(f"has an object that cannot be written ({error})") from error
    return buffer.getbuffer()


def _digest(fields: bytes, identity: bytes, state: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(fields)
    digest.update(identity)
    digest.update(state)
    return digest.digest()


def _length_of_identity(head: bytes, size: int) -> int:
    if not MAGIC.startswith(head[: len(MAGIC)]):
        raise _UnusableState("was not written by bench")
    if len(head) < HEADER_SIZE:
        raise _UnusableState(f"is cut short ({size:,} bytes)")
    _, version, identity, state = HEADER_FIELDS.unpack(head[: HEADER_FIELDS.size])
    if version > VERSION:
        raise _UnusableState(
            f"was written by a newer bench (format {version}; this version reads {VERSION})"
        )
    if size < HEADER_SIZE + identity + state:
        raise _UnusableState(f"is cut short ({size:,} of {HEADER_SIZE + identity + state:,} bytes)")
    return int(identity)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    values = [{key: canonical_json(value) for key, value in each.items()} for each in (there, here)]
    keys = sorted(values[0].keys() | values[1].keys())
    rows = [(key, *(each.get(key, "absent") for each in values)) for key in keys]
    return ", ".join(f"{key} is {a} there and {b} here" for key, a, b in rows if a != b)


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({_reason(error)})"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _sync(folder: Path) -> None:
    # Only then does the new name survive a power failure. Some network file systems cannot do it.
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
