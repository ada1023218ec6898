"""Grid extension: while a best value lies at a grid's edge, each round adds a point per method.

All methods get the same number of points. A method whose best value is at an edge gets the next
value beyond it. Any other method gets the value halfway between its best value and the better of
its neighbours, because its optimum is expected there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from bench.harness.analysis.grids import Axis, Side
from bench.harness.analysis.selection import best
from bench.harness.planning.fleets import Candidate
from bench.harness.planning.selection import TuningResult
from bench.harness.planning.tuning import tuned_names
from bench.optim.objective import Method
from bench.optim.registry import class_of

MAX_ROUNDS = 6
"""Rounds of extension at most: three decades if a grid has two values per decade."""


@dataclass(frozen=True)
class NewPoint:
    """A point that differs from the chosen one in one value."""

    text: str
    """The point as an entry of --optimizers."""
    change: str
    """The method's name with the new value only."""


def next_round(every: Sequence[TuningResult]) -> list[NewPoint] | None:
    """Return one new point for every method; None if no grid is to be extended further.

    That is the case if no best value is at an edge that has an allowed value beyond it, or if some
    method has no further point to try.
    """
    beyond = [_beyond(tried) for tried in every]
    if not any(beyond):
        return None
    added = [
        point or _within(tried) or _outwards(tried)
        for point, tried in zip(beyond, every, strict=True)
    ]
    return None if None in added else [point for point in added if point is not None]


def _beyond(tried: TuningResult) -> NewPoint | None:
    """Return the point beyond the first edge with an allowed value beyond it; None without one."""
    axes = {axis.name: axis for axis in tried.axes}
    values = ((edge.name, axes[edge.name].beyond(edge.side)) for edge in tried.edges)
    return next(_points(tried, values), None)


def _within(tried: TuningResult) -> NewPoint | None:
    """Return the point halfway to the better neighbour, else to the other; None without room."""
    values = (
        (axis.name, axis.between(tried.chosen[axis.name], neighbour))
        for axis in tried.axes
        for neighbour in _by_rank(tried, axis)
    )
    return next(_points(tried, values), None)


def _outwards(tried: TuningResult) -> NewPoint | None:
    """Return the point beyond the end that is nearer to the best value, or beyond the other."""
    values = (
        (axis.name, axis.beyond(side))
        for axis in tried.axes
        for side in _nearer_first(axis, tried.chosen[axis.name])
    )
    return next(_points(tried, values), None)


def _by_rank(tried: TuningResult, axis: Axis) -> list[float]:
    """Return the neighbours of the chosen value, the better one first."""
    near = axis.neighbours(tried.chosen[axis.name])
    having = {
        number: tried.values[number]
        for number, point in enumerate(tried.points)
        if point.hyperparameters[axis.name] in near
    }
    better = tried.points[best(having, tried.direction)].hyperparameters[axis.name]
    return sorted(near, key=lambda value: value != better)


def _nearer_first(axis: Axis, value: float) -> list[Side]:
    in_upper_half = 2 * axis.tried.index(value) >= len(axis.tried) - 1
    return ["largest", "smallest"] if in_upper_half else ["smallest", "largest"]


def _points(tried: TuningResult, values: Iterator[tuple[str, float]]) -> Iterator[NewPoint]:
    """Yield the chosen point with each of these values, if the result is allowed and new."""
    kinds = {h.name: h.kind for h in class_of(tried.written).space}
    # Values that the user did not give stay open: they may follow from the value that changes.
    asked = tried.written.values.keys() | tuned_names(tried.written, tried.tune)
    old = tried.points[tried.winner]
    for name, value in values:
        value = round(value) if kinds[name] is int else value
        try:
            new: Method = type(old)(old.backend, **{**old.hyperparameters, name: value})
        except ValueError:  # Out of the bounds that the class declares.
            continue
        if all(_asked(new, asked) != _asked(point, asked) for point in tried.points):
            spec = Candidate(new, "").spec
            # A user's class is found by its module or file, not by its name in tables.
            spec = replace(spec, name=tried.written.name, hyperparameters=_asked(new, asked))
            yield NewPoint(spec.text, f"{new.name} {name}={value:g}")


def _asked(method: Method, names: Set[str]) -> dict[str, object]:
    return {name: value for name, value in method.hyperparameters.items() if name in names}
