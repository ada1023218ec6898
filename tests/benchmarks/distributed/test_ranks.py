"""What is measured of several processes: the counts are right, and every part is really run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.harness.core.records import Ledger
from bench.harness.distributed.ranks import SINGLE_PROCESS
from bench.harness.store import tables
from bench.harness.store.results import Store
from bench.harness.training.checkpoint import Checkpoints
from bench.models.deep_autoencoders import curves
from bench.models.recurrent import SequenceProblem
from benchmarks.distributed import data_mode, ranks, stores, trials_mode
from benchmarks.distributed.checkpoints import Timed, measure
from benchmarks.distributed.data_mode import (
    EIGHTH,
    REDUCTION,
    SHARED,
    SIZES,
    TWICE,
    WHOLE,
    Case,
    Operations,
    in_turns,
)


class Clock:
    """A clock that only moves when something takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def takes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: clock.now)
        yield clock


# Mode data


def test_candidates_take_turns_and_each_is_called_until_its_turn_is_long_enough(
    clock: Clock,
) -> None:
    calls: list[str] = []

    def candidate(name: str, seconds: float) -> Any:
        def call() -> None:
            calls.append(name)
            clock.takes(seconds)

        return call

    short, long = candidate("short", 0.02), candidate("long", 1.0)
    found = in_turns({"short": (short, True), "long": (long, False)}, SINGLE_PROCESS, 2)
    assert found["short"] == pytest.approx([0.02, 0.02])
    assert found["long"] == pytest.approx([1.0, 1.0])
    first, second, third = calls[:2], calls[2:5], calls[5:]
    assert first == ["short", "long"]
    assert second == ["long", "short", "short"] and third == ["short", "short", "long"]


def test_who_does_not_take_part_waits(clock: Clock) -> None:
    class Second(type(SINGLE_PROCESS)):  # type: ignore[misc]
        rank = 1

    called: list[str] = []
    candidates = {
        "alone": (lambda: called.append("alone"), False),
        "both": (lambda: called.append("both"), True),
    }
    found = in_turns(candidates, Second(), 1)
    assert set(called) == {"both"} and found["alone"] == [0.0]


def test_no_round_begins_once_the_time_is_over(clock: Clock) -> None:
    found = in_turns({"slow": (lambda: clock.takes(7.0), True)}, SINGLE_PROCESS, 40)
    assert len(found["slow"]) == 1


@pytest.mark.parametrize(
    ("method", "passes"),
    # The ledger counts the cases of every pass, and some of hf's are over a part of them.
    [("nag", 1), ("hf[lam=0.1,cg_max=2,cg_tolerance=0]", 4.25)],
)
def test_a_share_of_the_cases_costs_that_share(method: str, passes: float) -> None:
    case = Case(curves("quick"), method, 64, images=100)
    spent = []
    for name in (EIGHTH, WHOLE, TWICE):
        fleet = case.fleet(SIZES[name], SINGLE_PROCESS)
        fleet.advance()
        spent.append(fleet.account.examples)
    assert spent == [passes * cases for cases in (8, 64, 128)]


def test_operations_are_those_that_compute_something() -> None:
    x = torch.ones(2, 3)
    with Operations() as counted:
        (x.T + 1).sum()
    assert counted.made == 2


@pytest.mark.slow
def test_two_ranks_are_measured_with_what_they_sum() -> None:
    found = data_mode.measure(smoke=True)
    update, iteration = found["cases"]
    problem = SequenceProblem("add", "quick", T=20)
    # θ's gradient in float32, with its padding, and one loss in float64.
    assert update["bytes"] == 4 * problem.layout.size + 8
    assert update["calls"] == 1 and update["gradients"] == update["cases"]
    assert iteration["unit"] == "iteration" and iteration["calls"] > 4
    assert iteration["bytes"] > 4 * 4 * curves("quick").layout.size
    for case in found["cases"]:
        assert set(case["seconds"]) == {*SIZES, SHARED, REDUCTION}
        assert all(min(each) > 0 and len(each) == 2 for each in case["seconds"].values())
    assert all(min(each) > 0 for each in found["reductions"].values())


