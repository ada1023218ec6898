"""A comparison from request to result: tune, run, judge, write down."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import click
import torch

from harness import problems, tuning
from harness.analysis.selection import best, expected_best, score
from harness.analysis.statistics import seeds_needed
from harness.analysis.summary import summarize
from harness.binding import DeviceData
from harness.defaults import origin
from harness.errors import Infrastructure, Usage
from harness.fleet import updates_of
from harness.folders import data_source
from harness.interrupt import Interrupted, signals
from harness.launch import DTYPES, InterruptedRun, Machine, Run
from harness.paper.published import published_value
from harness.planning import Candidate, Trial, labelled, methods, protocol_of, trials
from harness.progress import Bars
from harness.report.files import write_files
from harness.seeds import TUNING_SEEDS_FROM
from harness.spec import CURRENCIES, Budget, Protocol
from harness.store.results import Store
from models.problem import Data, DataError, Problem
from optim.hyperparameters import nearest
from optim.text import Written, parse, split

CHANCE = 0.05


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


@dataclass
class Prepared:
    """The request made concrete: problem, data, protocol, machine, and points to try."""

    problem: Problem
    data: Data
    protocol: Protocol
    machine: Machine
    points: list[list[Any]]
    """The methods of each optimizer on the list: one, or one a tuning point."""
    written: list[Written]
    seeds: int


def compare(request: Request) -> dict[str, Any] | None:
    """Run the comparison, record it and return its summary; None after a dry run."""
    prepared = prepare(request)
    _announce(prepared)
    if request.dry_run:
        return None
    with recording(request, prepared) as runs:
        tuned = _tune(runs, prepared) if len(prepared.points[0]) > 1 else {}
        chosen = tuned.get("chosen") or [points[0] for points in prepared.points]
        candidates = labelled(chosen)
        command = reproduce(request, prepared, candidates)
        planned = trials(candidates, prepared.protocol, range(prepared.seeds), "reported")
        efforts = dict(zip([c.label for c in candidates], tuned.get("efforts", []), strict=False))
        return _run(runs, "comparison", planned, command, efforts)


def run_one(request: Request, seed: int) -> dict[str, Any] | None:
    """Run one method under one seed, record it and return its summary; None after a dry run."""
    if not 0 <= seed < TUNING_SEEDS_FROM:
        raise Usage(f"--seed {seed}: allowed are whole numbers from 0 to {TUNING_SEEDS_FROM - 1}.")
    if len(split(request.optimizers)) != 1:
        raise Usage("`bench run` runs one optimizer; `bench compare` runs several.")
    prepared = prepare(replace(request, seeds=1))
    if len(prepared.points[0]) != 1:
        raise Usage("`bench run` runs one method, not a grid; `bench compare` tunes over grids.")
    _announce(prepared, seed)
    if request.dry_run:
        return None
    candidates = labelled([points[0] for points in prepared.points])
    command = reproduce(request, prepared, candidates, seed)
    with recording(request, prepared) as runs:
        planned = trials(candidates, prepared.protocol, [seed], "reported")
        return _run(runs, "run", planned, command, {})


def prepare(request: Request) -> Prepared:
    """Check everything that can be checked before anything is run or written."""
    written = [parse(text) for text in split(request.optimizers)]
    problem = problems.resolve(request.problem, request.preset)
    budget = budget_of(request.budget, problem)
    machine = machine_of(request)
    _check_tune(request.tune)
    points = [
        [
            method
            for point in tuning.spread(entry, request.tune)
            for method in methods(point, problem, budget, machine.device.type)
        ]
        for entry in written
    ]
    _check_effort(written, points)
    every = labelled([method for of_one in points for method in of_one])
    _check_updates(every, budget)
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
    protocol = protocol_of(problem, data, budget, request.precision)
    return Prepared(problem, data, protocol, machine, points, written, seeds)


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


@dataclass
class Runs:
    """The store and what all runs of one command share."""

    store: Store
    prepared: Prepared
    tensors: DeviceData
    interrupted: Interrupted
    request: Request
    mirror: Any
    begun: list[str] = field(default_factory=list)

    def new(self, kind: Literal["comparison", "run", "tuning"], command: str) -> Run:
        """Begin a comparison, a tuning or a single run in the store."""
        comparison_id = self.store.new_comparison(self.prepared.protocol, kind, command)
        self.begun.append(comparison_id)
        return Run(
            store=self.store,
            comparison_id=comparison_id,
            protocol=self.prepared.protocol,
            problem=self.prepared.problem,
            data=self.prepared.data,
            tensors=self.tensors,
            machine=self.prepared.machine,
            interrupted=self.interrupted,
            bars=Bars(),
            say=say,
            timed=self.request.timed,
            fresh=self.request.fresh,
        )

    @contextmanager
    def finishing(self, run: Run) -> Iterator[dict[str, Any]]:
        """Write the end of a run down, however it ends; the dict becomes its summary."""
        summary: dict[str, Any] = {}
        status: Literal["done", "failed", "interrupted"] = "failed"
        try:
            yield summary
            status = "done"
        except (InterruptedRun, KeyboardInterrupt):
            status = "interrupted"
            raise
        finally:
            if status == "done" and summary:
                self.store.save_verdicts(run.comparison_id, summary["pairs"])
            self.store.finish_comparison(run.comparison_id, status, summary or None)


@contextmanager
def recording(request: Request, prepared: Prepared) -> Iterator[Runs]:
    """Open the store and the MLflow mirror; end both in order, whatever happens."""
    with signals() as interrupted, Store.open(request.store) as store:
        for dead in store.end_dead():
            say(f"Trial {dead.id} was still marked as running; its process is gone, so it ended.")
        tensors = DeviceData.put(prepared.data, prepared.machine.device, DTYPES[request.precision])
        # A timed comparison shares the machine with nothing: MLflow is written afterwards.
        mirror = None if request.no_mlflow or request.timed else _mirror(store)
        runs = Runs(store, prepared, tensors, interrupted, request, mirror)
        try:
            yield runs
        except InterruptedRun:
            raise click.exceptions.Exit(_explain_interrupt(runs, request)) from None
        finally:
            if not request.no_mlflow:
                _finish_mirror(mirror or _mirror(store))


def _run(
    runs: Runs,
    kind: Literal["comparison", "run"],
    planned: Sequence[Trial],
    command: str,
    efforts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Run trials, judge them, record the result and write its files."""
    run = runs.new(kind, command)
    prepared, unwritten = runs.prepared, None
    with runs.finishing(run) as summary:
        ids = run.execute(planned)
        # A trial on record bears the label that it had in the comparison it was run for.
        recorded = [
            replace(run.store.trial(trial_id), method=trial.candidate.label)
            for trial_id, trial in zip(ids, planned, strict=True)
        ]
        measurements = run.store.measurements(ids)
        summary |= summarize(
            comparison_id=run.comparison_id,
            protocol=prepared.protocol,
            trials=recorded,
            measurements=measurements,
            targets=prepared.problem.targets,
            margin=prepared.problem.margin,
            log_scale=prepared.problem.log_scale,
            published=published_value,
            tuning=efforts,
            reproduce=command,
        )
        folder = run.store.files_of_comparison(run.comparison_id)
        originals = run.originals() if prepared.data.image_shape else None
        try:
            write_files(folder, summary, recorded, measurements, originals, folder.parent)
        except OSError as error:
            unwritten = error
    if unwritten is not None:
        raise Infrastructure(
            f"{folder} cannot be written: {unwritten.strerror or unwritten}. The comparison is "
            f"recorded: bench show {run.comparison_id}."
        ) from unwritten
    return summary


