"""The series of a metric: the nights in which nothing was accepted that changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord


def series(
    nights: Sequence[NightRecord],
    baselines: Mapping[str, BaselineRecord],
    metric: NightMetric,
) -> list[tuple[NightRecord, NightMetric]]:
    """Return the nights that have measured the same thing, each with what it found, oldest first.

    `nights` are of one suite and one baseline; `baselines` are what is accepted under its name, by
    protocol key. A series holds one context. It begins with the night whose comparison is the
    accepted one, or else with the first night after the acceptance; where nothing is accepted
    under the metric's protocol, with the first night of all.
    """
    found = []
    for night in _since(nights, baselines.get(metric.protocol_key)):
        # Two parts of a suite may run one method under one protocol: the first of them counts.
        for each in night.metrics:
            if (each.series, each.context_digest) == (metric.series, metric.context_digest):
                found.append((night, each))
                break
    return found


def _since(nights: Sequence[NightRecord], accepted: BaselineRecord | None) -> list[NightRecord]:
    """Return the nights from the accepted one on, the oldest first."""
    in_order = sorted(nights, key=lambda night: (night.created, night.uuid))
    if accepted is None:
        return in_order
    ran = (
        night.created
        for night in nights
        if any(metric.comparison_id == accepted.comparison_id for metric in night.metrics)
    )
    begin = next(ran, accepted.accepted)
    return [night for night in in_order if night.created >= begin]
