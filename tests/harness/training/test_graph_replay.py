"""A fleet whose updates are replayed: the same run, bit for bit, as one that makes each of them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.harness.core.errors import BrokenContract
from bench.harness.core.records import Ledger
from bench.harness.core.spec import CURRENCIES, Budget
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Outcome
from bench.harness.training.graph_replay import CapturedUpdates
from bench.harness.training.ledger import Account, Clock
from bench.models.built_in import PROBLEMS
from bench.models.losses import HalfSquaredError
from bench.models.problem import DataSource, Problem
from bench.optim.momentum.methods import CM, NAG, SGD, Momentum
from bench.optim.objective import FORESEEN, BudgetSpent
from tests.harness.tape import TapedGraph
from tests.harness.training.test_fleet import Observer
from tests.models.tiny import Tiny

CPU = torch.device("cpu")
BATCH = 8
SEEDS = (0, 0, 1, 1)
KINDS: tuple[tuple[type[Momentum], dict[str, Any]], ...] = (
    (NAG, {"lr": 0.02, "period": 5, "final": 10}),
    (CM, {"lr": 0.01, "period": 7, "final": 5, "l2": 1e-3}),
    (SGD, {"lr": 0.05}),
    (NAG, {"lr": 0.005, "schedule": "nesterov", "mu_max": 1.0}),
)


def method(*lrs: float | None) -> Momentum:
    given = itertools.zip_longest(KINDS, lrs)
    first, *others = (
        kind("torch", **{"batch": BATCH} | values | ({} if lr is None else {"lr": lr}))
        for (kind, values), lr in given
    )
    return first.join(others)


def fleet(
    problem: Problem | None = None,
    budget: Budget | None = None,
    made: Momentum | None = None,
    dtype: torch.dtype = torch.float64,
    evaluations: int = 5,
) -> Fleet:
    problem = problem or Tiny()
    data = DeviceData.from_data(problem.data(DataSource(())), CPU, dtype)
    budget = budget or Budget("updates", 100.0)
    return Fleet(problem, data, made or method(), SEEDS, budget, evaluations)


def plain(outcome: Outcome) -> Ledger:
    return replace(outcome.ledger, seconds=0.0, fleet_seconds=0.0, peak_memory=0)


@pytest.mark.parametrize("name", ["tiny", "curves", "add", "mem5"])
def test_replayed_updates_are_the_updates(name: str, request: pytest.FixtureRequest) -> None:
    problem = Tiny() if name == "tiny" else PROBLEMS[name]("quick")
    eager, seen_eager = fleet(problem), Observer()
    made = eager.run(seen_eager)
    graphs = request.getfixturevalue("taped")
    captured, seen = fleet(problem), Observer()
    replayed = captured.run(seen)
    # The first update is made, so that libraries set themselves up; then one graph serves all.
    assert [graph.replays for graph in graphs] == [99]
    for row in range(len(SEEDS)):
        assert torch.equal(made[row].theta, replayed[row].theta)
        assert seen_eager.values(row) == seen.values(row)
        assert seen_eager.updates(row) == seen.updates(row)
        assert plain(made[row]) == plain(replayed[row])
    assert captured.objective.batches.positions() == eager.objective.batches.positions()
    assert captured.state.t == eager.state.t == 100


@pytest.mark.parametrize(
    "budget",
    [
        Budget("updates", 77.0),
        Budget("gradients", 77.0 * BATCH),
        Budget("gradients", 77.3 * BATCH),
        Budget("examples", 77.0 * BATCH),
    ],
    ids=str,
)
@pytest.mark.parametrize("evaluations", [2, 9, 40])
def test_it_is_measured_where_it_would_have_been(
    budget: Budget, evaluations: int, request: pytest.FixtureRequest
) -> None:
    eager = Observer()
    fleet(budget=budget, evaluations=evaluations).run(eager)
    request.getfixturevalue("taped")
    seen = Observer()
    fleet(budget=budget, evaluations=evaluations).run(seen)
    assert seen.updates() == eager.updates()
    assert seen.updates()[-1] == 77
    assert seen.values() == eager.values()


@pytest.mark.usefixtures("taped")
def test_a_budget_in_seconds_is_kept() -> None:
    captured = fleet(budget=Budget("seconds", 0.3))
    outcomes = captured.run(Observer())
    assert outcomes[0].ledger.fleet_seconds >= 0.3
    assert captured.account.updates == captured.state.t > FORESEEN


def test_what_cannot_be_captured_is_not(taped: list[TapedGraph]) -> None:
    class Asking(NAG):
        capturable = False

    fleet(Tiny(by_hand=False)).run(Observer())
    fleet(made=Asking("torch", batch=BATCH).join(list(method()._rows[1:]))).run(Observer())
    assert not taped


@pytest.mark.usefixtures("taped")
def test_an_error_at_the_capture_is_the_one_that_is_told() -> None:
    error = ValueError("no such thing")

    class Raising(NAG):
        made = 0

        def step(self, *given: Any) -> Any:
            self.made += 1
            if self.made == 2:
                raise error
            return super().step(*given)

    data = DeviceData.from_data(Tiny().data(DataSource(())), CPU, torch.float64)
    made = Fleet(Tiny(), data, Raising("torch", batch=BATCH), (0,), Budget("updates", 9.0), 2)
    with pytest.raises(ValueError, match="no such thing") as raised:
        made.run(Observer())
    assert raised.value is error


def test_a_method_that_asks_the_device_is_found_out(taped: list[TapedGraph]) -> None:
    class Asking(NAG):
        def step(self, theta: Tensor, *given: Any) -> Any:
            if float(theta.sum()) > 1e9:
                theta.zero_()
            return super().step(theta, *given)

    made = Asking("torch", batch=BATCH).join(list(method()._rows[1:]))
    with pytest.raises(AssertionError, match="read on the host"):
        fleet(made=made).run(Observer())


def test_an_interrupted_run_goes_on_from_its_state(taped: list[TapedGraph]) -> None:
    """Streams, coefficients and ledger are level after every stretch, wherever it ends."""
    straight = fleet()
    expected = straight.run(Observer())
    begun, again = fleet(), fleet()
    for due in (5.0, 11.0, 50.0):
        while begun.account.spent < due:
            assert begun.advance(due)
        assert begun.account.updates == begun.state.t == due
    again.theta.copy_(begun.theta)
    again.method.load_state_dict(again.state, begun.method.state_dict(begun.state))
    again.objective.batches.restore_positions(begun.objective.batches.positions())
    again.account.updates = 50
    again.run(Observer())
    assert torch.equal(again.theta, straight.theta)
    assert torch.equal(again.method.iterate(again.theta, again.state)[0], expected[0].theta)


@pytest.mark.parametrize("captured", [False, True])
def test_diverged_rows_are_left_out_once_they_are_half(
    captured: bool, request: pytest.FixtureRequest
) -> None:
    graphs = request.getfixturevalue("taped") if captured else []
    problem = Tiny(HalfSquaredError())
    made = fleet(problem, None, method(None, 10.0, 10.0, None), torch.float32, 20)
    seen = Observer()
    outcomes = made.run(seen)
    assert [each.status for each in outcomes] == ["budget", "diverged", "diverged", "budget"]
    assert made.theta.shape[0] == len(made._diverged_at) == 2
    assert len(graphs) == (2 if captured else 0)
    for row, (kind, given) in enumerate(KINDS):
        if row in (1, 2):
            continue
        # The trial alone: the other rows came and went without touching it.
        one, seeds = kind("torch", **{"batch": BATCH} | given), SEEDS[row : row + 1]
        alone = Fleet(problem, made.data, one, seeds, Budget("updates", 100.0), 20)
        watched = Observer()
        (outcome,) = alone.run(watched)
        torch.testing.assert_close(outcomes[row].theta, outcome.theta, rtol=1e-4, atol=1e-5)
        assert seen.updates(row) == watched.updates()
        assert plain(outcomes[row]) == plain(outcome)


def test_a_fleet_in_float64_keeps_its_rows() -> None:
    made = fleet(made=method(None, 1e300, 1e300, None), evaluations=20)
    outcomes = made.run(Observer())
    assert [each.status for each in outcomes] == ["budget", "diverged", "diverged", "budget"]
    assert made.theta.shape[0] == 4


def test_what_cannot_be_paid_is_not_replayed(taped: list[TapedGraph]) -> None:
    ran: list[int] = []
    account = Account(Budget("gradients", 10.0), Clock(CPU))

    def update() -> None:
        ran.append(1)
        account.charge(4.0, examples=4)

    updates = CapturedUpdates(update, lambda updates: None, account, CPU)
    updates.run(1, 1e9)
    # Captured once, at no price; then each replay is paid.
    assert (ran, account.gradients, account.examples, account.updates) == ([1], 4.0, 4, 1)
    with pytest.raises(BudgetSpent):
        updates.run(5, 1e9)
    assert (account.gradients, account.updates, taped[0].replays) == (8.0, 2, 2)


@pytest.mark.usefixtures("taped")
def test_a_method_that_costs_more_than_it_says_fails() -> None:
    class Modest(NAG):
        cost_of_a_step = BATCH / 2  # type: ignore[assignment]

    data = DeviceData.from_data(Tiny().data(), CPU, torch.float64)
    made = Fleet(
        Tiny(), data, Modest("torch", batch=BATCH), [0], Budget("gradients", 50.5 * BATCH), 3
    )
    with pytest.raises(BrokenContract, match=r"nag costs .* `cost_of_a_step` declares"):
        made.run(Observer())


def test_products_are_charged_at_every_replay(taped: list[TapedGraph]) -> None:
    account = Account(Budget("updates", 10.0), Clock(CPU))
    updates = CapturedUpdates(
        lambda: account.charge(1.5, products=2), lambda updates: None, account, CPU
    )
    updates.run(1, 1e9)
    updates.run(3, 1e9)
    assert (account.products, account.gradients, account.updates) == (8, 6.0, 4)


def test_an_error_while_capturing_leaves_the_ledger_as_it_was(taped: list[TapedGraph]) -> None:
    account = Account(Budget("updates", 10.0), Clock(CPU))
    account.charge(8.0, examples=8)

    def update() -> None:
        account.charge(4.0)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        CapturedUpdates(update, lambda updates: None, account, CPU).run(1, 1e9)
    assert (account.gradients, account.examples, account.updates) == (8.0, 8, 0)


@pytest.mark.parametrize(("currency", "due"), [("seconds", 3.0), ("updates", 1e9)])
def test_a_stretch_is_about_a_second_and_ends_with_a_budget_in_seconds(
    currency: Any, due: float, taped: list[TapedGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(
        "bench.harness.training.ledger.time", SimpleNamespace(perf_counter=lambda: now[0])
    )
    monkeypatch.setattr(TapedGraph, "replay", lambda self: now.__setitem__(0, now[0] + 0.15))
    account, stretches = Account(Budget(currency, due), Clock(CPU)), list[int]()
    account.clock.start()
    updates = CapturedUpdates(lambda: None, stretches.append, account, CPU)
    while account.clock.seconds < 3.0:
        updates.run(FORESEEN, due)
    assert max(stretches) == 6
    if currency == "seconds":
        assert account.clock.seconds < 3.0 + 0.16


@pytest.mark.parametrize("currency", CURRENCIES)
def test_a_stretch_ends_where_the_ledger_says_that_enough_is_spent(
    currency: Any, taped: list[TapedGraph]
) -> None:
    """Sums of 0.1 round; the stretch is as long as the ledger's own sum says."""
    stretches: list[int] = []
    account = Account(Budget(currency, 1e9), Clock(CPU))
    charge: Callable[[], None] = lambda: account.charge(0.1, examples=3)  # noqa: E731
    updates = CapturedUpdates(charge, stretches.append, account, CPU)
    updates.run(FORESEEN, 1e9)
    due = {"gradients": 0.8, "updates": 8, "examples": 24}.get(currency, 1e9)
    while account.spent < due and len(stretches) < 3:
        updates.run(FORESEEN, due)
    expected = {"gradients": [1, 7], "updates": [1, 7], "examples": [1, 7]}
    if currency == "gradients":
        total, count = 0.0, 0
        while total < due:
            total, count = total + 0.1, count + 1
        expected["gradients"] = [1, count - 1]
    assert stretches == expected.get(currency, [1, FORESEEN, FORESEEN])


