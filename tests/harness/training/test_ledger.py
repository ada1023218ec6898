"""The account: what is charged, what cannot be paid, and a clock that can be stopped."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bench.harness.core.spec import CURRENCIES, Budget
from bench.harness.training.ledger import Account, Clock
from bench.optim.objective import BudgetSpent


class Time:
    """Seconds that pass only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(
            "bench.harness.training.ledger.time", SimpleNamespace(perf_counter=lambda: self.now)
        )


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def account(currency: str = "gradients", amount: float = 100.0) -> Account:
    return Account(Budget(currency, amount), Clock(torch.device("cpu")))


def test_the_clock_runs_between_start_and_stop_only(time: Time) -> None:
    clock = Clock(torch.device("cpu"))
    time.now += 5
    assert clock.seconds == 0
    clock.start()
    time.now += 2
    assert clock.seconds == 2
    clock.stop()
    time.now += 50
    assert clock.seconds == 2
    clock.start()
    time.now += 3
    clock.stop()
    clock.stop()
    assert clock.seconds == 5


def test_every_currency_is_entered_at_once(time: Time) -> None:
    a = account()
    a.clock.start()
    a.charge(20.0, examples=20)
    a.charge(20 / 3)
    a.charge(6.2, products=1)
    a.updates += 1
    a.cg_steps += 4
    time.now += 1.5
    ledger = a.ledger()
    assert ledger.gradients == pytest.approx(20 + 20 / 3 + 6.2)
    assert (ledger.examples, ledger.products) == (20, 1)
    assert (ledger.updates, ledger.cg_steps, ledger.seconds) == (1, 4, 1.5)
    assert ledger.peak_memory > 10**6


@pytest.mark.parametrize("currency", CURRENCIES)
def test_spent_is_in_the_currency_of_the_budget(currency: str, time: Time) -> None:
    a = account(currency)
    a.clock.start()
    a.charge(7.5, examples=7)
    a.updates += 3
    time.now += 2
    expected = {"gradients": 7.5, "examples": 7, "updates": 3, "seconds": 2}
    assert a.spent == expected[currency]


@pytest.mark.parametrize("currency", ["gradients", "examples"])
def test_what_cannot_be_paid_is_refused_and_not_entered(currency: str) -> None:
    a = account(currency)
    a.charge(99.0, examples=99)
    before = a.ledger().gradients, a.ledger().examples
    with pytest.raises(BudgetSpent):
        a.charge(2.0, examples=2, products=1)
    assert (a.gradients, a.examples, a.products) == (*before, 0)
    assert a.refused


@pytest.mark.parametrize("currency", ["gradients", "examples"])
def test_a_budget_is_spent_to_the_last(currency: str) -> None:
    a = account(currency)
    a.charge(99.0, examples=99)
    a.charge(1.0, examples=1)
    assert a.spent == 100
    assert not a.refused
    with pytest.raises(BudgetSpent):
        a.charge(0.5, examples=1)


def test_nothing_is_paid_after_the_budget_could_not_pay_once() -> None:
    """A method that catches `BudgetSpent` may not go on with cheaper calls."""
    a = account()
    with pytest.raises(BudgetSpent):
        a.charge(101.0)
    with pytest.raises(BudgetSpent):
        a.charge(1.0)
    assert a.gradients == 0


@pytest.mark.parametrize("currency", ["updates", "seconds"])
def test_other_budgets_refuse_no_call(currency: str) -> None:
    account(currency, 1).charge(1e9, examples=10**9)


def test_the_last_call_is_paid_although_the_sum_is_rounded_up() -> None:
    assert 0.1 + 0.1 + 0.1 > 0.3
    a = account("gradients", 0.3)
    for _ in range(3):
        a.charge(0.1)
    with pytest.raises(BudgetSpent):
        a.charge(1e-6)


def test_what_is_only_priced_is_not_entered() -> None:
    a = account("gradients", 100)
    a.charge(99.0, examples=99)
    with a.deferred_charges() as price:
        a.charge(0.1, examples=3)
        a.charge(70.0, products=2)
    assert price == {"gradients": 0.1 + 70.0, "examples": 3, "products": 2}
    assert (a.gradients, a.examples, a.products) == (99.0, 99, 0)
    with pytest.raises(BudgetSpent):
        a.charge(**price)


def test_a_trial_has_its_share_of_the_fleets_seconds() -> None:
    account = Account(Budget("gradients", 10.0), Clock(torch.device("cpu")), rows=4)
    account.clock.restore(12.0)
    ledger = account.ledger()
    assert (ledger.seconds, ledger.fleet_seconds) == (3.0, 12.0)
