"""The history of every metric of a suite: its series and its change points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.harness.analysis.change_points import find_change_points
from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord
from bench.harness.nightly.series import series


@dataclass(frozen=True)
class ChangePoint:
    """The first night after a lasting change of a metric."""

    night: NightRecord
    size: float | None
    """The change in standard deviations of a night's value; None for a digest."""


@dataclass(frozen=True)
class History:
    """One metric over the nights of its series."""

    nights: tuple[tuple[NightRecord, NightMetric], ...]
    """The oldest first."""
    change_points: tuple[ChangePoint, ...]
    has_change_points: bool
    """Whether changes can be found: the metric is a digest, or its noise is known."""

    @property
    def latest(self) -> NightMetric:
        """The metric of the newest night."""
        return self.nights[-1][1]

    @property
    def reference(self) -> float | None:
        """The reference of the newest night, or else the first value of the series."""
        first = next((m.value for _, m in self.nights if m.value is not None), None)
        return first if self.latest.reference is None else self.latest.reference


def histories(
    nights: Sequence[NightRecord], baselines: Mapping[str, BaselineRecord]
) -> list[History]:
    """Return the history of every metric of the current suite.

    `nights` belong to one suite and one baseline, the newest first. `baselines` are the accepted
    comparisons by protocol key. A history holds the nights in the context of the newest one.
    """
    newest: dict[tuple[str, ...], NightMetric] = {}
    # A night that still runs, or was killed, has no metrics.
    digest = next((night.suite_digest for night in nights if night.metrics), None)
    for night in nights:
        # Metrics of an earlier version of the suite's file do not belong to the suite any more.
        if night.suite_digest == digest:
            for metric in night.metrics:
                newest.setdefault(metric.series, metric)
    found = [series(nights, baselines, metric) for metric in newest.values()]
    return [_history(each) for each in found if each]


def _history(nights: Sequence[tuple[NightRecord, NightMetric]]) -> History:
    if nights[-1][1].kind == "digest":
        change_points = [
            ChangePoint(night, None)
            for (_, before), (night, metric) in zip(nights, nights[1:], strict=False)
            if metric.digest != before.digest
        ]
        return History(tuple(nights), tuple(change_points), has_change_points=True)
    history = History(tuple(nights), (), has_change_points=False)
    sd = next((m.sd for _, m in reversed(nights) if m.sd is not None), None)
    if sd is None or history.reference is None:
        return history
    changes = find_change_points([metric.value for _, metric in nights], sd, history.reference)
    change_points = [ChangePoint(nights[change.index][0], change.size) for change in changes]
    return History(tuple(nights), tuple(change_points), has_change_points=True)
