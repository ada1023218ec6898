"""The result of a comparison as plain values: version 1 of the JSON output."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.harness.analysis import statistics
from bench.harness.analysis.differences import differences
from bench.harness.analysis.profiles import profile, refined
from bench.harness.analysis.targets import Course, TimeToTarget, horizons, time_to_target
from bench.harness.analysis.verdict import Direction, Pair, verdicts
from bench.harness.core.published import NOTE
from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.core.spec import CURRENCIES, Protocol

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
) -> dict[str, Any]:
    """Return the comparison of the reported trials as a dictionary that is valid JSON.

    `measurements` is by trial id, in the order of measurement. Of several attempts at one trial,
    the last counts. `targets` are the problem's; the first is the one of `time_to_target`. With
    `log_scale`, `margin` is a difference of logarithms. `contexts`, by digest, let the notes name
    differences. Values that are missing or not finite are None. Methods are in order of appearance.
    """
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
    results = {
        method: {t.seed: _outcome(t, t.train_metric) for t in mine if t.status in ENDED}
        for method, mine in by_method.items()
    }
    pairs = verdicts(
        results, direction=protocol.direction, log_scale=log_scale, margin=margin, alpha=ALPHA
    )
    courses = {
        method: [Course.of(t, measurements.get(t.id, ())) for t in mine if t.status in ENDED]
        for method, mine in by_method.items()
    }
    horizon = horizons([course for mine in courses.values() for course in mine])
    times = {
        method: [time_to_target(mine, target, protocol.direction, horizon) for target in targets]
        for method, mine in courses.items()
    }
    one_context = len({t.context_digest for t in latest.values() if t.status in ENDED}) <= 1
    rows = [
        _method(mine, protocol, measurements, times[method], log_scale, published, one_context)
        | {"tuning": dict((tuning or {}).get(method, {"trials": 0, "chosen": None}))}
        for method, mine in by_method.items()
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "comparison": comparison_id,
        "protocol": {"key": protocol.key, **protocol.as_dict()},
        "methods": rows,
        "pairs": [_plain(pair) for pair in pairs],
        "needed_seeds": statistics.seeds_needed(max(1, len(pairs)), ALPHA),
        "alpha": ALPHA,
        "margin": margin,
        "scale": "log" if log_scale else "plain",
        "targets": [float(target) for target in targets],
        "profiles": _profiles(courses, targets, protocol.direction),
        "published_note": NOTE if any(r["published"] is not None for r in rows) else None,
        "notes": _notes(by_method, contexts or {}),
        "reproduce": reproduce,
    }


def _method(
    trials: Sequence[TrialRecord],
    protocol: Protocol,
    measurements: Mapping[int, Sequence[Measurement]],
    times: Sequence[TimeToTarget],
    log_scale: bool,
    published: Published,
    one_context: bool,
) -> dict[str, Any]:
    ended = [t for t in trials if t.status in ENDED]
    first = trials[0]
    nothing = dict.fromkeys(CURRENCIES)
    no_target = TimeToTarget(math.nan, 0, len(ended), nothing, nothing, nothing)
    alone = (
        bool(ended)
        and one_context
        and all(t.seconds_are == "alone" and t.fleet_rows == 1 for t in ended)
    )
    train = [_outcome(t, t.train_metric) for t in ended]
    test = [_outcome(t, t.test_metric) for t in ended]
    return {
        "method": first.method,
        "name": first.method_name,
        "backend": first.backend,
        "hyperparameters": dict(first.hyperparameters),
        "n": len(ended),
        "final": _final(train, log_scale) | {"test": _final(test, log_scale)},
        "ledger": _ledger(ended) | {"seconds_are": "alone" if alone else "shared"},
        "time_to_target": _time(times[0] if times else no_target),
        "times_to_targets": [_time(time) for time in times],
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
                "diagnostics": _last(measurements.get(t.id, ())),
                "mlflow_run_id": t.mlflow_run_id,
            }
            for t in trials
        ],
    }


def _final(values: Sequence[float | None], log_scale: bool) -> dict[str, Any]:
    """Mean and 95 % t interval; of logarithms, mapped back, where `log_scale` and positive."""
    finite = [v for v in values if v is not None]
    result: dict[str, Any] = {"mean": None, "low": None, "high": None, "values": list(values)}
    if not finite or len(finite) < len(values):
        return result | {"scale": None, "interval_kind": None}
    log = log_scale and min(finite) > 0
    x = np.log(finite) if log else np.array(finite)
    found = statistics.t_interval(x, ALPHA)
    mean, low, high = (
        (_exp if log else _number)(v) for v in (float(x.mean()), found.low, found.high)
    )
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
    names = ("updates", "examples", "gradients", "products", "cg_steps", "seconds")
    means = {n: _number(_mean([ledger[n] for ledger in ledgers])) for n in names}
    return means | {"peak_memory": max((ledger["peak_memory"] for ledger in ledgers), default=None)}


def _mean(values: Sequence[float]) -> float | None:
    if not values:
        return None
    mean = sum(values) / len(values)
    return int(mean) if isinstance(values[0], int) and mean == int(mean) else mean


def _time(time: TimeToTarget) -> dict[str, Any]:
    return {
        "target": _number(time.target),
        "reached": time.reached,
        "of": time.of,
        **time.median,
        "restricted_mean": dict(time.restricted_mean),
        "horizon": dict(time.horizon),
    }


def _profiles(
    courses: Mapping[str, Sequence[Course]], targets: Sequence[float], direction: Direction
) -> dict[str, Any]:
    """Return the profile of every method that has an outcome, and the targets it is over."""
    reached = refined(targets)
    of = {m: profile(mine, reached, direction) for m, mine in courses.items() if mine and reached}
    return {"targets": reached, "methods": of}


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


def _plain(pair: Pair) -> dict[str, Any]:
    plain = asdict(pair)
    # What the table shows: with logarithms compared, a mean ratio a / b.
    is_ratio = pair.unit == "ratio" and pair.difference is not None
    ratio = {
        name: _exp(value) if is_ratio else None
        for name, value in (("value", pair.difference), ("low", pair.low), ("high", pair.high))
    }
    return plain | {"ratio": ratio if is_ratio else None}


def _last(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Return the finite diagnostics of the last measurement."""
    shown = measurements[-1].diagnostics if measurements else {}
    return {name: value for name, value in shown.items() if math.isfinite(value)}


def _outcome(trial: TrialRecord, value: float | None) -> float | None:
    """Return the final value, or None if the trial diverged."""
    return None if trial.status == "diverged" else _number(value)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _exp(value: float | None) -> float | None:
    """Return e to the value, or None if the result would overflow or underflow."""
    return math.exp(value) if value is not None and abs(value) < 700 else None
