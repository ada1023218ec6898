"""The grids are the published ones, and the rows of a seed stand together."""

from __future__ import annotations

from itertools import groupby

import pytest

from bench.harness.training.batches import group_seeds
from bench.models.built_in import PROBLEMS
from bench.optim.momentum.schedules import FinalPhase
from benchmarks.paper.grids import TABLES


@pytest.mark.parametrize(
    ("number", "task", "rows", "updates", "groups"),
    [
        (1, "curves", 54, 750_000, 1),
        (1, "faces", 54, 750_000, 1),
        (3, "curves", 30, 750_000, 1),
        (5, "mem5", 112, 50_000, 4),
    ],
)
def test_a_grid_is_columns_times_rates_times_seeds(
    number: int, task: str, rows: int, updates: int, groups: int
) -> None:
    table, problem = TABLES[number], PROBLEMS[task]("paper")
    grid = table.rows(problem, "torch")
    assert len(grid) == len({(row.column, row.lr, row.seed) for row in grid}) == rows
    assert table.updates(problem) == updates
    assert len(group_seeds([row.seed for row in grid])) == groups
    assert {row.column for row in grid} <= table.published[task].keys()
    assert len({row.method.fleet_key for row in grid}) == 1
    for row in grid:
        assert row.method.hyperparameters["lr"] == row.lr
        assert row.method.hyperparameters["batch"] == table.batch


def test_columns_are_methods_with_their_momentum() -> None:
    rows = TABLES[1].rows(PROBLEMS["mnist"]("paper"), "torch")
    found = {
        column: (first.method.name, first.method.hyperparameters.get("mu_max"))
        for column, (first, *_) in groupby(rows, lambda row: row.column)
    }
    assert found["0"] == ("sgd", None)
    assert found["0.995N"] == ("nag", 0.995) and found["0.9M"] == ("cm", 0.9)
    assert len(found) == 9 and not {"HF+", "HF*", "SGD_C"} & found.keys()


def test_momentum_is_scheduled_as_published() -> None:
    *_, last = TABLES[1].rows(PROBLEMS["curves"]("paper"), "torch")
    schedule = last.method.schedule(750_000)
    assert [schedule(t) for t in (0, 250, 1_000, 749_000)] == [0.5, 0.75, 0.9, 0.9]
    assert schedule(748_999) == 0.999
    *_, last = TABLES[5].rows(PROBLEMS["add"]("paper"), "torch")
    schedule = last.method.schedule(50_000)
    assert [schedule(t) for t in (0, 999, 1_000, 49_999)] == [0.9, 0.9, 0.995, 0.995]


def test_below_paper_the_schedule_follows_the_budget() -> None:
    *_, last = TABLES[1].rows(PROBLEMS["curves"]("quick"), "torch")
    schedule = last.method.schedule(3_000)
    assert isinstance(schedule, FinalPhase) and schedule.length == 63


def test_rows_of_table_3_differ_by_their_start() -> None:
    table, problem = TABLES[3], PROBLEMS["curves"]("quick")
    rows = table.rows(problem, "torch")
    starts = table.starts(problem, rows)
    assert starts is not None
    scales = [start.parameters.get("scale", 1.0) for start in starts]
    assert scales == [float(row.column) for row in rows]
    assert {row.method.hyperparameters["mu_max"] for row in rows} == {0.999}
    assert {start.layout.size for start in starts} == {problem.layout.size}
