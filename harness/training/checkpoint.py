"""States of a fleet on disk, so that a run that was interrupted goes on where it was."""

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

from bench.harness.core.spec import canonical

SHARE = 0.02
"""Of a run's time, what its checkpoints may take. An interruption then costs what was trained in
the last 50 times as long as one takes."""

PERIOD = 1.0
"""Seconds between two checkpoints at least: to lose one second costs nobody anything."""

FIRST = 0.1
"""Seconds that the first checkpoint is expected to take, before any was timed. It is then due
after 5 s; a fleet that ends earlier is as well trained again."""

RETRY = 30.0
"""Seconds after a checkpoint that could not be written: a full disk is seldom emptied sooner."""

KEPT = 2
"""Checkpoints of a fleet: one to go on from, and one before it in case that it is damaged."""

VERSION = 1
"""Of the format of a file. Another one is refused, not guessed at."""

MAGIC = b"bench checkpoint"
"""The first bytes of every file."""

FIELDS = struct.Struct(">16sIQQ")
"""Next: MAGIC, VERSION, and the lengths of what follows the digest: the identity, as JSON, and the
state, as torch.save writes it. The digest is the SHA-256 of these fields, identity and state."""

HEAD = FIELDS.size + hashlib.sha256().digest_size
"""Bytes before the identity."""


