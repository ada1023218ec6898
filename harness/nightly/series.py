"""The series of a metric: the nights since its baseline was last accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord


def series(
    nights: Sequence[NightRecord],
    baselines: Mapping[str, BaselineRecord],
    metric: NightMetric,
) -> list[tuple[NightRecord, NightMetric]]:
    """Return the nights that measured the same metric, each with its value, the oldest first.

    `nights` belong to one suite and one baseline. `baselines` are the accepted comparisons by
    protocol key. A series has one context. It begins with the night whose comparison was accepted,
    or else with the first night after the acceptance. If no comparison with the metric's protocol
    is accepted, it begins with the first night.
    """
    found = []
    for night in _since(nights, baselines.get(metric.protocol_key)):
        # Two parts of a suite may run the same method under one protocol; the first one counts.
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
