"""Preparation: find and check everything a request needs, before anything is run or written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.harness.analysis.judged import judged_metric
from bench.harness.analysis.statistics import seeds_needed
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.paths import data_source
from bench.harness.core.seeds import FIRST_TUNING_SEED
from bench.harness.core.spec import CURRENCIES, Budget, Protocol
from bench.harness.core.store_url import parse_store_url
from bench.harness.planning import problems, tuning
from bench.harness.planning.fleets import label_methods, make_methods, make_protocol
from bench.harness.planning.request import Request, is_timed
from bench.harness.planning.validation import (
    check_compatibility,
    check_effort,
    check_grids,
    check_layout,
    check_network,
    check_tune,
    check_updates,
)
from bench.harness.training.machine import Machine
from bench.models.problem import Data, DataError, Problem
from bench.optim.hyperparameters import nearest
from bench.optim.plugins import short
from bench.optim.text import ParsedEntry, parse, split

CHANCE = 0.05


@dataclass
class PreparedRequest:
    """A request with its problem, data, protocol, machine and the methods to run."""

    request: Request
    problem: Problem
    data: Data
    protocol: Protocol
    machine: Machine
    points: list[list[Any]]
    """The methods of each optimizer on the list: one method, or one for each tuning point."""
    written: list[ParsedEntry]
    seeds: int
    timed: bool

    @property
    def methods(self) -> list[Any]:
        """All points of all optimizers, in order."""
        return [method for of_one in self.points for method in of_one]


def prepare(request: Request) -> PreparedRequest:
    """Prepare a request; check everything that can be checked before anything is run or written.

    Raises Usage for a request that cannot be met, and Infrastructure for missing data or devices.
    """
    parse_store_url(request.store)
    written = [parse(text) for text in split(request.optimizers)]
    problem = problems.resolve(request.problem, request.preset)
    budget = parse_budget(request.budget, problem)
    machine = select_machine(request)
    check_tune(request.tune, request.extend)
    if not 1 <= request.tune_seeds <= tuning.MAX_SEEDS:
        raise Usage(f"--tune-seeds {request.tune_seeds}: allowed are 1 to {tuning.MAX_SEEDS}.")
    points = [
        [
            method
            for point in [*tuning.tuning_points(entry, request.tune), *map(parse, added)]
            for method in make_methods(point, problem, budget, machine.device.type)
        ]
        for entry, added in zip(written, _by_optimizer(request.added, written), strict=True)
    ]
    check_effort(written, points)
    if request.extend:
        check_grids(request.tune, written, points)
    every = label_methods([method for of_one in points for method in of_one])
    check_updates(every, budget)
    pairs = len(written) * (len(written) - 1) // 2
    seeds = seeds_needed(max(1, pairs), CHANCE) if request.seeds is None else request.seeds
    if not 1 <= seeds < FIRST_TUNING_SEED:
        raise Usage(
            f"--seeds {seeds}: allowed are 1 to {FIRST_TUNING_SEED - 1}; one pair needs at least 6 "
            "for a verdict."
        )
    try:
        data = problem.data(data_source(request.data_dir))
    except DataError as error:
        raise Infrastructure(str(error)) from error
    except ValueError as error:  # The data do not fit the network.
        raise Usage(f"--problem {request.problem}: {str(error).rstrip('.')}.") from error
    except Exception as error:  # Somebody's own code may raise anything.
        raise Usage(
            f"--problem {request.problem}: its data() raised {short(error).rstrip('.')}."
        ) from error
    check_network(request.problem, every, problem, data, machine.dtype)
    check_compatibility(every, problem, data)
    check_layout(every, problem, budget)
    protocol = make_protocol(problem, data, budget, request.precision)
    if judged_metric(protocol, request.metric).split == "test" and not len(data.test_inputs):
        raise Usage(f"--metric {request.metric}: {problem.name} has no test cases.")
    return PreparedRequest(
        request, problem, data, protocol, machine, points, written, seeds, is_timed(request)
    )


def with_new_points(prepared: PreparedRequest, added: Sequence[str]) -> PreparedRequest:
    """Return the prepared request with one more point for every optimizer."""
    request = replace(prepared.request, added=[*prepared.request.added, list(added)])
    kind, budget = prepared.machine.device.type, prepared.protocol.budget
    points = [
        [*of_one, *make_methods(parse(text), prepared.problem, budget, kind)]
        for of_one, text in zip(prepared.points, added, strict=True)
    ]
    return replace(prepared, request=request, points=points)


def parse_budget(text: str | None, problem: Problem) -> Budget:
    """Read `currency=amount`; None gives the problem's own budget."""
    if text is None:
        return Budget("gradients", problem.budget)
    return read_budget(text)


def read_budget(text: str, option: str = "--budget") -> Budget:
    """Read `currency=amount`; raise Usage, naming the option, for anything else."""
    currency, equals, amount = text.partition("=")
    if not equals or currency not in CURRENCIES:
        raise Usage(
            f"{option} {text}: give CURRENCY=AMOUNT, for example gradients=6e5"
            f"{nearest(currency, CURRENCIES)} Allowed: {', '.join(CURRENCIES)}."
        )
    try:
        number = float(amount)
    except ValueError:
        number = float("nan")
    whole = currency in ("updates", "examples")
    if not 0 < number < 2**53 or (whole and number != int(number)):
        kind = "positive whole number" if whole else "positive number"
        raise Usage(f"{option} {text}: the amount must be a {kind} below 2^53.")
    return Budget(currency, number)  # type: ignore[arg-type]


def select_machine(request: Request) -> Machine:
    """Choose the device and the threads, and set them for this process."""
    cuda = torch.cuda.is_available()
    if request.device == "cuda" and not cuda:
        raise Infrastructure(
            "--device cuda: torch finds no CUDA device here. Use --device cpu, or a machine with "
            "an NVIDIA GPU and a CUDA build of torch; `bench doctor` shows what is missing."
        )
    device = "cuda" if cuda and request.device != "cpu" else "cpu"
    if request.precision == "tf32" and device != "cuda":
        raise Usage("--precision tf32 needs a CUDA device. On a CPU, use fp32 or fp64.")
    threads = torch.get_num_threads() if request.threads is None else request.threads
    cores = os.cpu_count() or 1
    if request.threads is not None and not 1 <= threads <= cores:
        raise Usage(f"--threads {threads}: allowed are 1 to {cores}, the cores of this machine.")
    machine = Machine(torch.device(device), threads, request.precision)  # type: ignore[arg-type]
    machine.prepare()
    return machine


def _by_optimizer(
    added: Sequence[Sequence[str]], written: Sequence[ParsedEntry]
) -> list[list[str]]:
    """Regroup the points added in each round by optimizer."""
    return [[a_round[i] for a_round in added] for i in range(len(written))]
