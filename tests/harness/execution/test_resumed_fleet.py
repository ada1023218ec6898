"""A fleet gone on with: from its own state alone, and by the one process that has its lease."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.harness.core.errors import Infrastructure, LeaseLost
from bench.harness.core.records import Certificate, TrialRecord
from bench.harness.core.spec import Budget
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run
from bench.harness.execution.trainer import LocalTrainer, execute, record_fleets
from bench.harness.planning.fleets import Trial
from bench.harness.store import recorder as module
from bench.harness.store.owner import process_name, this_process
from bench.harness.store.results import Store
from bench.harness.training import machine
from bench.harness.training.fleet import Fleet
from bench.harness.training.interrupt import InterruptedRun
from tests.harness.execution.test_run import BUDGET, Runs
from tests.harness.execution.test_trainer import ELSEWHERE, NAG_HF, go, prepared


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setattr(LeasedFleet, "_draw", lambda *given: None)
    return Runs(store)


def stopped(run: Run, planned: list[Trial], by: type[BaseException] | None = None) -> TrialRecord:
    """Stop the only trial after its first update: by a signal, or at once by what is raised."""

    def stop(progress: Any) -> None:
        if by is not None:
            raise by
        run.interrupted.name = "SIGTERM"

    bars = Bars()
    bars.fleet = lambda *fleet: nullcontext(stop)  # type: ignore[method-assign]
    with pytest.raises(by or InterruptedRun):
        execute(run, planned, bars, LocalTrainer())
    run.interrupted.name = ""
    *_, last = run.store.trials(run.comparison_id)
    assert (last.status, last.ledger.updates) == ("interrupted", 1)
    return last


def test_an_attempt_never_goes_on_from_the_state_of_the_one_before(
    runs: Runs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    first = stopped(run, planned)
    assert len(list(run.checkpoints.iterdir())) == 1
    here = machine.context
    monkeypatch.setattr(machine, "context", lambda *given: {**here(*given), "device": "other"})
    # It has kept no state of its own when it is ended.
    second = stopped(run, planned, by=KeyboardInterrupt)
    assert (second.attempt, first.attempt) == (2, 1)
    assert not run.checkpoints.exists()
    runs.said.clear()
    went_on: list[Any] = []
    monkeypatch.setattr(Fleet, "load_state_dict", lambda fleet, state: went_on.append(state))
    (ended,) = go(run, planned)
    assert (ended.id, ended.status, went_on) == (second.id, "budget", [])
    assert runs.said == [
        f"There is no state of fleet {run.comparison_id}-0000 in {run.checkpoints}, so it is "
        "trained from the start, as the same trials."
    ]


def test_that_there_is_no_state_is_said_only_of_what_had_made_updates(
    runs: Runs, store: Store
) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    stopped(run, planned, by=KeyboardInterrupt)
    with store._write() as connection:
        connection.exec_driver_sql("UPDATE bench_trial SET updates = 0")
    go(run, planned)
    assert runs.said == []


SECONDS = Budget("seconds", 0.5)


@pytest.mark.parametrize(("budget", "again"), [(BUDGET, False), (SECONDS, True)], ids=str)
def test_what_was_measured_after_the_state_is_taken_again_where_it_may_be_other(
    runs: Runs, store: Store, budget: Budget, again: bool
) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1, budget=budget)
    trial = stopped(run, planned)
    before = store.measurements([trial.id])[trial.id]
    # The process went on for a while before it was killed.
    later = [replace(before[0], index=len(before) + more, train_metric=1e6) for more in (0, 1)]
    store.record([(trial.id, m) for m in later])
    (ended,) = go(run, planned)
    assert (ended.id, ended.status) == (trial.id, "budget")
    taken = store.measurements([trial.id])[trial.id]
    assert taken[: len(before)] == before
    assert [m in taken for m in later] == [not again] * 2
    assert [m.index for m in taken] == list(range(len(taken)))


@pytest.mark.parametrize(("device", "kept"), [("cpu", 4), ("cuda", 2)])
def test_off_the_cpu_what_was_measured_after_the_state_is_taken_again(
    runs: Runs, store: Store, device: str, kept: int
) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    trial = stopped(run, planned)
    before = store.measurements([trial.id])[trial.id]
    store.record([(trial.id, replace(before[0], index=index)) for index in (2, 3)])
    there = replace(run, machine=replace(run.machine, device=torch.device(device)))
    found = store.trial(trial.id)
    assert len(before) == 2
    leased: Any = object.__new__(LeasedFleet)
    leased._run, leased._trials, leased._certificate = there, planned, _no_certificate
    leased._records = [found]
    assert leased._open(0, None, measured=2) == trial.id
    assert len(store.measurements([trial.id])[trial.id]) == kept
    # What has ended by itself is not trained again, so nothing of it is forgotten.
    store.end(trial.id, "diverged", "", found.ledger, None)
    leased._records = [store.trial(trial.id)]
    assert leased._open(0, None, measured=0) == trial.id
    assert len(store.measurements([trial.id])[trial.id]) == kept


def _no_certificate(*given: object) -> Certificate:
    raise AssertionError("A trial that is gone on with keeps the certificate of its start.")


def test_a_trial_that_another_process_trains_is_left_to_it(runs: Runs, store: Store) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    trial = stopped(run, planned)
    assert store.reopen(trial.id, ELSEWHERE, {})
    with pytest.raises(Infrastructure, match=f"^Trial {trial.id} is being trained by another"):
        go(run, planned)
    assert store.trial(trial.id).status == "running"


# Leases that are lost


def lose(store: Store, run: Run) -> None:
    """Let another process have the fleet, its trials, and keep a state of its own."""
    with store._write() as connection:
        for table in ("fleet", "trial"):
            connection.exec_driver_sql(f"UPDATE bench_{table} SET lease_owner = '{ELSEWHERE}'")
    theirs = run.checkpoints / f"{run.comparison_id}-0000.000007.ckpt"
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("theirs")


@pytest.mark.parametrize("how", ["between two updates", "by Ctrl-C", "by an error"])
def test_who_has_lost_its_lease_stops_and_leaves_all_to_the_other(
    runs: Runs, store: Store, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.0)
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    record_fleets(run, planned, LocalTrainer(), fresh=False)
    leased = run.lease()
    assert leased is not None
    updates: list[int] = []

    def go_missing(progress: Any) -> None:
        updates.append(progress.updates)
        lose(store, run)
        recorder.flush()
        assert recorder.lost(leased.id)
        if how != "between two updates":
            raise KeyboardInterrupt if how == "by Ctrl-C" else ZeroDivisionError

    with run.recorder() as recorder:
        with pytest.raises(LeaseLost) as told:
            LeasedFleet(run, leased, recorder, go_missing).train()
        assert recorder.close()
    assert str(told.value).startswith(
        f"Nothing was heard of this process for a minute, so its lease of fleet 0 of comparison "
        f"{run.comparison_id} has ended"
    )
    assert updates == [1]
    (trial,), (fleet,) = store.trials(), store.fleets(run.comparison_id)
    # It says of the trial neither that it ended nor that it was interrupted.
    assert (trial.status, trial.ended, trial.reason) == ("running", None, None)
    assert (fleet.status, fleet.owner) == ("running", ELSEWHERE)
    assert [(f.name[-11:], f.read_text()) for f in run.checkpoints.iterdir()] == [
        ("000007.ckpt", "theirs")
    ]


def test_who_has_not_heard_that_its_lease_is_lost_clears_nothing(runs: Runs, store: Store) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    record_fleets(run, planned, LocalTrainer(), fresh=False)
    leased = run.lease()
    assert leased is not None

    def go_missing(progress: Any) -> None:
        lose(store, run)

    with run.recorder() as recorder:
        LeasedFleet(run, leased, recorder, go_missing).train()
    assert [file.read_text() for file in run.checkpoints.iterdir()] == ["theirs"]
    assert store.fleets(run.comparison_id)[0].owner == ELSEWHERE


def test_the_fleet_of_a_dead_process_is_leased_before_it_is_said_that_none_waits(
    runs: Runs, store: Store
) -> None:
    run, planned = prepared(runs, NAG_HF, seeds=1)
    record_fleets(run, planned, LocalTrainer(), fresh=False)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert store.lease(process_name(gone.pid), run.comparison_id, 0)
    assert store.lease(ELSEWHERE, run.comparison_id, 1)
    # Of the one that lives nothing is taken.
    assert run.lease(1) is None
    found = run.lease()
    assert found is not None and (found.number, found.owner) == (0, this_process())
    assert run.lease() is None
