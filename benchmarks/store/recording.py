"""What recording costs a standard run, as a share of its training time."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench import optim
from bench.harness.core.context import context
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store.mlflow.live import start_mirror
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Progress
from bench.models.deep_autoencoders import DeepAutoencoder
from bench.optim.objective import Method
from benchmarks.figures import Part, figure
from benchmarks.updates.fleets import load

SHORTENED = 10
"""The run has this fraction of its preset's budget, and all its evaluations."""
GOAL = 0.02


def measure(smoke: bool, device: torch.device) -> Part:
    """Train, record, and add up what recording took."""
    torch.set_num_threads(1)
    preset, runs, shortened = ("quick", 1, 50) if smoke else ("standard", 5, SHORTENED)
    problem, data = load(preset, device)
    budget = Budget("gradients", problem.budget / shortened)
    alone = [_run(problem, data, budget, mirrored=False) for _ in range(runs)]
    mirrored = _run(problem, data, budget, mirrored=True)
    case, training = f"{problem.name}/{preset}, nag, K = 1", "training time"
    return Part(
        "Recording",
        [
            figure(
                case,
                ("recording, in the training process", [run.recording for run in alone]),
                (training, [run.training for run in alone]),
                goal=GOAL,
            ),
            figure(
                case,
                ("the copy into MLflow, in a process of its own", [mirrored.mirror]),
                (training, [mirrored.training]),
            ),
        ],
        (
            f"The run has 1/{shortened} of the preset's budget ({budget.amount:,.0f} gradients) "
            f"and all its {problem.evaluations} evaluations, which are what is recorded: in a "
            "whole run the shares are smaller.",
            "Recording: the seconds in which the training loop hands measurements over, plus all "
            "processor time of the thread that writes them to the store (SQLite).",
            "The copy into MLflow: processor time of its process at low priority, most of it "
            "importing MLflow and making its tables in a new store, once a command.",
        ),
        ("sqlalchemy", "mlflow"),
    )


@dataclass(frozen=True)
class Run:
    """Seconds of one run."""

    training: float
    recording: float
    mirror: float


class TimedRecorder(Recorder):
    """Keeps the processor time that its thread has used."""

    thread_seconds = 0.0

    def _work(self) -> None:
        super()._work()
        self.thread_seconds = time.thread_time()


class HandOver:
    """An observer that records, and keeps the time for which training had to wait."""

    def __init__(self, recorder: Recorder, trial_id: int) -> None:
        self.recorder, self.trial_id = recorder, trial_id
        self.seconds = 0.0
        self.last: Measurement | None = None

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Hand over."""
        start = time.perf_counter()
        self.recorder.measure(self.trial_id, measurement)
        self.seconds += time.perf_counter() - start
        self.last = measurement

    def on_progress(self, progress: Progress) -> None:
        """Nothing to do."""

    def should_stop(self) -> bool:
        """Run to the end."""
        return False


def _run(problem: DeepAutoencoder, data: DeviceData, budget: Budget, mirrored: bool) -> Run:
    method = optim.resolve("nag", data.train.inputs.device.type)
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db"
        with Store.open(url) as store:
            trial_id = _begin(store, problem, method, budget, data.train.inputs.device)
            before = _children()
            mirror = start_mirror(url) if mirrored else None
            recorder = TimedRecorder(store, Path(folder) / "spool")
            with recorder:
                observer = HandOver(recorder, trial_id)
                fleet = Fleet(problem, data, method, [0], budget, problem.evaluations)
                (outcome,) = fleet.run(observer)
                start = time.perf_counter()
                recorder.end(
                    trial_id, outcome.status, outcome.reason, outcome.ledger, observer.last
                )
                handed = observer.seconds + time.perf_counter() - start
            if mirror is not None:
                mirror.stop()
            return Run(
                outcome.ledger.seconds, handed + recorder.thread_seconds, _children() - before
            )


def _begin(
    store: Store, problem: DeepAutoencoder, method: Method, budget: Budget, device: torch.device
) -> int:
    protocol = Protocol(
        problem=problem.name,
        parameters=problem.parameters,
        preset=problem.preset,
        data=problem.name,
        data_digest="",
        initialization=problem.initialization,
        objective=problem.loss.name,
        metric=problem.metric.name,
        direction=problem.metric.direction,
        budget=budget,
        precision="fp32",
        evaluations=problem.evaluations,
    )
    spec = MethodSpec(method.name, method.backend, dict(method.hyperparameters))
    return store.begin(
        store.new_comparison(protocol, "run", "bench run"),
        TrialSpec(protocol, spec, 0),
        label=method.name,
        purpose="reported",
        source_digest="",
        context=context(device, torch.get_num_threads(), "fp32", 1, 1, 0),
        info={},
        fleet_rows=1,
        seconds_are="alone",
        owner="benchmark",
    )


def _children() -> float:
    """Return the processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
