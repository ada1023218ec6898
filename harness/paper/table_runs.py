"""A table of the paper, made again: its columns run, and each learning rate chosen in two ways.

The paper tries every ε on the seeds that it reports and prints the lowest error, so luck with those
seeds is part of its figure. Here ε is also chosen on tuning seeds, and the figure is of fresh ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from bench.harness.analysis.grids import Axis, Side
from bench.harness.analysis.selection import Value
from bench.harness.comparison.compare import compare
from bench.harness.comparison.session import mirrored
from bench.harness.core.errors import Usage
from bench.harness.core.notices import say
from bench.harness.core.published import TABLE_2
from bench.harness.core.spec import Budget, MethodSpec
from bench.harness.paper.tables import HESSIAN_FREE, NOT_RUN, PaperTable
from bench.harness.planning.preparation import prepare
from bench.harness.planning.request import Request
from bench.harness.training.fleet import updates_of
from bench.optim.objective import Method


@dataclass(frozen=True)
class Part:
    """Columns that are one comparison: those of a task, in Table 3 those of a start."""

    task: str
    problem: str
    columns: Sequence[str]


@dataclass(frozen=True)
class Reached:
    """What a method reached on the reported seeds."""

    spec: MethodSpec
    values: Sequence[Value]
    """The training metric by seed; None: the trial diverged."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Reached:
        """Read a method of a comparison's summary."""
        spec = MethodSpec(row["name"], row["backend"], row["hyperparameters"])
        return cls(spec, row["final"]["values"])

    @property
    def lr(self) -> float:
        """ε."""
        return float(self.spec.hyperparameters["lr"])

    @property
    def mean(self) -> float | None:
        """The mean over seeds; None where a trial diverged."""
        finite = [value for value in self.values if value is not None]
        return fmean(finite) if finite and len(finite) == len(self.values) else None


@dataclass(frozen=True)
class Selection:
    """A learning rate, and what it reached on the reported seeds."""

    lr: float
    edge: Side | None
    """Where it is the smallest or the largest that was tried."""
    mean: float | None
    """None: a trial diverged."""
    values: Sequence[Value]
    before: float | None = None
    """The mean before the final phase, in Table 2."""


def parts(table: PaperTable, tasks: Sequence[str]) -> list[Part]:
    """Return the comparisons of the columns in which ε is chosen."""
    columns: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        for column in table.columns_of(task):
            columns.setdefault((task, table.problem(task, column)), []).append(column)
    return [Part(task, problem, names) for (task, problem), names in columns.items()]


def effort(table: PaperTable, tasks: Sequence[str], seeds: int, tune_seeds: int) -> int:
    """Return how many trials a table takes at most, those on record included."""
    trials = 0
    for task in tasks:
        trials += len(table.columns_of(task)) * len(table.lrs) * (tune_seeds + seeds)
        trials += len(_hessian_free(table, task)) * seeds
        # The trials before the final phase, of up to two learning rates.
        trials += 2 * seeds if table.number == 2 else 0
    return trials


def check(table: PaperTable, tasks: Sequence[str], request: Request) -> None:
    """Raise what any of the runs would, before the first one begins."""
    for part in parts(table, tasks):
        prepared = prepare(_on_grids(table, part, request))
        if table.number == 2:
            _updates_before(prepared.methods[0], prepared.protocol.budget)


def reproduce_table(table: PaperTable, tasks: Sequence[str], request: Request) -> dict[str, Any]:
    """Run what is not on record; return each column with both selections, in plain values.

    `request` has what all runs share: preset, seeds, budget, store, device and the like.
    """
    check(table, tasks, request)
    protocols: dict[str, Any] = {}
    columns: dict[tuple[str, str], dict[str, Any]] = {}
    with mirrored(request):
        # One process keeps MLflow up to date beside all runs.
        alone = replace(request, no_mlflow=True)
        for part in parts(table, tasks):
            say(f"Table {table.number}, {part.problem}: {', '.join(part.columns)}.")
            summary = _compared(_on_grids(table, part, alone))
            protocols.setdefault(part.task, summary["protocol"])
            for column, row in zip(part.columns, summary["methods"], strict=True):
                found = _both(table, row, replace(alone, problem=part.problem))
                found["comparisons"].insert(0, summary["comparison"])
                columns[part.task, column] = found
        for task in tasks:
            for column in _hessian_free(table, task):
                say(f"Table {table.number}, {task}: {column}.")
                columns[task, column] = _as_it_is(column, replace(alone, problem=task))
    return {
        "table": table.number,
        "preset": request.preset,
        "seeds": request.seeds,
        "tuning_seeds": request.tune_seeds,
        "tasks": [
            {
                "task": task,
                "protocol": protocols[task],
                "columns": [
                    {
                        "column": column,
                        "published": published,
                        "published_before": TABLE_2[task][0] if table.number == 2 else None,
                        **(columns.get((task, column)) or {"not_run": NOT_RUN[column]}),
                    }
                    for column, published in table.published[task].items()
                ],
            }
            for task in tasks
        ],
    }


