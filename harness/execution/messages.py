"""What ranks tell the command that started them: lines of JSON among whatever else stderr has."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass

from bench.harness.training.fleet import Progress

MARK = "\x1ebench "
"""Begins such a line; U+001E separates records and is in nobody's messages."""
TOLD = "BENCH_TELL"
"""The variable that says that somebody listens."""


@dataclass(frozen=True)
class Said:
    """A sentence for the person."""

    sentence: str


@dataclass(frozen=True)
class Moved:
    """How far a fleet has come."""

    fleet: int
    fraction: float
    updates: int
    loss: float
    seconds: float

    @property
    def progress(self) -> Progress:
        """What a bar shows of it."""
        return Progress(self.fraction, self.updates, self.loss, self.seconds)


@dataclass(frozen=True)
class Wrong:
    """What ended a rank, and the exit code that it stands for."""

    sentence: str
    exit_code: int


@dataclass(frozen=True)
class Failed:
    """The rank that failed first, by torchrun's account."""

    rank: int
    pid: int
    exit_code: int


@dataclass(frozen=True)
class Kept:
    """The store could not take everything that a rank measured."""


Told = Said | Moved | Wrong | Failed | Kept
_KINDS = {kind.__name__: kind for kind in (Said, Moved, Wrong, Failed, Kept)}


def tell(told: Told) -> None:
    """Tell whoever listens; where nobody does, a person reads the sentences."""
    if os.environ.get(TOLD):
        line = MARK + json.dumps({type(told).__name__: asdict(told)})
    elif isinstance(told, Said | Wrong):
        line = told.sentence
    else:
        return
    # What a listener is told that was killed is lost, and training ends in order.
    with suppress(OSError):
        # In one piece: several ranks write to it.
        os.write(sys.stderr.fileno(), f"{line}\n".encode())


def heard(line: str) -> Told | None:
    """Read a line back; None for one that is not ours, or was torn."""
    _, mark, text = line.partition(MARK)
    if not mark:
        return None
    try:
        ((kind, plain),) = json.loads(text).items()
        return _KINDS[kind](**plain)
    except (ValueError, TypeError, KeyError, AttributeError):
        # Longer than a pipe takes in one piece, and another rank wrote into it.
        return None
