"""The grids behind Tables 1, 3 and 5 of Sutskever et al. 2013: columns × learning rates × seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.defaults import scaled_schedule
from harness.paper.published import TABLE_1, TABLE_3, TABLE_5
from models.problem import Problem
from models.problems import PROBLEMS
from models.recurrent_tasks import BATCH as SEQUENCES
from optim.momentum import CM, LR, NAG, SGD, Momentum

METHODS: Mapping[str, type[Momentum]] = {"N": NAG, "M": CM}
COLUMN = re.compile(r"0|(0\.\d+)([NM])")
"""Of a method that is in the grid: "0" is SGD, "0.99N" is NAG and "0.99M" CM with μ_max = 0.99."""


@dataclass(frozen=True)
class Row:
    """A trial of a grid."""

    column: str
    lr: float
    seed: int
    method: Momentum


@dataclass(frozen=True)
class Table:
    """What is published of a table, and the grid that it was chosen from."""

    number: int
    published: Mapping[str, Mapping[str, float | None]]
    """Task → column → value; a task is a problem's name, here without its brackets."""
    lrs: Sequence[float]
    seeds: Sequence[int]
    batch: int

    @property
    def columns(self) -> list[str]:
        """The columns of SGD, CM and NAG, as printed."""
        return [name for name in next(iter(self.published.values())) if COLUMN.fullmatch(name)]

    def updates(self, problem: Problem) -> int:
        """Return how many updates a trial makes."""
        return problem.budget // self.batch

    def rows(self, problem: Problem, backend: str) -> list[Row]:
        """Return the trials; those of a seed stand together, so that they share their batches."""
        return [
            Row(column, lr, seed, self._method(column, lr, problem, backend))
            for seed in self.seeds
            for column in self.columns
            for lr in self.lrs
        ]

    def starts(self, problem: Problem, rows: Sequence[Row]) -> list[Problem] | None:
        """Return what each row starts as, where that is not the problem's own start."""
        return None

    def _method(self, column: str, lr: float, problem: Problem, backend: str) -> Momentum:
        given: dict[str, Any] = {"lr": lr, "batch": self.batch}
        found = COLUMN.fullmatch(column)
        assert found is not None
        if found[1] is None:
            return SGD(backend, **given)
        schedule = self._schedule(problem)
        return METHODS[found[2]](backend, mu_max=float(found[1]), **given, **schedule)

    def _schedule(self, problem: Problem) -> Mapping[str, object]:
        if self.number == 5:
            return {"schedule": "constant", "period": 1_000, "final": 0}
        # As published where it is the published budget; below it, as everywhere, in proportion.
        names = {"period", "final"}
        return scaled_schedule(problem.preset, names, self.updates(problem))


class Scales(Table):
    """A column a factor on the scale of the initialisation; NAG with the largest momentum."""

    @property
    def columns(self) -> list[str]:
        """The factors, as printed."""
        return [name for columns in self.published.values() for name in columns]

    def starts(self, problem: Problem, rows: Sequence[Row]) -> list[Problem]:
        """Return the problem with each row's scale."""
        made = {
            column: PROBLEMS[problem.name](problem.preset, scale=float(column))
            for column in self.columns
        }
        return [made[row.column] for row in rows]

    def _method(self, column: str, lr: float, problem: Problem, backend: str) -> Momentum:
        return super()._method("0.999N", lr, problem, backend)


TABLES = {
    1: Table(1, TABLE_1, tuple(map(float, LR.grid)), (0,), 200),
    3: Scales(
        3,
        {"curves": {f"{scale:g}": value for scale, value in TABLE_3.items()}},
        tuple(map(float, LR.grid)),
        (0,),
        200,
    ),
    5: Table(
        5,
        {name.partition("[")[0]: columns for name, columns in TABLE_5.items()},
        (1e-3, 1e-4, 1e-5, 1e-6),
        range(4),
        SEQUENCES,
    ),
}
