"""How a method's result depends on ε and μ_max, as in Table 1 of Sutskever et al. 2013."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness.analysis.selection import worst
from bench.harness.analysis.verdict import Direction
from bench.harness.core.published import TABLE_1
from bench.optim.values import is_number

STEP_SIZE, MOMENTUM = "lr", "mu_max"
_LETTER = {"nag": "N", "cm": "M"}
"""How Table 1 marks its columns."""


@dataclass(frozen=True)
class Point:
    """Hyperparameters and their result; None: a trial diverged."""

    hyperparameters: Mapping[str, Any]
    value: float | None
    chosen: bool = False


@dataclass(frozen=True)
class Grid:
    """Points by μ_max (rows, rising) and ε (columns, falling, as in the table)."""

    momenta: tuple[float | None, ...]
    """None: the method has no momentum."""
    step_sizes: tuple[float, ...]
    points: Mapping[tuple[float | None, float], Point]


def tried(row: Mapping[str, Any], direction: Direction) -> list[Point]:
    """Return the tuning points of a method, each with the value of its worst seed.

    `row` is a method of a comparison's summary.
    """
    tuning = row["tuning"]
    return [
        Point(
            point["hyperparameters"],
            worst(point["values"], direction),
            point["hyperparameters"] == tuning["chosen"],
        )
        for point in tuning.get("points", ())
    ]


def reported(rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Return the mean over seeds of every method of a summary that has an outcome, as a point."""
    return [Point(row["hyperparameters"], row["final"]["mean"]) for row in rows if row["n"]]


def varied(points: Sequence[Point]) -> list[str]:
    """Name the hyperparameters in which points differ, in order of appearance."""
    names = dict.fromkeys(name for point in points for name in point.hyperparameters)
    return [
        name
        for name in names
        if any(p.hyperparameters.get(name) != points[0].hyperparameters.get(name) for p in points)
    ]


def grid(points: Sequence[Point]) -> Grid | None:
    """Return points that differ in ε and μ_max alone as a grid that is at least half full.

    None if there are fewer than two points, if they differ in other hyperparameters, if ε or μ_max
    is no number, or if they fill less than half of the grid.
    """
    names = varied(points)
    if not names or not set(names) <= {STEP_SIZE, MOMENTUM}:
        return None
    if not all(_has_numbers(point) for point in points):
        return None
    cells = {(p.hyperparameters.get(MOMENTUM), p.hyperparameters[STEP_SIZE]): p for p in points}
    momenta = sorted({mu for mu, _ in cells}, key=lambda mu: (mu is not None, mu or 0))
    sizes = sorted({size for _, size in cells}, reverse=True)
    if 2 * len(cells) < len(momenta) * len(sizes):
        return None
    return Grid(tuple(momenta), tuple(sizes), cells)


def _has_numbers(point: Point) -> bool:
    """Return whether a point has an ε, and either a μ_max or none."""
    given = point.hyperparameters
    return is_number(given.get(STEP_SIZE)) and is_number(given.get(MOMENTUM, 0))


def published(protocol: Mapping[str, Any], method: str, momentum: float | None) -> float | None:
    """Return the value in Table 1 for a method and μ_max, at preset paper and its best ε.

    None if the problem or the column is not in the table.
    """
    column = "0" if method == "sgd" else f"{momentum or 0:g}{_LETTER.get(method, '?')}"
    return None if protocol["parameters"] else TABLE_1.get(protocol["problem"], {}).get(column)
