"""A comparison from request to result: tune, run, judge, write down."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import tuning
from harness.analysis.selection import best, expected_best, worst
from harness.analysis.summary import summarize
from harness.errors import Infrastructure, Usage
from harness.launch import Run
from harness.paper.published import published_value
from harness.passwords import hidden
from harness.pictures import SHOWN, shown_cases
from harness.plan import Plan, see_unchanged, versions
from harness.planning import Candidate, Purpose, Trial, labelled, trials
from harness.records import TrialRecord
from harness.report.files import write_files
from harness.request import Prepared, Request, announce, check_ranks, prepare, reproduce, say
from harness.seeds import TUNING_SEEDS_FROM
from harness.session import Runs, recording
from harness.torchrun import entered, write_for
from optim.text import split


def compare(request: Request) -> dict[str, Any] | None:
    """Run the comparison, record it and return its summary.

    None after a dry run, and where it was planned for others to run.
    """
    prepared = prepare(request)
    if request.plan is not None and len(prepared.points[0]) > 1:
        raise Usage(
            "--plan: which trials there are follows from tuning, so there is no plan before it. "
            "Tune with --nproc-per-node, or write out the hyperparameters."
        )
    check_ranks(request)
    announce(prepared)
    if request.dry_run:
        return None
    with recording(request, prepared) as runs:
        if len(prepared.points[0]) > 1:
            return _finish(runs, *_tune(runs, prepared))
        return _compare(runs)


def run_one(request: Request, seed: int) -> dict[str, Any] | None:
    """Run one method under one seed, record it and return its summary.

    None after a dry run, and where it was planned for others to run.
    """
    if not 0 <= seed < MOST_SEEDS:
        raise Usage(f"--seed {seed}: allowed are whole numbers from 0 to 2^53 - 1.")
    if len(split(request.optimizers)) != 1:
        raise Usage("`bench run` runs one optimizer; `bench compare` runs several.")
    request = replace(request, seeds=1)
    prepared = prepare(request)
    if len(prepared.points[0]) != 1:
        raise Usage("`bench run` runs one method, not a grid; `bench compare` tunes over grids.")
    check_ranks(request)
    announce(prepared, seed)
    if request.dry_run:
        return None
    with recording(request, prepared) as runs:
        return _compare(runs, seed)


def resume(plan: Plan, comparison_id: str) -> dict[str, Any] | None:
    """Go on with what was entered in the store before, where it was left, and return its summary.

    A tuning is followed by the comparison that it was for. Infrastructure where versions or data
    are not those of then, or another process is at it.
    """
    request = plan.request
    prepared = prepare(request)
    see_unchanged(plan, prepared)
    sys.argv[:] = plan.argv
    with recording(request, prepared) as runs:
        run = runs.again(comparison_id)
        if plan.kind == "tuning":
            return _finish(runs, *_tune(runs, prepared, run))
        return _finish(runs, run, plan)


MOST_SEEDS = 2**53
"""Canonical JSON has no larger whole numbers."""


@dataclass(frozen=True)
class Tuned:
    """The method of each optimizer by its number among all points, and what choosing it took."""

    chosen: list[int]
    efforts: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def nothing(cls, prepared: Prepared) -> Tuned:
        """Return the only point of each."""
        return cls(list(range(len(prepared.points))))


def _compare(runs: Runs, seed: int | None = None) -> dict[str, Any] | None:
    """Run a comparison without tuning, or the single run of a seed, or leave it to workers."""
    request = runs.request
    run, plan = _begin(runs, Tuned.nothing(runs.prepared), seed)
    if request.plan is None:
        return _finish(runs, run, plan)
    fleets = runs.enter(run, plan, _planned(runs.prepared, plan))
    path = write_for(run, plan, request.mode, Path(request.plan))
    say(entered(run, path, len(fleets), request.mode))
    return None


def _begin(runs: Runs, tuned: Tuned, seed: int | None = None) -> tuple[Run, Plan]:
    """Enter a comparison, or the single run of a seed."""
    request, prepared = runs.request, runs.prepared
    plan = Plan(
        request=request,
        kind="comparison" if seed is None else "run",
        command=reproduce(request, prepared, _candidates(prepared, tuned.chosen), seed),
        argv=list(sys.argv),
        data=prepared.protocol.data_digest,
        versions=versions(),
        seed=seed,
        chosen=tuned.chosen,
        efforts=tuned.efforts,
    )
    return runs.new(plan), plan


def _candidates(prepared: Prepared, chosen: Sequence[int]) -> list[Candidate]:
    return labelled([prepared.methods[number] for number in chosen])


def _planned(prepared: Prepared, plan: Plan) -> list[Trial]:
    candidates, protocol = _candidates(prepared, plan.chosen or []), prepared.protocol
    if plan.seed is None:
        return trials(candidates, protocol, range(prepared.seeds), "reported")
    # A trial of a tuning that is made again is no more reported than it was there.
    purpose: Purpose = "tuning" if plan.seed >= TUNING_SEEDS_FROM else "reported"
    return trials(candidates, protocol, [plan.seed], purpose)


def _finish(runs: Runs, run: Run, plan: Plan) -> dict[str, Any]:
    """Run trials, judge them, record the result and write its files."""
    prepared, unwritten = runs.prepared, None
    planned = _planned(prepared, plan)
    labels = dict.fromkeys(trial.candidate.label for trial in planned)
    efforts = dict(zip(labels, plan.efforts, strict=False))
    with runs.finishing(run) as summary:
        ids = runs.execute(run, plan, planned)
        # A trial on record bears the label that it had in the comparison it was run for; in the
        # result of a single run it is shown whatever its seed is for.
        recorded = [
            replace(run.store.trial(trial_id), method=trial.candidate.label, purpose="reported")
            for trial_id, trial in zip(ids, planned, strict=True)
        ]
        measurements = run.store.measurements(ids)
        summary |= summarize(
            comparison_id=run.comparison_id,
            protocol=prepared.protocol,
            trials=recorded,
            measurements=measurements,
            targets=prepared.problem.targets,
            margin=prepared.problem.margin,
            log_scale=prepared.problem.log_scale,
            published=published_value,
            tuning=efforts,
            reproduce=plan.command,
            contexts=run.store.contexts({trial.context_digest for trial in recorded}),
        )
        if runs.request.claim is not None:
            summary["claim"] = dict(runs.request.claim)
        folder = run.store.files_of_comparison(run.comparison_id)
        originals = shown_cases(prepared.data)
        try:
            write_files(folder, summary, recorded, measurements, originals, SHOWN, folder.parent)
        except OSError as error:
            unwritten = error
    if unwritten is not None:
        raise Infrastructure(
            f"{folder} cannot be written: {unwritten.strerror or unwritten}. The comparison is "
            f"recorded: bench show {run.comparison_id}."
        ) from unwritten
    return summary


def _tune(runs: Runs, prepared: Prepared, run: Run | None = None) -> tuple[Run, Plan]:
    """Try every point on the tuning seeds; enter the comparison of the best of each method.

    `run` is the tuning to go on with, if it was begun before.
    """
    everything = labelled(prepared.methods)
    seeds = tuning.tuning_seeds(runs.request.tune_seeds)
    planned = trials(everything, prepared.protocol, seeds, "tuning")
    say(f"Tuning: {len(planned)} trials on seeds that are not reported.")
    plan = Plan(
        request=runs.request,
        kind="tuning",
        command=shlex.join(["bench", *hidden(sys.argv[1:])]),
        argv=list(sys.argv),
        data=prepared.protocol.data_digest,
        versions=versions(),
    )
    run = run or runs.new(plan)
    with runs.finishing(run):
        records = [run.store.trial(i) for i in runs.execute(run, plan, planned)]
        # Entered before the tuning ends, so that there is always something to go on with.
        return _begin(runs, _chosen(prepared, planned, records, len(seeds), run.comparison_id))


def _chosen(
    prepared: Prepared,
    planned: Sequence[Trial],
    records: Sequence[TrialRecord],
    seeds: int,
    comparison_id: str,
) -> Tuned:
    """Return the point of each method whose worst seed is best, and say what it reached."""
    problem, chosen, efforts = prepared.problem, list[int](), list[Mapping[str, Any]]()
    for points in prepared.points:
        mine: dict[int, list[float | None]] = {number: [] for number in range(len(points))}
        for trial, record in zip(planned, records, strict=True):
            for number, method in enumerate(points):
                if trial.candidate.method is method:
                    mine[number].append(record.train_metric if record.status == "budget" else None)
        direction = problem.metric.direction
        winner = best(mine, direction)
        # Methods are told apart by what they are, not by what they are equal to.
        chosen.append(next(n for n, each in enumerate(prepared.methods) if each is points[winner]))
        efforts.append(
            {
                "trials": len(points) * seeds,
                "chosen": dict(points[winner].hyperparameters),
                "expected_best": expected_best(
                    [worst(values, direction) for values in mine.values()], direction
                ),
                "comparison": comparison_id,
            }
        )
        reached = ", ".join("diverged" if v is None else f"{v:.4g}" for v in mine[winner])
        say(f"  {Candidate(points[winner], '').spec.text}: {reached}")
    return Tuned(chosen, tuple(efforts))
