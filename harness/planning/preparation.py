"""A request made concrete before anything is run or written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.harness.analysis.statistics import seeds_needed
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.paths import data_source
from bench.harness.core.seeds import TUNING_SEEDS_FROM
from bench.harness.core.spec import CURRENCIES, Budget, Protocol
from bench.harness.core.store_url import read_url
from bench.harness.planning import problems, tuning
from bench.harness.planning.fleets import labelled, methods, protocol_of
from bench.harness.planning.request import Request
from bench.harness.planning.validation import (
    check_effort,
    check_grids,
    check_possible,
    check_tune,
    check_updates,
)
from bench.harness.training.machine import Machine
from bench.models.problem import Data, DataError, Problem
from bench.optim.hyperparameters import nearest
from bench.optim.text import Written, parse, split

CHANCE = 0.05


@dataclass
class Prepared:
    """The request made concrete: problem, data, protocol, machine, and points to try."""

    request: Request
    problem: Problem
    data: Data
    protocol: Protocol
    machine: Machine
    points: list[list[Any]]
    """The methods of each optimizer on the list: one, or one a tuning point."""
    written: list[Written]
    seeds: int
    timed: bool

    @property
    def methods(self) -> list[Any]:
        """All points of all optimizers, in order."""
        return [method for of_one in self.points for method in of_one]


def prepare(request: Request) -> Prepared:
    """Check everything that can be checked before anything is run or written."""
    read_url(request.store)
    written = [parse(text) for text in split(request.optimizers)]
    problem = problems.resolve(request.problem, request.preset)
    budget = budget_of(request.budget, problem)
    machine = machine_of(request)
    check_tune(request.tune, request.extend)
    if not 1 <= request.tune_seeds <= tuning.MOST_SEEDS:
        raise Usage(f"--tune-seeds {request.tune_seeds}: allowed are 1 to {tuning.MOST_SEEDS}.")
    points = [
        [
            method
            for point in [*tuning.spread(entry, request.tune), *map(parse, added)]
            for method in methods(point, problem, budget, machine.device.type)
        ]
        for entry, added in zip(written, _by_optimizer(request.added, written), strict=True)
    ]
    check_effort(written, points)
    if request.extend:
        check_grids(request.tune, written, points)
    every = labelled([method for of_one in points for method in of_one])
    check_updates(every, budget)
    pairs = len(written) * (len(written) - 1) // 2
    seeds = seeds_needed(max(1, pairs), CHANCE) if request.seeds is None else request.seeds
    if not 1 <= seeds < TUNING_SEEDS_FROM:
        raise Usage(
            f"--seeds {seeds}: allowed are 1 to {TUNING_SEEDS_FROM - 1}; 6 can decide one pair."
        )
    try:
        data = problem.data(data_source(request.data_dir))
    except DataError as error:
        raise Infrastructure(str(error)) from error
    except ValueError as error:  # A network that its data do not fit.
        raise Usage(f"--problem {request.problem}: {str(error).rstrip('.')}.") from error
    check_possible(every, problem, data)
    protocol = protocol_of(problem, data, budget, request.precision)
    return Prepared(
        request, problem, data, protocol, machine, points, written, seeds, request.timed
    )


def grown(prepared: Prepared, added: Sequence[str]) -> Prepared:
    """Return the request with a point more for every optimizer."""
    request = replace(prepared.request, added=[*prepared.request.added, list(added)])
    kind, budget = prepared.machine.device.type, prepared.protocol.budget
    points = [
        [*of_one, *methods(parse(text), prepared.problem, budget, kind)]
        for of_one, text in zip(prepared.points, added, strict=True)
    ]
    return replace(prepared, request=request, points=points)


def budget_of(text: str | None, problem: Problem) -> Budget:
    """Read `currency=amount`; the problem's own budget where nothing is given."""
    if text is None:
        return Budget("gradients", problem.budget)
    currency, equals, amount = text.partition("=")
    if not equals or currency not in CURRENCIES:
        raise Usage(
            f"--budget {text}: write CURRENCY=AMOUNT, as in gradients=6e5"
            f"{nearest(currency, CURRENCIES)} Allowed: {', '.join(CURRENCIES)}."
        )
    try:
        number = float(amount)
    except ValueError:
        number = float("nan")
    whole = currency in ("updates", "examples")
    if not 0 < number < 2**53 or (whole and number != int(number)):
        kind = "positive whole number" if whole else "positive number"
        raise Usage(f"--budget {text}: the amount must be a {kind} below 2^53.")
    return Budget(currency, number)  # type: ignore[arg-type]


def machine_of(request: Request) -> Machine:
    """Choose device and threads, and set them for this process."""
    cuda = torch.cuda.is_available()
    if request.device == "cuda" and not cuda:
        raise Infrastructure(
            "--device cuda: torch finds no CUDA device here. Use --device cpu, or a machine with "
            "an NVIDIA GPU and a CUDA build of torch; `bench doctor` says what is missing."
        )
    device = "cuda" if cuda and request.device != "cpu" else "cpu"
    if request.precision == "tf32" and device != "cuda":
        raise Usage("--precision tf32 needs a CUDA device; on a CPU use fp32 or fp64.")
    threads = torch.get_num_threads() if request.threads is None else request.threads
    cores = os.cpu_count() or 1
    if request.threads is not None and not 1 <= threads <= cores:
        raise Usage(f"--threads {threads}: allowed are 1 to {cores}, this machine's cores.")
    machine = Machine(torch.device(device), threads, request.precision)  # type: ignore[arg-type]
    machine.prepare()
    return machine


def _by_optimizer(added: Sequence[Sequence[str]], written: Sequence[Written]) -> list[list[str]]:
    """Return what was added round by round, for each optimizer."""
    return [[a_round[i] for a_round in added] for i in range(len(written))]
