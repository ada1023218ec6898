"""A night: run a suite again, compare it with its baseline, and record the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import click

from bench.harness.analysis.noise import Noise
from bench.harness.comparison.compare import compare
from bench.harness.comparison.session import mirrored
from bench.harness.core.context import info, stable_context
from bench.harness.core.errors import BenchError
from bench.harness.core.notices import say
from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord, NightStatus
from bench.harness.core.spec import key_of
from bench.harness.nightly.baseline import accepted
from bench.harness.nightly.digests import digests
from bench.harness.nightly.judgement import (
    FinalValues,
    final_values,
    judge_digest,
    judge_quality,
    judge_time,
)
from bench.harness.nightly.series import series
from bench.harness.nightly.suite import StorageOptions, Suite, part_name
from bench.harness.nightly.timing import time_metric_name
from bench.harness.nightly.timing_process import measure_in_process
from bench.harness.planning.preparation import PreparedRequest
from bench.harness.store.owner import has_ended, this_process
from bench.harness.store.results import Store

Series = tuple[str, str, str, str, str]
EXIT_CODES: Mapping[NightStatus, int] = {"clean": 0, "changed": 1, "failed": 4, "running": 4}


def exit_code(night: NightRecord) -> int:
    """Return 0 if nothing has changed, 1 for a finding, 4 if not everything could be judged."""
    return EXIT_CODES[night.status]


@dataclass(frozen=True)
class UnjudgedMetric:
    """One metric of tonight, with the values that its judgement needs."""

    metric: NightMetric
    ended: FinalValues | None = None
    """For a quality, the final values whose mean it is."""
    again: float | None = None
    """For a time, the second measurement, which a finding causes."""


def run(suite: Suite, place: StorageOptions) -> NightRecord:
    """Run a suite, judge it, record the night, and return it.

    Raises Usage or Infrastructure, before anything is recorded, if a part of the suite cannot run.
    A later failure ends the night as `failed`; the other parts still run.
    """
    parts = suite.prepare_parts(place)
    who = {**info(), "process": this_process()}
    with Store.open(place.store) as store:
        _end_abandoned_nights(store)
        uuid = store.begin_night(suite.name, suite.key, suite.baseline, who["commit"], who)
    measured, failures = list[UnjudgedMetric](), list[str]()
    try:
        for found in _measure_parts(suite, place, parts, failures):
            measured += found
    except BaseException as error:
        failures.append(_sentence(error))
        raise
    finally:
        with Store.open(place.store) as store:
            metrics = judge_metrics(store, suite, who["commit"], measured, _family(parts))
            store.end_night(uuid, *_night_result(metrics, failures), metrics)
    with Store.open(place.store) as store:
        return next(night for night in store.nights(suite.name) if night.uuid == uuid)


def _end_abandoned_nights(store: Store) -> None:
    """End nights whose process was killed, and warn of a night that still runs."""
    for night in store.nights():
        if night.status != "running":
            continue
        if has_ended(night.info.get("process")):
            # Not with the present time: a killed night must not count as one that ended today.
            why = "Its process was killed before the night ended."
            store.end_night(night.uuid, "failed", why, (), ended=night.created)
        else:
            say(
                f"Night {night.uuid[:8]} of {night.suite}, begun {night.created:%Y-%m-%d %H:%M} "
                "UTC, still runs. Two nights on one machine disturb each other's times."
            )


def _measure_parts(
    suite: Suite, place: StorageOptions, parts: Sequence[PreparedRequest], failures: list[str]
) -> Iterator[list[UnjudgedMetric]]:
    """Measure everything, part by part; note the failure of a part and continue with the next."""
    for part in parts:
        yield _run_step(f"{part_name(part)}: digests", partial(_digests, suite, part), failures)
    # Before results are copied to MLflow, which would disturb the times.
    for part in parts:
        what, measure = f"{part_name(part)}: the time of an update", partial(_times, suite, part)
        times = _run_step(what, measure, failures)
        with Store.open(place.store) as store:
            odd = any(
                m.is_finding for m in judge_metrics(store, suite, None, times, _family(parts))
            )
        if odd:
            # Other work on the machine may have disturbed the whole measurement.
            more = _run_step(f"{what}, again", measure, failures)
            again = {each.metric.series: each.metric.value for each in more}
            times = [replace(each, again=again.get(each.metric.series)) for each in times]
        yield times
    with mirrored(parts[0].request):
        for part in parts:
            yield _run_step(f"{part_name(part)}: a comparison", partial(_qualities, part), failures)


def _run_step(
    what: str, measure: Callable[[], list[UnjudgedMetric]], failures: list[str]
) -> list[UnjudgedMetric]:
    say(f"{what}.")
    try:
        return measure()
    except click.exceptions.Exit:  # Interrupted.
        raise
    except Exception as error:
        failures.append(f"{what}: {_sentence(error)}")
        say(failures[-1])
        return []


def _digests(suite: Suite, part: PreparedRequest) -> list[UnjudgedMetric]:
    updates = suite.digest.updates
    return [
        UnjudgedMetric(
            replace(
                _metric(part, "digest", each.method, f"theta after {updates} updates"),
                direction="equal",
                context_digest=key_of(stable_context(each.context)),
                digest=each.theta,
            )
        )
        for each in digests(part.request, updates)
    ]


def _times(suite: Suite, part: PreparedRequest) -> list[UnjudgedMetric]:
    plan = suite.time
    return [
        UnjudgedMetric(
            replace(
                _metric(part, "time", label, time_metric_name(plan)),
                scale="log",
                value=value,
                n=plan.blocks,
            )
        )
        for label, value in measure_in_process(part.request, plan).items()
    ]


def _qualities(part: PreparedRequest) -> list[UnjudgedMetric]:
    # One process copies the results of all comparisons to MLflow.
    summary = compare(replace(part.request, no_mlflow=True))
    assert summary is not None
    metric = replace(
        _metric(part, "quality", "", part.protocol.metric),
        direction=part.protocol.direction,
        scale=summary["scale"],
        comparison_id=summary["comparison"],
    )
    return [
        UnjudgedMetric(replace(metric, method=row["method"]), final_values(row))
        for row in summary["methods"]
    ]


def _metric(part: PreparedRequest, kind: str, method: str, metric: str) -> NightMetric:
    """Return a metric of a part, not judged yet."""
    return NightMetric(
        kind=kind,  # type: ignore[arg-type]
        protocol_key=part.protocol.key,
        problem=part_name(part),
        method=method,
        metric=metric,
        direction="lower",
        scale="plain",
        context_digest=key_of(stable_context(part.machine.context(1))),
        state="not judged",
    )


def _family(parts: Sequence[PreparedRequest]) -> int:
    """Return the number of metrics with a threshold: an error and a time for each method."""
    return 2 * sum(len(part.methods) for part in parts)


def judge_metrics(
    store: Store, suite: Suite, commit: str | None, measured: Sequence[UnjudgedMetric], family: int
) -> list[NightMetric]:
    """Judge every measured metric against its reference."""
    nights = store.nights(suite.name, suite.baseline)
    baselines = accepted(store, suite.baseline)
    noises = _noises(store, suite)
    before = {
        key: {row["method"]: final_values(row) for row in _rows(store, baselines[key])}
        for key in dict.fromkeys(each.metric.protocol_key for each in measured)
        if key in baselines
    }
    found = []
    for each in measured:
        metric = each.metric
        history = series(nights, baselines, metric)
        noise = noises.get(_noise_key(metric))
        if metric.kind == "digest":
            found.append(judge_digest(metric, history, commit))
        elif metric.kind == "time":
            found.append(judge_time(metric, history, noise, family, each.again))
        else:
            assert each.ended is not None
            reference = before.get(metric.protocol_key, {}).get(metric.method)
            found.append(judge_quality(metric, each.ended, reference, noise, family))
    return found + _missing_methods(before, found)


def _rows(store: Store, baseline: BaselineRecord) -> Sequence[Mapping[str, Any]]:
    """Return the methods' rows of an accepted comparison."""
    summary = store.comparison(baseline.comparison_id).summary
    return [] if summary is None else summary["methods"]


