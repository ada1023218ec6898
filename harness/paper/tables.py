"""Tables 1, 2, 3 and 5 of Sutskever et al. 2013: the methods and settings of each column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness.core.published import TABLE_1, TABLE_2, TABLE_3, TABLE_5
from bench.models.problem import Problem
from bench.models.recurrent_tasks import BATCH as SEQUENCES
from bench.optim.momentum.methods import LR
from bench.optim.values import is_number

METHODS: Mapping[str, str] = {"N": "nag", "M": "cm"}
COLUMN = re.compile(r"0|(0\.\d+)([NM])")
"""Columns with a learning rate: "0" is SGD, "0.99N" is NAG and "0.99M" CM with μ_max = 0.99."""
TABLE_3_COLUMN = "0.999N"
"""The method whose initialisation Table 3 varies."""
HESSIAN_FREE: Mapping[str, str] = {"HF+": "hfm", "HF*": "hf"}
"""Columns of methods without a learning rate; they train with their defaults."""
NOT_RUN: Mapping[str, str] = {
    "SGD_C": "it is a result of Chapelle & Erhan 2011",
    "biases": "no method here trains biases alone",
}
"""Columns that are published but not reproduced, each with the reason."""


@dataclass(frozen=True)
class PaperTable:
    """The published values of a table, and the grid of learning rates."""

    number: int
    published: Mapping[str, Mapping[str, float | None]]
    """Task → column → value; a task is a problem's name, here without its brackets."""
    lrs: Sequence[float]
    batch: int
    are_scales: bool = False
    """Whether the columns are factors on the initialisation's scale, and not methods."""

    @property
    def columns(self) -> list[str]:
        """The columns with a grid of learning rates, for the first task."""
        return self.columns_of(next(iter(self.published)))

    def columns_of(self, task: str) -> list[str]:
        """Return these columns for a task; in Table 2 they differ between tasks."""
        names = list(self.published[task])
        return names if self.are_scales else [name for name in names if COLUMN.fullmatch(name)]

    def updates(self, problem: Problem) -> int:
        """Return the number of updates of a trial."""
        return problem.budget // self.batch

    def problem(self, task: str, column: str) -> str:
        """Return the problem of a column as a value of --problem."""
        return f"{task}[scale={column}]" if self.are_scales else task

    def method(self, column: str) -> tuple[str, dict[str, Any]]:
        """Return a column's method and its hyperparameters without the learning rate.

        Period and final phase are left out where they have their usual values: 250 and 1,000
        updates, and fewer below the preset `paper`.
        """
        found = COLUMN.fullmatch(TABLE_3_COLUMN if self.are_scales else column)
        assert found is not None
        if found[1] is None:
            return "sgd", {"batch": self.batch}
        constant = {"schedule": "constant", "period": 1_000, "final": 0}
        schedule = constant if self.number == 5 else {"schedule": "sutskever"}
        return METHODS[found[2]], {"mu_max": float(found[1]), "batch": self.batch, **schedule}

    def grid(self, column: str) -> str:
        """Return the column's method with all learning rates as an entry of --optimizers."""
        name, given = self.method(column)
        rates = "|".join(f"{lr:g}" for lr in self.lrs)
        return f"{name}[lr={rates},{','.join(f'{k}={v}' for k, v in given.items())}]"


def _column_of(task: str) -> str:
    """Return the column of Table 1 with the error that Table 2 has after the final phase."""
    _, after = TABLE_2[task]
    columns = TABLE_1[task].items()
    return next(name for name, value in columns if name.endswith("N") and value == after)


_LRS = tuple(value for value in LR.grid if is_number(value))
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
