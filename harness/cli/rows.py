"""Rows as text: padded columns if they fit into the width, otherwise a table with folded cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from bench.harness.cli.console import add_row, table
from bench.harness.core.text import visible

_BETWEEN = 2
"""Spaces between columns."""


def render_rows(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int,
    *,
    whole: tuple[str, ...] = (),
    right: tuple[str, ...] = (),
) -> Iterator[RenderableType]:
    """Return rows under their heads, `width` columns wide; columns in `whole` are never folded.

    Nothing is truncated. A rich table takes a millisecond for each row, so we use one only where
    cells must be folded.
    """
    lines = [[visible(str(cell)) for cell in row] for row in (heads, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if sum(widths) + _BETWEEN * (len(widths) - 1) > width:
        folding = table(*heads, whole=whole, right=right)
        for row in rows:
            add_row(folding, *row)
        yield folding
        return
    first, *rest = (_line(cells, widths, [head in right for head in heads]) for cells in lines)
    yield Text(first, style="dim")
    # One text for all rows, because rich is slow with many texts.
    yield Text("\n".join(rest), no_wrap=True)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, at_right in zip(cells, widths, right, strict=True):
        space = " " * (width - cell_len(cell))
        padded.append(space + cell if at_right else cell + space)
    return (" " * _BETWEEN).join(padded).rstrip()