def _noises(store: Store, suite: Suite) -> dict[Series, Noise]:
    """Return the newest noise of every metric; for a time, the newest in every context."""
    found: dict[Series, Noise] = {}
    for record in reversed(store.noises(suite.name)):
        for plain in record.body["metrics"]:
            noise = Noise.from_dict(plain)
            found[_noise_key(noise)] = noise
    return found


def _noise_key(of: NightMetric | Noise) -> Series:
    """Return the lookup key of noise: the noise of times depends on the context, not of errors."""
    context = of.context_digest if of.kind == "time" else ""
    return of.kind, of.protocol_key, of.method, of.metric, context


def _missing_methods(
    accepted_rows: Mapping[str, Mapping[str, FinalValues]], found: Sequence[NightMetric]
) -> list[NightMetric]:
    """Return a metric for every method of an accepted comparison that did not run tonight."""
    qualities = [each for each in found if each.kind == "quality"]
    here = {(each.protocol_key, each.method) for each in qualities}
    return [
        replace(
            next(each for each in qualities if each.protocol_key == key),
            method=method,
            state="not judged",
            value=None,
            reference=None,
            threshold=None,
            sd=None,
            n=None,
            reason="The accepted comparison has this method, but the suite does not run it.",
        )
        for key, rows in accepted_rows.items()
        for method in rows
        if (key, method) not in here and any(each.protocol_key == key for each in qualities)
    ]


def _night_result(
    metrics: Sequence[NightMetric], failures: Sequence[str]
) -> tuple[Literal["clean", "changed", "failed"], str | None]:
    """Return the status and reason of a night; a finding counts more than an unjudged metric."""
    reason = " ".join(failures) or None
    if any(metric.is_finding for metric in metrics):
        return "changed", reason
    blind = any(m.kind == "quality" and m.state == "not judged" for m in metrics)
    return ("failed" if failures or blind or not metrics else "clean"), reason


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | click.exceptions.Exit):
        return "The night was interrupted."
    return str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}."
