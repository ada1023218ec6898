"""The console that shows results on stdout, with a width that suits a terminal, pipe or file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bench.harness.core.text import visible
from bench.harness.report.table import number

UNFOLDED = 1000
"""Width in columns at which every row of a list stays on one line, for grep and awk."""
_NAMES = ("method", "methods", "optimizer", "problem", "suite")
_NAME_WIDTH = 10
"""Columns that a name has at least."""
PAGE = 100
"""Width in columns of a report that is read from a file or through a pager."""


class _Stdout(Console):
    def render_str(self, text: str, **given: Any) -> Text:
        """Return a text without terminal control characters."""
        return super().render_str(visible(text, but="\n"), **given)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Render anything, including `Text` made elsewhere, without terminal control characters."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible(segment.text, but="\n"))


def console(piped: int) -> Console:
    """Return a console on stdout; it is `piped` columns wide if stdout is not a terminal."""
    width = None if sys.stdout.isatty() else piped
    return _Stdout(width=width, highlight=False, markup=False, emoji=False)


def table(*heads: str, whole: tuple[str, ...] = (), right: tuple[str, ...] = ()) -> Table:
    """Return an empty table; columns in `whole` are never folded, and none is ever truncated."""
    empty = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        empty.add_column(
            head,
            justify="right" if head in right else "left",
            no_wrap=head in whole,
            overflow="fold",
            # In a narrow terminal the last columns go first, not the names.
            min_width=_NAME_WIDTH if head in _NAMES else None,
        )
    return empty


def add_row(to: Table, *cells: object) -> None:
    """Add a row; a cell that is not `Text` is shown literally, as one line without markup."""
    to.add_row(*(_cell(cell) for cell in cells))


def _cell(cell: object) -> RenderableType:
    return cell if isinstance(cell, Text) else Text(visible(str(cell)))


def any_number(value: float | None) -> str:
    """Write a number as `number` does, and also infinities and NaN."""
    return number(value) if value is None or math.isfinite(value) else str(value)
