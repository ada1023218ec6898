"""Execution of a plan: recorded trials are reused, and a trainer trains the others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import FleetRecord
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run, fleet_label
from bench.harness.planning.fleets import Trial, group_into_fleets
from bench.harness.planning.placement import estimated_seconds
from bench.harness.store.owner import this_process
from bench.harness.training.interrupt import InterruptedRun
from bench.harness.training.machine import Machine

POLL_SECONDS = 1.0
"""Seconds between two checks of fleets that other processes train."""


class Trainer(Protocol):
    """Trains fleets: in this process, in several processes, or on ranks of torchrun."""

    min_fleets: int
    """The smallest number of fleets into which the trials are divided, if there are enough."""

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return the part of the machine on which each fleet is trained."""

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Train all fleets; return whether all results are in the store.

        After a signal no further fleet is started.
        """


class LocalTrainer:
    """Trains the fleets in this process, one after the other."""

    min_fleets = 1

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return the whole machine."""
        return run.machine

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Train the fleets in the order of the plan; return whether all results are stored."""
        with run.recorder() as recorder:
            for turn, fleet in enumerate(fleets, 1):
                with bars.fleet(fleet_label(run.task(fleet)), turn, len(fleets)) as show:
                    if leased := run.lease(fleet.number):
                        LeasedFleet(run, leased, recorder, show).train()
                if run.interrupted:
                    break
            return recorder.close()


def record_fleets(
    run: Run, planned: Sequence[Trial], trainer: Trainer, fresh: bool
) -> list[FleetRecord]:
    """Record the fleets that must be trained, and adopt recorded trials unless `fresh`.

    A comparison that has fleets in the store keeps them.
    """
    if fleets := run.store.fleets(run.comparison_id):
        if run.timed and any(len(run.task(fleet).trials) > 1 for fleet in fleets):
            raise Infrastructure(
                f"Comparison {run.comparison_id} was planned by an earlier version of bench: its "
                "trials would share the seconds of their budget. Repeat the command that began it."
            )
        return fleets
    groups = group_into_fleets(planned, run.memory, run.timed, trainer.min_fleets)
    run = replace(run, machine=trainer.share(run, groups))
    missing, adopted = [], 0
    for group in groups:
        found = [] if fresh else [run.recorded(trial, len(group)) for trial in group]
        known = [trial_id for trial_id in found if trial_id is not None]
        if len(known) < len(group):
            # The whole fleet is trained: a smaller one would change the context of its trials.
            missing.append(group)
            continue
        for trial_id in known:
            run.store.adopt(run.comparison_id, trial_id)
        adopted += len(known)
    if adopted:
        run.say(
            f"{adopted} of {len(planned)} trials are on record, with the same key, source and "
            "context, and are reused (--fresh runs them again)."
        )
    return run.store.add_fleets(
        run.comparison_id,
        [
            (estimated_seconds(group, run.problem, run.data), run.task_of(group).as_dict())
            for group in missing
        ],
    )


def execute(
    run: Run, planned: Sequence[Trial], bars: Bars, trainer: Trainer, fresh: bool = False
) -> list[int]:
    """Train all trials that are not recorded yet; return the ids of all trials in their order.

    Raises InterruptedRun after a signal, and Infrastructure if a fleet failed or if results could
    not be written to the store.
    """
    fleets = record_fleets(run, planned, trainer, fresh)
    while True:
        waiting = [fleet for fleet in fleets if fleet.status == "planned"]
        stored = not waiting or trainer.train(run, waiting, bars)
        if run.interrupted:
            raise InterruptedRun
        if not stored:
            raise Infrastructure(
                f"Some results could not be written to the store {run.store.redacted_url}. They "
                f"are in {run.spool}, and the next run writes them; then `bench resume "
                f"{run.comparison_id}` shows the result."
            )
        fleets = _wait_for_other_processes(run)
        for fleet in fleets:
            if fleet.status == "failed":
                raise _fleet_error(run, fleet)
        if not any(fleet.status == "planned" for fleet in fleets):
            return _ids(run, planned)


def _wait_for_other_processes(run: Run) -> list[FleetRecord]:
    """Wait for fleets that other processes have leased; those of dead processes become free."""
    reported: list[str] = []
    while True:
        run.store.end_dead()
        fleets = run.store.fleets(run.comparison_id)
        owners = {str(fleet.owner) for fleet in fleets if fleet.status == "running"}
        others = sorted(owners - {this_process()})
        if not others:
            return fleets
        if run.interrupted:
            raise InterruptedRun
        if others != reported:
            reported = others
            run.say(f"Waiting for fleets that other processes train: {', '.join(others)}.")
        run.store.heartbeat(this_process(), comparison_id=run.comparison_id)
        time.sleep(POLL_SECONDS)


def _fleet_error(run: Run, fleet: FleetRecord) -> Infrastructure:
    """Return the error for a fleet that failed in another process."""
    reasons = [run.store.trial(trial_id).reason for trial_id in fleet.trials]
    reason = next((f": {reason}" for reason in reasons if reason), "")
    return Infrastructure(
        f"{fleet_label(run.task(fleet))} failed at {fleet.owner}{reason.rstrip('.')}. The "
        f"measurements are recorded; `bench resume {run.comparison_id}` trains it again."
    )


def _ids(run: Run, planned: Sequence[Trial]) -> list[int]:
    """Return the id of the recorded trial for each planned trial."""
    reused = run.store.comparison(run.comparison_id).reused
    ids = {
        trial.key: trial.id for trial in run.store.trials(run.comparison_id) if trial.id in reused
    }
    for fleet in run.store.fleets(run.comparison_id):
        keys = [trial.spec.key for trial in run.trials_of(fleet)]
        ids |= dict(zip(keys, fleet.trials, strict=False))
    missing = sum(trial.spec.key not in ids for trial in planned)
    if missing:
        id = run.comparison_id
        raise Infrastructure(
            f"{missing} of {len(planned)} trials of comparison {id} were not started. "
            f"`bench resume {id}` goes on with them."
        )
    return [ids[trial.spec.key] for trial in planned]
