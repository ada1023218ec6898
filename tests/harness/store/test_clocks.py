"""Clocks that were ahead or go back: what is recorded last comes first, and the dead stay dead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from bench.harness.cli.nightly_status import is_overdue, last_night_text
from bench.harness.core.spec import Protocol
from bench.harness.nightly.baseline import accepted
from bench.harness.store import tables as t
from bench.harness.store.owner import this_process
from bench.harness.store.results import Store

NIGHT: Any = ("nightly", "5" * 64, "main", None, {})


def shift(store: Store, column: Any, days: float) -> None:
    """Date everything in a column some days ahead."""
    with store._write() as connection:
        time = datetime.now(UTC) + timedelta(days=days)
        connection.execute(update(column.table).values({column.name: time}))


def test_what_is_recorded_last_comes_first(
    store: Store, protocol: Protocol, capsys: pytest.CaptureFixture[str]
) -> None:
    first = store.new_comparison(protocol, "comparison", "bench compare")
    store.accept("main", first, None)
    night, noise = store.begin_night(*NIGHT), store.save_noise("nightly", {})
    for column in (t.comparison.c.created, t.night.c.created, t.noise.c.created):
        shift(store, column, 3)
    shift(store, t.baseline.c.accepted, 5)
    assert capsys.readouterr().err == ""
    second = store.new_comparison(protocol, "comparison", "bench compare")
    assert (
        "the clock went back, or was ahead. The new record gets a time" in capsys.readouterr().err
    )
    store.accept("main", second, None)
    assert [c.id for c in store.comparisons()] == [second, first]
    assert accepted(store, "main")[protocol.key].comparison_id == second
    later = store.begin_night(*NIGHT)
    assert [n.uuid for n in store.nights()] == [later, night]
    # The night belongs to the series since that acceptance.
    assert store.nights()[0].created > store.baselines("main")[0].accepted
    newer = store.save_noise("nightly", {})
    assert [each.uuid for each in store.noises()] == [newer, noise]


def test_silence_behind_a_night_from_the_future(store: Store) -> None:
    store.end_night(store.begin_night(*NIGHT), "clean", None, ())
    for column in (t.night.c.created, t.night.c.ended):
        shift(store, column, 3)
    now = datetime.now(UTC)
    assert is_overdue(store.nights(), now, within=26)
    assert "in the future, so the clock went back" in last_night_text(store.nights(), now)
    # A night of today ends that, although the earlier one has a later time.
    store.end_night(store.begin_night(*NIGHT), "changed", None, ())
    assert not is_overdue(store.nights(), now, within=26)
    assert "0.0 h ago, changed" in last_night_text(store.nights(), datetime.now(UTC))
    # Once the day of the earlier one has come, it hides no silence.
    assert is_overdue(store.nights(), now + timedelta(days=3, hours=1), within=26)


@pytest.mark.parametrize("owner", ["elsewhere:1", this_process()], ids=["elsewhere", "here"])
def test_a_heartbeat_from_the_future_keeps_nobody_alive_elsewhere(
    store: Store, protocol: Protocol, begin: Callable[..., int], owner: str
) -> None:
    comparison = store.new_comparison(protocol, "comparison", "bench compare", owner=owner)
    trial = begin(comparison, owner=owner)
    for column in (t.trial.c.heartbeat, t.comparison.c.heartbeat):
        shift(store, column, 3)
    alive = owner == this_process()
    assert [each.id for each in store.end_dead()] == ([] if alive else [trial])
    assert (store.comparison(comparison).status == "running") == alive
