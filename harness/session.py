"""One command's use of the store: opened, recorded into, mirrored to MLflow, closed in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import click

from harness.binding import DeviceData
from harness.execution import execute
from harness.interrupt import Interrupted, InterruptedRun, signals
from harness.launch import DTYPES, Run
from harness.planning import Trial
from harness.pool import Pool
from harness.progress import Bars
from harness.request import Prepared, Request, say
from harness.store.results import Store


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
            say=say,
            timed=self.request.timed,
        )

    def execute(self, run: Run, planned: Sequence[Trial]) -> list[int]:
        """Run what is not on record yet, and return the ids of all trials, in order."""
        pool = Pool(self.request, self.prepared.points)
        return execute(run, planned, Bars(), pool, self.request.fresh)

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


@contextmanager
def mirrored(request: Request) -> Iterator[None]:
    """Keep MLflow up to date beside several recordings, and complete it however they end."""
    if request.no_mlflow:
        yield
        return
    with Store.open(request.store) as store:
        mirror = _mirror(store)
        try:
            yield
        finally:
            _finish_mirror(mirror)


def _explain_interrupt(runs: Runs, request: Request) -> int:
    same = "The same command without --fresh" if request.fresh else "The same command"
    say(
        f"bench: interrupted by {runs.interrupted.name}. What was measured is recorded as "
        f"{', '.join(runs.begun)} in {runs.store.shown_url} (bench show {runs.begun[-1]}). "
        f"{same} goes on from there and runs only the trials that have not ended."
    )
    return 130


def _mirror(store: Store) -> Any:
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
