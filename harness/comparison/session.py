"""One command's use of the store: opened, recorded into, mirrored to MLflow, closed in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import click

from bench.harness.core.errors import Infrastructure
from bench.harness.core.invocation import is_program
from bench.harness.core.notices import say
from bench.harness.core.records import FleetRecord
from bench.harness.execution.pool import PoolTrainer
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run, make_run
from bench.harness.execution.torchrun import ExternalTrainer, TorchrunTrainer
from bench.harness.execution.trainer import LocalTrainer, Trainer, execute, record_fleets
from bench.harness.planning.fleets import Trial
from bench.harness.planning.plan import Plan
from bench.harness.planning.preparation import PreparedRequest
from bench.harness.planning.program import names_of
from bench.harness.planning.request import Request, is_timed
from bench.harness.store.owner import this_process
from bench.harness.store.results import Store
from bench.harness.training.cases import DeviceData
from bench.harness.training.interrupt import InterruptedRun, InterruptFlag, catch_signals


@dataclass
class Runs:
    """The store and what all runs of one command share."""

    store: Store
    prepared: PreparedRequest
    tensors: DeviceData
    interrupted: InterruptFlag
    request: Request
    mirror: Any
    begun: list[str] = field(default_factory=list)

    def new(self, plan: Plan) -> Run:
        """Enter a comparison, a tuning or a single run in the store."""
        for_workers = self.request.plan is not None
        comparison_id = self.store.new_comparison(
            self.prepared.protocol,
            plan.kind,
            plan.command,
            plan=plan.as_dict(),
            shared=for_workers and self.request.mode == "trials",
            owner=this_process(),
            status="planned" if for_workers else "running",
        )
        return self._run(comparison_id)

    def again(self, comparison_id: str) -> Run:
        """Go on with one that was entered before; Infrastructure where another process does."""
        return self._run(self.store.take_over(comparison_id, this_process()).id)

    def record_fleets(self, run: Run, plan: Plan, planned: Sequence[Trial]) -> list[FleetRecord]:
        """Enter the fleets that are to be trained by others."""
        return record_fleets(run, planned, self._trainer(plan), self.request.fresh)

    def execute(self, run: Run, plan: Plan, planned: Sequence[Trial]) -> list[int]:
        """Run what is not on record yet, and return the ids of all trials, in order."""
        return execute(run, planned, Bars(), self._trainer(plan), self.request.fresh)

    def _run(self, comparison_id: str) -> Run:
        self.begun.append(comparison_id)
        return make_run(
            self.prepared, self.store, comparison_id, self.interrupted, say, self.tensors
        )

    def _trainer(self, plan: Plan) -> Trainer:
        request = self.request
        if request.nproc_per_node is not None:
            return TorchrunTrainer(plan, request.nproc_per_node, request.mode)
        if request.mode == "data":
            return ExternalTrainer()
        on_cpu = self.prepared.machine.device.type == "cpu"
        # Another process has no object of this program.
        pooled = on_cpu and not is_timed(request) and not names_of(request)
        return PoolTrainer(request) if pooled else LocalTrainer()

    @contextmanager
    def finishing(self, run: Run) -> Iterator[dict[str, Any]]:
        """Write the end of a run down, however it ends; the dict becomes its summary."""
        summary: dict[str, Any] = {}
        try:
            yield summary
        except BaseException as error:
            signal = isinstance(error, InterruptedRun | KeyboardInterrupt)
            # If the store cannot be reached, the first error is the one to show; the next command
            # finds that this process has ended.
            with suppress(Infrastructure):
                status: Literal["failed", "interrupted"] = "interrupted" if signal else "failed"
                self.store.finish_comparison(
                    run.comparison_id, status, summary or None, this_process()
                )
            raise
        if summary:
            self.store.save_verdicts(run.comparison_id, summary["pairs"])
        self.store.finish_comparison(run.comparison_id, "done", summary or None, this_process())


class Interruption(click.exceptions.Exit):
    """A signal ended what was asked for; the message says how to go on. It ends a command."""

    def __init__(self, message: str, signal: str) -> None:
        super().__init__(130)
        self.message, self.signal = message, signal


@contextmanager
def recording(request: Request, prepared: PreparedRequest) -> Iterator[Runs]:
    """Open the store and the MLflow mirror; end both in order, whatever happens."""
    with catch_signals() as interrupted, Store.open(request.store) as store:
        for dead in store.end_dead():
            say(f"Trial {dead.id} was still marked as running; its process is gone, so it ended.")
        machine = prepared.machine
        tensors = DeviceData.from_data(prepared.data, machine.device, machine.dtype)
        # Where seconds count, nothing shares the machine: MLflow is written afterwards.
        mirror = None if request.no_mlflow or is_timed(request) else _mirror(store, request)
        runs = Runs(store, prepared, tensors, interrupted, request, mirror)
        try:
            yield runs
        except InterruptedRun:
            raise Interruption(_explained(runs, request), runs.interrupted.name) from None
        finally:
            if not request.no_mlflow:
                _finish_mirror(mirror or _mirror(store, request))


@contextmanager
def mirrored(request: Request) -> Iterator[None]:
    """Keep MLflow up to date beside several recordings, and complete it however they end."""
    if request.no_mlflow:
        yield
        return
    with Store.open(request.store) as store:
        mirror = _mirror(store, request)
        try:
            yield
        finally:
            _finish_mirror(mirror)


def _explained(runs: Runs, request: Request) -> str:
    """Say what an interrupt has left, and how to go on; it is printed where a command has asked."""
    same = "The same call" if is_program() else "The same command"
    fresh = "fresh=True" if is_program() else "--fresh"
    same += f" without {fresh}" if request.fresh else ""
    last = runs.begun[-1]
    resumes = "" if names_of(request) else f"`bench resume {last}` goes on from there. "
    sentence = (
        f"interrupted by {runs.interrupted.name}. What was measured is recorded as "
        f"{', '.join(runs.begun)} in {runs.store.redacted_url} (bench show {last}). "
        f"{resumes}{same} trains again, from the start, only the trials that have not ended."
    )
    if not is_program():
        say(f"bench: {sentence}")
    return sentence


def _mirror(store: Store, request: Request) -> Any:
    if find_spec("mlflow") is None:
        return None
    from bench.harness.store.mlflow.live import start_mirror

    return start_mirror(store.url, tracking_uri=request.tracking_uri)


def _finish_mirror(mirror: Any) -> None:
    if mirror is None:
        say("MLflow is not installed; `bench db sync` brings the results in once it is.")
        return
    ended = mirror.stop()
    if isinstance(ended, str):
        say(ended)
