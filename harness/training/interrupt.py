"""Handling of Ctrl-C and SIGTERM: the first one sets a flag, and the training loop then stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class InterruptFlag:
    """A flag that is true after the first signal; `name` is that of the signal."""

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


class InterruptedRun(Exception):
    """A signal has ended the run; all earlier measurements are recorded."""


def signal_name(number: int) -> str:
    """Return the name of a signal.

    >>> signal_name(9), signal_name(99)
    ('SIGKILL', 'signal 99')
    """
    names = {int(each): each.name for each in signal.Signals}
    return names.get(number, f"signal {number}")


@contextmanager
def catch_signals(at_once: signal.Signals = signal.SIGINT) -> Iterator[InterruptFlag]:
    """Set a flag on SIGINT and SIGTERM while the block runs.

    If the flag is set already, the signal `at_once` raises KeyboardInterrupt. Only the main thread
    can handle signals: in any other thread nothing changes.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if flag and number == at_once:
            raise KeyboardInterrupt
        flag.name = flag.name or signal.Signals(number).name

    earlier = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
