"""Running a fleet of planned trials in this process, and recording each as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from bench.harness.core.context import info
from bench.harness.core.errors import Infrastructure, LeaseLost
from bench.harness.core.records import Certificate, FleetRecord, Measurement, Status, TrialRecord
from bench.harness.core.spec import Protocol, key_of
from bench.harness.core.text import visible
from bench.harness.distributed.ranks import ALONE, Ranks
from bench.harness.execution.certificate import certify
from bench.harness.execution.observers import Recording, Silent
from bench.harness.execution.reconstructions import reconstruct, shown_cases
from bench.harness.planning.commands import reproduce_trial
from bench.harness.planning.fleets import Trial
from bench.harness.planning.plan import Task, changed, digest_of, source_of
from bench.harness.planning.preparation import Prepared
from bench.harness.report.files import both_errors
from bench.harness.store.owner import this_process
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.training.cases import DeviceData
from bench.harness.training.checkpoint import Checkpoints
from bench.harness.training.fleet import Fleet, Outcome, Progress
from bench.harness.training.interrupt import Interrupted
from bench.harness.training.machine import Machine
from bench.harness.training.memory import Memory, is_out_of_memory
from bench.models.problem import Data, Problem


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
    methods: Sequence[Any]
    """All that the request has, in order: a plan names them by number."""
    command_of: Callable[[Trial], str]
    """The command that makes a trial again."""
    timed: bool = False

    @property
    def spool(self) -> Path:
        """Where what the store cannot take is kept."""
        return self.store.artifacts.parent / "spool"

    @property
    def checkpoints(self) -> Path:
        """Where fleets keep their state."""
        return self.store.artifacts.parent / "checkpoints"

    @cached_property
    def memory(self) -> Memory:
        """What fleets need, and what there was when it was first asked for."""
        return Memory(self.problem, self.tensors)

    def recorder(self) -> Recorder:
        """Begin to record; what is measured goes to the store from a thread of its own."""
        return Recorder(self.store, self.spool, self.say, self.comparison_id, owner=this_process())

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
        return source_of(self.problem, trial)

    def task_of(self, group: Sequence[Trial]) -> Task:
        """Return how a fleet is written down."""
        numbers = {id(method): number for number, method in enumerate(self.methods)}
        return Task(
            [
                (numbers[id(t.candidate.method)], t.candidate.label, t.spec.seed, t.purpose)
                for t in group
            ],
            self._digest(group),
            self.machine.threads,
            self.machine.beside,
        )

    def task(self, fleet: FleetRecord) -> Task:
        """Read back how a fleet was written down."""
        return Task.from_dict(fleet.task)

    def trials_of(self, fleet: FleetRecord) -> list[Trial]:
        """Return a fleet's trials; Infrastructure where they are not what was planned."""
        task = self.task(fleet)
        try:
            group = task.of(self.methods, self.protocol)
        except IndexError:
            raise changed() from None
        if self._digest(group) != task.digest:
            raise changed()
        return group

    def lease(self, number: int | None = None) -> FleetRecord | None:
        """Lease the fleet of this number, or the longest that waits; None where there is none."""
        owner, id = this_process(), self.comparison_id
        found = self.store.lease(owner, id, number)
        if found is None:
            # One whose process has died may be free, too.
            self.store.end_dead()
            found = self.store.lease(owner, id, number)
        return found

    def train(
        self,
        leased: FleetRecord,
        recorder: Recorder,
        show: Callable[[Progress], None],
        ranks: Ranks = ALONE,
    ) -> None:
        """Train a fleet that this process has leased, and record it.

        It goes on from its last checkpoint where it has one, as the same trials. Of several
        `ranks` this is the first; the others `follow`.
        """
        task = self.task(leased)
        machine = replace(self.machine, threads=task.threads, beside=task.beside, ranks=ranks.size)
        machine.prepare()
        name = f"{self.comparison_id}-{leased.number:04d}"
        kept = Checkpoints(self.checkpoints, name, {"trials": task.digest}, self.say)
        begun: list[int] = []
        observer = Recording(recorder, leased.id, begun, kept, show, self.interrupted)
        try:
            group = self.trials_of(leased)
            # What to say should memory run out, made while there is some.
            ran_out = self.memory.ran_out([t.candidate.method for t in group], len(group))
            context = machine.context(len(group))
            before = [self.store.trial(trial_id) for trial_id in leased.trials]
            if len(before) == len(group) and all(map(_ended_by_itself, before)):
                self._end(leased, "ended", kept)
                ranks.first(None)
                return
            again = all(self._goes_on(trial, context) for trial in before)
            if not again:
                # A state of an earlier attempt is not one of the next.
                kept.clear()
            fleet = self._fleet(group, ranks, ran_out)
            saved = kept.read() if again and len(before) == len(group) else None
            if before and again and saved is None and any(trial.ledger.updates for trial in before):
                self.say(
                    f"There is no state of fleet {name} in {self.checkpoints}, so it is trained "
                    "from the start, as the same trials."
                )
            state = saved and saved["fleet"]
            ranks.first({"state": state})
            if state:
                fleet.load_state_dict(state)
        except BaseException as error:
            # Nothing of it was begun.
            wrong = isinstance(error, Exception) and not isinstance(error, Infrastructure)
            wrong = wrong and not is_out_of_memory(error)
            self._end(leased, "failed" if wrong else "planned", kept)
            raise
        status: Status
        try:
            recorder.hold(leased.id)
            for row, trial in enumerate(group):
                found = before[row] if again and row < len(before) else None
                measured = int(state["measured"]) if state else 0
                certificate = partial(self._certificate, trial, fleet, row)
                begun.append(self._begin(leased, row, trial, context, certificate, found, measured))
                recorder.open(begun[-1])
            observer.repeat(saved["measurements"] if saved else [])
            outcomes = fleet.run(observer, observer)
        except BaseException as error:
            if recorder.lost(leased.id):
                recorder.release(leased.id)
                raise self._taken(leased) from error
            # What somebody or something else has ended can be gone on with.
            resumable = isinstance(error, KeyboardInterrupt | Infrastructure)
            status = "interrupted" if resumable else "failed"
            full = is_out_of_memory(error)
            reason = str(ran_out) if full else str(error) if resumable else repr(error)
            reason = "interrupted by a signal" if isinstance(error, KeyboardInterrupt) else reason
            for row, trial_id in enumerate(begun):
                recorder.end(
                    trial_id, status, reason, fleet.account.ledger(), observer.last.get(row)
                )
            recorder.settle()
            recorder.release(leased.id)
            self._end(leased, "planned" if resumable else "failed", kept)
            if full:
                raise ran_out from error
            raise
        if recorder.lost(leased.id):
            recorder.release(leased.id)
            raise self._taken(leased)
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
        # What is on its way to the store is there, or on disk, before the state is thrown away.
        recorder.settle()
        recorder.release(leased.id)
        unfinished = any(outcome.status == "interrupted" for outcome in outcomes)
        self._end(leased, "planned" if unfinished else "ended", kept)

    def _fleet(self, group: Sequence[Trial], ranks: Ranks, ran_out: Infrastructure) -> Fleet:
        try:
            return fleet_of(self.problem, self.tensors, self.protocol, group, ranks)
        except Exception as error:
            if is_out_of_memory(error):
                raise ran_out from error
            raise

    def _begin(
        self,
        leased: FleetRecord,
        row: int,
        trial: Trial,
        context: dict[str, object],
        certificate: Callable[[], Certificate],
        found: TrialRecord | None,
        measured: int,
    ) -> int:
        """Go on with a row's trial that was begun before, or begin its next attempt.

        What was measured after the state from which it goes on, which has so many measurements,
        is measured again. It is the same where bits are promised, and forgotten elsewhere.
        """
        owner = this_process()
        if found is not None:
            reopened = self.store.reopen(found.id, owner, {"owner": owner})
            if not reopened and not _ended_by_itself(found):
                raise Infrastructure(f"Trial {found.id} is being trained by another process.")
            exact = self.machine.device.type == "cpu" and self.protocol.budget.currency != "seconds"
            if reopened and not exact:
                self.store.forget(found.id, measured)
            return found.id
        return self.store.begin(
            self.comparison_id,
            trial.spec,
            label=trial.candidate.label,
            purpose=trial.purpose,
            source_digest=self.source(trial),
            context=context,
            info={**info(), **_choices(trial)},
            fleet_rows=int(str(context["fleet_rows"])),
            seconds_are="alone" if self.timed else "shared",
            owner=owner,
            fleet=(leased.id, row),
            certificate=certificate(),
        )

    def _certificate(self, trial: Trial, fleet: Fleet, row: int) -> Certificate:
        """Certify a trial that begins; one that goes on may have lost its row by now."""
        return certify(self.problem, trial, fleet.theta[row], self.command_of(trial))

    def _goes_on(self, trial: TrialRecord, context: dict[str, object]) -> bool:
        """Say whether a trial may be gone on with here: its bits and its seconds are the same.

        Infrastructure where it was begun on another number of ranks.
        """
        if trial.status == "failed":
            return False
        theirs = self.store.context_of(trial.context_digest)
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
        if changed and not _ended_by_itself(trial):
            self.say(
                f"Trial {trial.id} was begun with another {', '.join(changed)}, so it begins anew, "
                "as another attempt."
            )
        return not changed or _ended_by_itself(trial)

    def _end(
        self,
        leased: FleetRecord,
        status: Literal["planned", "ended", "failed"],
        kept: Checkpoints,
    ) -> None:
        # Where the store is away the lease runs out, and the trials say how it ended.
        with suppress(Infrastructure):
            mine = self.store.end_fleet(leased.id, this_process(), status)
            if mine and status != "planned":
                kept.clear()

    def _taken(self, leased: FleetRecord) -> LeaseLost:
        return LeaseLost(
            f"Nothing was heard of this process for a minute, so its lease of fleet "
            f"{leased.number} of comparison {self.comparison_id} has ended, and it is left to "
            "whoever has it now."
        )

    def _picture(self, trial: Trial, trial_id: int, outcome: Outcome, last: Measurement) -> None:
        originals, seed = shown_cases(self.data), trial.spec.seed
        if originals is not None:
            label = f"{visible(trial.candidate.label)} s{seed}\n{both_errors(last)}"
            folder = self.store.files_of_trial(trial_id)
            reconstruct(self.problem, self.tensors, originals, seed, outcome.theta, label, folder)

    def _digest(self, group: Sequence[Trial]) -> str:
        return digest_of(self.problem, group)


