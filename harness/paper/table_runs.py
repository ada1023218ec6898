"""Reproduce a table of the paper: run its columns, and choose each learning rate in two ways.

The paper tries every ε on the reported seeds and prints the lowest error, so luck with those seeds
is part of its results. Here, ε is also chosen on tuning seeds, and measured on other seeds.
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
from bench.harness.training.fleet import budgeted_updates
from bench.optim.objective import Method


@dataclass(frozen=True)
class ColumnGroup:
    """Columns that form one comparison: those of a task, or in Table 3 of an initialisation."""

    task: str
    problem: str
    columns: Sequence[str]


@dataclass(frozen=True)
class MethodResult:
    """The result of a method on the reported seeds."""

    spec: MethodSpec
    values: Sequence[Value]
    """The training metric by seed; None: the trial diverged."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> MethodResult:
        """Read a method of a comparison's summary."""
        spec = MethodSpec(row["name"], row["backend"], row["hyperparameters"])
        return cls(spec, row["final"]["values"])

    @property
    def lr(self) -> float:
        """ε."""
        return float(self.spec.hyperparameters["lr"])

    @property
    def mean(self) -> float | None:
        """The mean over seeds; None if a trial diverged."""
        finite = [value for value in self.values if value is not None]
        return fmean(finite) if finite and len(finite) == len(self.values) else None


@dataclass(frozen=True)
class Selection:
    """A learning rate and its result on the reported seeds."""

    lr: float
    edge: Side | None
    """Whether it is the smallest or the largest value tried; None: neither."""
    mean: float | None
    """None: a trial diverged."""
    values: Sequence[Value]
    before: float | None = None
    """In Table 2, the mean before the final phase."""


def parts(table: PaperTable, tasks: Sequence[str]) -> list[ColumnGroup]:
    """Return the comparisons of the columns that have a learning rate ε."""
    columns: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        for column in table.columns_of(task):
            columns.setdefault((task, table.problem(task, column)), []).append(column)
    return [ColumnGroup(task, problem, names) for (task, problem), names in columns.items()]


def effort(table: PaperTable, tasks: Sequence[str], seeds: int, tune_seeds: int) -> int:
    """Return the largest number of trials that a table needs, including recorded ones."""
    trials = 0
    for task in tasks:
        trials += len(table.columns_of(task)) * len(table.lrs) * (tune_seeds + seeds)
        trials += len(_hessian_free(table, task)) * seeds
        # The trials before the final phase, of up to two learning rates.
        trials += 2 * seeds if table.number == 2 else 0
    return trials


def check(table: PaperTable, tasks: Sequence[str], request: Request) -> None:
    """Check all runs before the first one begins; raise the error of any that cannot run."""
    for part in parts(table, tasks):
        prepared = prepare(_on_grids(table, part, request))
        if table.number == 2:
            _updates_before(prepared.methods[0], prepared.protocol.budget)


def reproduce_table(table: PaperTable, tasks: Sequence[str], request: Request) -> dict[str, Any]:
    """Run what is not recorded; return each column with both selections as plain values.

    `request` has the settings that all runs share: preset, seeds, budget, store, device and so on.
    """
    check(table, tasks, request)
    protocols: dict[str, Any] = {}
    columns: dict[tuple[str, str], dict[str, Any]] = {}
    with mirrored(request):
        # One process copies the results of all runs to MLflow.
        alone = replace(request, no_mlflow=True)
        for part in parts(table, tasks):
            say(f"Table {table.number}, {part.problem}: {', '.join(part.columns)}.")
            summary = _compared(_on_grids(table, part, alone))
            protocols.setdefault(part.task, summary["protocol"])
            for column, row in zip(part.columns, summary["methods"], strict=True):
                found = _both_selections(table, row, replace(alone, problem=part.problem))
                found["comparisons"].insert(0, summary["comparison"])
                columns[part.task, column] = found
        for task in tasks:
            for column in _hessian_free(table, task):
                say(f"Table {table.number}, {task}: {column}.")
                columns[task, column] = _default_result(column, replace(alone, problem=task))
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


def _on_grids(table: PaperTable, part: ColumnGroup, request: Request) -> Request:
    optimizers = ",".join(table.grid(column) for column in part.columns)
    return replace(request, optimizers=optimizers, problem=part.problem)


def _compared(request: Request) -> dict[str, Any]:
    summary = compare(request)
    assert summary is not None
    return summary


def _both_selections(table: PaperTable, row: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Return both selections of a column; `row` is the result of the tuning seeds' choice.

    The other learning rates also run on the reported seeds.
    """
    others = [
        MethodSpec(row["name"], row["backend"], point["hyperparameters"]).text
        for point in row["tuning"]["points"]
        if point["hyperparameters"] != row["hyperparameters"]
    ]
    rest = _compared(replace(request, optimizers=",".join(others)))
    tuned, *_ = rates = [MethodResult.of(each) for each in (row, *rest["methods"])]
    best_reported = min(rates, key=lambda each: (each.mean is None, each.mean or 0.0))
    axis = Axis("lr", tuple(sorted(each.lr for each in rates)), "log")
    comparisons = [rest["comparison"]]
    before: dict[float, float | None] = {}
    if table.number == 2:
        for each in {one.lr: one for one in (tuned, best_reported)}.values():
            summary = _before_final_phase(each.spec, request)
            comparisons.append(summary["comparison"])
            before[each.lr] = MethodResult.of(summary["methods"][0]).mean
    by_tuning, by_reported = (
        Selection(each.lr, axis.side(each.lr), each.mean, each.values, before.get(each.lr))
        for each in (tuned, best_reported)
    )
    return {
        "by_tuning_seeds": asdict(by_tuning),
        "by_reported_seeds": asdict(by_reported),
        "comparisons": comparisons,
    }


def _default_result(column: str, request: Request) -> dict[str, Any]:
    """Return the result of a method without a learning rate, with its defaults."""
    summary = _compared(replace(request, optimizers=HESSIAN_FREE[column]))
    reached = MethodResult.of(summary["methods"][0])
    return {
        "untuned": {"mean": reached.mean, "values": reached.values},
        "comparisons": [summary["comparison"]],
    }


def _before_final_phase(spec: MethodSpec, request: Request) -> dict[str, Any]:
    """Run the trials of a method up to the beginning of their final phase.

    They make the same updates until then: seeds, schedule and ε are the same, and the budget ends
    at the beginning of the phase.
    """
    prepared = prepare(replace(request, optimizers=spec.text))
    updates = _updates_before(prepared.methods[0], prepared.protocol.budget)
    until = MethodSpec(spec.name, spec.backend, {**spec.hyperparameters, "final": 0})
    end = Budget("updates", updates).text
    return _compared(replace(request, optimizers=until.text, budget=end))


def _updates_before(method: Method, budget: Budget) -> int:
    """Return the number of updates before a trial's final phase; raise Usage if there are none."""
    updates, final = budgeted_updates(method, budget), method.hyperparameters["final"]
    if updates is None:
        raise Usage(
            f"--budget {budget.text}: table 2 needs a budget in gradients, updates or examples, "
            "because a budget in seconds does not tell when the final phase begins."
        )
    if updates <= final:
        raise Usage(
            f"--budget {budget.text}: the trial has {updates:,} updates and its final phase "
            f"{final:,}, so no update is left before it. Give a larger budget."
        )
    return updates - final
