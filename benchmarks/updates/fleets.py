"""Fleets that are stepped by hand, so that their updates can take turns with a peer's."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from bench import optim
from bench.harness.core.paths import data_source
from bench.harness.core.spec import Budget
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.fleet import Fleet
from bench.models.deep_autoencoders import CURVES, FACES, MNIST, DeepAutoencoder, curves
from bench.models.problem import DataError, Problem
from benchmarks.paper.grids import Table
from benchmarks.ratios import Timed

if TYPE_CHECKING:
    from bench.optim.objective import Method

UNLIMITED = Budget("updates", 1e9)
SETTINGS = {"curves": CURVES, "mnist": MNIST, "faces": FACES}


def load(preset: str, device: torch.device) -> tuple[DeepAutoencoder, DeviceData]:
    """Return the curves problem with its data on a device, in float32."""
    problem = curves(preset)
    data = problem.data(data_source(None))
    return problem, DeviceData.from_data(data, device, torch.float32)


def images(problem: DeepAutoencoder, device: torch.device) -> tuple[str, DeviceData]:
    """Return what a row of a table calls the problem, and its data in float32.

    Where its files are not to be found these are random images, as many and as large, and the
    name says so.
    """
    name = f"{problem.name}/{problem.preset}"
    with suppress(DataError):
        return name, DeviceData.from_data(problem.data(data_source(None)), device, torch.float32)
    count, size = SETTINGS[problem.name][problem.preset].train, problem.architecture.sizes[0]
    x = torch.rand(1, count, size, generator=torch.Generator(device).manual_seed(0), device=device)
    return f"{name} on random images", DeviceData(Cases(x, x), Cases(x[:, :1], x[:, :1]))


def nags(seeds: Sequence[int], device: torch.device, **given: Any) -> list[Method]:
    """Return nag with the same hyperparameters for each of the seeds."""
    inside = ",".join(f"{name}={value}" for name, value in given.items())
    return [optim.resolve(f"nag[{inside}]", device.type) for _ in seeds]


def backends(device: torch.device) -> tuple[str, str]:
    """Return the backends of the momentum update: torch's operations, and one kernel."""
    return "torch", "numba" if device.type == "cpu" else "numba-cuda"


def fleet_of(
    problem: Problem, data: DeviceData, methods: Sequence[Method], seeds: Sequence[int]
) -> Fleet:
    """Return the fleet of a row for each method and its seed, under a budget without end."""
    first, *others = methods
    method = first.join(list(others)) if others else first
    return Fleet(problem, data, method, list(seeds), UNLIMITED, 2)


def grid(problem: Problem, data: DeviceData, table: Table, backend: str) -> Fleet:
    """Return the fleet of all trials behind a published table's row."""
    trials = table.rows(problem, backend)
    return fleet_of(problem, data, [row.method for row in trials], [row.seed for row in trials])


def updates(fleet: Fleet, number: int = 1) -> Timed:
    """Return at least `number` updates in a row, as the training loop makes them, to be timed.

    Batch, gradient, update, ledger and the check for divergence are in it. On a GPU the loop
    makes many at a time.
    """
    makes = 1
    # One sets libraries up and the next is captured; the third is as all that follow.
    for _ in range(3):
        before = fleet.account.updates
        fleet.advance()
        makes = fleet.account.updates - before
    return Timed(fleet.advance, -(-number // makes), makes)


def diverged(fleet: Fleet) -> int:
    """Return how many rows are not finite any more."""
    return int((~fleet.theta.isfinite().all(1)).sum())


def release(device: torch.device) -> None:
    """Give back the device's memory of fleets that nobody has any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
