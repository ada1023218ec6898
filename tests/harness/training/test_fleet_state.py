"""A fleet that goes on from a state that was kept: bit for bit the run that was not interrupted."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Outcome
from bench.models.built_in import PROBLEMS
from bench.models.losses import HalfSquaredError
from bench.models.problem import DataSource, Problem
from bench.optim.momentum.methods import CM, NAG, SGD
from bench.optim.objective import FORESEEN, Method, Objective
from bench.optim.registry import resolve
from tests.harness.tape import TapedGraph
from tests.harness.training.test_fleet import BATCH, CPU, Observer, Scripted, nag
from tests.harness.training.test_graph_replay import method as four
from tests.laws.runs import method as one
from tests.models.tiny import ARCHITECTURE, Tiny

Make = Callable[[], Fleet]
ROWS: tuple[Callable[[], Method], ...] = (
    nag,
    lambda: CM("torch", batch=BATCH, lr=0.01, period=7, final=5, l2=1e-3),
    lambda: SGD("torch", batch=BATCH, lr=0.05),
)


class Disk:
    """Keeps states as files hold them, when a test says so."""

    def __init__(self, due: Callable[[int], bool] = lambda question: False) -> None:
        self.files: list[bytes] = []
        self.elapsed: list[float] = []
        self._due = due

    def due(self, elapsed: float) -> bool:
        self.elapsed.append(elapsed)
        return self._due(len(self.elapsed) - 1)

    def write(self, state: Mapping[str, Any]) -> None:
        file = io.BytesIO()
        torch.save(state, file)
        self.files.append(file.getvalue())


def read(file: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(file), weights_only=True)
    return state


def of(
    method: Method,
    seeds: Sequence[int] = (0,),
    budget: Budget | None = None,
    dtype: torch.dtype = torch.float64,
    problem: Problem | None = None,
    evaluations: int = 6,
) -> Fleet:
    problem = problem or Tiny()
    data = DeviceData.from_data(problem.data(DataSource(())), CPU, dtype)
    return Fleet(problem, data, method, seeds, budget or Budget("updates", 24.0), evaluations)


def together(dtype: torch.dtype = torch.float64, budget: Budget | None = None) -> Fleet:
    first, *others = (make() for make in ROWS)
    return of(first.join(others), (0, 0, 1), budget, dtype)


def added() -> Fleet:
    """Recurrent, on cases that are drawn anew; few of them to be evaluated on."""
    problem = PROBLEMS["add"]("quick", T=20)
    data = problem.data(DataSource(()))
    few = {
        name: getattr(data, name)[:20]
        for name in ("train_inputs", "train_targets", "test_inputs", "test_targets")
    }
    tensors = DeviceData.from_data(replace(data, **few), CPU, torch.float32)
    return Fleet(problem, tensors, nag(), (0, 1), Budget("updates", 12.0), 4)


def wild(dtype: torch.dtype = torch.float32, lr: float = 10.0) -> Fleet:
    """Of four rows two diverge within the first third: in float32 they are then left out."""
    problem = Tiny(HalfSquaredError())
    rows = four(None, lr, lr, None)
    return of(rows, (0, 0, 1, 1), Budget("updates", 100.0), dtype, problem, evaluations=20)


def plain(ledger: Ledger) -> dict[str, Any]:
    return asdict(replace(ledger, seconds=0.0, fleet_seconds=0.0, peak_memory=0))


def noted(measurement: Measurement) -> dict[str, Any]:
    """All of it but seconds and memory; what is no number equals itself as a text."""
    whole = asdict(replace(measurement, ledger=Ledger())) | plain(measurement.ledger)
    return {name: repr(value) for name, value in whole.items()}


def bits(theta: Tensor) -> bytes:
    return theta.numpy().tobytes()


class Result:
    """What a run leaves that is to be the same."""

    def __init__(self, fleet: Fleet, outcomes: list[Outcome], *seen: Observer) -> None:
        self.ends = [(o.status, o.reason, plain(o.ledger), bits(o.theta)) for o in outcomes]
        rows = range(len(outcomes))
        self.measured = [
            [noted(m) for each in seen for m in each.rows.get(row, [])] for row in rows
        ]
        self.left = bits(fleet.theta), fleet.objective.batches.positions()


def straight(make: Make) -> Result:
    fleet, seen = make(), Observer()
    return Result(fleet, fleet.run(seen), seen)


def interrupted(make: Make, *questions: int) -> Result:
    """Stopped when it has asked so often, and gone on with as another fleet; perhaps again."""
    fleet, seen = make(), list[Observer]()
    for patience in questions:
        disk = Disk()
        seen.append(Observer(patience))
        assert {o.status for o in fleet.run(seen[-1], disk)} >= {"interrupted"}
        (file,) = disk.files
        fleet = make()
        fleet.load_state_dict(read(file))
    seen.append(Observer())
    return Result(fleet, fleet.run(seen[-1]), *seen)


def same(found: Result, expected: Result) -> None:
    assert found.measured == expected.measured
    assert found.ends == expected.ends
    assert found.left == expected.left


KINDS: dict[str, Make] = {
    "nag": lambda: of(ROWS[0]()),
    "cm": lambda: of(ROWS[1]()),
    "sgd": lambda: of(ROWS[2]()),
    "three rows": together,
    "three rows, float32": lambda: together(torch.float32),
    "hf": lambda: of(one("hf"), budget=Budget("updates", 12.0)),
    "hf, a sample": lambda: of(one("hf", batch=BATCH), budget=Budget("updates", 12.0)),
    "hfm": lambda: of(one("hfm"), budget=Budget("updates", 12.0)),
    "AdamW": lambda: of(one("torch.optim.AdamW")),
    "NAdam, float32": lambda: of(resolve("torch.optim.NAdam[batch=8]"), dtype=torch.float32),
    "numba": lambda: of(one("nag@numba")),
    "drawn cases": added,
}


@pytest.mark.parametrize("name", KINDS)
def test_it_goes_on_as_if_it_had_not_been_interrupted(name: str) -> None:
    make = KINDS[name]
    expected = straight(make)
    for questions in ([0], [1], [7], [4, 5]):
        same(interrupted(make, *questions), expected)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=2))
def test_it_goes_on_from_wherever_it_was(questions: list[int]) -> None:
    same(interrupted(together, *questions), THREE)


THREE = straight(together)


# Budgets


@pytest.mark.parametrize(
    "budget",
    [
        Budget("updates", 24.0),
        Budget("examples", 24.5 * BATCH),
        Budget("gradients", 24.5 * BATCH),
    ],
    ids=str,
)
def test_a_budget_is_gone_on_with(budget: Budget) -> None:
    def make() -> Fleet:
        return together(budget=budget)

    expected = straight(make)
    assert expected.ends[0][2]["updates"] == 24
    same(interrupted(make, 9), expected)


class Talking(Scripted):
    """An update costs 8 gradients and 8 losses, and reports a number."""

    def step(self, *given: Any) -> Mapping[str, Any]:
        report = super().step(*given)
        return {**report, "size": float(given[0].norm())}

    def state_dict(self, state: None) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: None, saved: Mapping[str, Any]) -> None:
        assert saved == {}


@pytest.mark.parametrize("left", [1.0, 9.0])
@pytest.mark.parametrize("question", [0, 1, 2])
def test_a_budget_that_cuts_an_update_is_gone_on_with(left: float, question: int) -> None:
    """The third is not begun, or is cut after its gradient: then that is measured as spent."""
    budget = Budget("gradients", 2 * BATCH * (1 + ARCHITECTURE.prices().loss) + left)

    def make() -> Fleet:
        return of(Talking(), budget=budget, evaluations=24)  # type: ignore[arg-type]

    expected = straight(make)
    assert [m["updates"] for m in expected.measured[0]] == (
        ["0", "1", "2"] if left < BATCH else ["0", "1", "2", "2"]
    )
    same(interrupted(make, question), expected)


def test_a_budget_that_cuts_an_iteration_is_gone_on_with() -> None:
    def make() -> Fleet:
        return of(one("hf"), budget=Budget("gradients", 3_000.0))

    expected = straight(make)
    updates = expected.ends[0][2]["updates"]
    assert 2 < updates < 100
    for question in (2, updates):
        same(interrupted(make, question), expected)


NOW = [0.0]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of a clock that goes on where a test says so."""
    clock = SimpleNamespace(perf_counter=lambda: NOW[0])
    monkeypatch.setattr("bench.harness.training.ledger.time", clock)
    return NOW


