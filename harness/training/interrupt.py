"""Ctrl-C and SIGTERM end a run in order: the first asks, the loop stops between two updates."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted:
    """Becomes true at the first signal."""

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


class InterruptedRun(Exception):
    """A signal ended the run; everything measured until then is recorded."""


def signal_name(number: int) -> str:
    """Return what a signal is called.

    >>> signal_name(9), signal_name(99)
    ('SIGKILL', 'signal 99')
    """
    names = {int(each): each.name for each in signal.Signals}
    return names.get(number, f"signal {number}")


@contextmanager
def signals(at_once: signal.Signals = signal.SIGINT) -> Iterator[Interrupted]:
    """Turn SIGINT and SIGTERM into a flag while the block runs; `at_once` after one ends it."""
    flag = Interrupted()

    def note(number: int, frame: FrameType | None) -> None:
        if flag and number == at_once:
            raise KeyboardInterrupt
        flag.name = flag.name or signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
