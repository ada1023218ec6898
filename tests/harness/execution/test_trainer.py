"""A plan carried out, at once or in pieces: each trial is trained once, and stands in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import FleetRecord, TrialRecord
from bench.harness.core.spec import Budget
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run
from bench.harness.execution.trainer import LocalTrainer, execute, record_fleets
from bench.harness.planning.fleets import Trial, label_methods, make_methods, make_trials
from bench.harness.store.owner import this_process
from bench.harness.store.results import Store
from bench.harness.training import machine
from bench.harness.training.interrupt import InterruptedRun, InterruptFlag
from bench.harness.training.machine import Machine
from bench.optim.text import parse, split
from tests.harness import plugins
from tests.harness.execution.test_run import BUDGET, OWN, PROBLEM, PROTOCOL, Runs

NAG_HF = "nag[batch=20],hf[cg_max=5]"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setattr(LeasedFleet, "_draw", lambda *given: None)
    return Runs(store)


def prepared(
    runs: Runs, text: str, seeds: int = 2, budget: Budget = BUDGET, **given: Any
) -> tuple[Run, list[Trial]]:
    every = [m for each in split(text) for m in make_methods(parse(each), PROBLEM, budget, "cpu")]
    protocol = replace(PROTOCOL, budget=budget)
    planned = make_trials(label_methods(every), protocol, range(seeds), "reported")
    id = runs.store.new_comparison(protocol, "comparison", "bench compare")
    usual = {"methods": every, "protocol": protocol, "comparison_id": id}
    return runs.new(**{**usual, **given}), planned


class Watching(LocalTrainer):
    """Trains here, notes what it was given, and does something before the fleet of a turn."""

    def __init__(
        self, before: Callable[[int], None] = lambda turn: None, min_fleets: int = 1
    ) -> None:
        self.given: list[list[int]] = []
        self.shared: Machine | None = None
        self.min_fleets = min_fleets
        self._before = before

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        return self.shared or super().share(run, groups)

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        self.given.append([fleet.number for fleet in fleets])
        turns = iter(range(len(fleets)))
        bars = Bars()
        quiet = nullcontext(lambda progress: None)
        bars.fleet = lambda *shown: (self._before(next(turns)), quiet)[1]  # type: ignore[method-assign]
        return super().train(run, fleets, bars)


def go(run: Run, planned: list[Trial], trainer: LocalTrainer | None = None) -> list[TrialRecord]:
    ids = execute(run, planned, Bars(), trainer or LocalTrainer())
    found = [run.store.trial(id) for id in ids]
    assert [t.key for t in found] == [t.spec.key for t in planned]
    return found


def statuses(run: Run) -> list[str]:
    return [fleet.status for fleet in run.store.fleets(run.comparison_id)]


def test_a_plan_that_was_entered_keeps_its_fleets(runs: Runs, store: Store) -> None:
    run, planned = prepared(runs, NAG_HF)
    fleets = record_fleets(run, planned, LocalTrainer(), fresh=False)
    assert [len(fleet.task["trials"]) for fleet in fleets] == [2, 1, 1]
    # Meanwhile another comparison records the same trials.
    go(*prepared(runs, NAG_HF))
    assert record_fleets(run, planned, Watching(min_fleets=4), fresh=True) == fleets
    assert store.fleets(run.comparison_id) == fleets
    assert store.comparison(run.comparison_id).reused == set()


def test_a_fleet_is_written_down_with_what_decides_its_bits(runs: Runs) -> None:
    run, planned = prepared(runs, NAG_HF)
    trainer = Watching()
    trainer.shared = replace(run.machine, threads=3, other_fleets=5)
    first, second, third = (run.task(f) for f in record_fleets(run, planned, trainer, fresh=False))
    assert {(task.threads, task.beside) for task in (first, second, third)} == {(3, 5)}
    assert first.trials == [(0, "nag", 0, "reported"), (0, "nag", 1, "reported")]
    assert [task.trials for task in (second, third)] == [
        [(1, "hf", seed, "reported")] for seed in (0, 1)
    ]
    assert len({task.digest for task in (first, second, third)}) == 3


def test_there_are_as_many_fleets_as_can_be_trained_at_once(runs: Runs) -> None:
    run, planned = prepared(runs, "nag[batch=20]")
    assert len(record_fleets(run, planned, Watching(min_fleets=2), fresh=False)) == 2


def test_what_is_on_record_is_no_fleet_and_stands_in_its_place(runs: Runs, store: Store) -> None:
    hf = go(*prepared(runs, "hf[cg_max=5]"))
    run, planned = prepared(runs, NAG_HF)
    trainer = Watching()
    ended = go(run, planned, trainer)
    assert trainer.given == [[0]]
    assert [ended[1].id, ended[3].id] == [t.id for t in hf]
    assert store.comparison(run.comparison_id).reused == {t.id for t in hf}
    assert [t.attempt for t in ended] == [1] * 4
    assert "2 of 4 trials are on record" in runs.said[0]


def test_where_all_is_on_record_nothing_is_trained(runs: Runs) -> None:
    first = go(*prepared(runs, NAG_HF))
    trainer = Watching()
    assert go(*prepared(runs, NAG_HF), trainer) == first
    assert trainer.given == []


def test_only_fleets_that_wait_are_trained(runs: Runs) -> None:
    run, planned = prepared(runs, NAG_HF)
    record_fleets(run, planned, LocalTrainer(), fresh=False)
    with run.recorder() as recorder:
        leased = run.lease(1)
        assert leased is not None
        LeasedFleet(run, leased, recorder, lambda progress: None).train()
    assert statuses(run) == ["planned", "ended", "planned"]
    trainer = Watching()
    ended = go(run, planned, trainer)
    assert trainer.given == [[0, 2]]
    assert statuses(run) == ["ended"] * 3
    assert [t.attempt for t in ended] == [1] * 4
    # hf under seed 0 was trained first.
    assert min(ended, key=lambda t: t.id) == ended[1]
    again = Watching()
    assert go(run, planned, again) == ended
    assert again.given == []


def test_after_a_signal_it_goes_on_with_the_same_trials(runs: Runs, store: Store) -> None:
    whole = go(*prepared(runs, NAG_HF))
    run, planned = prepared(runs, NAG_HF)
    record_fleets(run, planned, LocalTrainer(), fresh=True)

    def stop(progress: Any) -> None:
        runs.interrupted.name = "SIGTERM"

    bars = Bars()
    bars.fleet = lambda *fleet: nullcontext(stop)  # type: ignore[method-assign]
    with pytest.raises(InterruptedRun):
        execute(run, planned, bars, LocalTrainer())
    assert statuses(run) == ["planned"] * 3
    begun = store.trials(run.comparison_id)
    assert [t.status for t in begun] == ["interrupted"] * 2
    assert 0 < begun[0].ledger.updates < 100
    run = replace(run, interrupted=InterruptFlag())
    ended = go(run, planned)
    assert [ended[0].id, ended[2].id] == [t.id for t in begun]
    assert [t.status for t in ended] == ["budget"] * 4
    for trial, other in zip(ended, whole, strict=True):
        mine, theirs = (store.measurements([t.id])[t.id] for t in (trial, other))
        assert [noted(m) for m in mine] == [noted(m) for m in theirs]
    assert "resumed" in store.info_of(ended[0].id) and "resumed" not in store.info_of(ended[1].id)
    assert not run.checkpoints.exists()


def noted(measurement: Any) -> Any:
    ledger = replace(measurement.ledger, seconds=0.0, fleet_seconds=0.0, peak_memory=0)
    return replace(measurement, ledger=ledger)


def test_on_another_machine_it_begins_anew(
    runs: Runs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)

    def stop(turn: int) -> None:
        runs.interrupted.name = "SIGTERM"

    with pytest.raises(InterruptedRun):
        go(run, planned, Watching(stop))
    (begun,) = store.trials(run.comparison_id)
    here = machine.context
    monkeypatch.setattr(machine, "context", lambda *given: {**here(*given), "device": "other"})
    (ended,) = go(replace(run, interrupted=InterruptFlag()), planned)
    assert (ended.attempt, ended.status, begun.attempt) == (2, "budget", 1)
    assert runs.said == [
        f"Trial {begun.id} was begun with another device, so it begins anew, as another attempt."
    ]
    assert store.trial(begun.id).status == "interrupted"


def test_trials_that_had_ended_before_their_process_was_killed_stay(
    runs: Runs, store: Store
) -> None:
    run, planned = prepared(runs, NAG_HF)
    before = go(run, planned)
    with store._write() as connection:
        connection.exec_driver_sql("UPDATE bench_fleet SET status = 'planned' WHERE number = 0")
    trainer = Watching()
    assert go(run, planned, trainer) == before
    assert trainer.given == [[0]] and statuses(run) == ["ended"] * 3


def test_a_fleet_that_failed_is_told_and_is_tried_again_once_it_is_taken_over(
    runs: Runs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, planned = prepared(runs, f"{OWN}Failing,nag[batch=20]", seeds=1)
    with pytest.raises(ZeroDivisionError):
        go(run, planned)
    assert statuses(run) == ["failed", "planned"]
    trainer = Watching()
    with pytest.raises(Infrastructure) as told:
        go(run, planned, trainer)
    assert str(told.value) == (
        f"failing s0 failed at {this_process()}: ZeroDivisionError('at ten'). The measurements "
        f"are recorded; `bench resume {run.comparison_id}` trains it again."
    )
    assert trainer.given == [[1]] and statuses(run) == ["failed", "ended"]
    store.finish_comparison(run.comparison_id, "failed", None)
    store.take_over(run.comparison_id, this_process())
    assert statuses(run) == ["planned", "ended"]
    # Its author has mended it.
    monkeypatch.setattr(plugins.Failing, "step", plugins.Watcher.step)
    again, nag = go(run, planned, trainer)
    assert trainer.given == [[1], [0]]
    assert [(t.status, t.attempt) for t in (again, nag)] == [("budget", 2), ("budget", 1)]


def test_a_fleet_that_failed_before_its_trials_were_begun_is_told_too(
    runs: Runs, store: Store
) -> None:
    run, planned = prepared(runs, NAG_HF, seeds=1)
    fleets = record_fleets(run, planned, LocalTrainer(), fresh=False)
    assert store.lease(ELSEWHERE, run.comparison_id, 1)
    store.end_fleet(fleets[1].id, ELSEWHERE, "failed")
    with pytest.raises(Infrastructure, match=f"^hf s0 failed at {ELSEWHERE}. The measurements"):
        go(run, planned)


def test_trials_that_were_prepared_otherwise_than_planned_are_not_run(
    runs: Runs, store: Store
) -> None:
    run, planned = prepared(runs, NAG_HF)
    record_fleets(run, planned, LocalTrainer(), fresh=False)
    fewer, _ = prepared(runs, "nag[batch=20]", comparison_id=run.comparison_id)
    others, _ = prepared(runs, "nag[batch=20],hf[cg_max=6]", comparison_id=run.comparison_id)
    for other in (fewer, others):
        fleet = store.fleets(run.comparison_id)[1]
        with pytest.raises(Infrastructure, match="^The trials here differ from the planned ones"):
            other.trials_of(fleet)
    assert [t.spec.key for t in run.trials_of(fleet)] == [planned[1].spec.key]
    assert store.trials() == []


ELSEWHERE = "elsewhere:17"


def test_fleets_that_others_train_are_waited_for(
    runs: Runs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, planned = prepared(runs, NAG_HF, seeds=1)
    fleets = record_fleets(run, planned, LocalTrainer(), fresh=False)
    assert store.lease(ELSEWHERE, run.comparison_id, 0)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            # It gives back what it cannot train, which is then trained here.
            store.end_fleet(fleets[0].id, ELSEWHERE, "planned")

    monkeypatch.setattr("bench.harness.execution.trainer.time", SimpleNamespace(sleep=wait))
    trainer = Watching()
    ended = go(run, planned, trainer)
    assert trainer.given == [[1], [0]]
    assert [t.status for t in ended] == ["budget"] * 2
    assert len(waits) == 3
    assert runs.said == [f"Waiting for fleets that other processes train: {ELSEWHERE}."]


def test_who_waits_for_others_can_be_stopped(
    runs: Runs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    record_fleets(run, planned, LocalTrainer(), fresh=False)
    assert store.lease(ELSEWHERE, run.comparison_id, 0)

    def wait(seconds: float) -> None:
        runs.interrupted.name = "SIGINT"

    monkeypatch.setattr("bench.harness.execution.trainer.time", SimpleNamespace(sleep=wait))
    with pytest.raises(InterruptedRun):
        go(run, planned)
    assert store.fleets(run.comparison_id)[0].owner == ELSEWHERE


def test_a_fleet_that_ended_without_its_trials_is_told(runs: Runs, store: Store) -> None:
    run, planned = prepared(runs, NAG_HF, seeds=1)
    fleets = record_fleets(run, planned, LocalTrainer(), fresh=False)
    assert store.lease(this_process(), run.comparison_id, 1)
    store.end_fleet(fleets[1].id, this_process(), "ended")
    with pytest.raises(Infrastructure, match=f"^1 of 2 trials of comparison {run.comparison_id}"):
        go(run, planned)
    assert [t.method for t in store.trials()] == ["nag"]


def test_trials_of_one_command_follow_the_plan(runs: Runs) -> None:
    """Whatever order they were trained in: the costly ones first, say."""

    class Backwards(LocalTrainer):
        def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
            return super().train(run, fleets[::-1], bars)

    ended = go(*prepared(runs, NAG_HF), Backwards())
    assert [(t.method, t.seed) for t in ended] == [
        (label, seed) for seed in (0, 1) for label in ("nag", "hf")
    ]
    assert [t.id for t in ended] != sorted(t.id for t in ended)
