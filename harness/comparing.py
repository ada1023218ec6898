"""A comparison from request to result: tune, run, judge, write down."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from harness.folders import data_source
from harness.interrupt import Interrupted, signals
from harness.launch import DTYPES, InterruptedRun, Machine, Run
from harness.paper.published import published_value
from harness.planning import Candidate, labelled, methods, protocol_of, trials
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
        run = runs.new("comparison", command)
        planned = trials(candidates, prepared.protocol, range(prepared.seeds), "reported")
        with runs.finishing(run) as summary:
            ids = run.execute(planned)
            efforts = dict(
                zip([c.label for c in candidates], tuned.get("efforts", []), strict=False)
            )
            summary |= summarize_run(run, prepared, ids, command, efforts)
        return summary


def run_one(request: Request, seed: int) -> dict[str, Any] | None:
    """Run one method under one seed, record it and return its summary; None after a dry run."""
    if not 0 <= seed < TUNING_SEEDS_FROM:
        raise Usage(f"--seed {seed}: allowed are whole numbers from 0 to {TUNING_SEEDS_FROM - 1}.")
    if len(split(request.optimizers)) != 1:
        raise Usage("`bench run` runs one optimizer; `bench compare` runs several.")
    prepared = prepare(request)
    if len(prepared.points[0]) != 1:
        raise Usage("`bench run` runs one method, not a grid; `bench compare` tunes over grids.")
    _announce(prepared)
    if request.dry_run:
        return None
    candidates = labelled([points[0] for points in prepared.points])
    command = reproduce(request, prepared, candidates, seed)
    with recording(request, prepared) as runs:
        run = runs.new("run", command)
        with runs.finishing(run) as summary:
            ids = run.execute(trials(candidates, prepared.protocol, [seed], "reported"))
            summary |= summarize_run(run, prepared, ids, command, {})
        return summary


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
    labelled([of_one[0] for of_one in points])
    pairs = len(written) * (len(written) - 1) // 2
    seeds = seeds_needed(max(1, pairs), CHANCE) if request.seeds is None else request.seeds
    if not 1 <= seeds < TUNING_SEEDS_FROM:
        raise Usage(f"--seeds {seeds}: allowed is a number from 1 on; 6 decide one pair.")
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
    if not 0 < number < 1e18 or (currency == "updates" and number < 1):
        raise Usage(f"--budget {text}: the amount must be a positive number.")
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
    if threads < 1:
        raise Usage(f"--threads {threads}: allowed is a number from 1 on.")
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


def summarize_run(
    run: Run,
    prepared: Prepared,
    ids: Sequence[int],
    command: str,
    efforts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Judge the trials on record, in their order, and write report and pictures."""
    recorded = [run.store.trial(trial_id) for trial_id in ids]
    measurements = run.store.measurements(list(ids))
    summary = summarize(
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
    write_files(folder, summary, recorded, measurements, originals, folder.parent)
    return summary


def reproduce(
    request: Request, prepared: Prepared, candidates: Sequence[Candidate], seed: int | None = None
) -> str:
    """Return the command that makes this result again, every hyperparameter spelled out.

    With a `seed` it is that of a single run.
    """
    budget = prepared.protocol.budget
    words = [
        "bench",
        *(["compare", "--optimizers"] if seed is None else ["run", "--optimizer"]),
        ",".join(candidate.spec.text for candidate in candidates),
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


def _announce(prepared: Prepared) -> None:
    """Say what will run: problem, preset, budget, and hyperparameters that follow from it."""
    protocol, problem = prepared.protocol, prepared.problem
    say(
        f"{problem.name} / {problem.preset} on {protocol.data}: {problem.notes}; "
        f"{protocol.budget.amount:g} {protocol.budget.currency} a trial, "
        f"{prepared.seeds} seeds, {prepared.machine.device.type}, "
        f"{prepared.machine.threads} threads."
    )
    for points, written in zip(prepared.points, prepared.written, strict=True):
        if len(points) > 1:
            say(f"  {written.name}: {len(points)} points to tune over.")
            continue
        source = origin(problem.name, problem.preset, written.name)
        say(
            f"  {Candidate(points[0], '').spec.text}"
            + (f"  (tuned by: {source})" if source else "")
        )


def _check_tune(tune: str) -> None:
    if tune in ("none", "grid"):
        return
    if not tune.isdigit() or int(tune) < 2:
        raise Usage(f"--tune {tune}: allowed are none, grid, and a number from 2 on.")


def _check_effort(written: Sequence[Written], points: Sequence[Sequence[Any]]) -> None:
    counts = {entry.name: len(of_one) for entry, of_one in zip(written, points, strict=True)}
    if len({len(of_one) for of_one in points}) > 1:
        efforts = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Usage(
            f"Every method gets the same number of tuning trials; these would differ: {efforts}. "
            "Write grids of the same size, or use --tune N."
        )


def _explain_interrupt(runs: Runs, request: Request) -> int:
    say(
        f"bench: interrupted by {runs.interrupted.name}. What was measured is recorded as "
        f"{', '.join(runs.begun)} in {runs.store.shown_url} (bench show {runs.begun[-1]}). The "
        "same command goes on from there and runs only the trials that have not ended."
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
