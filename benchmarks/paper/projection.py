"""How long all of Table 1 and all of Table 5 would take on a GPU, from an update of each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from bench.harness.report.table import number
from bench.harness.training.cases import DeviceData
from bench.models.built_in import PROBLEMS
from bench.models.deep_autoencoders import DeepAutoencoder
from bench.models.problem import DataSource, Problem
from benchmarks.figures import Part
from benchmarks.machine import CPU, ran_on
from benchmarks.paper.grids import TABLES, Table
from benchmarks.paper.mnist_fleet import NAMES
from benchmarks.ratios import interleaved, spread
from benchmarks.updates.fleets import backends, grid, images, release, updates
from benchmarks.updates.peaks import precision


@dataclass(frozen=True)
class Task:
    """An update of a task's whole grid as it was measured, and how many a table has."""

    name: str
    rows: int
    updates: int
    seconds: Mapping[str, float]
    """Of an update of the fleet, over rounds: median, quartiles, least, greatest, number."""


@dataclass(frozen=True)
class Projected:
    """A table of the paper, not run but reckoned from its tasks' updates."""

    name: str
    goal_minutes: float
    tasks: Sequence[Task]


@dataclass(frozen=True)
class Projection(Part):
    """A section of its own kind."""

    tables: Sequence[Projected] = field(default_factory=tuple)

    def as_json(self, command: str, load: float, device: torch.device = CPU) -> dict[str, Any]:
        tables = [asdict(table) for table in self.tables]
        return {**super().as_json(command, load, device), "tables": tables}


WANTED = ((1, "tf32", 100.0), (1, "fp32", 300.0), (5, "fp32", 40.0))
"""Table, precision, and the minutes that all of it is to take at most."""


def measure(smoke: bool, device: torch.device) -> Projection:
    """Time an update of every task of both tables."""
    tables = []
    for which, kind, minutes in WANTED:
        table, tasks = TABLES[which], list[Task]()
        with precision(kind):
            for name in table.published:
                tasks.append(_task(PROBLEMS[name]("quick" if smoke else "paper"), table, device))
                release(device)
        tables.append(Projected(f"all of Table {which}, {NAMES[kind]}", minutes, tasks))
    return Projection(
        "The paper's tables, projected",
        (),
        (
            "A projection: no table was run to its end. An update of the whole grid of each task "
            "is measured, as the training loop makes it, and multiplied by the published number of "
            "updates. Evaluations come on top, and rows that diverge would take time off.",
            f"Backend {backends(device)[1]}; the tasks one after another on one device.",
        ),
        ("numba", "numba-cuda"),
        tables,
    )


def _task(problem: Problem, table: Table, device: torch.device) -> Task:
    if isinstance(problem, DeepAutoencoder):
        name, data = images(problem, device)
    else:
        name = f"{problem.name}/{problem.preset}"
        data = DeviceData.from_data(problem.data(DataSource(())), device, torch.float32)
    fleet = grid(problem, data, table, backends(device)[1])
    (seconds,) = interleaved({name: updates(fleet)}, 3 if device.type == "cpu" else 6,
                             device).values()  # fmt: skip
    return Task(name, len(fleet.theta), table.updates(problem), spread(seconds))


def minutes(task: Mapping[str, Any]) -> float:
    """Return what all updates of a task would take.

    >>> minutes({"updates": 600_000, "seconds": {"median": 0.002}})
    20.0
    """
    return float(task["updates"] * task["seconds"]["median"] / 60)


def section(content: Mapping[str, Any]) -> str:
    """Return the projections as a section of RESULTS.md."""
    lines = [
        f"## {content['title']}",
        "",
        *ran_on(content),
        "",
        "| | rows | an update of all | quartiles | n | trial-updates/s | updates | **projected** "
        "| goal |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for table in content["tables"]:
        total = sum(map(minutes, table["tasks"]))
        met = "yes" if total <= table["goal_minutes"] else "no"
        lines += map(_row, table["tasks"])
        lines.append(
            f"| **{table['name']}** | | | | | | | **{total:.3g} min** "
            f"| ≤ {table['goal_minutes']:g} min: {met} |"
        )
    return "\n".join([*lines, "", *(f"* {note}" for note in content["notes"]), ""])


def _row(task: Mapping[str, Any]) -> str:
    seconds = task["seconds"]
    cells = [
        task["name"],
        task["rows"],
        f"{seconds['median'] * 1e3:.3g} ms",
        f"{seconds['low_quartile'] * 1e3:.3g} – {seconds['high_quartile'] * 1e3:.3g}",
        seconds["n"],
        number(task["rows"] / seconds["median"]),
        f"{task['updates']:,}",
        f"{minutes(task):.3g} min",
        "",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"
