"""A comparison from request to result: tune, run, judge, write down."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from bench.harness.analysis.summary import summarize
from bench.harness.comparison.anytime import with_anytime_updates
from bench.harness.comparison.files import write_files
from bench.harness.comparison.method_laws import law_notes
from bench.harness.comparison.mlflow_runs import completed
from bench.harness.comparison.session import Runs, recording
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.invocation import argv, is_program, recorded_as
from bench.harness.core.notices import say
from bench.harness.core.published import published_value
from bench.harness.core.secrets import redacted_words
from bench.harness.core.seeds import FIRST_TUNING_SEED
from bench.harness.execution.reconstructions import CASE_COUNTS, shown_cases
from bench.harness.execution.run import Run
from bench.harness.execution.torchrun import instructions, write_plan_file
from bench.harness.planning import tuning
from bench.harness.planning.announcement import announce
from bench.harness.planning.commands import reproduce, written
from bench.harness.planning.fleets import Candidate, Purpose, Trial, label_methods, make_trials
from bench.harness.planning.grid_extension import MAX_ROUNDS, NewPoint, next_round
from bench.harness.planning.plan import (
    Plan,
    changed_error,
    check_unchanged,
    source_notes,
    versions,
)
from bench.harness.planning.preparation import PreparedRequest, prepare, with_new_points
from bench.harness.planning.program import check_reachable, notes
from bench.harness.planning.request import Request
from bench.harness.planning.selection import TuningResult
from bench.harness.planning.validation import check_ranks
from bench.harness.report.table import with_sentences
from bench.optim.text import split


def compare(request: Request) -> dict[str, Any] | None:
    """Run the comparison, record it and return its summary.

    None after a dry run, and where it was planned for others to run.
    """
    prepared = checked(request)
    announce(prepared)
    if request.dry_run:
        return None
    with recording(request, prepared) as runs:
        if len(prepared.points[0]) > 1:
            summary: dict[str, Any] | None = _finish(*_tune(runs, *_begin_tuning(runs)))
        else:
            summary = _compare(runs)
    return completed(request, summary)


def checked(request: Request) -> PreparedRequest:
    """Prepare a comparison; raise Usage, before anything is run, for one that cannot be run."""
    prepared = prepare(request)
    if request.plan is not None and len(prepared.points[0]) > 1:
        raise Usage(
            "--plan: which trials there are follows from tuning, so there is no plan before it. "
            "Tune with --nproc-per-node, or write out the hyperparameters."
        )
    check_reachable(request)
    check_ranks(request)
    return prepared


def run_one(request: Request, seed: int) -> dict[str, Any] | None:
    """Run one method under one seed, record it and return its summary.

    None after a dry run, and where it was planned for others to run.
    """
    if not 0 <= seed < MAX_SEEDS:
        raise Usage(f"--seed {seed}: allowed are whole numbers from 0 to 2^53 - 1.")
    if len(split(request.optimizers)) != 1:
        raise Usage("`bench run` runs one optimizer; `bench compare` runs several.")
    request = replace(request, seeds=1)
    prepared = prepare(request)
    if len(prepared.points[0]) != 1:
        raise Usage("`bench run` runs one method, not a grid; `bench compare` tunes over grids.")
    check_reachable(request)
    check_ranks(request)
    announce(prepared, seed)
    if request.dry_run:
        return None
    with recording(request, prepared) as runs:
        summary = _compare(runs, seed)
    return completed(request, summary)


def resume(plan: Plan, comparison_id: str) -> dict[str, Any] | None:
    """Go on with what was entered in the store before, where it was left, and return its summary.

    A tuning is followed by the comparison that it was for. Infrastructure where versions or data
    are not those of then, or another process is at it.
    """
    request = plan.request
    prepared = prepare(request)
    check_unchanged(plan, prepared)
    with recorded_as(plan.argv), recording(request, prepared) as runs:
        run = runs.again(comparison_id)
        if plan.kind == "tuning":
            summary = _finish(*_tune(runs, run, plan))
        else:
            summary = _finish(runs, run, plan)
    return completed(request, summary)


MAX_SEEDS = 2**53
"""Canonical JSON has no larger whole numbers."""


@dataclass(frozen=True)
class Tuned:
    """The method of each optimizer by its number among all points, and what choosing it took."""

    chosen: list[int]
    efforts: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def nothing(cls, prepared: PreparedRequest) -> Tuned:
        """Return the only point of each."""
        return cls(list(range(len(prepared.points))))


def _compare(runs: Runs, seed: int | None = None) -> dict[str, Any] | None:
    """Run a comparison without tuning, or the single run of a seed, or leave it to workers."""
    request = runs.request
    run, plan = _begin(runs, Tuned.nothing(runs.prepared), seed)
    if request.plan is None:
        return _finish(runs, run, plan)
    fleets = runs.record_fleets(run, plan, _planned(runs.prepared, plan))
    path = write_plan_file(run, plan, request.mode, Path(request.plan))
    say(instructions(run, path, len(fleets), request.mode))
    return None


def _begin(runs: Runs, tuned: Tuned, seed: int | None = None) -> tuple[Run, Plan]:
    """Enter a comparison, or the single run of a seed."""
    request, prepared = runs.request, runs.prepared
    plan = Plan(
        request=request,
        kind="comparison" if seed is None else "run",
        command=reproduce(request, prepared, _candidates(prepared, tuned.chosen), seed),
        argv=argv(),
        data=prepared.protocol.data_digest,
        versions=versions(),
        seed=seed,
        chosen=tuned.chosen,
        efforts=tuned.efforts,
    )
    return runs.new(plan), plan


def _candidates(prepared: PreparedRequest, chosen: Sequence[int]) -> list[Candidate]:
    return label_methods([prepared.methods[number] for number in chosen])


def _planned(prepared: PreparedRequest, plan: Plan) -> list[Trial]:
    try:
        candidates = _candidates(prepared, plan.chosen or [])
    except IndexError:
        raise changed_error() from None
    protocol = prepared.protocol
    if plan.seed is None:
        return make_trials(candidates, protocol, range(prepared.seeds), "reported")
    # A trial of a tuning that is made again is no more reported than it was there.
    purpose: Purpose = "tuning" if plan.seed >= FIRST_TUNING_SEED else "reported"
    return make_trials(candidates, protocol, [plan.seed], purpose)


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
        contexts = run.store.contexts({trial.context_digest for trial in recorded})
        judged = summarize(
            comparison_id=run.comparison_id,
            protocol=prepared.protocol,
            trials=with_anytime_updates(recorded, [prepared.protocol]),
            measurements=measurements,
            targets=prepared.problem.targets,
            margin=prepared.problem.margin,
            log_scale=prepared.problem.log_scale,
            published=published_value,
            tuning=efforts,
            reproduce=plan.command,
            contexts=contexts,
            metric=runs.request.metric,
            is_share=prepared.problem.metric.is_share,
        )
        summary |= with_sentences(judged)
        summary["notes"] += notes(runs.request)
        chosen = [prepared.methods[number] for number in plan.chosen or []]
        summary["notes"] += law_notes(chosen)
        summary["notes"] += source_notes(prepared.problem, chosen)
        if runs.request.claim is not None:
            summary["claim"] = dict(runs.request.claim)
        folder = run.store.files_of_comparison(run.comparison_id)
        originals = shown_cases(prepared.data)
        try:
            write_files(
                folder,
                summary,
                recorded,
                measurements,
                originals,
                CASE_COUNTS,
                folder.parent,
                contexts,
            )
        except OSError as error:
            unwritten = error
    if unwritten is not None:
        raise Infrastructure(
            f"{folder} cannot be written: {unwritten.strerror or unwritten}. The comparison is "
            f"recorded: bench show {run.comparison_id}."
        ) from unwritten
    return summary


def _begin_tuning(runs: Runs, rounds: Sequence[str] = ()) -> tuple[Run, Plan]:
    """Enter a tuning: of all points, or after some `rounds` of those that were added last."""
    command = shlex.join(["bench", *redacted_words(argv()[1:])])
    if is_program():
        command = written(runs.request, runs.prepared)
    plan = Plan(
        request=runs.request,
        kind="tuning",
        command=command,
        argv=argv(),
        data=runs.prepared.protocol.data_digest,
        versions=versions(),
        rounds=list(rounds),
    )
    return runs.new(plan), plan


def _tune(runs: Runs, run: Run, plan: Plan) -> tuple[Runs, Run, Plan]:
    """Try every point on the tuning seeds; enter the comparison of the best of each method.

    With --extend rounds of added points follow, each a tuning of its own. The next round
    is entered before a round ends, so that there is always something to resume.
    """
    while True:
        with runs.finishing(run):
            every = _try(runs, run, plan)
            added = _added(every, plan)
            if added is None:
                return runs, *_begin(runs, _chosen(runs, run, plan, every))
            prepared = with_new_points(runs.prepared, [point.text for point in added])
            runs = replace(runs, prepared=prepared, request=prepared.request)
            run, plan = _begin_tuning(runs, [*plan.rounds, run.comparison_id])


def _try(runs: Runs, run: Run, plan: Plan) -> list[TuningResult]:
    """Run what a tuning has to try; return all that was tried of each method, in every round."""
    prepared, seeds = runs.prepared, tuning.tuning_seeds(runs.request.tune_seeds)
    candidates = iter(label_methods(prepared.methods))
    by_method = [[next(candidates) for _ in points] for points in prepared.points]
    new = [points[-1:] if plan.rounds else points for points in by_method]
    planned = make_trials(list(chain(*new)), prepared.protocol, seeds, "tuning")
    say(f"Tuning: {len(planned)} trials on seeds that are not reported.")
    ids = runs.execute(run, plan, planned)
    records = [trial for id in plan.rounds for trial in run.store.trials(id)]
    records += [run.store.trial(trial_id) for trial_id in ids]
    reached = {
        (trial.method_key, trial.seed): trial.train_metric if trial.status == "budget" else None
        for trial in records
    }
    return [
        TuningResult(
            written,
            [candidate.method for candidate in of_one],
            [[reached[candidate.spec.key, seed] for seed in seeds] for candidate in of_one],
            runs.request.tune,
            prepared.problem.metric.direction,
        )
        for written, of_one in zip(prepared.written, by_method, strict=True)
    ]


def _added(every: Sequence[TuningResult], plan: Plan) -> list[NewPoint] | None:
    """Return the points of the next round of --extend; None where tuning is over."""
    if not plan.request.extend or not any(tried.edges for tried in every):
        return None
    if len(plan.rounds) == MAX_ROUNDS:
        say(f"The grids were extended {MAX_ROUNDS} times, which is the most.")
        return None
    added = next_round(every)
    if added is None:
        say("The grids end here: no allowed value is left beyond the edge, or of some method.")
    else:
        changes = ", ".join(point.change for point in added)
        say(f"A best value is at the edge of its grid. Tried besides: {changes}.")
    return added


def _chosen(runs: Runs, run: Run, plan: Plan, every: Sequence[TuningResult]) -> Tuned:
    """Say what was chosen, and return it with what that took."""
    tunings, seeds = [*plan.rounds, run.comparison_id], tuning.tuning_seeds(plan.request.tune_seeds)
    chosen, before = list[int](), 0
    for tried in every:
        chosen.append(before + tried.winner)
        before += len(tried.points)
        reached = ("diverged" if v is None else f"{v:.4g}" for v in tried.values[tried.winner])
        say(f"  {Candidate(tried.points[tried.winner], '').spec.text}: {', '.join(reached)}")
        if tried.all_diverged:
            say("    Every point diverged on a tuning seed, so this is the first: try others.")
        for edge in tried.edges:
            say(f"    {edge.advice}.")
    efforts = (tried.effort(seeds, tunings[0], len(plan.rounds)) for tried in every)
    return Tuned(chosen, tuple(efforts))
