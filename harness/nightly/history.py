"""The history of every metric of a suite: its series, and where it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.harness.analysis.change_points import change_points
from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord
from bench.harness.nightly.series import series


@dataclass(frozen=True)
class Turn:
    """A night from which on a metric is another than before."""

    night: NightRecord
    size: float | None
    """In standard deviations of a night's value; None of a digest."""


@dataclass(frozen=True)
class History:
    """One metric in the nights of its series."""

    nights: tuple[tuple[NightRecord, NightMetric], ...]
    """The oldest first."""
    turns: tuple[Turn, ...]
    is_watched: bool
    """Whether changes can be found: a digest, or a value whose noise is known."""

    @property
    def latest(self) -> NightMetric:
        """What the newest night found of it."""
        return self.nights[-1][1]

    @property
    def reference(self) -> float | None:
        """What the newest night was held against, or the first value of the series."""
        first = next((m.value for _, m in self.nights if m.value is not None), None)
        return first if self.latest.reference is None else self.latest.reference


def histories(
    nights: Sequence[NightRecord], baselines: Mapping[str, BaselineRecord]
) -> list[History]:
    """Return the history of every metric that the suite has as it is now.

    `nights` are of one suite and one baseline, the newest first; `baselines` are what is accepted
    under its name, by protocol key. A metric is followed in the context of its newest night.
    """
    newest: dict[tuple[str, ...], NightMetric] = {}
    # One that runs, or was killed, has none.
    digest = next((night.suite_digest for night in nights if night.metrics), None)
    for night in nights:
        # Of a suite that was rewritten, what it had before is not its any more.
        if night.suite_digest == digest:
            for metric in night.metrics:
                newest.setdefault(metric.series, metric)
    found = [series(nights, baselines, metric) for metric in newest.values()]
    return [_history(each) for each in found if each]


def _history(nights: Sequence[tuple[NightRecord, NightMetric]]) -> History:
    if nights[-1][1].kind == "digest":
        turns = [
            Turn(night, None)
            for (_, before), (night, metric) in zip(nights, nights[1:], strict=False)
            if metric.digest != before.digest
        ]
        return History(tuple(nights), tuple(turns), is_watched=True)
    history = History(tuple(nights), (), is_watched=False)
    sd = next((m.sd for _, m in reversed(nights) if m.sd is not None), None)
    if sd is None or history.reference is None:
        return history
    changes = change_points([metric.value for _, metric in nights], sd, history.reference)
    turns = [Turn(nights[change.index][0], change.size) for change in changes]
    return History(tuple(nights), tuple(turns), is_watched=True)