def reproduce(
    request: Request, prepared: Prepared, candidates: Sequence[Candidate], seed: int | None = None
) -> str:
    """Return the command that makes this result again, every hyperparameter spelled out.

    With a `seed` it is that of a single run.
    """
    budget = prepared.protocol.budget
    # A class of one's own is found by where it is, not by what it is called in tables.
    texts = [
        replace(candidate.spec, name=written.name).text
        for candidate, written in zip(candidates, prepared.written, strict=True)
    ]
    in_variable = request.data_dir == os.environ.get("BENCH_DATA_DIR")
    words = [
        "bench",
        *(["compare", "--optimizers"] if seed is None else ["run", "--optimizer"]),
        ",".join(texts),
        "--problem",
        request.problem,
        "--preset",
        request.preset,
        *(["--seeds", str(prepared.seeds)] if seed is None else ["--seed", str(seed)]),
        "--budget",
        f"{budget.currency}={budget.amount:.12g}",
        "--precision",
        request.precision,
        *(["--timed"] if request.timed else []),
        *([] if request.device == "auto" else ["--device", request.device]),
        *([] if request.threads is None else ["--threads", str(request.threads)]),
        *([] if request.data_dir is None or in_variable else ["--data-dir", request.data_dir]),
    ]
    return shlex.join(words)


def say(sentence: str) -> None:
    """Tell the person something that is not the result."""
    click.echo(sentence, err=True)


