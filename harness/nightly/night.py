"""A night: a suite run anew, held against a baseline, and put on record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import click

from bench.harness.analysis.noise import Noise
from bench.harness.comparison.compare import compare
from bench.harness.comparison.session import mirrored
from bench.harness.core.context import info, steady
from bench.harness.core.errors import BenchError
from bench.harness.core.notices import say
from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord, NightStatus
from bench.harness.core.spec import key_of
from bench.harness.nightly.baseline import accepted
from bench.harness.nightly.digests import digests
from bench.harness.nightly.judgement import Ended, ended, judge_digest, judge_quality, judge_time
from bench.harness.nightly.series import series
from bench.harness.nightly.suite import Place, Suite, name_of
from bench.harness.nightly.timing import metric_of
from bench.harness.nightly.timing_process import times_apart
from bench.harness.planning.preparation import Prepared
from bench.harness.store.owner import is_gone, this_process
from bench.harness.store.results import Store

Series = tuple[str, str, str, str, str]
EXIT_CODES: Mapping[NightStatus, int] = {"clean": 0, "changed": 1, "failed": 4, "running": 4}


def exit_code(night: NightRecord) -> int:
    """Return 0 where all is as it was, 1 for a finding, 4 where not all could be judged."""
    return EXIT_CODES[night.status]


@dataclass(frozen=True)
class Measured:
    """One metric of tonight, and what it is judged by besides."""

    metric: NightMetric
    ended: Ended | None = None
    """Of a quality, the final values that it is the mean of."""
    again: float | None = None
    """Of a time, what came out when all were measured again, since one was a finding."""


def run(suite: Suite, place: Place) -> NightRecord:
    """Run a suite, judge it, put the night on record, and return it.

    Usage or Infrastructure, before anything is recorded, where a part cannot be run as it is
    written. What fails later ends the night as `failed`; the other parts are run all the same.
    """
    parts = suite.prepared(place)
    who = {**info(), "process": this_process()}
    with Store.open(place.store) as store:
        _see_to_others(store)
        uuid = store.begin_night(suite.name, suite.key, suite.baseline, who["commit"], who)
    measured, failures = list[Measured](), list[str]()
    try:
        for found in _measured(suite, place, parts, failures):
            measured += found
    except BaseException as error:
        failures.append(_sentence(error))
        raise
    finally:
        with Store.open(place.store) as store:
            metrics = judged(store, suite, who["commit"], measured, _family(parts))
            store.end_night(uuid, *_ended_as(metrics, failures), metrics)
    with Store.open(place.store) as store:
        return next(night for night in store.nights(suite.name) if night.uuid == uuid)


def _see_to_others(store: Store) -> None:
    """End the nights whose process is gone, and warn of one that is not."""
    for night in store.nights():
        if night.status != "running":
            continue
        if is_gone(night.info.get("process")):
            # Not now: a night that was killed must not pass for one that has ended today.
            why = "Its process ended before it did."
            store.end_night(night.uuid, "failed", why, (), ended=night.created)
        else:
            say(
                f"Night {night.uuid[:8]} of {night.suite}, begun {night.created:%Y-%m-%d %H:%M} "
                "UTC, has not ended: two nights on one machine spoil each other's times."
            )


def _measured(
    suite: Suite, place: Place, parts: Sequence[Prepared], failures: list[str]
) -> Iterator[list[Measured]]:
    """Measure everything, part by part; what a part fails with is noted, and the next one begun."""
    for part in parts:
        yield _tried(f"{name_of(part)}: digests", partial(_digests, suite, part), failures)
    # Before MLflow's mirror is at work beside it.
    for part in parts:
        what, measure = f"{name_of(part)}: the time of an update", partial(_times, suite, part)
        times = _tried(what, measure, failures)
        with Store.open(place.store) as store:
            odd = any(m.is_finding for m in judged(store, suite, None, times, _family(parts)))
        if odd:
            # A burst of other work may have lasted as long as the measurement.
            more = _tried(f"{what}, again", measure, failures)
            again = {each.metric.series: each.metric.value for each in more}
            times = [replace(each, again=again.get(each.metric.series)) for each in times]
        yield times
    with mirrored(parts[0].request):
        for part in parts:
            yield _tried(f"{name_of(part)}: a comparison", partial(_qualities, part), failures)


def _tried(what: str, measure: Callable[[], list[Measured]], failures: list[str]) -> list[Measured]:
    say(f"{what}.")
    try:
        return measure()
    except click.exceptions.Exit:  # Interrupted.
        raise
    except Exception as error:
        failures.append(f"{what}: {_sentence(error)}")
        say(failures[-1])
        return []


def _digests(suite: Suite, part: Prepared) -> list[Measured]:
    updates = suite.digest.updates
    return [
        Measured(
            replace(
                _metric(part, "digest", each.method, f"theta after {updates} updates"),
                direction="equal",
                context_digest=key_of(steady(each.context)),
                digest=each.theta,
            )
        )
        for each in digests(part.request, updates)
    ]


def _times(suite: Suite, part: Prepared) -> list[Measured]:
    plan = suite.time
    return [
        Measured(
            replace(
                _metric(part, "time", label, metric_of(plan)),
                scale="log",
                value=value,
                n=plan.blocks,
            )
        )
        for label, value in times_apart(part.request, plan).items()
    ]


def _qualities(part: Prepared) -> list[Measured]:
    # One process keeps MLflow up to date beside all comparisons.
    summary = compare(replace(part.request, no_mlflow=True))
    assert summary is not None
    metric = replace(
        _metric(part, "quality", "", part.protocol.metric),
        direction=part.protocol.direction,
        scale=summary["scale"],
        comparison_id=summary["comparison"],
    )
    return [
        Measured(replace(metric, method=row["method"]), ended(row)) for row in summary["methods"]
    ]


def _metric(part: Prepared, kind: str, method: str, metric: str) -> NightMetric:
    """Return a metric of a part that is not judged yet."""
    return NightMetric(
        kind=kind,  # type: ignore[arg-type]
        protocol_key=part.protocol.key,
        problem=name_of(part),
        method=method,
        metric=metric,
        direction="lower",
        scale="plain",
        context_digest=key_of(steady(part.machine.context(1))),
        state="not judged",
    )


def _family(parts: Sequence[Prepared]) -> int:
    """Return how many metrics have a threshold: an error and a time of each method."""
    return 2 * sum(len(part.methods) for part in parts)


def judged(
    store: Store, suite: Suite, commit: str | None, measured: Sequence[Measured], family: int
) -> list[NightMetric]:
    """Return what was measured, each held against what it is to be held against."""
    nights = store.nights(suite.name, suite.baseline)
    baselines = accepted(store, suite.baseline)
    noises = _noises(store, suite)
    before = {
        key: {row["method"]: ended(row) for row in _rows(store, baselines[key])}
        for key in dict.fromkeys(each.metric.protocol_key for each in measured)
        if key in baselines
    }
    found = []
    for each in measured:
        metric = each.metric
        history = series(nights, baselines, metric)
        noise = noises.get(_named(metric))
        if metric.kind == "digest":
            found.append(judge_digest(metric, history, commit))
        elif metric.kind == "time":
            found.append(judge_time(metric, history, noise, family, each.again))
        else:
            assert each.ended is not None
            reference = before.get(metric.protocol_key, {}).get(metric.method)
            found.append(judge_quality(metric, each.ended, reference, noise, family))
    return found + _left_out(before, found)


def _rows(store: Store, baseline: BaselineRecord) -> Sequence[Mapping[str, Any]]:
    """Return what an accepted comparison has of each method."""
    summary = store.comparison(baseline.comparison_id).summary
    return [] if summary is None else summary["methods"]


def _noises(store: Store, suite: Suite) -> dict[Series, Noise]:
    """Return the newest noise of every metric; of a time, in every context."""
    found: dict[Series, Noise] = {}
    for record in reversed(store.noises(suite.name)):
        for plain in record.body["metrics"]:
            noise = Noise.from_dict(plain)
            found[_named(noise)] = noise
    return found


def _named(of: NightMetric | Noise) -> Series:
    """Return what noise is looked up by: errors scatter alike everywhere, times do not."""
    context = of.context_digest if of.kind == "time" else ""
    return of.kind, of.protocol_key, of.method, of.metric, context


def _left_out(
    accepted_rows: Mapping[str, Mapping[str, Ended]], found: Sequence[NightMetric]
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
            reason="The accepted comparison has it, and the suite does not run it.",
        )
        for key, rows in accepted_rows.items()
        for method in rows
        if (key, method) not in here and any(each.protocol_key == key for each in qualities)
    ]


def _ended_as(
    metrics: Sequence[NightMetric], failures: Sequence[str]
) -> tuple[Literal["clean", "changed", "failed"], str | None]:
    """Return how a night ends; a finding says more than what could not be judged."""
    reason = " ".join(failures) or None
    if any(metric.is_finding for metric in metrics):
        return "changed", reason
    blind = any(m.kind == "quality" and m.state == "not judged" for m in metrics)
    return ("failed" if failures or blind or not metrics else "clean"), reason


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | click.exceptions.Exit):
        return "It was interrupted."
    return str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}."