def run_of(
    prepared: Prepared,
    store: Store,
    comparison_id: str,
    interrupted: Interrupted,
    say: Callable[[str], None],
    tensors: DeviceData | None = None,
) -> Run:
    """Return what running a comparison's fleets needs; the data is put on the device once."""
    machine = prepared.machine
    return Run(
        store=store,
        comparison_id=comparison_id,
        protocol=prepared.protocol,
        problem=prepared.problem,
        data=prepared.data,
        tensors=tensors or DeviceData.put(prepared.data, machine.device, machine.dtype),
        machine=machine,
        interrupted=interrupted,
        say=say,
        methods=prepared.methods,
        command_of=partial(reproduce_trial, prepared),
        timed=prepared.timed,
    )


def fleet_of(
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


def follow(
    task: Task,
    prepared: Prepared,
    tensors: DeviceData,
    ranks: Ranks,
    interrupted: Interrupted,
) -> None:
    """Train a fleet beside the rank that records it."""
    replace(prepared.machine, threads=task.threads).prepare()
    group = task.of(prepared.methods, prepared.protocol)
    fleet = fleet_of(prepared.problem, tensors, prepared.protocol, group, ranks)
    order: dict[str, Any] | None = ranks.first(None)
    if order is None:
        return
    if order["state"]:
        fleet.load_state_dict(order["state"])
    fleet.run(Silent(interrupted))


def label_of(task: Task) -> str:
    """Return what a fleet is called while it runs: its methods and seeds."""
    labels = ", ".join(dict.fromkeys(label for _, label, _, _ in task.trials))
    return f"{labels} s{', '.join(str(seed) for _, _, seed, _ in task.trials)}"


def _ended_by_itself(trial: TrialRecord) -> bool:
    return trial.status in ("budget", "diverged")


def _choices(trial: Trial) -> dict[str, object]:
    """Return what a method states of itself where implementations of it disagree."""
    choices = getattr(trial.candidate.method, "choices", None)
    return {"choices": dict(choices)} if choices else {}
