"""Verdicts of all pairs as a matrix of methods, and the methods to which no other is better.

A reader of two or three methods reads their pairs. Twelve methods have 66 pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

Plain = Mapping[str, Any]

LEAST_METHODS = 4
"""From so many methods on, which have 6 pairs, the verdicts are shown as a matrix too."""

SIGNS = {"better": "+", "worse": "−", "equivalent": "=", "cannot tell": "?", "too few seeds": "?"}
_SIDES = {"a better": ("better", "worse"), "b better": ("worse", "better")}
_STYLES = {"better": "green", "worse": "red", "equivalent": "cyan"}
_NAME = 16
"""Columns of the terminal that a name has at least, if it is as long."""


@dataclass(frozen=True)
class Cell:
    """What a row's method is in comparison with a column's."""

    verdict: str
    """A key of SIGNS."""
    amount: float | None
    """The row's mean / the column's, or the row's − the column's; None where no float holds it."""
    unit: str
    """ratio or difference."""
    pair: int
    """Index of the pair."""


@dataclass(frozen=True)
class VerdictMatrix:
    """The methods, best mean first, and a row of cells for each; None: the method itself."""

    methods: Sequence[str]
    cells: Sequence[Sequence[Cell | None]]

    @property
    def unbeaten(self) -> list[int]:
        """Return the rows to which no column is better."""
        return [i for i, row in enumerate(self.cells) if not _count(row)["worse"]]

    def headline(self, metric: str) -> tuple[str, str]:
        """Return who is unbeaten in a metric, and of how many pairs a winner is known."""
        others = len(self.methods) - 1
        wins = [_count(row)["better"] for row in self.cells]
        pairs = sum(cell is not None for row in self.cells for cell in row) // 2
        evidence = f"In {sum(wins)} of {pairs} pairs one is better, after Holm's correction."
        first = self.unbeaten
        if not sum(wins):
            return f"Of no pair of the {len(self.methods)} methods one is better in {metric}", ""
        if not first:
            return f"Every method has a better one among the others in {metric}", evidence
        names = [self.methods[i] for i in first]
        counts = _listed([str(wins[i]) for i in first], "and")
        better = f"better than {counts} of the {others} others. {evidence}"
        if len(first) > 1:
            claim = f"No method is better than {_listed(names, 'or')} in {metric}"
            return claim, f"They are {better}"
        if wins[first[0]] == others:
            return f"{names[0]} is better than each of the {others} others in {metric}", evidence
        claim = f"No method is better than {names[0]} in {metric}"
        return claim, f"It is {better}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        digits = len(str(len(self.methods)))
        gap, width = digits + 1, max(map(len, self.methods))
        room = options.max_width - len(self.methods) * gap - gap
        if room < min(width, _NAME):
            return  # The pairs are told one by one all the same.
        width = min(width, room)
        numbers = "".join(f"{k + 1:>{gap}}" for k in range(len(self.methods)))
        yield Text(" " * (gap + width) + numbers, style="dim")
        for k, (name, row) in enumerate(zip(self.methods, self.cells, strict=True)):
            first, *rest = [name[i : i + width] for i in range(0, len(name), width)] or [""]
            line = Text(f"{k + 1:>{digits}} ", style="dim")
            line.append(f"{first:<{width}}", style="not dim bold")
            for cell in row:
                style = _STYLES.get(cell.verdict, "yellow") if cell else "dim"
                line.append(
                    f"{SIGNS[cell.verdict] if cell else '·':>{gap}}", style=f"not dim {style}"
                )
            yield line
            for part in rest:
                yield Text(" " * gap + part, style="bold")
        yield Text(
            "a row is better (+) or worse (−) than a column, equivalent to it (=), or it cannot be "
            "told (?)",
            style="dim",
        )


def verdict_matrix(pairs: Sequence[Plain], best_first: Sequence[str]) -> VerdictMatrix | None:
    """Return the matrix of pairs that have a verdict; None for few methods, or without pairs."""
    if len(best_first) < LEAST_METHODS or not pairs:
        return None
    cells: dict[tuple[str, str], Cell] = {}
    for index, pair in enumerate(pairs):
        a, b, verdict = pair["a"], pair["b"], pair["verdict"]
        one, other = _SIDES.get(verdict, (verdict, verdict))
        amount, back = _amounts(pair)
        cells[a, b], cells[b, a] = (
            Cell(one, amount, pair["unit"], index),
            Cell(other, back, pair["unit"], index),
        )
    return VerdictMatrix(best_first, [[cells.get((a, b)) for b in best_first] for a in best_first])


def best_first(rows: Sequence[tuple[str, float | None]], direction: str) -> list[str]:
    """Return methods in the order of their means; None, a mean that diverged trials have, last."""
    sign = 1 if direction == "lower" else -1
    finite = sorted((sign * mean, i) for i, (_, mean) in enumerate(rows) if mean is not None)
    order = [i for _, i in finite] + [i for i, (_, mean) in enumerate(rows) if mean is None]
    return [rows[i][0] for i in order]


def _amounts(pair: Plain) -> tuple[float | None, float | None]:
    """Return a / b and b / a, or a − b and b − a; None where no float holds it."""
    if pair["unit"] == "difference":
        difference = pair["difference"]
        return difference, None if difference is None else -difference
    value = (pair["ratio"] or {}).get("value")
    return value, 1 / value if value else None


def _count(row: Sequence[Cell | None]) -> Counter[str]:
    return Counter(cell.verdict for cell in row if cell)


def _listed(names: Sequence[str], conjunction: str) -> str:
    *most, last = names
    return f"{', '.join(most)} {conjunction} {last}" if most else last