def _tune(runs: Runs, prepared: Prepared) -> dict[str, Any]:
    """Try every point on the tuning seeds; return the best of each method and the effort."""
    everything = labelled([method for points in prepared.points for method in points])
    planned = trials(everything, prepared.protocol, tuning.TUNING_SEEDS, "tuning")
    say(f"Tuning: {len(planned)} trials on seeds that are not reported.")
    run = runs.new("tuning", shlex.join(["bench", *sys.argv[1:]]))
    with runs.finishing(run):
        ids = run.execute(planned)
    values = {i: runs.store.trial(i) for i in ids}
    problem, chosen, efforts = prepared.problem, [], []
    for points in prepared.points:
        mine: dict[int, list[float | None]] = {number: [] for number in range(len(points))}
        for trial, trial_id in zip(planned, ids, strict=True):
            for number, method in enumerate(points):
                if trial.candidate.method is method:
                    record = values[trial_id]
                    mine[number].append(record.train_metric if record.status == "budget" else None)
        direction = problem.metric.direction
        winner = best(mine, direction, log_scale=problem.log_scale)
        chosen.append(points[winner])
        efforts.append(
            {
                "trials": len(points) * len(tuning.TUNING_SEEDS),
                "chosen": dict(points[winner].hyperparameters),
                "expected_best": expected_best(
                    [score(v, problem.log_scale) for v in mine.values()], direction
                ),
                "comparison": run.comparison_id,
            }
        )
        reached = ", ".join("diverged" if v is None else f"{v:.4g}" for v in mine[winner])
        say(f"  {Candidate(points[winner], '').spec.text}: {reached}")
    return {"chosen": chosen, "efforts": efforts}


def _announce(prepared: Prepared, seed: int | None = None) -> None:
    """Say what will run: problem, preset, budget, and hyperparameters that follow from it."""
    protocol, problem, machine = prepared.protocol, prepared.problem, prepared.machine
    parts = [
        f"{protocol.budget.amount:,.12g} {protocol.budget.currency} a trial",
        _count(prepared.seeds, "seed") if seed is None else f"seed {seed}",
        machine.device.type,
        _count(machine.threads, "thread"),
    ]
    notes = f": {problem.notes}" if problem.notes else ""
    say(f"{problem.name} / {problem.preset} on {protocol.data}{notes}; {', '.join(parts)}.")
    for points, written in zip(prepared.points, prepared.written, strict=True):
        if len(points) > 1:
            say(f"  {written.name}: {len(points)} points to tune over.")
            continue
        source = origin(problem.name, problem.preset, written.name)
        say(
            f"  {Candidate(points[0], '').spec.text}"
            + (f"  (tuned by: {source})" if source else "")
        )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _check_tune(tune: str) -> None:
    if tune in ("none", "grid"):
        return
    if not tune.isdecimal() or not 2 <= int(tune) <= tuning.MOST_POINTS:
        raise Usage(
            f"--tune {tune}: allowed are none, grid, and a number from 2 to {tuning.MOST_POINTS}."
        )


def _check_effort(written: Sequence[Written], points: Sequence[Sequence[Any]]) -> None:
    if len({len(of_one) for of_one in points}) > 1:
        efforts = ", ".join(
            f"{entry.name} {len(of_one)}" for entry, of_one in zip(written, points, strict=True)
        )
        raise Usage(
            f"Every method gets the same number of tuning trials; these would differ: {efforts}. "
            "Write grids of the same size, or use --tune N."
        )


def _check_updates(candidates: Sequence[Candidate], budget: Budget) -> None:
    for candidate in candidates:
        if updates_of(candidate.method, budget) == 0:
            raise Usage(
                f"--budget {budget.currency}={budget.amount:g} does not pay for one update of "
                f"{candidate.label}, which costs {candidate.method.cost_of_a_step:g}: "
                "give more, or a smaller batch."
            )


def _explain_interrupt(runs: Runs, request: Request) -> int:
    same = "The same command without --fresh" if request.fresh else "The same command"
    say(
        f"bench: interrupted by {runs.interrupted.name}. What was measured is recorded as "
        f"{', '.join(runs.begun)} in {runs.store.shown_url} (bench show {runs.begun[-1]}). "
        f"{same} goes on from there and runs only the trials that have not ended."
    )
    return 130


def _mirror(store: Store) -> Any:
    from importlib.util import find_spec

    if find_spec("mlflow") is None:
        return None
    from harness.store.mlflow_live import start_mirror

    return start_mirror(store.url)


def _finish_mirror(mirror: Any) -> None:
    if mirror is None:
        say("MLflow is not installed; `bench db sync` brings the results in once it is.")
        return
    ended = mirror.stop()
    if isinstance(ended, str):
        say(ended)
