"""The console on which results are shown: stdout, as wide as what reads it can take."""

from __future__ import annotations

import math
import os
import sys
from typing import NoReturn

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from harness.report.table import number

UNFOLDED = 1000
"""Columns in which every row of a list stays on one line, for grep and awk."""
PAGE = 100
"""Columns of a report that is read from a file or through a pager."""


class _Stdout(Console):
    def on_broken_pipe(self) -> NoReturn:
        # Whoever read our output has gone: nothing is wrong, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0)


def console(piped: int) -> Console:
    """Return a console on stdout that is `piped` columns wide where that is no terminal."""
    width = None if sys.stdout.isatty() else piped
    return _Stdout(width=width, highlight=False, markup=False)


def table(*heads: str, whole: tuple[str, ...] = (), right: tuple[str, ...] = ()) -> Table:
    """Return a plain table; columns in `whole` are never folded, and none is ever truncated."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        made.add_column(
            head,
            justify="right" if head in right else "left",
            no_wrap=head in whole,
            overflow="fold",
        )
    return made


def add(to: Table, *cells: object) -> None:
    """Add a row; what is not to be rendered already is shown as it is, brackets and all."""
    to.add_row(*(_cell(cell) for cell in cells))


def _cell(cell: object) -> RenderableType:
    return cell if isinstance(cell, Text) else Text(str(cell))


def figure(value: float | None) -> str:
    """Write a figure for people, also one that is not finite."""
    return number(value) if value is None or math.isfinite(value) else str(value)
