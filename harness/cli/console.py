"""The console on which results are shown: stdout, as wide as what reads it can take."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bench.harness.core.text import visible
from bench.harness.report.table import number

UNFOLDED = 1000
"""Columns in which every row of a list stays on one line, for grep and awk."""
PAGE = 100
"""Columns of a report that is read from a file or through a pager."""


class _Stdout(Console):
    def on_broken_pipe(self) -> NoReturn:
        # Whoever read our output has gone: nothing is wrong, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0)

    def render_str(self, text: str, **given: Any) -> Text:
        """Return a text in which nothing is left that a terminal would act on."""
        return super().render_str(visible(text, but="\n"), **given)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Render anything, what was made `Text` elsewhere too, without what a terminal acts on."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible(segment.text, but="\n"))


def console(piped: int) -> Console:
    """Return a console on stdout that is `piped` columns wide where that is no terminal."""
    width = None if sys.stdout.isatty() else piped
    return _Stdout(width=width, highlight=False, markup=False, emoji=False)


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
    """Add a row; what is not `Text` already is shown as it is, on a line, brackets and all."""
    to.add_row(*(_cell(cell) for cell in cells))


def _cell(cell: object) -> RenderableType:
    return cell if isinstance(cell, Text) else Text(visible(str(cell)))


def figure(value: float | None) -> str:
    """Write a figure for people, also one that is not finite."""
    return number(value) if value is None or math.isfinite(value) else str(value)