class Slow(NAG):
    """Takes a second an update."""

    def step(self, *given: Any) -> Mapping[str, Any]:
        NOW[0] += 1.0
        return super().step(*given)


def test_a_budget_in_seconds_goes_on_from_those_that_were_spent(now: list[float]) -> None:
    def make() -> Fleet:
        # What lies between two runs is nobody's time.
        now[0] += 1_000.0
        return of(Slow("torch", batch=BATCH, lr=0.02), budget=Budget("seconds", 20.0))

    fleet, seen = make(), [Observer(), Observer(9), Observer()]
    whole = fleet.run(seen[0])
    expected = Result(fleet, whole, seen[0])
    disk = Disk()
    make().run(seen[1], disk)
    fleet = make()
    fleet.load_state_dict(read(disk.files[0]))
    outcomes = fleet.run(seen[2])
    same(Result(fleet, outcomes, *seen[1:]), expected)
    spent = [[m.ledger.seconds for m in each.rows[0]] for each in seen]
    assert spent[1] + spent[2] == spent[0]
    assert outcomes[0].ledger.seconds == whole[0].ledger.seconds == 20.0


# Rows that have ended


OF_ROWS = pytest.mark.parametrize(
    ("dtype", "lr", "rows"), [(torch.float32, 10.0, 2), (torch.float64, 1e300, 4)], ids=str
)


