r"""A piece of the paper's Table 1, 3 or 5: a task's whole grid as one fleet, written as it goes.

python -m benchmarks.paper.table 1 curves mnist --precision tf32 --minutes 9
python -m benchmarks.paper.table 5 add --minutes 9
python -m benchmarks.render
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click
import torch

from bench.harness.core.paths import data_source
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget, MethodSpec
from bench.harness.planning.fleets import make_protocol
from bench.harness.training.bound_objective import evaluate
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Outcome, Progress
from bench.models.built_in import PROBLEMS
from bench.models.problem import PRESETS, DataError, Problem
from bench.optim.hyperparameters import Unavailable
from benchmarks import render
from benchmarks.figures import installed
from benchmarks.machine import machine
from benchmarks.paper.grids import TABLES, Row, Table
from benchmarks.paper.table_section import section
from benchmarks.updates.fleets import backends, release
from benchmarks.updates.peaks import precision as computing_in

WRITTEN_EVERY = 10.0
"""Seconds, at least, between two writings of a file while a fleet trains."""
TOLD_EVERY = 30.0


class Record:
    """Keeps the measurements of a grid's rows in a file, and stops when its time is over."""

    def __init__(self, head: Mapping[str, Any], trials: Sequence[Row], minutes: float) -> None:
        self.content: dict[str, Any] = {
            **head,
            "status": "running",
            "updates": 0,
            "seconds": 0.0,
            "rows": [_described(trial) for trial in trials],
        }
        self._end = time.monotonic() + 60 * minutes
        self._written = self._told = 0.0

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Append updates made, training and test metric."""
        ledger = measurement.ledger
        self.content |= {"updates": ledger.updates, "seconds": ledger.seconds}
        self.add(row, ledger.updates, measurement.train_metric, measurement.test_metric)

    def add(self, row: int, updates: int, train: float, test: float) -> None:
        """Append what a row was measured at."""
        values = (value if math.isfinite(value) else None for value in (train, test))
        self.content["rows"][row]["curve"].append([updates, *values])

    def on_progress(self, progress: Progress) -> None:
        """Tell now and then how far it is."""
        if time.monotonic() - self._told > TOLD_EVERY:
            self._told = time.monotonic()
            click.echo(f"  {progress.updates:,} updates, {progress.seconds:.0f} s", err=True)

    def should_stop(self) -> bool:
        """Stop when the time is over; write in between."""
        if time.monotonic() - self._written > WRITTEN_EVERY:
            self.write()
        return time.monotonic() > self._end

    def end(self, fleet: Fleet, outcomes: Sequence[Outcome]) -> None:
        """Note how every row ended, and measure those that were stopped where they stand."""
        stopped = [i for i, each in enumerate(outcomes) if each.status == "interrupted"]
        ledger = fleet.account.ledger()
        self.content |= {
            "status": "stopped" if stopped else "finished",
            "updates": ledger.updates,
            "seconds": ledger.seconds,
        }
        for row, outcome in zip(self.content["rows"], outcomes, strict=True):
            over = "its time was over" if outcome.status == "interrupted" else outcome.reason
            row |= {"status": outcome.status, "reason": over}
        if stopped:
            theta = torch.stack([outcomes[i].theta for i in stopped])
            train, test = (
                evaluate(fleet.problem, theta, cases)[0].tolist()
                for cases in (fleet.data.train, fleet.data.test)
            )
            for i, *values in zip(stopped, train, test, strict=True):
                if self.content["rows"][i]["curve"][-1][0] != ledger.updates:
                    self.add(i, ledger.updates, *values)
        self.write()

    def write(self) -> None:
        """Write the whole file anew."""
        self._written = time.monotonic()
        path = render.RESULTS / f"table{self.content['table']}_{self.content['task']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(self.content) + "\n")


@click.command()
@click.argument("number", type=click.Choice([str(number) for number in TABLES]))
@click.argument("tasks", nargs=-1, required=True)
@click.option("--preset", type=click.Choice(PRESETS), default="paper")
@click.option("--precision", type=click.Choice(["fp32", "tf32"]), default="fp32")
@click.option("--minutes", default=math.inf, help="Of each task; what is measured then is kept.")
def main(number: str, tasks: tuple[str, ...], preset: str, precision: str, minutes: float) -> None:
    """Train the grids of TASKS on the GPU, or on the CPU where there is none."""
    table = TABLES[int(number)]
    if unknown := [task for task in tasks if task not in table.published]:
        raise click.UsageError(
            f"Table {number} has no task {unknown[0]!r}; it has {', '.join(table.published)}."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for task in tasks:
        command = (
            f"python -m benchmarks.paper.table {number} {task} --preset {preset} "
            f"--precision {precision}{'' if math.isinf(minutes) else f' --minutes {minutes:g}'}"
        )
        click.echo(f"{command} …", err=True)
        try:
            with computing_in(precision):
                content = train(table, PROBLEMS[task](preset), device, precision, minutes, command)
        except (DataError, Unavailable) as error:
            raise click.ClickException(str(error)) from error
        click.echo(section(content))
        render.write()
        release(device)


def train(
    table: Table,
    problem: Problem,
    device: torch.device,
    precision: str,
    minutes: float,
    command: str,
) -> dict[str, Any]:
    """Train a task's grid until it ends or its time is over; return what its file holds."""
    data = problem.data(data_source(None))
    budget = Budget("gradients", float(problem.budget))
    _, backend = backends(device)
    head = {
        "table": table.number,
        "task": problem.name,
        "command": command,
        "machine": machine(device),
        "load": round(os.getloadavg()[0], 2),
        "peers": {name: installed(name) for name in ("numba", "numba-cuda")},
        "protocol": make_protocol(problem, data, budget, precision).as_dict(),
        "of": table.updates(problem),
    }
    trials = table.rows(problem, backend)
    tensors = DeviceData.from_data(data, device, torch.float32)
    first, *others = (trial.method for trial in trials)
    seeds = [trial.seed for trial in trials]
    fleet = Fleet(
        problem,
        tensors,
        first.join(others),
        seeds,
        budget,
        problem.evaluations,
        table.starts(problem, trials),
    )
    record = Record(head, trials, minutes)
    record.end(fleet, fleet.run(record))
    return record.content


def _described(trial: Row) -> dict[str, Any]:
    method = trial.method
    spec = MethodSpec(method.name, method.backend, dict(method.hyperparameters))
    return {
        "column": trial.column,
        "lr": trial.lr,
        "seed": trial.seed,
        "method": spec.text,
        **spec.as_dict(),
        "status": "running",
        "reason": None,
        "curve": [],
    }


if __name__ == "__main__":
    main()
