"""The result of a comparison as plain values: version 1 of the JSON output."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.harness.analysis import statistics
from bench.harness.analysis.budget_end import refusals, refused, statement, without_the_end
from bench.harness.analysis.cautions import cautions
from bench.harness.analysis.differences import differences
from bench.harness.analysis.judged import JudgedMetric, judged_metric
from bench.harness.analysis.other_data import exp_or_none as _exp
from bench.harness.analysis.other_data import other_data, ratio
from bench.harness.analysis.profiles import profile, refined
from bench.harness.analysis.sample import Sample
from bench.harness.analysis.targets import Course, TimeToTarget, horizons, time_to_target
from bench.harness.analysis.verdict import Direction, Pair, verdicts
from bench.harness.core.metrics import is_share as named_as_share
from bench.harness.core.published import NOTE
from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.core.spec import CURRENCIES, Budget, Protocol

SCHEMA_VERSION = 1
ALPHA = 0.05
ENDED = ("budget", "diverged")
"""Statuses with an outcome; other trials are shown but do not count in any value."""

Published = Callable[[str, str, str, Mapping[str, Any]], float | None]
"""(problem, preset, method, hyperparameters) -> the printed value, or None."""


def summarize(
    *,
    comparison_id: str,
    protocol: Protocol,
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    targets: Sequence[float],
    margin: float,
    log_scale: bool,
    published: Published,
    tuning: Mapping[str, Mapping[str, Any]] | None = None,
    reproduce: str,
    contexts: Mapping[str, Mapping[str, Any]] | None = None,
    metric: str | None = None,
    is_share: bool = False,
    budgets: Mapping[str, Budget] | None = None,
) -> dict[str, Any]:
    """Return the comparison of the reported trials as a dictionary that is valid JSON.

    `metric` is the name of the judged metric, as in `judged.judged_metrics`; None: the problem's
    metric on training data. `is_share` says that the problem's metric is a share of cases.
    `measurements` is by trial id, in the order of measurement. Of several attempts at one trial,
    the last counts. `targets` are the problem's; the first is the one of `time_to_target`. With
    `log_scale`, `margin` is a difference of logarithms. `contexts`, by digest, let the notes name
    differences. `budgets`, by protocol key, are those of trials under other protocols, where these
    differ as allowed. Values that are missing or not finite are None. Methods are in order of
    appearance.
    """
    judged = judged_metric(protocol, metric)
    is_share = not judged.is_loss and (is_share or named_as_share(judged.quantity))
    # A margin of logarithms is a factor, and holds for the loss too. Any other is the metric's own.
    judged_margin = margin if log_scale or not judged.is_loss else 0.0
    latest = {
        (trial.method, trial.seed): trial
        for trial in sorted(trials, key=lambda trial: trial.attempt)
        if trial.purpose == "reported"
    }
    methods = list(dict.fromkeys(t.method for t in trials if t.purpose == "reported"))
    by_method = {
        method: sorted(
            (t for (m, _), t in latest.items() if m == method), key=lambda trial: trial.seed
        )
        for method in methods
    }
    ended = {m: [t for t in mine if t.status in ENDED] for m, mine in by_method.items()}
    results = _results(judged, ended, measurements)
    others = _results(judged.on_other_data, ended, measurements)
    pairs = verdicts(
        results,
        direction=judged.direction,
        log_scale=log_scale,
        margin=judged_margin,
        alpha=ALPHA,
        is_share=is_share,
    )
    courses = {
        method: [
            Course.of(
                t,
                measurements.get(t.id, ()),
                (budgets or {}).get(t.protocol_key, protocol.budget),
            )
            for t in mine
            if t.status in ENDED
        ]
        for method, mine in by_method.items()
    }
    end = statement(courses)
    late = {target: refused(courses, target, protocol.direction) for target in targets}
    horizon = horizons([course for mine in courses.values() for course in mine])
    times = {
        method: [
            _time(time_to_target(mine, target, protocol.direction, horizon), method in late[target])
            for target in targets
        ]
        for method, mine in courses.items()
    }
    profiles = _profiles(without_the_end(courses), targets, protocol.direction)
    end["refusals"] = refusals(courses, late, protocol.direction, _is_reached(profiles))
    one_context = len({t.context_digest for t in latest.values() if t.status in ENDED}) <= 1
    finals = {
        split: _finals(found, ended, log_scale, is_share)
        for split, found in ((judged.split, results), (judged.on_other_data.split, others))
    }
    rows = [
        _method(
            mine,
            protocol,
            measurements,
            times[method],
            finals["train"][method] | {"test": finals["test"][method]},
            published,
            one_context,
        )
        | {"tuning": dict((tuning or {}).get(method, {"trials": 0, "chosen": None}))}
        for method, mine in by_method.items()
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "comparison": comparison_id,
        "protocol": {"key": protocol.key, **protocol.as_dict()},
        "methods": rows,
        "metric": judged.as_dict(),
        "pairs": [
            _plain(pair)
            | {
                "metric": judged.name,
                "other_data": other_data(pair, judged.on_other_data, others, log_scale, is_share),
                "cautions": cautions(ended[pair.a], ended[pair.b], protocol, tuning or {}),
                "refused_targets": [
                    float(target)
                    for target, by in late.items()
                    if pair.b in by.get(pair.a, ()) or pair.a in by.get(pair.b, ())
                ],
            }
            for pair in pairs
        ],
        "needed_seeds": statistics.seeds_needed(max(1, len(pairs)), ALPHA),
        "alpha": ALPHA,
        "margin": judged_margin,
        "metric_margin": margin,
        "is_share": is_share,
        "scale": "log" if log_scale else "plain",
        "targets": [float(target) for target in targets],
        "budget_end": end,
        "profiles": profiles,
        "published_note": NOTE if any(r["published"] is not None for r in rows) else None,
        "notes": _metric_notes(judged, protocol, log_scale, rows)
        + ([end["sentence"]] if end["methods"] else [])
        + end["refusals"]
        + _notes(by_method, contexts or {}),
        "reproduce": reproduce,
    }


def _method(
    trials: Sequence[TrialRecord],
    protocol: Protocol,
    measurements: Mapping[int, Sequence[Measurement]],
    times: Sequence[Mapping[str, Any]],
    final: Mapping[str, Any],
    published: Published,
    one_context: bool,
) -> dict[str, Any]:
    ended = [t for t in trials if t.status in ENDED]
    first = trials[0]
    nothing = dict.fromkeys(CURRENCIES)
    no_target = _time(TimeToTarget(math.nan, 0, len(ended), nothing, nothing, nothing), False)
    alone = (
        bool(ended)
        and one_context
        and all(t.seconds_are == "alone" and t.fleet_rows == 1 for t in ended)
    )
    return {
        "method": first.method,
        "name": first.method_name,
        "backend": first.backend,
        "hyperparameters": dict(first.hyperparameters),
        "n": len(ended),
        "final": dict(final),
        "ledger": _ledger(ended) | {"seconds_are": "alone" if alone else "shared"},
        "time_to_target": times[0] if times else no_target,
        "times_to_targets": list(times),
        # With parameters in brackets, the problem differs from the published one.
        "published": None
        if protocol.parameters
        else published(protocol.problem, protocol.preset, first.method_name, first.hyperparameters),
        "status": dict(Counter(t.status for t in trials)),
        "trials": [
            {
                "key": t.key,
                "attempt": t.attempt,
                "seed": t.seed,
                "status": t.status,
                "reason": t.reason,
                "train": _number(t.train_metric),
                "test": _number(t.test_metric),
                "train_loss": _number(_last_loss(t, measurements, "train_loss")),
                "test_loss": _number(_last_loss(t, measurements, "test_loss")),
                "diagnostics": _last(measurements.get(t.id, ())),
                "mlflow_run_id": t.mlflow_run_id,
            }
            for t in trials
        ],
    }


def _results(
    judged: JudgedMetric,
    ended: Mapping[str, Sequence[TrialRecord]],
    measurements: Mapping[int, Sequence[Measurement]],
) -> dict[str, dict[int, float | None]]:
    """Return the final values by method and seed; None: the trial diverged.

    A trial that reached its end and has no value, for example because there are no test cases, is
    left out.
    """
    values = {
        method: {t.seed: (t, judged.value(t, measurements.get(t.id, ()))) for t in mine}
        for method, mine in ended.items()
    }
    return {
        method: {
            seed: value
            for seed, (t, value) in of_one.items()
            if value is not None or t.status == "diverged" or judged.split == "train"
        }
        for method, of_one in values.items()
    }


def _finals(
    results: Mapping[str, Mapping[int, float | None]],
    ended: Mapping[str, Sequence[TrialRecord]],
    log_scale: bool,
    is_share: bool,
) -> dict[str, dict[str, Any]]:
    """Return mean and 95 % t interval of every method, all on one scale: they fill one column.

    It is that of logarithms, mapped back, where `log_scale` and all values of all methods are
    positive. An interval for a share ends at 0 and 1.
    """
    every = [v for of_one in results.values() for v in of_one.values() if v is not None]
    log = log_scale and bool(every) and min(every) > 0
    return {
        method: _final([results[method].get(t.seed) for t in mine], results[method], log, is_share)
        for method, mine in ended.items()
    }


def _final(
    values: Sequence[float | None],
    known: Mapping[int, float | None],
    log: bool,
    is_share: bool,
) -> dict[str, Any]:
    finite = [v for v in values if v is not None]
    result: dict[str, Any] = {"mean": None, "low": None, "high": None, "values": list(values)}
    # A missing value is no diverged trial.
    result["diverged"] = sum(v is None for v in known.values())
    if not finite or result["diverged"]:
        return result | {"scale": None, "interval_kind": None}
    sample = Sample.combined([[v] for v in finite], [1.0], log)
    found = statistics.t_interval(sample, ALPHA)
    if is_share and 0 <= min(finite) and max(finite) <= 1:
        top = 0.0 if log else 1.0
        found = found.within(-math.inf if log else 0.0, top)
    mean, low, high = ((_exp if log else _number)(v) for v in (sample.mean, found.low, found.high))
    return result | {
        "mean": mean,
        "low": low,
        "high": high,
        "scale": "log" if log else "plain",
        "interval_kind": None if low is None else found.kind,
    }


def _ledger(trials: Sequence[TrialRecord]) -> dict[str, float | None]:
    """Mean a trial of every currency; the largest of the peaks of memory."""
    ledgers = [asdict(t.ledger) for t in trials]
    names = (
        *("updates", "examples", "gradients", "products", "cg_steps"),
        *("seconds", "fleet_seconds"),
    )
    means = {n: _number(_mean([ledger[n] for ledger in ledgers])) for n in names}
    return means | {"peak_memory": max((ledger["peak_memory"] for ledger in ledgers), default=None)}


def _mean(values: Sequence[float]) -> float | None:
    if not values:
        return None
    mean = sum(values) / len(values)
    return int(mean) if isinstance(values[0], int) and mean == int(mean) else mean


def _time(time: TimeToTarget, refused: bool) -> dict[str, Any]:
    """Return a time as plain values; one that may not be compared has no amounts."""
    nothing = dict.fromkeys(CURRENCIES)
    return {
        "target": _number(time.target),
        "reached": time.reached,
        "of": time.of,
        **(nothing if refused else time.median),
        "restricted_mean": dict(nothing if refused else time.restricted_mean),
        "horizon": dict(time.horizon),
        "refused": refused,
    }


def _profiles(
    courses: Mapping[str, Sequence[Course]], targets: Sequence[float], direction: Direction
) -> dict[str, Any]:
    """Return the profile of every method that has an outcome, and the targets it is over."""
    reached = refined(targets)
    of = {m: profile(mine, reached, direction) for m, mine in courses.items() if mine and reached}
    return {"targets": reached, "methods": of}


def _is_reached(profiles: Mapping[str, Any]) -> bool:
    return any(steps["updates"][-1][1] > 0 for steps in profiles["methods"].values())


def _notes(
    by_method: Mapping[str, Sequence[TrialRecord]], contexts: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    notes = []
    for method, trials in by_method.items():
        count = Counter(t.status for t in trials)
        if count["diverged"]:
            notes.append(
                f"{method}: {count['diverged']} of {len(trials)} trials diverged; no mean is given."
            )
        if open_ := sum(n for status, n in count.items() if status not in ENDED):
            which = ", ".join(f"{n} {s}" for s, n in count.items() if s not in ENDED)
            notes.append(
                f"{method}: {open_} of {len(trials)} trials have no outcome ({which}), so they are "
                "left out."
            )
        for reason, stopped in Counter(t.reason for t in trials if t.status == "budget").items():
            if reason:
                notes.append(f"{method}: {stopped} of {len(trials)} trials ended early: {reason}")
    ended = {m: [t for t in ts if t.status in ENDED] for m, ts in by_method.items()}
    return notes + differences(ended, contexts)


def _metric_notes(
    judged: JudgedMetric, protocol: Protocol, log_scale: bool, rows: Sequence[Mapping[str, Any]]
) -> list[str]:
    notes = []
    if judged.is_loss and not log_scale:
        notes.append(
            "The problem declares no margin for its loss, so only equal results count as "
            "equivalent."
        )
    tuned = any(row["tuning"].get("trials") for row in rows)
    if tuned and judged.name != judged_metric(protocol, None).name:
        notes.append(
            f"Tuning chose by {judged_metric(protocol, None).words}, on its own seeds, and the "
            f"verdicts judge {judged.words}."
        )
    mine = [row["final"] if judged.split == "train" else row["final"]["test"] for row in rows]
    if any(row["n"] for row in rows) and not any(
        final["diverged"] or any(v is not None for v in final["values"]) for final in mine
    ):
        notes.append(f"No trial has a value of the {judged.words}, so nothing can be judged.")
    for words, finals in (
        ("training", [row["final"] for row in rows]),
        ("test", [row["final"]["test"] for row in rows]),
    ):
        values = [v for final in finals for v in final["values"] if v is not None]
        if log_scale and values and min(values) <= 0:
            notes.append(
                f"The {words} {judged.quantity.replace('_', ' ')} of some trial is not positive, "
                f"so it has no logarithm: means of the {words} column are arithmetic."
            )
    return notes


def _last_loss(
    trial: TrialRecord, measurements: Mapping[int, Sequence[Measurement]], name: str
) -> float | None:
    taken = measurements.get(trial.id, ())
    return getattr(taken[-1], name) if taken else None


def _plain(pair: Pair) -> dict[str, Any]:
    return asdict(pair) | {"ratio": ratio(pair)}


def _last(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Return the finite diagnostics of the last measurement."""
    shown = measurements[-1].diagnostics if measurements else {}
    return {name: value for name, value in shown.items() if math.isfinite(value)}


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
