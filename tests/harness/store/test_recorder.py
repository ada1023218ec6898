"""The recorder: nothing waits, nothing is lost, everything may be written twice."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Protocol
from bench.harness.store import recorder as module
from bench.harness.store import spool as spooling
from bench.harness.store import tables
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.store.spool import Spool, SpooledEnd, SpooledMeasurement, replay


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.02)


@pytest.fixture
def break_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Make every change to the store fail, or work again."""
    works = store._write

    def away() -> None:
        raise Infrastructure("The store is away.")

    return lambda broken: monkeypatch.setattr(store, "_write", away if broken else works)


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen within 10 seconds")


def test_measurements_and_ends_arrive(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    tmp_path: Path,
) -> None:
    one, other = begin(comparison), begin(comparison)
    rows = [measured(i, math.nan if i == 7 else i / 8) for i in range(8)]
    recorder = Recorder(store, tmp_path / "spool")
    for row in rows[:4]:
        recorder.measure(one, row)
    # While training goes on, the curve so far is there.
    eventually(lambda: len(store.measurements([one])[one]) == 4)
    for row in rows[4:]:
        recorder.measure(one, row)
        recorder.measure(other, row)
    recorder.end(one, "budget", None, rows[-1].ledger, rows[-1])
    assert recorder.close()
    assert repr(store.measurements([one, other])) == repr({one: rows, other: rows[4:]})
    assert [store.trial(i).status for i in (one, other)] == ["budget", "running"]
    assert not (tmp_path / "spool").exists()


def test_open_trials_and_the_comparison_stay_alive(
    store: Store, protocol: Protocol, begin: Callable[..., int], tmp_path: Path
) -> None:
    comparison = store.new_comparison(protocol, "comparison", "bench compare", owner="me")

    def heartbeats() -> tuple[datetime, datetime]:
        with store._read() as connection:
            of_trial = connection.scalars(select(tables.trial.c.heartbeat)).one()
            return of_trial, connection.scalars(select(tables.comparison.c.heartbeat)).one()

    id = begin(comparison)
    with Recorder(store, tmp_path / "spool", comparison_id=comparison, owner="me") as recorder:
        recorder.open(id)
        first = heartbeats()
        eventually(lambda: heartbeats()[0] > first[0] and heartbeats()[1] > first[1])
        recorder.end(id, "budget", None, Ledger(), None)
        eventually(lambda: store.trial(id).status == "budget")
        # Between two trials the comparison is alive.
        second = heartbeats()
        eventually(lambda: heartbeats()[1] > second[1])
        assert heartbeats()[0] == second[0]


def test_fleets_are_alive_while_they_are_held(
    store: Store, comparison: str, tmp_path: Path
) -> None:
    def heartbeats() -> dict[int, datetime]:
        with store._read() as connection:
            return {row.id: row.heartbeat for row in connection.execute(select(tables.fleet))}

    one, other, third = store.add_fleets(comparison, [(1.0, {})] * 3)
    for owner in ("here:1", "here:1", "here:2"):
        store.lease(owner, comparison)
    first = heartbeats()
    with Recorder(store, tmp_path / "spool", owner="here:1") as recorder:
        recorder.hold(one.id)
        eventually(lambda: heartbeats()[one.id] > first[one.id])
        recorder.release(one.id)
        recorder.hold(other.id)
        eventually(lambda: heartbeats()[other.id] > first[other.id])
        second = heartbeats()
        eventually(lambda: heartbeats()[other.id] > second[other.id])
        assert heartbeats()[one.id] == second[one.id]
        assert not any(recorder.lost(fleet.id) for fleet in (one, other, third))
    assert heartbeats()[third.id] == first[third.id]


def test_a_fleet_that_another_process_has_is_known_to_be_lost(
    store: Store, comparison: str, tmp_path: Path
) -> None:
    mine, theirs = store.add_fleets(comparison, [(1.0, {})] * 2)
    for _ in range(2):
        store.lease("here:1", comparison)
    with Recorder(store, tmp_path / "spool", owner="here:1") as recorder:
        recorder.hold(mine.id)
        recorder.hold(theirs.id)
        with store._write() as connection:
            taken = update(tables.fleet).where(tables.fleet.c.id == theirs.id)
            connection.execute(taken.values(lease_owner="here:2"))
        eventually(lambda: recorder.lost(theirs.id))
        assert not recorder.lost(mine.id)
        recorder.release(theirs.id)
        assert recorder.lost(theirs.id)
        # The other gives it back, and it is leased here once more.
        store.end_fleet(theirs.id, "here:2", "planned")
        assert store.lease("here:1", comparison) is not None
        recorder.hold(theirs.id)
        recorder.flush()
        assert not recorder.lost(theirs.id)


