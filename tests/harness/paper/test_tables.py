"""The recipes are those of the paper's tables, and every column of one is written down."""

from __future__ import annotations

import pytest

from bench.harness.core.published import TABLE_2
from bench.harness.paper.tables import HESSIAN_FREE, NOT_RUN, TABLES
from bench.models.built_in import PROBLEMS
from bench.optim.registry import make
from bench.optim.text import parse

RATES = [0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001]


@pytest.mark.parametrize(
    ("number", "task", "columns", "rates"),
    [
        (1, "curves", 9, RATES),
        (1, "faces", 9, RATES),
        (2, "mnist", 1, RATES),
        (3, "curves", 5, RATES),
        (5, "mem20", 7, [1e-3, 1e-4, 1e-5, 1e-6]),
    ],
)
def test_every_column_tries_the_published_rates(
    number: int, task: str, columns: int, rates: list[float]
) -> None:
    table = TABLES[number]
    assert len(table.columns_of(task)) == columns
    for column in table.columns_of(task):
        methods = make(parse(table.grid(column)))
        assert [method.hyperparameters["lr"] for method in methods] == rates


@pytest.mark.parametrize(
    ("number", "column", "expected"),
    [
        (1, "0", {"name": "sgd", "batch": 200}),
        (1, "0.995N", {"name": "nag", "mu_max": 0.995, "batch": 200, "schedule": "sutskever"}),
        (1, "0.9M", {"name": "cm", "mu_max": 0.9, "final": 1000, "period": 250}),
        (3, "4", {"name": "nag", "mu_max": 0.999, "final": 1000, "period": 250}),
        (5, "0", {"name": "sgd", "batch": 100}),
        (5, "0.98N", {"name": "nag", "schedule": "constant", "period": 1000, "final": 0}),
    ],
)
def test_a_column_is_a_method(number: int, column: str, expected: dict[str, object]) -> None:
    first, *_ = make(parse(TABLES[number].grid(column)))
    found = {"name": first.name, **first.hyperparameters}
    assert {key: found[key] for key in expected} == expected


def test_columns_of_table_3_are_starts() -> None:
    table = TABLES[3]
    assert [table.problem("curves", c) for c in ("0.25", "1")] == [
        "curves[scale=0.25]", "curves[scale=1]",
    ]  # fmt: skip
    assert TABLES[1].problem("curves", "0.9N") == "curves"


def test_table_2_is_of_the_columns_whose_error_it_repeats() -> None:
    assert {task: list(columns) for task, columns in TABLES[2].published.items()} == {
        "curves": ["0.999N"], "mnist": ["0.99N"], "faces": ["0.999N"],
    }  # fmt: skip
    for task, columns in TABLES[2].published.items():
        (after,) = columns.values()
        assert after == TABLE_2[task][1] == TABLES[1].published[task][next(iter(columns))]


def test_a_task_is_a_problem_and_a_column_is_run_or_said_not_to_be() -> None:
    for table in TABLES.values():
        for task, columns in table.published.items():
            assert task in PROBLEMS
            assert set(columns) <= {*table.columns_of(task), *HESSIAN_FREE, *NOT_RUN}
