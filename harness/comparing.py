"""A comparison from request to result: tune, run, judge, write down."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from harness import tuning
from harness.analysis.selection import best, expected_best, worst
from harness.analysis.summary import summarize
from harness.errors import Infrastructure, Usage
from harness.launch import SHOWN
from harness.paper.published import published_value
from harness.planning import Candidate, Trial, labelled, trials
from harness.report.files import write_files
from harness.request import Prepared, Request, announce, prepare, reproduce, say
from harness.seeds import TUNING_SEEDS_FROM
from harness.session import Runs, recording
from optim.text import split


def compare(request: Request) -> dict[str, Any] | None:
    """Run the comparison, record it and return its summary; None after a dry run."""
    prepared = prepare(request)
    announce(prepared)
    if request.dry_run:
        return None
    with recording(request, prepared) as runs:
        tuned = _tune(runs, prepared) if len(prepared.points[0]) > 1 else {}
        chosen = tuned.get("chosen") or [points[0] for points in prepared.points]
        candidates = labelled(chosen)
        command = reproduce(request, prepared, candidates)
        planned = trials(candidates, prepared.protocol, range(prepared.seeds), "reported")
        efforts = dict(zip([c.label for c in candidates], tuned.get("efforts", []), strict=False))
        return _run(runs, "comparison", planned, command, efforts)


def run_one(request: Request, seed: int) -> dict[str, Any] | None:
    """Run one method under one seed, record it and return its summary; None after a dry run."""
    if not 0 <= seed < TUNING_SEEDS_FROM:
        raise Usage(f"--seed {seed}: allowed are whole numbers from 0 to {TUNING_SEEDS_FROM - 1}.")
    if len(split(request.optimizers)) != 1:
        raise Usage("`bench run` runs one optimizer; `bench compare` runs several.")
    prepared = prepare(replace(request, seeds=1))
    if len(prepared.points[0]) != 1:
        raise Usage("`bench run` runs one method, not a grid; `bench compare` tunes over grids.")
    announce(prepared, seed)
    if request.dry_run:
        return None
    candidates = labelled([points[0] for points in prepared.points])
    command = reproduce(request, prepared, candidates, seed)
    with recording(request, prepared) as runs:
        planned = trials(candidates, prepared.protocol, [seed], "reported")
        return _run(runs, "run", planned, command, {})


def _run(
    runs: Runs,
    kind: Literal["comparison", "run"],
    planned: Sequence[Trial],
    command: str,
    efforts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Run trials, judge them, record the result and write its files."""
    run = runs.new(kind, command)
    prepared, unwritten = runs.prepared, None
    with runs.finishing(run) as summary:
        ids = runs.execute(run, planned)
        # A trial on record bears the label that it had in the comparison it was run for.
        recorded = [
            replace(run.store.trial(trial_id), method=trial.candidate.label)
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
            reproduce=command,
        )
        if runs.request.claim is not None:
            summary["claim"] = dict(runs.request.claim)
        folder = run.store.files_of_comparison(run.comparison_id)
        originals = run.originals() if prepared.data.image_shape else None
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


def _tune(runs: Runs, prepared: Prepared) -> dict[str, Any]:
    """Try every point on the tuning seeds; return the best of each method and the effort."""
    everything = labelled([method for points in prepared.points for method in points])
    seeds = tuning.tuning_seeds(runs.request.tune_seeds)
    planned = trials(everything, prepared.protocol, seeds, "tuning")
    say(f"Tuning: {len(planned)} trials on seeds that are not reported.")
    run = runs.new("tuning", shlex.join(["bench", *sys.argv[1:]]))
    with runs.finishing(run):
        ids = runs.execute(run, planned)
    values = {i: runs.store.trial(i) for i in ids}
    problem, chosen, efforts = prepared.problem, [], []
    for points in prepared.points:
        mine: dict[int, list[float | None]] = {number: [] for number in range(len(points))}
        for trial, trial_id in zip(planned, ids, strict=True):
            for number, method in enumerate(points):
                if trial.candidate.method is method:
                    record = values[trial_id]
                    mine[number].append(record.train_metric if record.status == "budget" else None)
        direction = problem.metric.direction
        winner = best(mine, direction)
        chosen.append(points[winner])
        efforts.append(
            {
                "trials": len(points) * len(seeds),
                "chosen": dict(points[winner].hyperparameters),
                "expected_best": expected_best(
                    [worst(values, direction) for values in mine.values()], direction
                ),
                "comparison": run.comparison_id,
            }
        )
        reached = ", ".join("diverged" if v is None else f"{v:.4g}" for v in mine[winner])
        say(f"  {Candidate(points[winner], '').spec.text}: {reached}")
    return {"chosen": chosen, "efforts": efforts}