# Mode trials


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a store of two trials: from second 10 to 14 and from 11 to 16 of a day."""
    day = datetime(1970, 1, 2, tzinfo=UTC)
    with Store.open(f"sqlite:///{tmp_path / 'bench.db'}") as store:
        id = store.new_comparison(stores.PROTOCOL, "comparison", "bench compare")
        for seed, (started, ended) in enumerate([(10, 14), (11, 16)]):
            trial = store.begin(
                id, stores.TrialSpec(stores.PROTOCOL, stores.MethodSpec("nag", "torch", {}), seed),
                label="nag", purpose="reported", source_digest="", context={}, info={},
                fleet_rows=1, seconds_are="shared", owner="benchmark",
            )  # fmt: skip
            store.end(trial, "budget", None, Ledger(), None)
            with store._write() as connection:
                connection.execute(
                    tables.trial.update()
                    .where(tables.trial.c.id == trial)
                    .values(
                        started=day + timedelta(seconds=started),
                        ended=day + timedelta(seconds=ended),
                    )
                )
    return tmp_path


def test_a_span_is_from_the_first_start_to_the_last_end(place: Path) -> None:
    size = (place / "bench.db").stat().st_size
    span = trials_mode.span(place, began=86_400 + 7.5, empty=size - 5_000)
    assert (span.trials, span.seconds, span.start) == (2, 6.0, 2.5)
    assert span.rate == pytest.approx(2 / 6) and span.bytes == 2_500


def test_fleets_of_several_rows_are_no_measurement_of_trials(place: Path) -> None:
    with Store.open(f"sqlite:///{place / 'bench.db'}") as store, store._write() as connection:
        connection.execute(tables.trial.update().values(fleet_rows=2))
    with pytest.raises(RuntimeError, match="rows"):
        trials_mode.span(place, 0.0, 0)


def test_processes_of_their_own_count_at_their_rates_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spans(commands: list[list[str]]) -> list[trials_mode.Span]:
        if len(commands) == 2:
            return [trials_mode.Span(1, seconds, 1.0, 10.0) for seconds in (2.0, 4.0)]
        return [trials_mode.Span(2, 5.0, 3.0, 20.0)]

    monkeypatch.setattr(trials_mode, "at_once", spans)
    found = trials_mode.measure(smoke=True)
    # ½ + ¼ of a fleet a second.
    assert found["seconds"][trials_mode.PROCESSES] == pytest.approx([2 / 0.75])
    assert found["seconds"][trials_mode.RANKS] == [5.0] and found["bytes"] == 20.0
    against = ranks._trials(found)[0]
    assert against.ratio["median"] == pytest.approx((2 / 5) / 0.75)
    assert against.goal == ranks.TRIALS_GOAL and against.unit == "fleets/s"


@pytest.mark.slow
def test_two_commands_at_once_have_their_trials_in_stores_of_their_own() -> None:
    usual = ["--threads=1", "--seeds=1", "--budget=gradients=5000"]
    spans = trials_mode.at_once(
        [["--optimizers", trials_mode._hf(point), *usual] for point in trials_mode.POINTS]
    )
    assert [span.trials for span in spans] == [1, 1]
    assert all(0 < span.seconds and 0 < span.start for span in spans)


@pytest.mark.slow
def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="'nagg'"):
        trials_mode.at_once([["--optimizers=nagg"]])


# Stores


def test_operations_a_second_are_counted_and_the_longest_is_kept(clock: Clock) -> None:
    lasting = iter([0.25, 0.5, 0.25, 1.0])
    told = stores.over_and_over(lambda: clock.takes(next(lasting)), 1.5)
    assert told == {"rate": 4 / 2.0, "longest": 1.0}


def test_a_worker_does_to_a_store_what_a_rank_does(store_url: str) -> None:
    id = stores._filled(store_url)
    with Store.open(store_url) as store:
        worker = stores.Worker(store, id)
        (trial,) = store.trials()
        worker.measurement()
        worker.measurement()
        assert len(store.measurements([trial.id])[trial.id]) == 2 * stores.ROWS
        worker.heartbeat()
        before = store.fleets(id)
        worker.lease()
        assert store.fleets(id) == before and len(before) == stores.FLEETS
        assert {fleet.status for fleet in before} == {"planned"}


@pytest.mark.slow
def test_a_store_is_measured_by_one_worker_and_by_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(stores.POSTGRES, raising=False)
    found = stores.measure(smoke=True)
    assert list(found) == ["SQLite"] and set(found["SQLite"]) == set(stores.OPERATIONS)
    for reached in found["SQLite"].values():
        assert list(reached) == ["1", "2"]
        assert all(each["rates"][0] > 0 and each["longest"] > 0 for each in reached.values())


def test_a_postgresql_server_gets_a_database_that_is_dropped(postgres_url: str) -> None:
    with stores.postgresql() as url:
        assert url is not None
        stores._filled(url)
    with pytest.raises(Exception, match="does not exist"):
        Store.open(url, create=False)


# Checkpoints


def test_a_checkpoint_holds_what_nag_and_hf_keep_and_little_else() -> None:
    for found in measure(smoke=True):
        theta = 4 * curves("quick").layout.size
        # θ and one more vector: the velocity, or where CG starts.
        assert 2 * theta < found["bytes"] < 2 * theta + 10_000
        assert all(second > 0 for second in found["seconds"])


def test_the_time_of_checkpoints_is_added_up(clock: Clock, tmp_path: Path) -> None:
    class Slow(Checkpoints):
        def write(self, state: Any) -> bool:
            clock.takes(0.25)
            return True

    keeper = Timed(Slow(tmp_path, "fleet", {}, print))
    keeper.write({})
    keeper.write({})
    assert (keeper.spent, keeper.written) == (0.5, 2)
    assert keeper.due(0.0) is False and keeper.due(1e6) is True


# The part


def test_overhead_is_what_two_ranks_take_beyond_half_of_one() -> None:
    case = {
        "name": "curves/quick", "method": "nag", "unit": "update", "parameters": 87_110,
        "seconds": {WHOLE: [4.0, 4.0], SHARED: [2.5, 4.0], REDUCTION: [0.5, 1.0]},
    }  # fmt: skip
    times, overhead, reduction = ranks._data(case)
    assert times.ratio["median"] == pytest.approx((0.625 + 1.0) / 2)
    assert overhead.ratio["median"] == pytest.approx((0.5 / 2.5 + 2.0 / 4.0) / 2)
    assert reduction.ratio["median"] == pytest.approx((0.5 / 2.5 + 1.0 / 4.0) / 2)


def test_rates_of_a_store_are_those_of_most_workers_against_one() -> None:
    reached = {"1": {"rates": [100.0]}, "4": {"rates": [150.0]}, "16": {"rates": [50.0]}}
    (figure,) = ranks._stores({"SQLite": {stores.LEASE: reached}})
    assert figure.rate == pytest.approx(50.0) and figure.against_rate == pytest.approx(100.0)
    assert figure.ratio["median"] == pytest.approx(0.5)
