"""Running a fleet of planned trials in this process, and recording each as it goes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.binding import DeviceData, initial_parameters
from harness.errors import Infrastructure
from harness.fleet import Fleet, Outcome, Progress
from harness.interrupt import Interrupted
from harness.memory import Memory, is_out_of_memory
from harness.planning import Trial
from harness.records import Measurement, Status
from harness.report.files import BEFORE_TRAINING, RECONSTRUCTIONS, both_errors
from harness.report.plots import reconstructions
from harness.spec import Precision, Protocol, key_of
from harness.store.context import context, info, source_digest
from harness.store.results import Store
from harness.store.writer import Recorder
from models.problem import Data, Problem

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp64": torch.float64}
SHOWN = (("training cases", 5), ("test cases", 5))
"""In a picture of reconstructions, spread evenly over either set."""


@dataclass(frozen=True)
class Machine:
    """Where and how trials run; set once, before anything is computed."""

    device: torch.device
    threads: int
    precision: Precision
    beside: int = 0
    """How many other fleets run on it at the same time, each in a process of its own."""

    def prepare(self) -> None:
        """Set threads and the precision of matrix products for this process."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")

    def context(self, rows: int) -> dict[str, object]:
        """Return what may change a measured time."""
        return context(self.device, self.threads, self.precision, 1, rows, self.beside)

    def shared_by(self, processes: int) -> Machine:
        """Return the share of one of several processes: its threads, and how many are beside it."""
        return replace(self, threads=self.threads // processes, beside=processes - 1)


@dataclass
class Run:
    """Everything that running the fleets of a comparison needs."""

    store: Store
    comparison_id: str
    protocol: Protocol
    problem: Problem
    data: Data
    tensors: DeviceData
    machine: Machine
    interrupted: Interrupted
    say: Callable[[str], None]
    timed: bool = False

    @property
    def spool(self) -> Path:
        """Where what the store cannot take is kept."""
        return self.store.artifacts.parent / "spool"

    @cached_property
    def memory(self) -> Memory:
        """What fleets need, and what there was when it was first asked for."""
        return Memory(self.problem, self.tensors)

    def recorder(self) -> Recorder:
        """Begin to record; what is measured goes to the store from a thread of its own."""
        return Recorder(self.store, self.spool, self.say, self.comparison_id)

    def recorded(self, trial: Trial, rows: int) -> int | None:
        """Return the id of a trial on record that is as good as running this one in K `rows`."""
        found = self.store.find_reusable(
            trial.spec.key, self.source(trial), key_of(self.machine.context(rows))
        )
        if found is None or (self.timed and found.seconds_are != "alone"):
            return None
        return found.id

    def source(self, trial: Trial) -> str:
        """Return the digest of the source that a trial runs: its method's and the problem's."""
        made_by = self.problem.made_by
        parts = [type(self.problem)] if made_by is None else [type(self.problem), made_by]
        return source_digest(type(trial.candidate.method), *parts)

    def train(
        self, group: Sequence[Trial], recorder: Recorder, show: Callable[[Progress], None]
    ) -> list[int]:
        """Run one fleet, record it and return the ids of its trials, in order."""
        # What to say should memory run out, made while there is some.
        ran_out = self.memory.ran_out([trial.candidate.method for trial in group], len(group))
        fleet = self._fleet(group, ran_out)
        begun: list[int] = []
        observer = _Recording(recorder, begun, show, self.interrupted)
        about, context = info(), self.machine.context(len(group))
        try:
            for trial in group:
                begun.append(
                    self.store.begin(
                        self.comparison_id,
                        trial.spec,
                        label=trial.candidate.label,
                        purpose=trial.purpose,
                        source_digest=self.source(trial),
                        context=context,
                        info=about | _choices(trial),
                        fleet_rows=len(group),
                        seconds_are="alone" if self.timed else "shared",
                        owner=f"{socket.gethostname()}:{os.getpid()}",
                    )
                )
                recorder.open(begun[-1])
            outcomes = fleet.run(observer)
        except BaseException as error:
            by_hand = isinstance(error, KeyboardInterrupt)
            status: Status = "interrupted" if by_hand else "failed"
            full = is_out_of_memory(error)
            reason = str(ran_out) if full else repr(error)
            reason = "interrupted by a signal" if by_hand else reason
            for row, trial_id in enumerate(begun):
                recorder.end(
                    trial_id, status, reason, fleet.account.ledger(), observer.last.get(row)
                )
            if full:
                raise ran_out from error
            raise
        for row, (trial, trial_id, outcome) in enumerate(zip(group, begun, outcomes, strict=True)):
            try:
                # Before the end, at which MLflow takes a copy.
                if trial.purpose == "reported" and outcome.status != "interrupted":
                    self._picture(trial, trial_id, outcome, observer.last[row])
            except OSError as error:
                self.say(f"Trial {trial_id} has no picture: {error}. Training goes on.")
            finally:
                recorder.end(
                    trial_id, outcome.status, outcome.reason, outcome.ledger, observer.last[row]
                )
        return begun

    def _fleet(self, group: Sequence[Trial], ran_out: Infrastructure) -> Fleet:
        first, *others = (trial.candidate.method for trial in group)
        try:
            return Fleet(
                self.problem,
                self.tensors,
                first.join(others) if others else first,
                [trial.spec.seed for trial in group],
                self.protocol.budget,
                self.protocol.evaluations,
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise ran_out from error
            raise

    def _picture(self, trial: Trial, trial_id: int, outcome: Outcome, last: Measurement) -> None:
        """Keep a trial's reconstructions of some cases, before training and after.

        They are kept as numbers and as a picture.
        """
        if self.data.image_shape is None:
            return
        folder = self.store.files_of_trial(trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        sets = (self.tensors.train.inputs, self.tensors.test.inputs)
        inputs = torch.cat([each[:, _spread(each.shape[1], n)] for each, n in _counted(sets)], 1)
        seed, like = trial.spec.seed, outcome.theta
        start = initial_parameters(self.problem, [seed], like.device, like.dtype)
        with torch.no_grad():
            z = self.problem.passes().logits(torch.cat([start, like[None]]), inputs)
            shown = self.problem.outputs(z).cpu().numpy().astype(np.float32)
        before, after = shown.reshape(2, -1, *self.data.image_shape)
        np.save(folder / BEFORE_TRAINING, before)
        np.save(folder / RECONSTRUCTIONS, after)
        label = f"{trial.candidate.label} s{seed}\n{both_errors(last)}"
        rows = [("before\ntraining", before), (label, after)]
        reconstructions(self.originals(), rows, folder / "reconstructions.png", SHOWN)

    def originals(self) -> np.ndarray:
        """Return the cases that are shown as images."""
        assert self.data.image_shape is not None
        sets = (self.data.train_inputs, self.data.test_inputs)
        shown = np.concatenate([each[_spread(len(each), n)] for each, n in _counted(sets)])
        return shown.reshape(-1, *self.data.image_shape)


def label_of(group: Sequence[Trial]) -> str:
    """Return what a fleet is called while it runs: its methods and seeds."""
    labels = ", ".join(dict.fromkeys(trial.candidate.label for trial in group))
    return f"{labels} s{', '.join(str(trial.spec.seed) for trial in group)}"


class _Recording:
    """Passes a fleet's measurements on to the recorder and its progress to the bar."""

    def __init__(
        self,
        recorder: Recorder,
        trials: Sequence[int],
        show: Callable[[Progress], None],
        interrupted: Interrupted,
    ) -> None:
        self._recorder, self._trials = recorder, trials
        self._interrupted = interrupted
        self.progressed = show
        self.last: dict[int, Measurement] = {}

    def measured(self, row: int, measurement: Measurement) -> None:
        self.last[row] = measurement
        self._recorder.measure(self._trials[row], measurement)

    def stopping(self) -> bool:
        return bool(self._interrupted)


def _counted(sets: Iterable[Any]) -> list[tuple[Any, int]]:
    """Pair training and test set with how many cases of each are shown."""
    return [(each, count) for each, (_, count) in zip(sets, SHOWN, strict=True)]


def _spread(cases: int, count: int) -> list[int]:
    """Return the numbers of at most `count` cases, evenly over all."""
    return [i * cases // count for i in range(count)]


def _choices(trial: Trial) -> dict[str, object]:
    """Return what a method states of itself where implementations of it disagree."""
    choices = getattr(trial.candidate.method, "choices", None)
    return {"choices": dict(choices)} if choices else {}
