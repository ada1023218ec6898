"""The result of tuning a method: its points, the chosen point, and whether that is at an edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from bench.harness.analysis.grids import Axis, Edge
from bench.harness.analysis.selection import Value, best, expected_best, worst
from bench.harness.analysis.verdict import Direction
from bench.harness.planning import tuning
from bench.optim.objective import Method
from bench.optim.text import ParsedEntry


@dataclass(frozen=True)
class TuningResult:
    """The points of a method, and the final metric of each on every tuning seed."""

    written: ParsedEntry
    points: Sequence[Method]
    values: Sequence[Sequence[Value]]
    """For each point, the final metric on each seed; None: the trial diverged."""
    tune: str
    direction: Direction

    @cached_property
    def winner(self) -> int:
        """The index of the point whose worst seed is best."""
        return best(dict(enumerate(self.values)), self.direction)

    @cached_property
    def all_diverged(self) -> bool:
        """Whether every point diverged on some tuning seed, so that none is better."""
        return all(worst(values, self.direction) is None for values in self.values)

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The hyperparameters of the chosen point."""
        return self.points[self.winner].hyperparameters

    @cached_property
    def axes(self) -> list[Axis]:
        """The numeric hyperparameters with several values."""
        return tuning.axes(self.written, self.points, self.tune)

    @property
    def edges(self) -> list[Edge]:
        """The hyperparameters whose chosen value is the least or greatest; none if all diverged."""
        if self.all_diverged:
            return []
        return [
            Edge(axis.label, axis.of(self.chosen), side, list(axis.tried))
            for axis in self.axes
            if (side := axis.side(axis.of(self.chosen))) is not None
        ]

    def effort(self, seeds: Sequence[int], comparison_id: str, extended: int) -> dict[str, Any]:
        """Return the effort and the result of the tuning as plain values for a summary."""
        scores = [worst(values, self.direction) for values in self.values]
        return {
            "trials": len(self.points) * len(seeds),
            "chosen": dict(self.chosen),
            "expected_best": expected_best(scores, self.direction),
            "comparison": comparison_id,
            "points": [
                {
                    "hyperparameters": dict(point.hyperparameters),
                    "values": list(values),
                    "seeds": list(seeds),
                }
                for point, values in zip(self.points, self.values, strict=True)
            ],
            "edges": [asdict(edge) for edge in self.edges],
            "extended": extended,
        }
