"""Rows for people: padded where all fit into the width, in a table that folds where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from bench.harness.cli.console import add, table
from bench.harness.core.text import visible

_BETWEEN = 2
"""Spaces between columns."""


def shown(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int,
    *,
    whole: tuple[str, ...] = (),
    right: tuple[str, ...] = (),
) -> Iterator[RenderableType]:
    """Return what shows rows under heads, in `width` columns; those in `whole` are never folded.

    Nothing is truncated. Rich's table takes a millisecond a row, so it is left to what must fold.
    """
    lines = [[visible(str(cell)) for cell in row] for row in (heads, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if sum(widths) + _BETWEEN * (len(widths) - 1) > width:
        folding = table(*heads, whole=whole, right=right)
        for row in rows:
            add(folding, *row)
        yield folding
        return
    first, *rest = (_line(cells, widths, [head in right for head in heads]) for cells in lines)
    yield Text(first, style="dim")
    # One text: rich is as slow with many.
    yield Text("\n".join(rest), no_wrap=True)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, at_right in zip(cells, widths, right, strict=True):
        space = " " * (width - cell_len(cell))
        padded.append(space + cell if at_right else cell + space)
    return (" " * _BETWEEN).join(padded).rstrip()