@OF_ROWS
def test_rows_that_have_ended_stay_as_they_ended(dtype: torch.dtype, lr: float, rows: int) -> None:
    def make() -> Fleet:
        return wild(dtype, lr)

    expected = straight(make)
    assert [end[0] for end in expected.ends] == ["budget", "diverged", "diverged", "budget"]
    # In float32 two diverge at update 21, and are left out at the measurement after 24.
    for questions, left in (([10], 4), ([22], 4), ([24], rows), ([10, 20], rows)):
        disk, at = Disk(), sum(questions)
        make().run(Observer(at), disk)
        assert read(disk.files[0])["theta"].shape[0] == left
        same(interrupted(make, *questions), expected)


@OF_ROWS
@pytest.mark.usefixtures("taped")
def test_captured_rows_that_have_ended_stay_so(dtype: torch.dtype, lr: float, rows: int) -> None:
    def make() -> Fleet:
        return wild(dtype, lr)

    expected = straight(make)
    assert [end[0] for end in expected.ends] == ["budget", "diverged", "diverged", "budget"]
    for questions in ([3], [9], [11], [3, 5]):
        same(interrupted(make, *questions), expected)


# Captured updates


@pytest.mark.parametrize("make", [together, added], ids=["three rows", "drawn cases"])
def test_captured_updates_go_on(make: Make, taped: list[TapedGraph]) -> None:
    expected = straight(make)
    before = len(taped)
    assert before == 1
    for questions in ([0], [1], [2], [2, 2]):
        same(interrupted(make, *questions), expected)
    assert len(taped) > before


@pytest.mark.parametrize("first", ["captured", "made"])
def test_updates_that_are_made_go_on_from_captured_ones(
    first: str, taped: list[TapedGraph]
) -> None:
    """And the other way: a run may go on where updates cannot be captured."""
    at = 2 + FORESEEN
    begun, other = alike(first == "captured"), alike(first != "captured")
    while begun.account.updates < at:
        begun.advance()
    disk = Disk()
    disk.write(begun.state_dict())
    other.load_state_dict(read(disk.files[0]))
    for fleet in (begun, other):
        while fleet.account.updates < at + 40:
            fleet.advance()
    assert len(taped) == 1
    assert begun.account.updates == other.account.updates == at + 40
    assert bits(begun.theta) == bits(other.theta)


def alike(capturable: bool) -> Fleet:
    method = nag()
    method.capturable = capturable  # type: ignore[misc]
    return of(method, budget=Budget("updates", 74.0))


# Keeping


@pytest.mark.parametrize("every", [1, 3])
def test_how_often_the_state_is_kept_changes_nothing(every: int) -> None:
    disk = Disk(lambda question: question % every == 0)
    fleet, seen = together(), Observer()
    outcomes = fleet.run(seen, disk)
    same(Result(fleet, outcomes, seen), THREE)
    kept = [read(file)["account"]["updates"] for file in disk.files]
    # Asked before each update, and kept when that was said.
    assert kept == list(range(0, 24, every))
    assert len(disk.elapsed) == 24 and disk.elapsed == sorted(disk.elapsed)
    for file in disk.files[:: 8 // every]:
        fleet, later = together(), Observer()
        fleet.load_state_dict(read(file))
        again = fleet.run(later)
        assert [bits(o.theta) for o in again] == [bits(o.theta) for o in outcomes]


class Reporting(SGD):
    """Reports what a stranger's code would."""

    def step(self, theta: Tensor, objective: Objective, state: Any) -> Mapping[str, Any]:
        report = super().step(theta, objective, state)
        return {
            **report,
            "numpy": np.float64(0.1),
            "single": np.float32(0.5),
            "whole": np.int64(2**40),
            "scalar": torch.tensor(0.25),
        }


def test_numbers_of_numpy_in_a_report_are_kept_as_plain_ones() -> None:
    disk = Disk(lambda question: question == 5)
    of(Reporting("torch", batch=BATCH)).run(Observer(), disk)
    report = read(disk.files[0])["report"]
    numbers = {name: report[name] for name in ("numpy", "single", "whole")}
    assert numbers == {"numpy": 0.1, "single": 0.5, "whole": 2.0**40}
    assert {type(number) for number in numbers.values()} == {float}
    assert torch.equal(report["scalar"], torch.tensor(0.25))
    assert report["loss"].shape == (1,)


def test_what_a_method_reports_is_gone_on_with() -> None:
    def make() -> Fleet:
        return of(Reporting("torch", batch=BATCH))

    same(interrupted(make, 5), straight(make))


def test_a_fleet_leaves_the_state_that_it_went_on_from_as_it_is() -> None:
    disk, fleet = Disk(), together()
    together().run(Observer(5), disk)
    state = read(disk.files[0])
    fleet.load_state_dict(state)
    fleet.run(Observer())
    assert repr(state) == repr(read(disk.files[0]))


def test_keeping_is_off_the_clock(now: list[float]) -> None:
    class SlowDisk(Disk):
        def write(self, state: Mapping[str, Any]) -> None:
            now[0] += 100.0

    (outcome,) = of(Slow("torch", batch=BATCH)).run(Observer(), SlowDisk(lambda question: True))
    assert outcome.ledger.seconds == outcome.ledger.updates == 24


def test_without_a_keeper_an_interrupted_run_ends_all_the_same() -> None:
    assert [o.status for o in together().run(Observer(4))] == ["interrupted"] * 3
