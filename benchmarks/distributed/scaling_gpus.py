"""What GPUs would make of the work that was measured on a CPU: predicted, never measured.

Counts are measured: operations, bytes and reductions of an update. Rates are assumed, each with
who says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.models.deep_autoencoders import mnist
from bench.models.problem import Problem
from bench.models.recurrent import SequenceProblem
from benchmarks.distributed.scaling import Exchange, Grid, Link, Work
from benchmarks.paper.grids import TABLES, Table

FLOPS = 66.9e12
REACHED = 0.5
NVLINK = Link(latency=5e-6, bandwidth=450e9)
INFINIBAND = Link(latency=10e-6, bandwidth=50e9)
A_MACHINE = 8
LAUNCHED, REPLAYED = 5e-6, 1e-6
TUNING = 4_096
"""Trials of a large tuning."""
ASSUMPTIONS = (
    (
        f"{FLOPS / 1e12:g} · 10¹² floating-point operations a second",
        "NVIDIA's white paper of the H100 SXM5, FP32 outside the tensor cores",
    ),
    (f"{REACHED:.0%} of them reached, at any number of cases", "ours; few cases reach less"),
    (
        f"{NVLINK.bandwidth / 1e9:g} GB/s each way among the {A_MACHINE} GPUs of a machine",
        "NVIDIA: 900 GB/s of NVLink, both ways together",
    ),
    (
        f"{INFINIBAND.bandwidth / 1e9:g} GB/s each way a GPU between machines",
        "NVIDIA: a ConnectX-7 of 400 Gb/s for each GPU of a DGX H100",
    ),
    (
        f"{NVLINK.latency * 1e6:g} and {INFINIBAND.latency * 1e6:g} µs a step of a reduction",
        "ours, for NCCL with what calls it",
    ),
    (
        f"{LAUNCHED * 1e6:g} µs an operation that is launched, {REPLAYED * 1e6:g} µs in a graph",
        "ours, of the order that is published of CUDA graphs",
    ),
)
"""What is assumed, and whose figure it is."""


def link(ranks: int) -> Link:
    """Return what bounds a reduction over so many GPUs."""
    return NVLINK if ranks <= A_MACHINE else INFINIBAND


def seconds(work: Work, ranks: int) -> float:
    """Return the seconds of a unit of work on so many GPUs."""
    return work.seconds(ranks, link(ranks))


@dataclass(frozen=True)
class Named:
    """Work of mode data, or a grid of mode trials, and what it is called."""

    name: str
    work: Work | Grid

    def seconds(self, ranks: int) -> float:
        """Return its seconds on so many GPUs."""
        if isinstance(self.work, Grid):
            return self.work.seconds(ranks)
        return seconds(self.work, ranks)

    def limit(self, ranks: int) -> str:
        """Return what takes most, or keeps it from being faster."""
        if isinstance(self.work, Grid):
            return self.work.limit(ranks)
        return self.work.limit(ranks, link(ranks))


def a_case(parameters: int, gradients: float = 1.0, steps: int = 1) -> float:
    """Return seconds of so many gradients on one case: 6 operations a parameter and step.

    >>> a_case(1_000_000) == 6e6 / 33.45e12
    True
    """
    return 6 * parameters * steps * gradients / (FLOPS * REACHED)


def update(case: Mapping[str, Any]) -> Work:
    """Return an update as it was counted on a CPU."""
    return _work(case, case["gradients"] / case["cases"], case["parameters"], case["cases"])


def whole_set(case: Mapping[str, Any], problem: Problem, cases: int) -> Work:
    """Return an iteration on another problem's whole training set, as it was counted on one.

    It has as many CG steps, and each of its reductions is longer as the parameters are more.
    """
    return _work(case, case["gradients"] / case["cases"], problem.layout.count, cases)


def _work(case: Mapping[str, Any], gradients: float, parameters: int, cases: int) -> Work:
    operations = case["operations"]
    return Work(
        fixed=operations * LAUNCHED,
        a_case=a_case(parameters, gradients),
        cases=cases,
        exchange=Exchange(case["calls"], case["bytes"] * parameters / case["parameters"]),
        # What waits for other ranks cannot be captured.
        fixed_alone=operations * REPLAYED,
    )


def in_data_mode(cases: Sequence[Mapping[str, Any]]) -> list[Named]:
    """Return the updates and iterations that are predicted."""
    largest = max((c for c in cases if c["unit"] == "update"), key=lambda c: c["parameters"])
    iteration = next(c for c in cases if c["unit"] == "iteration")
    problem, n = mnist("paper"), 60_000
    return [
        Named(f"an update of nag, {largest['name']}, B = {largest['cases']}", update(largest)),
        Named(
            f"an iteration of hf, mnist/paper, all {n:,} cases", whole_set(iteration, problem, n)
        ),
    ]


def in_trials_mode(cases: Sequence[Mapping[str, Any]], start: float) -> list[Named]:
    """Return the grids that are predicted; `start` is how long a rank takes to begin."""
    updates = [case for case in cases if case["unit"] == "update"]
    images = max(updates, key=lambda case: case["parameters"])
    sequences = min(updates, key=lambda case: case["parameters"])
    mnist_paper, add_paper = mnist("paper"), SequenceProblem("add", "paper", T=80)
    row = a_case(mnist_paper.layout.count) * TABLES[1].batch
    long = a_case(add_paper.layout.count, steps=80) * TABLES[5].batch

    def grid(
        trials: int, table: Table, problem: Problem, case: Mapping[str, Any], row: float
    ) -> Grid:
        fixed = case["operations"] * REPLAYED
        return Grid(trials, table.updates(problem), fixed, row, start)

    one, five = trials_of(TABLES[1]), trials_of(TABLES[5])
    return [
        Named(
            f"Table 1 on mnist/paper, {one} trials",
            grid(one, TABLES[1], mnist_paper, images, row),
        ),
        Named(
            f"Table 5 on add/paper, {five} trials",
            grid(five, TABLES[5], add_paper, sequences, long),
        ),
        Named(
            f"tuning on mnist/paper, {TUNING:,} trials",
            grid(TUNING, TABLES[1], mnist_paper, images, row),
        ),
    ]


def trials_of(table: Table) -> int:
    """Return how many trials one problem of a table has."""
    return len(table.columns) * len(table.lrs) * len(table.seeds)
