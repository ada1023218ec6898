"""Grids that grow while a best value is at their edge: a round is one point more of every method.

The effort stays the same for all. A method whose best value is at an edge gets the next value
beyond it. Any other gets the value halfway between its best and the better of its neighbours:
of all that one more trial a seed could be spent on, that is where its best is expected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from bench.harness.analysis.grids import Axis, Side
from bench.harness.analysis.selection import best
from bench.harness.planning.fleets import Candidate
from bench.harness.planning.selection import Tried
from bench.harness.planning.tuning import tuned_names
from bench.optim.objective import Method
from bench.optim.registry import find

MOST_ROUNDS = 6
"""How often grids are extended; three decades, where a grid has two values in each."""


@dataclass(frozen=True)
class Added:
    """A point that differs from the chosen one in one value."""

    text: str
    """The point as it is written on the command line."""
    change: str
    """The method with that value alone."""


def next_round(every: Sequence[Tried]) -> list[Added] | None:
    """Return a point more of every method; None where no grid is to grow any more.

    That is where no best value is at an edge beyond which there is an allowed one, or where
    there is a method of which nothing more can be tried.
    """
    beyond = [_beyond(tried) for tried in every]
    if not any(beyond):
        return None
    added = [
        point or _within(tried) or _outwards(tried)
        for point, tried in zip(beyond, every, strict=True)
    ]
    return None if None in added else [point for point in added if point is not None]


def _beyond(tried: Tried) -> Added | None:
    """Return the point beyond the first edge that has any; None where there is none."""
    axes = {axis.name: axis for axis in tried.axes}
    values = ((edge.name, axes[edge.name].beyond(edge.side)) for edge in tried.edges)
    return next(_points(tried, values), None)


def _within(tried: Tried) -> Added | None:
    """Return the point halfway to the better neighbour, or to the other; None without room."""
    values = (
        (axis.name, axis.between(tried.chosen[axis.name], neighbour))
        for axis in tried.axes
        for neighbour in _by_rank(tried, axis)
    )
    return next(_points(tried, values), None)


def _outwards(tried: Tried) -> Added | None:
    """Return the point beyond the end that is nearer to the best value, or beyond the other."""
    values = (
        (axis.name, axis.beyond(side))
        for axis in tried.axes
        for side in _nearer_first(axis, tried.chosen[axis.name])
    )
    return next(_points(tried, values), None)


def _by_rank(tried: Tried, axis: Axis) -> list[float]:
    """Return the neighbours of the chosen value, first that of the better point."""
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


def _points(tried: Tried, values: Iterator[tuple[str, float]]) -> Iterator[Added]:
    """Yield the chosen point with each of these values in its place that is allowed and new."""
    kinds = {h.name: h.kind for h in find(tried.written.name).space}
    # What was left open stays so: it may follow from the value that changes.
    asked = tried.written.values.keys() | tuned_names(tried.written, tried.tune)
    old = tried.points[tried.winner]
    for name, value in values:
        value = round(value) if kinds[name] is int else value
        try:
            new: Method = type(old)(old.backend, **{**old.hyperparameters, name: value})
        except ValueError:  # Out of bounds, which the class itself knows.
            continue
        if all(_asked(new, asked) != _asked(point, asked) for point in tried.points):
            spec = Candidate(new, "").spec
            # A class of one's own is found by where it is, not by what it is called in tables.
            spec = replace(spec, name=tried.written.name, hyperparameters=_asked(new, asked))
            yield Added(spec.text, f"{new.name} {name}={value:g}")


def _asked(method: Method, names: Set[str]) -> dict[str, object]:
    return {name: value for name, value in method.hyperparameters.items() if name in names}
