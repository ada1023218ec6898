"""Tables 1, 2, 3 and 5 of Sutskever et al. 2013 as recipes: what each column trains."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness.core.published import TABLE_1, TABLE_2, TABLE_3, TABLE_5
from bench.models.problem import Problem
from bench.models.recurrent_tasks import BATCH as SEQUENCES
from bench.optim.momentum.methods import LR

METHODS: Mapping[str, str] = {"N": "nag", "M": "cm"}
COLUMN = re.compile(r"0|(0\.\d+)([NM])")
"""Of a method that is in the grid: "0" is SGD, "0.99N" is NAG and "0.99M" CM with μ_max = 0.99."""
LARGEST = "0.999N"
"""The column that Table 3 varies the start of."""
HESSIAN_FREE: Mapping[str, str] = {"HF+": "hfm", "HF*": "hf"}
"""Columns of methods without a learning rate; they train by their defaults."""
NOT_RUN: Mapping[str, str] = {
    "SGD_C": "it is a result of Chapelle & Erhan 2011",
    "biases": "no method here trains biases alone",
}
"""Columns that are printed and not made again, each with the reason."""


@dataclass(frozen=True)
class PaperTable:
    """What is published of a table, and the grid that it was chosen from."""

    number: int
    published: Mapping[str, Mapping[str, float | None]]
    """Task → column → value; a task is a problem's name, here without its brackets."""
    lrs: Sequence[float]
    batch: int
    are_scales: bool = False
    """Whether its columns are factors on the scale of the start, and not methods."""

    @property
    def columns(self) -> list[str]:
        """The columns over which the grid of learning rates is tried, as of the first task."""
        return self.columns_of(next(iter(self.published)))

    def columns_of(self, task: str) -> list[str]:
        """Return those of a task, which in Table 2 are not the same for all."""
        names = list(self.published[task])
        return names if self.are_scales else [name for name in names if COLUMN.fullmatch(name)]

    def updates(self, problem: Problem) -> int:
        """Return how many updates a trial makes."""
        return problem.budget // self.batch

    def problem(self, task: str, column: str) -> str:
        """Return the problem of a column, as it is written on the command line."""
        return f"{task}[scale={column}]" if self.are_scales else task

    def method(self, column: str) -> tuple[str, dict[str, Any]]:
        """Return a column's method and hyperparameters, all but the learning rate.

        Period and final phase are left open where they are the usual ones: 250 and 1,000 updates,
        and below the preset `paper` less.
        """
        found = COLUMN.fullmatch(LARGEST if self.are_scales else column)
        assert found is not None
        if found[1] is None:
            return "sgd", {"batch": self.batch}
        constant = {"schedule": "constant", "period": 1_000, "final": 0}
        schedule = constant if self.number == 5 else {"schedule": "sutskever"}
        return METHODS[found[2]], {"mu_max": float(found[1]), "batch": self.batch, **schedule}

    def grid(self, column: str) -> str:
        """Return the column's method with all learning rates, as on the command line."""
        name, given = self.method(column)
        rates = "|".join(f"{lr:g}" for lr in self.lrs)
        return f"{name}[lr={rates},{','.join(f'{k}={v}' for k, v in given.items())}]"


def _column_of(task: str) -> str:
    """Return the column of Table 1 that has the error which Table 2 gives after the final phase."""
    _, after = TABLE_2[task]
    columns = TABLE_1[task].items()
    return next(name for name, value in columns if name.endswith("N") and value == after)


_LRS = tuple(map(float, LR.grid))
TABLES: Mapping[int, PaperTable] = {
    1: PaperTable(1, TABLE_1, _LRS, 200),
    2: PaperTable(
        2, {task: {_column_of(task): after} for task, (_, after) in TABLE_2.items()}, _LRS, 200
    ),
    3: PaperTable(
        3, {"curves": {f"{scale:g}": v for scale, v in TABLE_3.items()}}, _LRS, 200, are_scales=True
    ),
    5: PaperTable(
        5,
        {name.partition("[")[0]: columns for name, columns in TABLE_5.items()},
        (1e-3, 1e-4, 1e-5, 1e-6),
        SEQUENCES,
    ),
}
