"""Noise of a suite's metrics: every comparison and every time, repeated while nothing changes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from bench.harness.analysis.noise import FALSE_ALARM_LEVEL, Noise, Scatter, scatter
from bench.harness.analysis.summary import ENDED
from bench.harness.comparison.compare import compare
from bench.harness.core.context import stable_context
from bench.harness.core.notices import say
from bench.harness.core.spec import key_of
from bench.harness.nightly.suite import StorageOptions, Suite, TimePlan, part_name
from bench.harness.nightly.timing import time_metric_name
from bench.harness.nightly.timing_process import measure_in_process
from bench.harness.planning.preparation import PreparedRequest
from bench.harness.planning.request import Request
from bench.harness.store.results import Store

Measure = Callable[[Request, TimePlan], dict[str, float]]
"""Measures the times of a part once, as a night does."""


def measure_noise(
    suite: Suite, place: StorageOptions, measure: Measure = measure_in_process
) -> dict[str, Any]:
    """Run a suite's comparisons on many seeds, measure its times many times, record their scatter.

    Times are measured before, between and after the comparisons, each time in a new process, so
    that they sample the machine's state over hours. Earlier trials are not reused. Returns the body
    of the record, plain values for JSON.
    """
    began = time.perf_counter()
    parts = suite.prepare_parts(place, suite.noise.seeds)
    # A store that cannot be used is reported before anything is measured.
    Store.open(place.store).close()
    summaries, times = _repeated(suite, [part.request for part in parts], measure)
    qualities = [
        noise
        for part, summary in zip(parts, summaries, strict=True)
        for noise in _qualities(part, summary, suite.seeds)
    ]
    metrics = qualities + _times(suite, parts, times)
    body = {
        "suite": suite.key,
        "family": len(metrics),
        "metrics": [noise.as_dict() for noise in metrics],
        "false_alarm_rate": {
            "at": FALSE_ALARM_LEVEL,
            "quality": _mean_rate(metrics, "quality"),
            "time": _mean_rate(metrics, "time"),
        },
        "comparisons": [summary["comparison"] for summary in summaries],
        "seconds": time.perf_counter() - began,
    }
    with Store.open(place.store) as store:
        store.save_noise(suite.name, body)
    return body


def _repeated(
    suite: Suite, requests: Sequence[Request], measure: Measure
) -> tuple[list[Mapping[str, Any]], list[list[dict[str, float]]]]:
    """Run every comparison, and the times in equal shares before, between and after them."""
    summaries, times = list[Mapping[str, Any]](), list[list[dict[str, float]]]()
    for number in range(len(requests) + 1):
        if number:
            summary = compare(requests[number - 1])
            assert summary is not None
            summaries.append(summary)
        while len(times) * (len(requests) + 1) < suite.noise.times * (number + 1):
            say(f"Measuring the times of an update: {len(times) + 1} of {suite.noise.times}.")
            times.append([measure(request, suite.time) for request in requests])
    return summaries, times


def _qualities(part: PreparedRequest, summary: Mapping[str, Any], seeds: int) -> list[Noise]:
    """Return the scatter of each method's final metric, as the mean of a night's seeds."""
    return [
        _noise(
            part,
            "quality",
            row["method"],
            part.protocol.metric,
            summary["scale"],
            scatter(
                [t["train"] if t["status"] in ENDED else None for t in row["trials"]],
                summary["scale"],
                seeds,
            ),
        )
        for row in summary["methods"]
    ]


def _times(
    suite: Suite, parts: Sequence[PreparedRequest], times: Sequence[Sequence[Mapping[str, float]]]
) -> list[Noise]:
    """Return the scatter of each method's time, over whole measurements."""
    found, metric = list[Noise](), time_metric_name(suite.time)
    for number, part in enumerate(parts):
        values = defaultdict[str, list[float | None]](list)
        for measurement in times:
            for label, value in measurement[number].items():
                values[label].append(value)
        # The values are logarithms already.
        found += [
            _noise(part, "time", method, metric, "log", scatter(v, "plain"))
            for method, v in values.items()
        ]
    return found


def _noise(
    part: PreparedRequest,
    kind: Literal["quality", "time"],
    method: str,
    metric: str,
    scale: Literal["log", "plain"],
    scattered: Scatter,
) -> Noise:
    return Noise(
        kind=kind,
        protocol_key=part.protocol.key,
        problem=part_name(part),
        method=method,
        metric=metric,
        context_digest=key_of(stable_context(part.machine.context(1))),
        scale=scale,
        **asdict(scattered),
    )


def _mean_rate(metrics: Sequence[Noise], kind: str) -> float | None:
    rates = [m.false_alarms for m in metrics if m.kind == kind and m.false_alarms is not None]
    return sum(rates) / len(rates) if rates else None
