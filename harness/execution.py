"""A plan carried out: what is on record is taken over, the rest is run here or over processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.errors import Infrastructure
from harness.interrupt import InterruptedRun
from harness.launch import Run, label_of
from harness.planning import Trial, into_fleets
from harness.pool import Pool
from harness.progress import Bars
from harness.spreading import processes, seconds_of


def execute(
    run: Run, planned: Sequence[Trial], bars: Bars, pool: Pool | None = None, fresh: bool = False
) -> list[int]:
    """Run what is not on record yet, and return the ids of all trials, in order.

    Fleets on a CPU go over the processes of `pool` where that pays. The plan decides whether it
    does, not what is left of it: what is on record is found where the threads are the same.
    """
    groups = into_fleets(planned, run.memory, run.timed)
    spread = pool is not None and run.machine.device.type == "cpu" and not run.timed
    if spread:
        seconds = [seconds_of(group, run.problem, run.data) for group in groups]
        needs = [run.memory.need([t.candidate.method for t in g], len(g)) for g in groups]
        shares = min(processes(seconds, run.machine.threads), run.memory.side_by_side(needs))
        run = replace(run, machine=run.machine.shared_by(shares))
    ids: dict[int, int] = {}
    missing: list[list[Trial]] = []
    for group in groups:
        found = [] if fresh else [run.recorded(t, len(group)) for t in group]
        known = [trial_id for trial_id in found if trial_id is not None]
        if len(known) < len(group):
            # Run whole: rows of a smaller fleet would be trials in another context.
            missing.append(group)
            continue
        for trial, trial_id in zip(group, known, strict=True):
            run.store.adopt(run.comparison_id, trial_id)
            ids[id(trial)] = trial_id
    if ids:
        run.say(
            f"{len(ids)} of {len(planned)} trials are on record, with the same key, source and "
            "context, and are reused (--fresh runs them again)."
        )
    if pool is not None and run.machine.beside:
        # The longest first, so that the processes end together.
        missing.sort(key=lambda group: -seconds_of(group, run.problem, run.data))
        begun, entered = pool.train(run, missing, bars)
    else:
        begun, entered = _train_here(run, missing, bars)
    if run.interrupted:
        raise InterruptedRun
    if not entered:
        raise Infrastructure(
            f"The store {run.store.shown_url} could not take everything. What it lacks "
            f"is kept in {run.spool}, and the next run enters it; then the same command shows "
            "the result."
        )
    for group, trial_ids in zip(missing, begun, strict=True):
        ids |= {id(trial): trial_id for trial, trial_id in zip(group, trial_ids, strict=True)}
    return [ids[id(trial)] for trial in planned]


def _train_here(
    run: Run, groups: Sequence[Sequence[Trial]], bars: Bars
) -> tuple[list[list[int]], bool]:
    """Train one fleet after the other; return their trials, and whether the store has it all."""
    begun: list[list[int]] = []
    with run.recorder() as recorder:
        for group in groups:
            with bars.fleet(label_of(group), len(begun) + 1, len(groups)) as show:
                begun.append(run.train(group, recorder, show))
            if run.interrupted:
                break
        return begun, recorder.close()
