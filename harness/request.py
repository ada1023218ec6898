"""What was asked for on the command line, made concrete before anything is run or written."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import click
import torch

from harness import problems, tuning
from harness.analysis.statistics import seeds_needed
from harness.defaults import origin, tuned
from harness.errors import Infrastructure, Usage
from harness.folders import data_source
from harness.machine import Machine
from harness.planning import Candidate, Trial, labelled, methods, protocol_of
from harness.refusing import (
    check_effort,
    check_grids,
    check_possible,
    check_tune,
    check_updates,
)
from harness.seeds import TUNING_SEEDS_FROM
from harness.spec import CURRENCIES, Budget, Protocol, with_parameters
from harness.store.opening import read_url
from harness.texts import shortened, visible
from models.problem import Data, DataError, Problem
from optim.hyperparameters import nearest
from optim.text import Written, parse, split

CHANCE = 0.05
Mode = Literal["trials", "data"]
"""Whether ranks train a fleet each, or all of them one fleet after another, together."""


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line, as written there."""

    optimizers: str
    problem: str
    preset: str
    seeds: int | None
    tune: str
    budget: str | None
    precision: str
    timed: bool
    fresh: bool
    dry_run: bool
    device: str
    threads: int | None
    data_dir: str | None
    store: str
    no_mlflow: bool
    nproc_per_node: int | None = None
    mode: Mode = "trials"
    plan: str | None = None
    tune_seeds: int = 2
    extend: bool = False
    """Whether grids grow while the best value is at their edge."""
    added: list[list[str]] = field(default_factory=list)
    """What they have grown by: a point of every optimizer a round."""
    claim: Mapping[str, Any] | None = None
    """The rule that a comparison is part of: claim, version and digest, kept with its result."""
    tracking_uri: str | None = None
    """The MLflow that results are copied to; None: the one in the store's own database."""


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


def reproduce(
    request: Request, prepared: Prepared, candidates: Sequence[Candidate], seed: int | None = None
) -> str:
    """Return the command that makes this result again, every hyperparameter spelled out.

    With a `seed` it is that of a single run.
    """
    texts = ",".join(
        text_of(candidate, written)
        for candidate, written in zip(candidates, prepared.written, strict=True)
    )
    if seed is not None:
        return _command(request, prepared, ["run", "--optimizer", texts, "--seed", str(seed)])
    what = ["compare", "--optimizers", texts, "--seeds", str(prepared.seeds)]
    return _command(request, prepared, what)


def reproduce_trial(prepared: Prepared, trial: Trial) -> str:
    """Return the command that makes one trial again, alone."""
    method, request = trial.candidate.method, prepared.request
    written = next(
        entry
        for entry, points in zip(prepared.written, prepared.points, strict=True)
        if any(point is method for point in points)
    )
    # Who trained it does not matter, but how many ranks took part in each of its updates does.
    nproc = request.nproc_per_node if request.mode == "data" else None
    mode: Mode = "trials" if nproc is None else "data"
    alone = replace(request, nproc_per_node=nproc, mode=mode, plan=None)
    text, seed = text_of(trial.candidate, written), str(trial.spec.seed)
    return _command(alone, prepared, ["run", "--optimizer", text, "--seed", seed])


def text_of(candidate: Candidate, written: Written) -> str:
    """Return the text that makes a candidate again, every hyperparameter spelled out."""
    # A class of one's own is found by where it is, not by what it is called in tables.
    return replace(candidate.spec, name=written.name).text


def _command(request: Request, prepared: Prepared, what: Sequence[str]) -> str:
    budget, nproc = prepared.protocol.budget, request.nproc_per_node
    in_variable = request.data_dir == os.environ.get("BENCH_DATA_DIR")
    words = [
        "bench",
        *what[:3],
        "--problem",
        request.problem,
        "--preset",
        request.preset,
        *what[3:],
        "--budget",
        budget.text,
        "--precision",
        request.precision,
        *(["--timed"] if request.timed else []),
        *([] if request.device == "auto" else ["--device", request.device]),
        *([] if request.threads is None else ["--threads", str(request.threads)]),
        *([] if nproc is None else ["--nproc-per-node", str(nproc)]),
        *(["--mode", "data"] if request.mode == "data" else []),
        *([] if request.plan is None else ["--plan", request.plan]),
        *([] if request.data_dir is None or in_variable else ["--data-dir", request.data_dir]),
    ]
    return shlex.join(words)


def announce(prepared: Prepared, seed: int | None = None) -> None:
    """Say what will run: problem, preset, budget, and hyperparameters that follow from it."""
    protocol, problem, machine = prepared.protocol, prepared.problem, prepared.machine
    parts = [
        f"{protocol.budget.amount:,.12g} {protocol.budget.currency} a trial",
        _count(prepared.seeds, "seed") if seed is None else f"seed {seed}",
        machine.device.type,
        _count(machine.threads, "thread"),
    ]
    notes = f": {problem.notes}" if problem.notes else ""
    name = with_parameters(problem.name, problem.parameters)
    say(f"{name} / {problem.preset} on {protocol.data}{notes}; {', '.join(parts)}.")
    for points, written in zip(prepared.points, prepared.written, strict=True):
        if len(points) > 1:
            say(f"  {written.name}: {len(points)} points to tune over.")
            continue
        source = _origin(problem, written.name, points[0].hyperparameters)
        text = shortened(visible(Candidate(points[0], "").spec.text), 400)
        say(f"  {text}" + (f"  ({source})" if source else ""))


def _origin(problem: Problem, method: str, used: Mapping[str, Any]) -> str | None:
    """Say where the defaults come from, unless others were written in their place."""
    values = tuned(problem.name, problem.preset, method)
    if any(used.get(key) != value for key, value in values.items()):
        return None
    return origin(problem.name, problem.preset, method)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def say(sentence: str) -> None:
    """Tell the person something that is not the result."""
    click.echo(visible(sentence, but="\n"), err=True)


def _by_optimizer(added: Sequence[Sequence[str]], written: Sequence[Written]) -> list[list[str]]:
    """Return what was added round by round, for each optimizer."""
    return [[a_round[i] for a_round in added] for i in range(len(written))]
