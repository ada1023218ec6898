"""The grids behind Tables 1, 3 and 5 of Sutskever et al. 2013: columns × learning rates × seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.harness.core.defaults import scaled_schedule
from bench.harness.paper import tables
from bench.models.built_in import PROBLEMS
from bench.models.problem import Problem
from bench.optim.momentum.methods import CM, NAG, SGD, Momentum

CLASSES: Mapping[str, type[Momentum]] = {method.name: method for method in (SGD, CM, NAG)}


@dataclass(frozen=True)
class Row:
    """A trial of a grid."""

    column: str
    lr: float
    seed: int
    method: Momentum


@dataclass(frozen=True)
class Table(tables.PaperTable):
    """A table of the paper whose grid is trained as one fleet."""

    seeds: Sequence[int] = (0,)

    def rows(self, problem: Problem, backend: str) -> list[Row]:
        """Return the trials; those of a seed stand together, so that they share their batches."""
        return [
            Row(column, lr, seed, self._made(column, lr, problem, backend))
            for seed in self.seeds
            for column in self.columns
            for lr in self.lrs
        ]

    def starts(self, problem: Problem, rows: Sequence[Row]) -> list[Problem] | None:
        """Return what each row starts as, where that is not the problem's own start."""
        if not self.are_scales:
            return None
        made = {
            column: PROBLEMS[problem.name](problem.preset, scale=float(column))
            for column in self.columns
        }
        return [made[row.column] for row in rows]

    def _made(self, column: str, lr: float, problem: Problem, backend: str) -> Momentum:
        name, given = self.method(column)
        # As published where it is the published budget; below it, as everywhere, in proportion.
        open_ = {h.name for h in CLASSES[name].space} - set(given)
        schedule = scaled_schedule(problem.preset, open_, self.updates(problem))
        return CLASSES[name](backend, **{"lr": lr, **given, **schedule})


def _table(number: int, seeds: Sequence[int]) -> Table:
    return Table(**vars(tables.TABLES[number]), seeds=seeds)


TABLES = {1: _table(1, (0,)), 3: _table(3, (0,)), 5: _table(5, range(4))}
