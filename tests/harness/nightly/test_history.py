"""What the history of a metric shows, and from which night on it is another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord
from bench.harness.nightly.history import History, histories
from tests.harness.recorded_nights import FIRST, PROTOCOL, digest, night, quality


def nights(*values: float | None, **given: Any) -> list[NightRecord]:
    """Return a night a value, the newest first, as a store returns them."""
    return [night(day, quality(value=v, **given)) for day, v in enumerate(values)][::-1]


def only(some: Sequence[NightRecord], accepted: dict[str, BaselineRecord] | None = None) -> History:
    (history,) = histories(some, accepted or {})
    return history


def change_points(history: History) -> list[tuple[int, float | None]]:
    return [((turn.night.created - FIRST).days, turn.size) for turn in history.change_points]


def test_a_step_is_found_with_its_night_and_its_size() -> None:
    history = only(nights(*[0.0, None, *[0.01, -0.01] * 5], *[0.04] * 4))
    ((day, size),) = change_points(history)
    assert day == 12
    assert size == pytest.approx(4, abs=0.5)
    assert history.has_change_points and history.reference == 0.0
    assert change_points(only(nights(*[0.01, -0.01] * 8))) == []


def test_after_an_acceptance_it_starts_anew() -> None:
    some = nights(*[0.0] * 8, *[0.04] * 4)
    assert [day for day, _ in change_points(only(some))] == [8]
    accepted = BaselineRecord("main", FIRST + timedelta(days=7, hours=12), "c0ffee00", None)
    history = only(some, {PROTOCOL: accepted})
    # What the newest night was held against is the reference, whatever it was before.
    assert len(history.nights) == 4 and history.latest.value == 0.04
    after = nights(*[0.0] * 8, *[0.04] * 4, reference=0.04)
    assert change_points(only(after, {PROTOCOL: accepted})) == []


def test_a_metric_with_nothing_since_it_was_accepted_has_no_history_yet() -> None:
    accepted = BaselineRecord("main", FIRST + timedelta(days=30), "c0ffee00", None)
    assert histories(nights(0.0, 0.0), {PROTOCOL: accepted}) == []


def test_a_digest_changes_where_it_is_another_than_the_night_before() -> None:
    some = [night(day, digest(letter)) for day, letter in enumerate("aabbba")]
    assert change_points(only(some[::-1])) == [(2, None), (5, None)]


def test_without_noise_no_change_is_sought_and_the_first_value_is_the_reference() -> None:
    history = only(nights(None, 0.5, *[9.0] * 9, sd=None, reference=None))
    assert (history.has_change_points, history.change_points, history.reference) == (False, (), 0.5)
    # The newest noise that is known holds for all nights.
    some = [night(11, quality(value=9.0, reference=0.5)), *nights(0.5, *[9.0] * 9, sd=None)]
    assert [day for day, _ in change_points(only(some))] == [1]
    wider = [night(11, quality(value=0.04, sd=1.0)), *nights(*[0.0] * 8, *[0.04] * 3)]
    assert change_points(only(wider)) == []


def test_a_metric_that_never_had_a_value_has_no_reference() -> None:
    history = only(nights(None, None, reference=None))
    assert (history.reference, history.has_change_points) == (None, False)


def test_the_metrics_are_those_of_the_suite_as_it_is_now() -> None:
    def named(*metrics: NightMetric) -> list[str]:
        return [metric.method for metric in metrics]

    old = night(0, quality(method="gone"), quality(method="nag"), suite_digest="o" * 64)
    new = night(1, quality(method="nag"), quality(method="hf"))
    failed = night(2, status="failed")
    found = histories([failed, new, old], {})
    assert named(*(each.latest for each in found)) == ["nag", "hf"]
    # A series goes on where the suite was rewritten around it.
    assert [len(each.nights) for each in found] == [2, 1]
    assert histories([failed], {}) == []


def test_a_night_that_runs_hides_nothing() -> None:
    running = night(2, suite_digest="n" * 64, status="running", ended=None)
    assert only([running, *nights(0.0, 0.0)]).latest.value == 0.0


def test_a_metric_is_followed_in_the_context_of_its_newest_night() -> None:
    elsewhere = [night(day, quality(context_digest="d" * 64)) for day in (0, 1)]
    here = night(2, quality())
    assert len(only([here, *elsewhere]).nights) == 1
    back = night(3, quality(context_digest="d" * 64))
    assert len(only([back, here, *elsewhere]).nights) == 3
