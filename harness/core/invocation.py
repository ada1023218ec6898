"""How this process was asked for what it does: by its command line, or by a Python program."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_recorded: ContextVar[list[str] | None] = ContextVar("argv to record", default=None)
_by_program: ContextVar[bool] = ContextVar("asked by a Python program", default=False)


def argv() -> list[str]:
    """Return the command line under which trials are recorded.

    That is this process's own, unless another was put in its place.
    """
    found = _recorded.get()
    return list(sys.argv if found is None else found)


def is_program() -> bool:
    """Say whether a Python program has asked, through the Python API."""
    return _by_program.get()


@contextmanager
def recorded_as(words: list[str]) -> Iterator[None]:
    """Record trials under another command line while the block runs, in this thread."""
    before = _recorded.set(words)
    try:
        yield
    finally:
        _recorded.reset(before)


@contextmanager
def by_program() -> Iterator[None]:
    """Record trials as a Python program's while the block runs, in this thread.

    The words of its own command line say nothing of a comparison, and are not recorded.
    """
    before = _by_program.set(True)
    try:
        with recorded_as(["python"]):
            yield
    finally:
        _by_program.reset(before)
