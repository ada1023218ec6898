"""A fleet that this process has leased: resumed or begun, trained, ended, recorded throughout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from bench.harness.core.context import info
from bench.harness.core.errors import BenchError, Infrastructure, LeaseLost
from bench.harness.core.records import Certificate, FleetRecord, Measurement, Status, TrialRecord
from bench.harness.core.schema import Mismatch
from bench.harness.core.spec import Protocol, key_of
from bench.harness.core.text import visible
from bench.harness.distributed.ranks import SINGLE_PROCESS, Ranks
from bench.harness.execution.certificate import certify
from bench.harness.execution.observers import RecordingObserver, SilentObserver
from bench.harness.execution.reconstructions import reconstruct, shown_cases
from bench.harness.execution.run import Run
from bench.harness.planning.fleets import Trial
from bench.harness.planning.plan import FleetPlan, uncovered
from bench.harness.planning.preparation import PreparedRequest
from bench.harness.report.files import both_errors
from bench.harness.store.owner import this_process
from bench.harness.store.recorder import Recorder
from bench.harness.training.anytime import anytime_updates
from bench.harness.training.cases import DeviceData
from bench.harness.training.checkpoint import Checkpoints
from bench.harness.training.fleet import Fleet, Outcome, Progress
from bench.harness.training.interrupt import InterruptFlag
from bench.harness.training.memory import is_out_of_memory
from bench.harness.training.saved_state import check_saved
from bench.models.problem import Problem
from bench.optim.hyperparameters import UsageError


class LeasedFleet:
    """A fleet that this process has leased, from its last checkpoint to its end.

    It continues from its last checkpoint where it has one, as the same trials. Of several
    `ranks` this is the first; the others `train_without_recording`.
    """

    def __init__(
        self,
        run: Run,
        lease: FleetRecord,
        recorder: Recorder,
        show: Callable[[Progress], None],
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self._run, self._lease, self._recorder, self._ranks = run, lease, recorder, ranks
        task = run.task(lease)
        self._machine = replace(
            run.machine, threads=task.threads, other_fleets=task.beside, ranks=ranks.size
        )
        self._machine.prepare()
        self._name = f"{run.comparison_id}-{lease.number:04d}"
        self._checkpoints = Checkpoints(
            run.checkpoints, self._name, {"trials": task.digest}, run.say
        )
        self._ids: list[int] = []
        """The trials by row, as far as they were entered."""
        self._observer = RecordingObserver(
            recorder, lease.id, self._ids, self._checkpoints, show, run.interrupted
        )
        self._trials: list[Trial] = []
        self._records: list[TrialRecord] = []
        """What an earlier lease recorded of the same trials; empty where they begin here."""
        self._state: dict[str, Any] | None = None
        """The checkpoint that the fleet continues from."""

    def train(self) -> None:
        """Resume or begin the fleet, train it, and end it."""
        fleet = self._resume_or_begin()
        if fleet is not None:
            self._end(self._train(fleet))

    def _resume_or_begin(self) -> Fleet | None:
        """Return the fleet at its last checkpoint, or at its start; None where it has ended."""
        run, lease = self._run, self._lease
        try:
            self._trials = run.trials_of(lease)
            # What to say should memory run out, made while there is some.
            methods = [trial.candidate.method for trial in self._trials]
            self._out_of_memory = run.memory.out_of_memory_error(methods, len(methods))
            self._context = self._machine.context(len(methods))
            records = [run.store.trial(trial_id) for trial_id in lease.trials]
            complete = len(records) == len(methods)
            if complete and all(map(_has_result, records)):
                self._release("ended")
                self._ranks.broadcast(None)
                return None
            same = all(self._continues(trial) for trial in records)
            if not same:
                # A state of an earlier attempt is not one of the next.
                self._checkpoints.clear()
            self._records = records if same else []
            fleet = self._at_checkpoint() if same and complete else self._fleet()
            if self._state is None and any(trial.ledger.updates for trial in self._records):
                run.say(
                    f"There is no state of fleet {self._name} in {run.checkpoints}, so it is "
                    "trained from the start, as the same trials."
                )
            state = self._state and self._state["fleet"]
            self._ranks.broadcast({"state": state})
            return fleet
        except BaseException as error:
            # No trial of it has begun.
            wrong = isinstance(error, Exception) and not isinstance(error, Infrastructure)
            wrong = wrong and not is_out_of_memory(error)
            self._release("failed" if wrong else "planned")
            raise

    def _at_checkpoint(self) -> Fleet:
        """Return the fleet at its newest usable checkpoint, which becomes `_state`."""
        fleet = self._fleet()

        def load(state: dict[str, Any]) -> None:
            nonlocal fleet
            check_saved(state, len(self._trials))
            try:
                fleet.load_state_dict(state["fleet"])
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                # A part of it may have been loaded.
                fleet = self._fleet()
                why = error if isinstance(error, Mismatch) else f"{type(error).__name__}: {error}"
                raise Mismatch(f"its method cannot continue from it ({why})") from error

        self._state = self._checkpoints.read(load)
        return fleet

    def _train(self, fleet: Fleet) -> list[Outcome]:
        """Train to the end of the budget, or record why that was not possible."""
        recorder, lease, state = self._recorder, self._lease, self._state
        begun = fleet.account.updates
        try:
            recorder.hold(lease.id)
            measured = int(state["fleet"]["measured"]) if state else 0
            for row in range(len(self._trials)):
                self._ids.append(self._open(row, fleet, measured))
                recorder.open(self._ids[-1])
            self._observer.repeat(state["measurements"] if state else [])
            outcomes = fleet.run(self._observer, self._observer)
        except BaseException as error:
            if recorder.lost(lease.id):
                recorder.release(lease.id)
                raise self._lease_lost() from error
            if state and fleet.account.updates == begun and _is_fault(error):
                # What a method keeps from its first step on, only its next step can judge.
                told = self._state_unusable(error)
                self._record_failure(fleet, told)
                self._checkpoints.clear()
                raise told from error
            self._record_failure(fleet, error)
            if is_out_of_memory(error):
                raise self._out_of_memory from error
            raise
        if recorder.lost(lease.id):
            recorder.release(lease.id)
            raise self._lease_lost()
        return outcomes

    def _end(self, outcomes: Sequence[Outcome]) -> None:
        """Record how each trial ended, and give the lease back."""
        recorder, rows = self._recorder, zip(self._trials, self._ids, outcomes, strict=True)
        for row, (trial, trial_id, outcome) in enumerate(rows):
            last = self._observer.last[row]
            try:
                # Before the end, at which MLflow takes a copy.
                if trial.purpose == "reported" and outcome.status != "interrupted":
                    self._draw(trial, trial_id, outcome, last)
            except OSError as error:
                self._run.say(f"Trial {trial_id} has no picture: {error}. Training goes on.")
            finally:
                recorder.end(trial_id, outcome.status, outcome.reason, outcome.ledger, last)
        # What is on its way to the store is there, or on disk, before the state is thrown away.
        recorder.flush()
        recorder.release(self._lease.id)
        unfinished = any(outcome.status == "interrupted" for outcome in outcomes)
        self._release("planned" if unfinished else "ended")

    def _record_failure(self, fleet: Fleet, error: BaseException) -> None:
        """Record the trials that an error ended, and give the lease back."""
        # What somebody or something else has ended can be resumed.
        resumable = isinstance(error, KeyboardInterrupt | Infrastructure)
        status: Status = "interrupted" if resumable else "failed"
        told = isinstance(error, BenchError | UsageError)
        reason = str(error) if told or resumable else repr(error)
        if is_out_of_memory(error):
            reason = str(self._out_of_memory)
        if isinstance(error, KeyboardInterrupt):
            reason = "interrupted by a signal"
        for row, trial_id in enumerate(self._ids):
            self._recorder.end(
                trial_id, status, reason, fleet.account.ledger(), self._observer.last.get(row)
            )
        self._recorder.flush()
        self._recorder.release(self._lease.id)
        self._release("planned" if resumable else "failed")

    def _fleet(self) -> Fleet:
        run = self._run
        try:
            return make_fleet(run.problem, run.tensors, run.protocol, self._trials, self._ranks)
        except Exception as error:
            if is_out_of_memory(error):
                raise self._out_of_memory from error
            raise

    def _open(self, row: int, fleet: Fleet, measured: int) -> int:
        """Reopen the trial of a row that began before, or begin its next attempt; return its id.

        `measured` is the number of measurements in the state from which it continues. Later ones
        are measured again: the same on a CPU, where bits are promised; elsewhere the store
        forgets the old ones.
        """
        run, trial, owner = self._run, self._trials[row], this_process()
        if row < len(self._records):
            record = self._records[row]
            reopened = run.store.reopen(record.id, owner, {"owner": owner})
            if not reopened and not _has_result(record):
                raise Infrastructure(f"Trial {record.id} is being trained by another process.")
            exact = run.machine.device.type == "cpu" and run.protocol.budget.currency != "seconds"
            if reopened and not exact:
                run.store.delete_measurements(record.id, measured)
            return record.id
        return run.store.begin(
            run.comparison_id,
            trial.spec,
            label=trial.candidate.label,
            purpose=trial.purpose,
            source_digest=run.source(trial),
            context=self._context,
            info={**info(), **_choices(trial), **self._sources(trial)},
            fleet_rows=int(str(self._context["fleet_rows"])),
            seconds_are="alone" if run.timed else "shared",
            owner=owner,
            fleet=(self._lease.id, row),
            certificate=self._certificate(trial, fleet, row),
            anytime_updates=anytime_updates(trial.candidate.method, fleet.updates),
        )

    def _sources(self, trial: Trial) -> dict[str, Any]:
        found = uncovered(self._run.problem, trial.candidate.method)
        return {"not in the source's digest": found} if found else {}

    def _certificate(self, trial: Trial, fleet: Fleet, row: int) -> Certificate:
        """Certify a trial that begins; one that continues may have lost its row by now."""
        return certify(self._run.problem, trial, fleet.theta[row], self._run.command_of(trial))

    def _continues(self, trial: TrialRecord) -> bool:
        """Say whether a trial may continue here: its bits and its seconds are the same.

        Infrastructure where it began on another number of ranks.
        """
        if trial.status == "failed":
            return False
        theirs, context = self._run.store.context_of(trial.context_digest), self._context
        if theirs["world_size"] != context["world_size"]:
            raise Infrastructure(
                f"Trial {trial.id} was begun as one fleet over {theirs['world_size']} ranks, and "
                f"here are {context['world_size']}: sums of other parts round differently, so its "
                "results would change on the way. Resume it with as many ranks, or run the "
                "command that began it with --fresh."
            )
        # Who runs beside it changes neither; what an earlier version did not record says nothing.
        names = [name for name in context if name in theirs and name != "fleets_beside"]
        changed = [name for name in names if key_of(theirs[name]) != key_of(context[name])]
        if changed and not _has_result(trial):
            self._run.say(
                f"Trial {trial.id} was begun with another {', '.join(changed)}, so it begins anew, "
                "as another attempt."
            )
        return not changed or _has_result(trial)

    def _release(self, status: Literal["planned", "ended", "failed"]) -> None:
        """Give the lease back, and throw the state away unless the fleet is to be resumed."""
        # Where the store is away the lease runs out, and the trials say how it ended.
        with suppress(Infrastructure):
            mine = self._run.store.end_fleet(self._lease.id, this_process(), status)
            if mine and status != "planned":
                self._checkpoints.clear()

    def _state_unusable(self, error: BaseException) -> Infrastructure:
        return Infrastructure(
            f"Fleet {self._name} cannot continue from its checkpoint: its first update ended in "
            f"{type(error).__name__}: {error}. The checkpoint is removed. Resume it, or run its "
            "command again, and it is trained from the start."
        )

    def _lease_lost(self) -> LeaseLost:
        return LeaseLost(
            f"Nothing was heard of this process for a minute, so its lease of fleet "
            f"{self._lease.number} of comparison {self._run.comparison_id} has ended, and it is "
            "left to whoever has it now."
        )

    def _draw(self, trial: Trial, trial_id: int, outcome: Outcome, last: Measurement) -> None:
        run = self._run
        originals, seed = shown_cases(run.data), trial.spec.seed
        if originals is not None:
            label = f"{visible(trial.candidate.label)} s{seed}\n{both_errors(last)}"
            folder = run.store.files_of_trial(trial_id)
            reconstruct(run.problem, run.tensors, originals, seed, outcome.theta, label, folder)


def _is_fault(error: BaseException) -> bool:
    """Say whether an error is none that bench explains, nor one of memory or an interrupt."""
    told = isinstance(error, BenchError | UsageError) or is_out_of_memory(error)
    return isinstance(error, Exception) and not told


def train_without_recording(
    task: FleetPlan,
    prepared: PreparedRequest,
    tensors: DeviceData,
    ranks: Ranks,
    interrupted: InterruptFlag,
) -> None:
    """Train a fleet beside the rank that records it."""
    replace(prepared.machine, threads=task.threads).prepare()
    group = task.of(prepared.methods, prepared.protocol)
    fleet = make_fleet(prepared.problem, tensors, prepared.protocol, group, ranks)
    order: dict[str, Any] | None = ranks.broadcast(None)
    if order is None:
        return
    if order["state"]:
        fleet.load_state_dict(order["state"])
    fleet.run(SilentObserver(interrupted))


def make_fleet(
    problem: Problem,
    tensors: DeviceData,
    protocol: Protocol,
    group: Sequence[Trial],
    ranks: Ranks,
) -> Fleet:
    """Return the fleet of some trials, ready to be trained from the start."""
    first, *others = (trial.candidate.method for trial in group)
    return Fleet(
        problem,
        tensors,
        first.join(others) if others else first,
        [trial.spec.seed for trial in group],
        protocol.budget,
        protocol.evaluations,
        ranks=ranks,
    )


def _has_result(trial: TrialRecord) -> bool:
    return trial.status in ("budget", "diverged")


def _choices(trial: Trial) -> dict[str, object]:
    """Return what a method states of itself where implementations of it disagree."""
    choices = getattr(trial.candidate.method, "choices", None)
    return {"choices": dict(choices)} if choices else {}