def test_what_was_spooled_arrives_when_the_store_is_back(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    break_store: Callable[[bool], None],
    tmp_path: Path,
) -> None:
    id, told = begin(comparison), []
    recorder = Recorder(store, tmp_path / "spool", told.append)
    break_store(True)
    rows = [measured(i, -math.inf, rho=math.nan) for i in range(6)]
    for row in rows:
        recorder.measure(id, row)
        if row.index == 2:
            eventually(lambda: bool(told))
    recorder.end(id, "diverged", "because", rows[-1].ledger, rows[-1])
    (file,) = (tmp_path / "spool").glob("*.jsonl")
    eventually(lambda: len(file.read_text().splitlines()) == 7)
    assert len(told) == 1
    assert told[0].startswith(
        f"The store is away. Training goes on; what it measures is kept in {file}"
    )
    break_store(False)
    eventually(lambda: len(told) == 2)
    assert told[1] == f"The store {store.redacted_url} is back and has everything."
    assert recorder.close() and len(told) == 2
    assert repr(store.measurements([id])[id]) == repr(rows)
    assert (store.trial(id).status, store.trial(id).reason) == ("diverged", "because")
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_dead_process_spooled_is_replayed(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    break_store: Callable[[bool], None],
    tmp_path: Path,
) -> None:
    id, told = begin(comparison), []
    rows = [measured(0), measured(1, 0.5)]
    store.record([(id, rows[0])])
    break_store(True)
    recorder = Recorder(store, tmp_path, told.append)
    for row in rows:
        recorder.measure(id, row)
    recorder.measure(id + 1, rows[0])
    recorder.end(id, "budget", None, rows[1].ledger, rows[1])
    assert not recorder.close()
    (file,) = tmp_path.glob("*.jsonl")
    assert "stay in" in told[-1] and str(file) in told[-1]
    break_store(False)
    # Its process died while it wrote the last line; another store's file lies beside it.
    with file.open("a") as torn:
        torn.write('{"Measured": {"tri')
    (tmp_path / f"{'0' * 32}-1-ab.jsonl").write_text("{}\n")
    store.end_dead(older_than_s=0)
    told.clear()
    assert Recorder(store, tmp_path, told.append).close()
    # The trial that the store never had is passed over.
    assert told == [f"3 rows from {tmp_path} have been written to the store."]
    assert store.measurements([id])[id] == rows
    assert store.trial(id).status == "budget" and store.trial(id).train_metric == 0.5
    assert [p.name for p in tmp_path.glob("*.jsonl")] == [f"{'0' * 32}-1-ab.jsonl"]
    assert replay(store, tmp_path, print) == 0


def test_the_spool_of_a_living_process_is_left_to_it(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    tmp_path: Path,
) -> None:
    id = begin(comparison)
    spool = Spool(store, tmp_path, print)
    spool.append([SpooledMeasurement(id, measured(0))])
    assert replay(store, tmp_path, print) == 0
    spool.append([SpooledEnd(id, "budget", None, Ledger(), None)])
    lines = spool.path.read_text().splitlines()
    assert [json.loads(line).popitem()[0] for line in lines] == ["Measured", "Ended"]
    spool.close()
    assert replay(store, tmp_path, print) == 2 and not spool.path.exists()


def test_a_full_disk_keeps_rows_in_memory(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    break_store: Callable[[bool], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    id, told = begin(comparison), []
    monkeypatch.setattr(spooling.os, "fsync", full)
    break_store(True)
    recorder = Recorder(store, tmp_path, told.append)
    recorder.measure(id, measured(0))
    eventually(lambda: bool(told))
    recorder.measure(id, measured(1))
    assert "in memory" in told[0] and "No space left on device" in told[0]
    break_store(False)
    eventually(lambda: len(told) == 2)
    assert recorder.close()
    assert [m.index for m in store.measurements([id])[id]] == [0, 1]


def test_rows_that_can_go_nowhere_are_said_to_be_lost(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    break_store: Callable[[bool], None],
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    id, told = begin(comparison), []
    break_store(True)
    recorder = Recorder(store, tmp_path / "file", told.append)
    recorder.measure(id, measured(0))
    assert not recorder.close()
    assert told[-1].startswith("1 rows are lost")


def test_nothing_enters_a_trial_that_was_taken_over(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    break_store: Callable[[bool], None],
    tmp_path: Path,
) -> None:
    lost, kept = begin(comparison, owner="here:1"), begin(comparison, owner="here:1")
    told: list[str] = []
    break_store(True)
    recorder = Recorder(store, tmp_path, told.append, owner="here:1")
    for id in (lost, kept):
        recorder.measure(id, measured(0, 7.0))
        recorder.end(id, "failed", "an error", Ledger(), None)
    recorder.close()
    (spooled,) = tmp_path.glob("*.jsonl")
    break_store(False)
    # Another process takes the first trial over, before the rows on disk arrive and after.
    store.end_dead(older_than_s=-1000)
    assert store.reopen(lost, "elsewhere:1", {})
    with Recorder(store, tmp_path, told.append, owner="here:1") as late:
        late.measure(lost, measured(1, 7.0))
        late.flush()
        assert not spooled.exists() and store.measurements([lost])[lost] == []
        mine = [measured(index, 0.5) for index in (0, 1)]
        store.record([(lost, each) for each in mine], "elsewhere:1")
        store.end(lost, "budget", None, mine[1].ledger, mine[1], "elsewhere:1")
        late.measure(lost, measured(2, 7.0))
    assert store.measurements([lost, kept]) == {lost: mine, kept: [measured(0, 7.0)]}
    assert [store.trial(id).status for id in (lost, kept)] == ["budget", "failed"]
    assert store.trial(lost).train_metric == 0.5
