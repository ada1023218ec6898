"""Running a fleet of planned trials in this process, and recording each as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import FleetRecord
from bench.harness.core.schema import Mismatch
from bench.harness.core.spec import Protocol, key_of
from bench.harness.planning.commands import trial_command
from bench.harness.planning.fleets import Trial
from bench.harness.planning.plan import FleetPlan, changed_error, trial_source, trials_digest
from bench.harness.planning.preparation import PreparedRequest
from bench.harness.store.owner import this_process
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.training.cases import DeviceData
from bench.harness.training.interrupt import InterruptFlag
from bench.harness.training.machine import Machine
from bench.harness.training.memory import MemoryModel
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
    interrupted: InterruptFlag
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
    def memory(self) -> MemoryModel:
        """What fleets need, and what there was when it was first asked for."""
        return MemoryModel(self.problem, self.tensors)

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
        return trial_source(self.problem, trial)

    def task_of(self, group: Sequence[Trial]) -> FleetPlan:
        """Return how a fleet is written down."""
        numbers = {id(method): number for number, method in enumerate(self.methods)}
        return FleetPlan(
            [
                (numbers[id(t.candidate.method)], t.candidate.label, t.spec.seed, t.purpose)
                for t in group
            ],
            self._digest(group),
            self.machine.threads,
            self.machine.other_fleets,
        )

    def task(self, fleet: FleetRecord) -> FleetPlan:
        """Read back how a fleet was written down; Infrastructure if others have changed that."""
        try:
            return FleetPlan.from_dict(fleet.task)
        except Mismatch as fault:
            raise Infrastructure(
                f"Fleet {fleet.number} of comparison {fleet.comparison_id} is not as this version "
                f"of bench writes it to a store: {fault}. Repeat the command that began the "
                "comparison; recorded trials are kept."
            ) from None

    def trials_of(self, fleet: FleetRecord) -> list[Trial]:
        """Return a fleet's trials; Infrastructure where they are not what was planned."""
        task = self.task(fleet)
        try:
            group = task.of(self.methods, self.protocol)
        except IndexError:
            raise changed_error() from None
        if self._digest(group) != task.digest:
            raise changed_error()
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

    def _digest(self, group: Sequence[Trial]) -> str:
        return trials_digest(self.problem, group)


def make_run(
    prepared: PreparedRequest,
    store: Store,
    comparison_id: str,
    interrupted: InterruptFlag,
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
        tensors=tensors or DeviceData.from_data(prepared.data, machine.device, machine.dtype),
        machine=machine,
        interrupted=interrupted,
        say=say,
        methods=prepared.methods,
        command_of=partial(trial_command, prepared),
        timed=prepared.timed,
    )


def fleet_label(task: FleetPlan) -> str:
    """Return what a fleet is called while it runs: its methods and seeds."""
    labels = ", ".join(dict.fromkeys(label for _, label, _, _ in task.trials))
    return f"{labels} s{', '.join(str(seed) for _, _, seed, _ in task.trials)}"
