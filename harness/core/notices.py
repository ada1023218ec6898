"""Sentences for the person who runs a command, printed on stderr beside its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import click

from bench.harness.core.text import visible

_quiet: ContextVar[bool] = ContextVar("no notices", default=False)


def say(sentence: str) -> None:
    """Print a sentence on stderr, with escapes in place of control characters."""
    if not _quiet.get():
        # Nobody may read it; that stops no training.
        with suppress(OSError, ValueError):
            click.echo(visible(sentence, but="\n"), err=True)


def is_quiet() -> bool:
    """Return whether notices and progress bars are switched off, in this thread."""
    return _quiet.get()


@contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """Print no notices and show no progress bars while the block runs, in this thread."""
    before = _quiet.set(wanted)
    try:
        yield
    finally:
        _quiet.reset(before)