def _hessian_free(table: PaperTable, task: str) -> list[str]:
    return [column for column in table.published[task] if column in HESSIAN_FREE]


def _on_grids(table: PaperTable, part: Part, request: Request) -> Request:
    optimizers = ",".join(table.grid(column) for column in part.columns)
    return replace(request, optimizers=optimizers, problem=part.problem)


def _compared(request: Request) -> dict[str, Any]:
    summary = compare(request)
    assert summary is not None
    return summary


def _both(table: PaperTable, row: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Return both selections of a column, of which `row` is the one that tuning seeds chose.

    The other learning rates are run on the reported seeds as well.
    """
    others = [
        MethodSpec(row["name"], row["backend"], point["hyperparameters"]).text
        for point in row["tuning"]["points"]
        if point["hyperparameters"] != row["hyperparameters"]
    ]
    rest = _compared(replace(request, optimizers=",".join(others)))
    tuned, *_ = rates = [Reached.of(each) for each in (row, *rest["methods"])]
    lucky = min(rates, key=lambda each: (each.mean is None, each.mean or 0.0))
    axis = Axis("lr", tuple(sorted(each.lr for each in rates)), "log")
    comparisons = [rest["comparison"]]
    before: dict[float, float | None] = {}
    if table.number == 2:
        for each in {one.lr: one for one in (tuned, lucky)}.values():
            summary = _before(each.spec, request)
            comparisons.append(summary["comparison"])
            before[each.lr] = Reached.of(summary["methods"][0]).mean
    by_tuning, by_reported = (
        Selection(each.lr, axis.side(each.lr), each.mean, each.values, before.get(each.lr))
        for each in (tuned, lucky)
    )
    return {
        "by_tuning_seeds": asdict(by_tuning),
        "by_reported_seeds": asdict(by_reported),
        "comparisons": comparisons,
    }


def _as_it_is(column: str, request: Request) -> dict[str, Any]:
    """Return what a method without a learning rate reached by its defaults."""
    summary = _compared(replace(request, optimizers=HESSIAN_FREE[column]))
    reached = Reached.of(summary["methods"][0])
    return {
        "untuned": {"mean": reached.mean, "values": reached.values},
        "comparisons": [summary["comparison"]],
    }


def _before(spec: MethodSpec, request: Request) -> dict[str, Any]:
    """Run the trials of a method to where their final phase begins.

    They make the same updates until then: seeds, schedule and ε are the same, and the budget ends
    where the phase would begin.
    """
    prepared = prepare(replace(request, optimizers=spec.text))
    updates = _updates_before(prepared.methods[0], prepared.protocol.budget)
    until = MethodSpec(spec.name, spec.backend, {**spec.hyperparameters, "final": 0})
    end = Budget("updates", updates).text
    return _compared(replace(request, optimizers=until.text, budget=end))


def _updates_before(method: Method, budget: Budget) -> int:
    """Return how many updates a trial makes before its final phase; Usage where there are none."""
    updates, final = updates_of(method, budget), method.hyperparameters["final"]
    if updates is None:
        raise Usage(
            f"--budget {budget.text}: where the final phase begins is known only of a budget in "
            "gradients, updates or examples."
        )
    if updates <= final:
        raise Usage(
            f"--budget {budget.text}: the final phase has {final:,} updates, and the trial "
            f"{updates:,}, so there is nothing before it. Give more."
        )
    return updates - final
