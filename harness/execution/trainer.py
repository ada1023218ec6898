"""A plan carried out: what is on record is taken over, the rest is trained by whoever does that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import FleetRecord
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run, label_of
from bench.harness.planning.fleets import Trial, into_fleets
from bench.harness.planning.placement import seconds_of
from bench.harness.store.owner import this_process
from bench.harness.training.interrupt import InterruptedRun
from bench.harness.training.machine import Machine

WAIT_SECONDS = 1.0
"""Between two looks at fleets that others train."""


class Trainer(Protocol):
    """Who trains fleets: this process, several beside it, or ranks under torchrun."""

    at_once: int
    """Among how many fleets the trials are to be divided at least, if there are as many."""

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return on what part of the machine each fleet is trained."""

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Train all; say whether the store has everything. After a signal no more is begun."""


class Here:
    """Trains in this process, one fleet after the other, so that methods take turns."""

    at_once = 1

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return all of it."""
        return run.machine

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Train all in the order of the plan; say whether the store has everything."""
        with run.recorder() as recorder:
            for turn, fleet in enumerate(fleets, 1):
                with bars.fleet(label_of(run.task(fleet)), turn, len(fleets)) as show:
                    if leased := run.lease(fleet.number):
                        run.train(leased, recorder, show)
                if run.interrupted:
                    break
            return recorder.close()


def enter(run: Run, planned: Sequence[Trial], trainer: Trainer, fresh: bool) -> list[FleetRecord]:
    """Enter what is to be trained as fleets; adopt what is on record unless all is to be `fresh`.

    A comparison that was entered before keeps the fleets that it has.
    """
    if fleets := run.store.fleets(run.comparison_id):
        return fleets
    groups = into_fleets(planned, run.memory, run.timed, trainer.at_once)
    run = replace(run, machine=trainer.share(run, groups))
    missing, adopted = [], 0
    for group in groups:
        found = [] if fresh else [run.recorded(trial, len(group)) for trial in group]
        known = [trial_id for trial_id in found if trial_id is not None]
        if len(known) < len(group):
            # Trained whole: rows of a smaller fleet would be trials in another context.
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
    return run.store.enter_fleets(
        run.comparison_id,
        [
            (seconds_of(group, run.problem, run.data), run.task_of(group).as_dict())
            for group in missing
        ],
    )


def execute(
    run: Run, planned: Sequence[Trial], bars: Bars, trainer: Trainer, fresh: bool = False
) -> list[int]:
    """Train what is not on record yet, and return the ids of all trials, in order."""
    fleets = enter(run, planned, trainer, fresh)
    while True:
        waiting = [fleet for fleet in fleets if fleet.status == "planned"]
        entered = not waiting or trainer.train(run, waiting, bars)
        if run.interrupted:
            raise InterruptedRun
        if not entered:
            raise Infrastructure(
                f"The store {run.store.shown_url} could not take everything. What it lacks "
                f"is kept in {run.spool}, and the next run enters it; then `bench resume "
                f"{run.comparison_id}` shows the result."
            )
        fleets = _when_others_have_ended(run)
        for fleet in fleets:
            if fleet.status == "failed":
                raise _failed(run, fleet)
        if not any(fleet.status == "planned" for fleet in fleets):
            return _ids(run, planned)


def _when_others_have_ended(run: Run) -> list[FleetRecord]:
    """Wait for fleets that workers elsewhere have leased; those of the dead are planned again."""
    said: list[str] = []
    while True:
        run.store.end_dead()
        fleets = run.store.fleets(run.comparison_id)
        owners = {str(fleet.owner) for fleet in fleets if fleet.status == "running"}
        others = sorted(owners - {this_process()})
        if not others:
            return fleets
        if run.interrupted:
            raise InterruptedRun
        if others != said:
            said = others
            run.say(f"Waiting for fleets that are trained elsewhere: {', '.join(others)}.")
        run.store.heartbeat(this_process(), comparison_id=run.comparison_id)
        time.sleep(WAIT_SECONDS)


def _failed(run: Run, fleet: FleetRecord) -> Infrastructure:
    """Return what is to be said of a fleet that a worker elsewhere could not train."""
    reasons = [run.store.trial(trial_id).reason for trial_id in fleet.trials]
    reason = next((f": {reason}" for reason in reasons if reason), "")
    return Infrastructure(
        f"{label_of(run.task(fleet))} failed at {fleet.owner}{reason.rstrip('.')}. What was "
        f"measured is recorded; `bench resume {run.comparison_id}` trains it anew."
    )


def _ids(run: Run, planned: Sequence[Trial]) -> list[int]:
    """Return the trial of the comparison that stands for each one planned."""
    reused = run.store.comparison(run.comparison_id).reused
    ids = {
        trial.key: trial.id for trial in run.store.trials(run.comparison_id) if trial.id in reused
    }
    for fleet in run.store.fleets(run.comparison_id):
        keys = [trial.spec.key for trial in run.trials_of(fleet)]
        ids |= dict(zip(keys, fleet.trials, strict=False))
    lacking = sum(trial.spec.key not in ids for trial in planned)
    if lacking:
        raise Infrastructure(
            f"{lacking} of {len(planned)} trials of comparison {run.comparison_id} were not begun. "
            f"`bench resume {run.comparison_id}` goes on with them."
        )
    return [ids[trial.spec.key] for trial in planned]
