"""Running planned trials in this process, and recording each as it goes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Contract

import numpy as np
import torch

from harness.binding import DeviceData, initial_parameters
from harness.errors import Infrastructure
from harness.fleet import Fleet, Outcome, Progress
from harness.interrupt import Interrupted
from harness.planning import Trial, fleets
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

    def prepare(self) -> None:
        """Set threads and the precision of matrix products for this process."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")

    def context(self, rows: int) -> dict[str, object]:
        """Return what may change a measured time."""
        return context(self.device, self.threads, self.precision, 1, rows, 0)


class Bars(Contract):
    """Shows how fleets get on."""

    def fleet(self, label: str, number: int, total: int) -> AbstractContextManager[None]:
        """Begin the bar of a fleet."""

    def update(self, progress: Progress) -> None:
        """Move the present fleet's bar."""


class InterruptedRun(Exception):
    """A signal ended the run; everything measured until then is recorded."""


@dataclass
class Run:
    """Everything that running a set of trials needs."""

    store: Store
    comparison_id: str
    protocol: Protocol
    problem: Problem
    data: Data
    tensors: DeviceData
    machine: Machine
    interrupted: Interrupted
    bars: Bars
    say: Callable[[str], None]
    timed: bool = False
    fresh: bool = False

    def execute(self, planned: Sequence[Trial]) -> list[int]:
        """Run what is not on record yet, and return the ids of all trials, in order."""
        ids: dict[int, int] = {}
        numbers = {id(trial): number for number, trial in enumerate(planned)}
        groups: list[list[Trial]] = []
        for group in fleets(planned, self.problem, self.machine.device, self.timed):
            found = [] if self.fresh else [self._recorded(t, len(group)) for t in group]
            known = [trial_id for trial_id in found if trial_id is not None]
            if len(known) < len(group):
                # Run whole: rows of a smaller fleet would be trials in another context.
                groups.append(group)
                continue
            for trial, trial_id in zip(group, known, strict=True):
                self.store.adopt(self.comparison_id, trial_id)
                ids[numbers[id(trial)]] = trial_id
        if ids:
            self.say(
                f"{len(ids)} of {len(planned)} trials are on record, with the same key, source and "
                "context, and are reused (--fresh runs them again)."
            )
        spool = self.store.artifacts.parent / "spool"
        with Recorder(self.store, spool, self.say, self.comparison_id) as recorder:
            for index, group in enumerate(groups):
                labels = ", ".join(dict.fromkeys(t.candidate.label for t in group))
                seeds = ", ".join(str(t.spec.seed) for t in group)
                with self.bars.fleet(f"{labels} s{seeds}", index + 1, len(groups)):
                    begun = self._train(group, recorder)
                ids |= {numbers[id(t)]: trial for t, trial in zip(group, begun, strict=True)}
                if self.interrupted:
                    break
            entered = recorder.close()
        if self.interrupted:
            raise InterruptedRun
        if not entered:
            raise Infrastructure(
                f"The store {self.store.shown_url} could not take everything. What it lacks "
                f"is kept in {spool}, and the next run enters it; then the same command shows "
                "the result."
            )
        return [ids[number] for number in range(len(planned))]

    def _recorded(self, trial: Trial, rows: int) -> int | None:
        """Return the id of a trial on record that is as good as running this one in K `rows`."""
        found = self.store.find_reusable(
            trial.spec.key, self._source(trial), key_of(self.machine.context(rows))
        )
        if found is None or (self.timed and found.seconds_are != "alone"):
            return None
        return found.id

    def _source(self, trial: Trial) -> str:
        made_by = self.problem.made_by
        parts = [type(self.problem)] if made_by is None else [type(self.problem), made_by]
        return source_digest(type(trial.candidate.method), *parts)

    def _train(self, group: Sequence[Trial], recorder: Recorder) -> list[int]:
        first, *others = (trial.candidate.method for trial in group)
        method = first.join(others) if others else first
        fleet = Fleet(
            self.problem,
            self.tensors,
            method,
            [trial.spec.seed for trial in group],
            self.protocol.budget,
            self.protocol.evaluations,
        )
        begun: list[int] = []
        observer = _Recording(recorder, begun, self.bars, self.interrupted)
        about, context = info(), self.machine.context(len(group))
        try:
            for trial in group:
                begun.append(
                    self.store.begin(
                        self.comparison_id,
                        trial.spec,
                        label=trial.candidate.label,
                        purpose=trial.purpose,
                        source_digest=self._source(trial),
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
            reason = "interrupted by a signal" if by_hand else repr(error)
            for row, trial_id in enumerate(begun):
                recorder.end(
                    trial_id, status, reason, fleet.account.ledger(), observer.last.get(row)
                )
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


class _Recording:
    """Passes a fleet's measurements on to the recorder and its progress to the bar."""

    def __init__(
        self, recorder: Recorder, trials: Sequence[int], bars: Bars, interrupted: Interrupted
    ) -> None:
        self._recorder, self._trials = recorder, trials
        self._bars, self._interrupted = bars, interrupted
        self.last: dict[int, Measurement] = {}

    def measured(self, row: int, measurement: Measurement) -> None:
        self.last[row] = measurement
        self._recorder.measure(self._trials[row], measurement)

    def progressed(self, progress: Progress) -> None:
        self._bars.update(progress)

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