class Checkpoints:
    """The states of one fleet on disk: written whole or not at all, the newest two kept.

    They are files NAME.000001.ckpt, NAME.000002.ckpt, … in `folder`, which is made when it is
    needed. `identity` has plain JSON values that say what a state belongs to; a state of another
    identity is never read. `say` is told what a person should know. One process at a time may
    write a fleet. Usage for an identity that `canonical` refuses.

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
        self._identity = canonical(identity)
        self._say = say
        self._named = re.compile(rf"{re.escape(name)}\.(\d{{6,}})\.ckpt")
        # A fixed name, so that what a killed process left is written over.
        self._new = folder / f"{name}.new"
        self._refused: list[Path] = []
        self._told = self._tried = False
        self._spent = 0.0
        self._expected = FIRST
        self._not_before = -inf

    def due(self, elapsed: float) -> bool:
        """Return whether one more checkpoint keeps the cost of all of them within the share.

            seconds spent + seconds of the last one <= SHARE · elapsed

        `elapsed` is seconds that this process has been training and writing. At least PERIOD
        seconds lie between two, and RETRY seconds after one that could not be written.
        """
        affordable = self._spent + self._expected <= SHARE * elapsed
        return affordable and perf_counter() >= self._not_before

    def write(self, state: Mapping[str, Any]) -> bool:
        """Write a state of tensors and plain values; return whether it is on disk.

        Where the system refuses, `say` is told once, and what was written before stays. A state
        that cannot be kept is told once, too, and none is tried after it.
        """
        if self._not_before == inf:
            return False
        began = perf_counter()
        try:
            self._write(state)
        except OSError as error:
            self._tell(error)
            self._not_before = perf_counter() + RETRY
            return False
        except (_Unusable, MemoryError) as why:
            reason = why if isinstance(why, _Unusable) else "needs more memory"
            self._say(
                f"The state of fleet {self._name} cannot be kept: it {reason}. "
                "Training goes on; a run that is interrupted begins this fleet anew."
            )
            self._not_before = inf
            return False
        else:
            self._expected = perf_counter() - began
            self._not_before = perf_counter() + PERIOD
            return True
        finally:
            self._spent += perf_counter() - began

    def read(self) -> dict[str, Any] | None:
        """Return the newest state that is whole and of this identity, on the CPU, if there is one.

        `say` is told of every file that was passed over for it.
        """
        refused: dict[Path, str] = {}
        state, instead = None, "the fleet begins anew"
        try:
            for file in reversed(self._files().values()):
                try:
                    state = self._load(file)
                except _Unusable as why:
                    refused[file] = str(why)
                else:
                    instead = f"{file.name}, from before it, is used"
                    break
        except OSError as error:
            self._say(f"Checkpoints in {self._folder} {_unreadable(error)}; {instead}.")
        for file, why_not in refused.items():
            self._say(f"Checkpoint {file} {why_not}; {instead}.")
        self._refused = list(refused)
        return state

    def clear(self) -> None:
        """Remove every file of this fleet, and the folder once it is empty."""
        try:
            for file in self._files().values():
                file.unlink(missing_ok=True)
            self._new.unlink(missing_ok=True)
        except OSError as error:
            self._say(
                f"The checkpoints of fleet {self._name} in {self._folder} could not be removed "
                f"({_reason(error)}); nothing needs them any more."
            )
        # Other fleets have theirs in it.
        with suppress(OSError):
            self._folder.rmdir()

    def _files(self) -> dict[int, Path]:
        """By number, the oldest first."""
        try:
            found = map(self._named.fullmatch, os.listdir(self._folder))
        except FileNotFoundError:
            return {}
        numbers = {int(each[1]): self._folder / each[0] for each in found if each}
        return dict(sorted(numbers.items()))

    def _usable(self) -> list[Path]:
        # One that was refused is no help, should a newer one be damaged.
        return [file for file in self._files().values() if file not in self._refused]

    def _write(self, state: Mapping[str, Any]) -> None:
        saved, identity = _bytes(state), self._identity.encode()
        if not self._tried:
            # Seen now, not when somebody needs it.
            _loaded(saved)
            self._tried = True
        fields = FIELDS.pack(MAGIC, VERSION, len(identity), len(saved))
        self._folder.mkdir(parents=True, exist_ok=True)
        number = max(self._files(), default=0) + 1
        try:
            with open(self._new, "wb") as out:
                for part in (fields, _digest(fields, identity, saved), identity, saved):
                    out.write(part)
                out.flush()
                os.fsync(out.fileno())
            os.replace(self._new, self._folder / f"{self._name}.{number:06d}.ckpt")
        except BaseException:
            with suppress(OSError):
                self._new.unlink()
            raise
        _sync(self._folder)
        for old in set(self._files().values()) - set(self._usable()[-KEPT:]):
            with suppress(OSError):
                old.unlink()

    def _tell(self, error: OSError) -> None:
        if self._told:
            return
        self._told = True
        worth = "begin anew"
        with suppress(OSError):
            if usable := self._usable():
                age = max(0.0, time() - usable[-1].stat().st_mtime)
                worth = f"go on from {usable[-1].name}, {age:.0f} s old"
        self._say(
            f"The state of fleet {self._name} could not be written to {self._folder} "
            f"({_reason(error)}); training goes on, and a run resumed now would {worth}."
        )

    def _load(self, file: Path) -> dict[str, Any]:
        try:
            with open(file, "rb") as source:
                size = os.fstat(source.fileno()).st_size
                head = source.read(HEAD)
                length = _length_of_identity(head, size)
                identity, state = source.read(length), source.read()
        except OSError as error:
            raise _Unusable(_unreadable(error)) from error
        if _digest(head[: FIELDS.size], identity, state) != head[FIELDS.size :]:
            raise _Unusable("is damaged: its SHA-256 is not the one that it was written with")
        if different := _differences(json.loads(identity), json.loads(self._identity)):
            raise _Unusable(f"belongs to something else: {different}")
        return _loaded(state)


class _Unusable(Exception):
    """Why a file is passed over, or a state is not kept, to follow its name."""


def _loaded(state: bytes | memoryview) -> dict[str, Any]:
    try:
        read: dict[str, Any] = torch.load(io.BytesIO(state), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise _Unusable("holds an object that is neither tensor nor plain value") from error
    return read


def _bytes(state: Mapping[str, Any]) -> memoryview:
    # In memory, though it takes as much as the state: torch must not meet an error of the file. It
    # would complete its archive all the same, and raise that this failed, or abort the process.
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
    except OSError:
        raise
    except (AttributeError, TypeError, RuntimeError, pickle.PicklingError) as error:
        raise _Unusable(f"holds what cannot be written ({error})") from error
    return buffer.getbuffer()


def _digest(fields: bytes, identity: bytes, state: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(fields)
    digest.update(identity)
    digest.update(state)
    return digest.digest()


def _length_of_identity(head: bytes, size: int) -> int:
    if not MAGIC.startswith(head[: len(MAGIC)]):
        raise _Unusable("was not written by bench")
    if len(head) < HEAD:
        raise _Unusable(f"is cut short ({size:,} bytes)")
    _, version, identity, state = FIELDS.unpack(head[: FIELDS.size])
    if version > VERSION:
        raise _Unusable(
            f"was written by a newer bench (format {version}, where this one reads {VERSION})"
        )
    if size < HEAD + identity + state:
        raise _Unusable(f"is cut short ({size:,} of {HEAD + identity + state:,} bytes)")
    return int(identity)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    values = [{key: canonical(value) for key, value in each.items()} for each in (there, here)]
    keys = sorted(values[0].keys() | values[1].keys())
    told = [(key, *(each.get(key, "absent") for each in values)) for key in keys]
    return ", ".join(f"{key} is {was} there and {now} here" for key, was, now in told if was != now)


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({_reason(error)})"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _sync(folder: Path) -> None:
    # The new name outlives a power failure only then. Not every network file system can.
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
