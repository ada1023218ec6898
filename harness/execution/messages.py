"""Messages from ranks to the command that started them: lines of JSON on stderr."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass

from bench.harness.training.fleet import Progress

MARK = "\x1ebench "
"""The start of a message; U+001E, the record separator, is in no other output."""
LISTENER_VARIABLE = "BENCH_TELL"
"""The environment variable that says that a command reads the messages."""


@dataclass(frozen=True)
class Notice:
    """A sentence for the user."""

    sentence: str


@dataclass(frozen=True)
class FleetProgress:
    """The progress of a fleet."""

    fleet: int
    fraction: float
    updates: int
    loss: float
    seconds: float

    @property
    def progress(self) -> Progress:
        """The same, for a progress bar."""
        return Progress(self.fraction, self.updates, self.loss, self.seconds)


@dataclass(frozen=True)
class RankError:
    """The error that ended a rank, and the exit code for it."""

    sentence: str
    exit_code: int


@dataclass(frozen=True)
class RankFailure:
    """The rank that failed first, as torchrun reports it."""

    rank: int
    pid: int
    exit_code: int


@dataclass(frozen=True)
class StoreIncomplete:
    """Some measurements of a rank could not be written to the store."""


Message = Notice | FleetProgress | RankError | RankFailure | StoreIncomplete
_KINDS = {
    kind.__name__: kind for kind in (Notice, FleetProgress, RankError, RankFailure, StoreIncomplete)
}


def send_message(message: Message) -> None:
    """Send a message to the listening command; without one, print its sentence for the user."""
    if os.environ.get(LISTENER_VARIABLE):
        line = MARK + json.dumps({type(message).__name__: asdict(message)})
    elif isinstance(message, Notice | RankError):
        line = message.sentence
    else:
        return
    # If the listener was killed, the message is lost; training still ends in order.
    with suppress(OSError):
        # In one write, because several ranks share the pipe.
        os.write(sys.stderr.fileno(), f"{line}\n".encode())


def parse_message(line: str) -> Message | None:
    """Return the message in a line; None if the line has none, or only a part of one."""
    _, mark, text = line.partition(MARK)
    if not mark:
        return None
    try:
        ((kind, plain),) = json.loads(text).items()
        return _KINDS[kind](**plain)
    except (ValueError, TypeError, KeyError, AttributeError):
        # The line was longer than one write to a pipe, and another rank wrote into it.
        return None
