"""Which nights are compared with each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord
from bench.harness.nightly.series import series
from tests.harness.recorded_nights import FIRST, PROTOCOL, digest, night, quality

METRIC = quality()


def days(found: list[tuple[NightRecord, NightMetric]]) -> list[int]:
    return [(each.created - FIRST).days for each, _ in found]


def accepted(hours: float, comparison: str = "0" * 8) -> dict[str, BaselineRecord]:
    time = FIRST + timedelta(hours=hours)
    return {PROTOCOL: BaselineRecord("main", time, comparison, None)}


def test_the_oldest_night_is_first_in_whichever_order_they_come() -> None:
    nights = [night(2, quality(value=2.0)), night(0, quality(value=0.0)), night(1, METRIC)]
    found = series(nights, {}, METRIC)
    assert days(found) == [0, 1, 2]
    assert [metric.value for _, metric in found] == [0.0, 0.01, 2.0]


def test_only_the_same_thing_in_the_same_context_belongs_to_it() -> None:
    others = [
        digest(),
        quality(method="hf"),
        quality(metric="update / kernel 1"),
        quality(protocol_key="q" * 64),
        quality(context_digest="d" * 64),
    ]
    nights = [night(day, other) for day, other in enumerate(others)]
    assert series(nights, {}, METRIC) == []
    # What was found of it, and how it was judged, does not matter.
    changed = quality(state="worse", value=1.0, reference=0.5, sd=None, threshold=None, n=3)
    assert days(series([*nights, night(9, changed)], {}, METRIC)) == [9]


def test_a_night_that_failed_in_part_counts_with_what_it_has_measured() -> None:
    nights = [night(0, status="failed"), night(1, METRIC, status="failed", reason="no data")]
    assert days(series(nights, {}, METRIC)) == [1]


def test_a_night_has_one_value_also_where_two_parts_measure_the_same() -> None:
    found = series([night(0, quality(value=1.0), quality(value=2.0))], {}, METRIC)
    assert [metric.value for _, metric in found] == [1.0]


def test_it_begins_anew_with_the_first_night_after_an_acceptance() -> None:
    nights = [night(day, METRIC) for day in range(4)]
    assert days(series(nights, accepted(hours=25), METRIC)) == [2, 3]
    # A night that began at the very moment is one of those after it.
    assert days(series(nights, accepted(hours=24), METRIC)) == [1, 2, 3]
    assert days(series(nights, accepted(hours=240), METRIC)) == []


def test_it_begins_with_the_night_whose_comparison_was_accepted() -> None:
    nights = [night(day, METRIC, quality(method="hf")) for day in range(4)]
    ran = quality(method="hf", comparison_id="c0ffee00")
    nights[1] = replace(nights[1], metrics=(METRIC, ran))
    # It was accepted two days later, and the nights between are after it too.
    assert days(series(nights, accepted(hours=60, comparison="c0ffee00"), METRIC)) == [1, 2, 3]
    assert days(series(nights, accepted(hours=60, comparison="c0ffee01"), METRIC)) == [3]


def test_what_is_accepted_under_another_protocol_begins_nothing_anew() -> None:
    nights = [night(day, METRIC) for day in range(3)]
    other = {"q" * 64: accepted(hours=240)[PROTOCOL]}
    assert days(series(nights, other, METRIC)) == [0, 1, 2]