@pytest.mark.parametrize("name", ["curves", "add", "mem5"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_device_replayed_updates_are_the_updates(name: str, dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    device, problem = torch.device("cuda"), PROBLEMS[name]("quick")
    data = DeviceData.from_data(problem.data(DataSource(())), device, dtype)

    def end(capturable: bool) -> tuple[Fleet, Observer]:
        made = method()
        made.capturable = capturable  # type: ignore[misc]
        trained, seen = Fleet(problem, data, made, SEEDS, Budget("updates", 100.0), 5), Observer()
        trained.run(seen)
        return trained, seen

    (eager, seen_eager), (captured, seen) = end(False), end(True)
    assert captured._captured_updates is not None and eager._captured_updates is None
    assert seen.updates() == seen_eager.updates()
    close = {torch.float32: 1e-4, torch.float64: 1e-11}[dtype]
    assert (captured.theta - eager.theta).norm() <= close * eager.theta.norm()
    assert captured.state.t == eager.state.t == 100


def test_on_a_device_nothing_waits_between_two_measurements() -> None:
    """A stretch is made and progress is shown while torch raises at any synchronisation."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    device, problem = torch.device("cuda"), PROBLEMS["add"]("quick")
    data = DeviceData.from_data(problem.data(DataSource(())), device, torch.float32)
    made = Fleet(problem, data, method(), SEEDS, Budget("updates", 1e6), 5)
    while made.account.updates < 2 + 3 * FORESEEN:
        assert made.advance()
    try:
        with warnings.catch_warnings():
            # Torch says that this mode is a prototype.
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        made.advance()
        made._progress()
    finally:
        torch.cuda.set_sync_debug_mode("default")
