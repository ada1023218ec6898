"""The training loop: where it measures, where it ends, and who is left alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget
from bench.harness.training import fleet as fleet_module
from bench.harness.training.bound_objective import evaluate
from bench.harness.training.breakdown import is_breakdown
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Outcome, Progress, budgeted_updates, evaluation_grid
from bench.models.losses import HalfSquaredError
from bench.models.problem import Problem
from bench.optim.hessian_free.hessian_free import HessianFree
from bench.optim.hyperparameters import UsageError
from bench.optim.momentum.methods import CM, NAG, SGD, Momentum
from bench.optim.objective import FULL, BudgetSpent, Objective
from tests.models.tiny import ARCHITECTURE, Tiny, padding

CPU = torch.device("cpu")
BATCH = 8
LOSS = ARCHITECTURE.prices().loss
ABSURD = 1e300
"""A learning rate under which float64 overflows in the second update."""


class Observer:
    """Keeps what it is told, and asks to stop after so many questions."""

    def __init__(self, patience: float = math.inf) -> None:
        self.rows: dict[int, list[Measurement]] = {}
        self.progress: list[Progress] = []
        self.patience = patience

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        self.rows.setdefault(row, []).append(measurement)

    def on_progress(self, progress: Progress) -> None:
        self.progress.append(progress)

    def should_stop(self) -> bool:
        self.patience -= 1
        return self.patience < 0

    def updates(self, row: int = 0) -> list[int]:
        return [measurement.ledger.updates for measurement in self.rows[row]]

    def values(self, row: int = 0) -> list[tuple[float, ...]]:
        return [(m.train_metric, m.train_loss, m.test_metric, m.test_loss) for m in self.rows[row]]


class Scripted:
    """A method of which a test decides what a step does."""

    name, backend = "scripted", "torch"
    cost_of_a_step: float | None = None

    def init(self, theta: Tensor, seed: int, budget: int | None) -> None:
        return None

    def step(self, theta: Tensor, objective: Objective, state: None) -> Mapping[str, Any]:
        theta += 1
        loss, _ = objective.gradient(theta, objective.next_batch(BATCH))
        theta += 1
        objective.loss(theta, objective.next_batch(BATCH))
        return {"loss": loss}

    def iterate(self, theta: Tensor, state: None) -> Tensor:
        return theta

    def state_dict(self, state: None) -> dict[str, Any]:
        return {}


def nag(**given: object) -> NAG:
    return NAG("torch", **{"batch": BATCH, "lr": 0.02, "period": 5, "final": 10} | given)


def joined(*methods: Momentum) -> Momentum:
    return methods[0].join(list(methods[1:]))


def fleet(
    method: Any,
    seeds: Sequence[int] = (0,),
    budget: Budget | None = None,
    evaluations: int = 3,
    problem: Problem | None = None,
    dtype: torch.dtype = torch.float64,
) -> Fleet:
    problem = problem or Tiny()
    data = DeviceData.from_data(Tiny().data(), CPU, dtype)
    budget = budget or Budget("updates", 40.0)
    return Fleet(problem, data, method, seeds, budget, evaluations)


def run(made: Fleet, patience: float = math.inf) -> tuple[list[Outcome], Observer]:
    observer = Observer(patience)
    return made.run(observer), observer


def plain(of: Outcome | Measurement) -> Ledger:
    """The ledger without what a machine may change."""
    return replace(of.ledger, seconds=0.0, fleet_seconds=0.0, peak_memory=0)


# Measurements


@pytest.mark.parametrize(
    ("budget", "evaluations", "expected"),
    [
        # Points at 0.1, 3.16 and 100 updates.
        (Budget("updates", 100), 3, [0, 1, 4, 100]),
        # 0.8, 25.3 and 800 gradients, of which an update spends 8.
        (Budget("gradients", 800), 3, [0, 1, 4, 100]),
        (Budget("examples", 800), 3, [0, 1, 4, 100]),
        # The last point is met at the end although 3 more gradients cannot be spent.
        (Budget("gradients", 803), 3, [0, 1, 4, 100]),
        # Several points within one update are one measurement, at the end as well.
        (Budget("updates", 3), 24, [0, 1, 2, 3]),
        (Budget("updates", 1), 24, [0, 1]),
    ],
    ids=str,
)
def test_trials_are_measured_at_the_grid_and_at_the_end(
    budget: Budget, evaluations: int, expected: list[int]
) -> None:
    outcomes, seen = run(fleet(nag(), (0, 1), budget, evaluations))
    for row in (0, 1):
        assert seen.updates(row) == expected
        assert [m.index for m in seen.rows[row]] == list(range(len(expected)))
        assert outcomes[row].status == "budget"
        assert outcomes[row].reason is None
        assert plain(outcomes[row]) == plain(seen.rows[row][-1])


def test_a_measurement_is_of_the_whole_training_and_test_set() -> None:
    problem = Tiny()
    made = fleet(nag(), (0, 1), evaluations=2)
    start = made.theta.clone()
    outcomes, seen = run(made)
    for theta, at in ((start, 0), (torch.stack([o.theta for o in outcomes]), -1)):
        train = evaluate(problem, theta, made.data.train)
        test = evaluate(problem, theta, made.data.test)
        for row in (0, 1):
            expected = [float(value[row]) for value in (*train, *test)]
            assert seen.values(row)[at] == pytest.approx(expected, rel=1e-12)


def test_training_trains() -> None:
    _, seen = run(fleet(nag(), (0, 1), Budget("updates", 300)))
    for row in (0, 1):
        errors = [m.train_metric for m in seen.rows[row]]
        assert errors[-1] < 0.5 * errors[0]


def test_padding_stays_zero() -> None:
    outcomes, _ = run(fleet(joined(nag(l2=1e-3), nag()), (0, 1)))
    unused = padding(Tiny())
    assert unused.any()
    assert not any(outcome.theta[unused].any() for outcome in outcomes)


def test_the_ledger_is_that_of_the_work_and_evaluation_costs_nothing() -> None:
    for evaluations in (2, 30):
        outcomes, _ = run(fleet(nag(), (0,), Budget("updates", 50), evaluations))
        ledger = outcomes[0].ledger
        assert (ledger.updates, ledger.examples, ledger.gradients) == (50, 400, 400.0)
        assert (ledger.products, ledger.cg_steps) == (0, 0)


def test_the_clock_stands_still_while_a_trial_is_evaluated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(
        "bench.harness.training.ledger.time", SimpleNamespace(perf_counter=lambda: now[0])
    )

    class Slow(Scripted):
        def step(self, *given: Any) -> Mapping[str, Any]:
            now[0] += 1
            return super().step(*given)

    def slowly(*given: Any) -> Any:
        now[0] += 1000
        return evaluate(*given)

    monkeypatch.setattr(fleet_module, "evaluate", slowly)
    outcomes, seen = run(fleet(Slow(), budget=Budget("seconds", 20), evaluations=4))
    assert [m.ledger.seconds for m in seen.rows[0]] == [0, 1, 2, 20]
    assert outcomes[0].ledger.seconds == 20
    assert outcomes[0].ledger.updates == 20


def test_diagnostics_are_the_finite_scalars_of_the_report() -> None:
    class Talking(Scripted):
        def step(self, *given: Any) -> Mapping[str, Any]:
            told = {"rho": -math.inf, "lambda": 2.5, "cg_steps": 3, "size": torch.tensor(0.5)}
            return {**super().step(*given), **told}

    outcomes, seen = run(fleet(Talking(), budget=Budget("updates", 4)))
    assert seen.rows[0][0].diagnostics == {}
    assert seen.rows[0][-1].diagnostics == {"lambda": 2.5, "cg_steps": 3, "size": 0.5}
    assert outcomes[0].ledger.cg_steps == 12


def test_progress_goes_from_the_first_update_to_the_end() -> None:
    _, seen = run(fleet(nag(), (0, 1), Budget("updates", 30)))
    first, last = seen.progress[0], seen.progress[-1]
    assert (first.fraction, first.updates) == (1 / 30, 1)
    assert (last.fraction, last.updates) == (1, 30)
    assert math.isfinite(last.loss)


# The budget


def test_the_grid_is_even_on_the_logarithm_and_ends_at_the_budget() -> None:
    grid = evaluation_grid(Budget("gradients", 600_000), 24)
    assert len(grid) == 24
    assert (grid[0], grid[-1]) == (600, 600_000)
    ratios = np.divide(grid[1:], grid[:-1])
    np.testing.assert_allclose(ratios, 1000 ** (1 / 23), rtol=1e-10)


@pytest.mark.parametrize(
    ("budget", "of_nag", "of_hf"),
    [
        (Budget("updates", 40), 40, 40),
        (Budget("gradients", 800), 100, None),
        (Budget("gradients", 807.9), 100, None),
        (Budget("gradients", 7), 0, None),
        (Budget("examples", 800), 100, None),
        (Budget("seconds", 800), None, None),
    ],
    ids=str,
)
def test_updates_of_a_budget(budget: Budget, of_nag: int | None, of_hf: int | None) -> None:
    assert budgeted_updates(nag(), budget) == of_nag
    assert budgeted_updates(HessianFree(), budget) == of_hf


def test_methods_are_told_where_the_run_ends() -> None:
    told = []

    class Asking(Scripted):
        def init(self, theta: Tensor, seed: int, budget: int | None) -> None:
            told.append((theta.shape[0], seed, budget))

    fleet(Asking(), (4, 5), Budget("updates", 12))
    fleet(Asking(), (0,), Budget("seconds", 12))
    assert told == [(2, 4, 12), (1, 0, None)]


@pytest.mark.parametrize("currency", ["gradients", "examples"])
def test_a_step_that_the_budget_cuts_is_undone(currency: str) -> None:
    """An update of `Scripted` moves θ by 2; the third cannot be paid after it has moved by 1."""
    cost = BATCH * (2 if currency == "examples" else 1 + LOSS)
    made = fleet(Scripted(), (0, 1), Budget(currency, 2.5 * cost))
    start = made.theta.clone()
    outcomes, seen = run(made)
    for row, outcome in enumerate(outcomes):
        assert outcome.status == "budget"
        assert torch.equal(outcome.theta, start[row] + 1 + 1 + 1 + 1)
        assert outcome.ledger.updates == 2
        assert seen.updates(row)[-1] == 2
    # θ itself too, and not only what is evaluated.
    assert torch.equal(made.theta, start + 1 + 1 + 1 + 1)


def test_a_step_cut_between_two_calls_is_undone_but_what_it_spent_stays_in_the_ledger() -> None:
    cost = BATCH * (1 + LOSS)
    made = fleet(Scripted(), (0,), Budget("gradients", 2 * cost + BATCH))
    start = made.theta.clone()
    outcomes, seen = run(made)
    assert torch.equal(outcomes[0].theta, start[0] + 1 + 1 + 1 + 1)
    assert outcomes[0].ledger.updates == 2
    assert outcomes[0].ledger.gradients == pytest.approx(2 * cost + BATCH)
    assert plain(seen.rows[0][-1]) == plain(outcomes[0])


@pytest.mark.parametrize("amount", [500.0, 1234.5, 3000.0])
def test_hf_never_spends_more_than_its_budget(amount: float) -> None:
    class Watched(HessianFree):
        def step(self, theta: Tensor, objective: Objective, state: Any) -> Mapping[str, Any]:
            report = super().step(theta, objective, state)
            complete.append((theta.clone(), report["cg_steps"]))
            return report

    complete: list[tuple[Tensor, int]] = []
    outcomes, seen = run(
        fleet(Watched(cg_max=12, lam=1.0), budget=Budget("gradients", amount), evaluations=6)
    )
    (outcome,) = outcomes
    assert outcome.status == "budget"
    assert outcome.ledger.gradients <= amount
    # The next call was dearer than what was left: a gradient on the whole set costs 24.
    assert outcome.ledger.gradients > amount - 24
    assert outcome.ledger.updates == len(complete) > 0
    assert torch.equal(outcome.theta[None], complete[-1][0])
    assert outcome.ledger.cg_steps == sum(steps for _, steps in complete)
    assert outcome.ledger.products >= outcome.ledger.cg_steps
    errors = [m.train_loss for m in seen.rows[0]]
    assert errors[-1] < errors[0]


def test_a_budget_in_updates_ends_hf_after_them() -> None:
    outcomes, seen = run(fleet(HessianFree(cg_max=5), budget=Budget("updates", 3)))
    assert outcomes[0].ledger.updates == 3
    assert seen.updates() == [0, 1, 3]


# Divergence


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "autodiff"])
@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_a_diverging_row_leaves_its_mates_bit_for_bit(
    seeds: tuple[int, ...], by_hand: bool, dtype: torch.dtype
) -> None:
    def outcomes_beside(lr: float) -> tuple[list[Outcome], Observer]:
        method = joined(nag(), nag(lr=lr), CM("torch", batch=BATCH, lr=0.01))
        problem = Tiny(by_hand=by_hand)
        return run(fleet(method, seeds, evaluations=6, problem=problem, dtype=dtype))

    absurd = ABSURD if dtype == torch.float64 else 1e30
    calm, seen_calm = outcomes_beside(0.02)
    wild, seen_wild = outcomes_beside(absurd)
    assert [outcome.status for outcome in calm] == ["budget"] * 3
    assert [outcome.status for outcome in wild] == ["budget", "diverged", "budget"]
    for row in (0, 2):
        assert torch.equal(calm[row].theta, wild[row].theta)
        assert seen_calm.values(row) == seen_wild.values(row)
        assert seen_calm.updates(row) == seen_wild.updates(row)
    # Its curve ends with the measurement that found it out.
    assert len(seen_wild.rows[1]) < len(seen_wild.rows[0])


def test_a_diverged_row_says_in_which_update_its_loss_was_not_finite() -> None:
    class Watched(SGD):
        def step(self, *given: Any) -> Mapping[str, Any]:
            report = super().step(*given)
            losses.append(float(report["loss"][1]))
            return report

    losses: list[float] = []
    method = joined(Watched("torch", batch=BATCH), SGD("torch", batch=BATCH, lr=10.0))
    problem = Tiny(HalfSquaredError())
    # Points at 0.2, 6.3 and 200 updates, the first two before the squares overflow.
    outcomes, seen = run(fleet(method, (0, 0), Budget("updates", 200), problem=problem))
    update = 1 + [math.isfinite(loss) for loss in losses].index(False)
    assert 7 < update < 200
    assert outcomes[1].reason == f"the loss was not finite at update {update}"
    assert seen.updates(0) == seen.updates(1) == [0, 1, 7, 200]
    assert outcomes[0].status == "budget"


def test_a_loss_that_was_not_finite_once_is_enough() -> None:
    class Hiccup(Scripted):
        def step(self, *given: Any) -> Mapping[str, Any]:
            report = super().step(*given)
            bad = [math.nan, 1.0] if made.account.updates == 6 else [1.0, 1.0]
            return {**report, "loss": torch.tensor(bad)}

    made = fleet(Hiccup(), (0, 1), Budget("updates", 20))
    outcomes, _ = run(made)
    assert outcomes[0].status == "diverged"
    assert outcomes[0].reason == "the loss was not finite at update 7"
    assert outcomes[1].status == "budget"


class Raises(Scripted):
    """In its third update it moves to `point`, evaluates there, and raises an error."""

    def __init__(self, error: Exception, point: float) -> None:
        self.error, self.point, self.made = error, point, 0

    def step(self, theta: Tensor, objective: Objective, state: None) -> Mapping[str, Any]:
        self.made += 1
        if self.made == 3:
            theta.fill_(self.point)
        loss = objective.loss(theta, objective.next_batch(BATCH))
        if self.made == 3:
            raise self.error
        return {"loss": loss}


NO_ROOT = torch.linalg.LinAlgError("The matrix has no root.")


@pytest.mark.parametrize(
    ("error", "point"),
    [
        (NO_ROOT, 0.5),
        (np.linalg.LinAlgError("Singular."), 0.5),
        (RuntimeError("NaN."), math.nan),
        (ZeroDivisionError("division by zero"), math.inf),
        # θ is finite, and its loss is not.
        (ValueError("no number"), torch.finfo(torch.float64).max),
    ],
    ids=str,
)
def test_a_step_that_raises_for_want_of_finite_numbers_has_diverged(
    error: Exception, point: float
) -> None:
    outcomes, seen = run(fleet(Raises(error, point)))
    (outcome,) = outcomes
    told = f"{type(error).__name__.lstrip('_')}: {str(error).rstrip('.')}"
    assert (outcome.status, outcome.reason) == ("diverged", f"update 3 raised {told}")
    assert outcome.ledger.updates == seen.updates()[-1] == 3
    # The evaluation of the step that raised is paid for.
    assert outcome.ledger.gradients == pytest.approx(3 * BATCH * LOSS)


def test_the_first_update_that_went_wrong_is_told() -> None:
    class Late(Scripted):
        made = 0

        def step(self, theta: Tensor, objective: Objective, state: None) -> Mapping[str, Any]:
            self.made += 1
            if self.made == 7:
                raise NO_ROOT
            loss = objective.loss(theta, objective.next_batch(BATCH))
            return {"loss": loss * math.nan if self.made == 5 else loss}

    outcomes, seen = run(fleet(Late()))
    assert outcomes[0].reason == "the loss was not finite at update 5"
    assert outcomes[0].ledger.updates == seen.updates()[-1] == 7


def test_what_follows_an_error_is_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fleet(Raises(RuntimeError("NaN."), math.nan))
    runs: list[bool] = []

    def asked(*given: Any) -> bool:
        before = made.account.clock.seconds
        runs.append(made.account.clock.seconds > before)
        return is_breakdown(*given)

    monkeypatch.setattr(fleet_module, "is_breakdown", asked)
    outcomes, _ = run(made)
    assert outcomes[0].status == "diverged"
    assert runs == [False]


class Catches(Scripted):
    """A method that goes on where the budget is spent, and then has nothing to go on with."""

    def __init__(self, end: str) -> None:
        self.end = end

    def step(self, theta: Tensor, objective: Objective, state: None) -> Mapping[str, Any]:
        batch = objective.next_batch(BATCH)
        loss, gradient = objective.gradient(theta, batch)
        theta -= 0.01 * gradient
        try:
            objective.loss(theta, batch)
        except BudgetSpent:
            if self.end == "raises":
                raise NO_ROOT from None
            if self.end == "stops":
                return {"loss": loss, "stop": "Nothing is left.", "tried": 1.0}
            loss *= math.nan
        return {"loss": loss}


@pytest.mark.parametrize("end", ["raises", "stops", "has no loss"])
def test_nothing_that_an_undone_step_says_counts(end: str) -> None:
    outcomes, seen = run(fleet(Catches(end), budget=Budget("gradients", 30.0)))
    (outcome,) = outcomes
    assert (outcome.status, outcome.reason, outcome.ledger.updates) == ("budget", None, 2)
    assert "tried" not in seen.rows[0][-1].diagnostics


@pytest.mark.parametrize(
    ("error", "point", "rows"),
    [
        # A fault of the method.
        (RuntimeError("no such thing"), 0.5, 1),
        # One of two rows may be sound.
        (NO_ROOT, math.nan, 2),
        # What bench says about a method.
        (UsageError("The method lost its parameters."), math.nan, 1),
        (torch.OutOfMemoryError("no memory"), math.nan, 1),
    ],
    ids=str,
)
def test_other_errors_of_a_step_end_the_run(error: Exception, point: float, rows: int) -> None:
    with pytest.raises(type(error)) as raised:
        run(fleet(Raises(error, point), range(rows)))
    assert raised.value is error


def test_a_fleet_of_which_all_rows_diverged_ends() -> None:
    method = joined(nag(lr=ABSURD), CM("torch", batch=BATCH, lr=ABSURD))
    made = fleet(method, (0, 1), Budget("updates", 1_000), evaluations=20)
    outcomes, seen = run(made)
    for row, outcome in enumerate(outcomes):
        assert outcome.status == "diverged"
        assert seen.updates(row)[-1] == outcome.ledger.updates
    assert made.account.updates == max(outcome.ledger.updates for outcome in outcomes) < 100


def test_a_start_that_is_not_finite_makes_no_update() -> None:
    made = fleet(nag(), (0, 1), problem=Tiny(start=math.inf))
    outcomes, seen = run(made)
    for row, outcome in enumerate(outcomes):
        assert (outcome.status, outcome.ledger.updates) == ("diverged", 0)
        assert outcome.reason == "the loss was not finite at update 0"
        assert len(seen.rows[row]) == 1
    assert made.account.updates == 0


# Other ends


def test_an_interrupted_fleet_keeps_what_was_measured() -> None:
    straight, all_seen = run(fleet(nag(), (0, 1), evaluations=8))
    outcomes, seen = run(fleet(nag(), (0, 1), evaluations=8), patience=10)
    for row, outcome in enumerate(outcomes):
        assert outcome.status == "interrupted"
        assert outcome.reason == "interrupted by a signal"
        assert outcome.ledger.updates == 10
        assert seen.updates(row)[-1] <= 10
        count = len(seen.rows[row])
        assert seen.values(row) == all_seen.values(row)[:count]
        assert count < len(all_seen.rows[row])
        assert straight[row].status == "budget"


def test_an_interruption_before_the_first_update() -> None:
    outcomes, seen = run(fleet(nag()), patience=0)
    assert outcomes[0].status == "interrupted"
    assert outcomes[0].ledger.updates == 0
    assert seen.updates() == [0]


def test_a_method_that_stops_has_its_result_and_its_reason() -> None:
    class Stopping(Scripted):
        def step(self, *given: Any) -> Mapping[str, Any]:
            report = super().step(*given)
            return report | {"stop": "It is enough."} if made.account.updates == 4 else report

    made = fleet(Stopping(), budget=Budget("updates", 40))
    outcomes, seen = run(made)
    assert (outcomes[0].status, outcomes[0].reason) == ("budget", "It is enough.")
    assert outcomes[0].ledger.updates == 5
    assert seen.updates()[-1] == 5


def test_a_budget_below_one_update_says_so() -> None:
    made = fleet(HessianFree(chunks=3), budget=Budget("gradients", 1.0))
    outcomes, seen = run(made)
    assert outcomes[0].status == "budget"
    assert outcomes[0].reason == "The budget does not pay for one update."
    assert set(seen.updates()) == {0}


# Rows and repetitions


KINDS = [
    nag(lr=0.02, mu_max=0.95),
    CM("torch", batch=BATCH, lr=0.01, period=7, final=5, l2=1e-3),
    SGD("torch", batch=BATCH, lr=0.05),
    nag(lr=0.005, schedule="nesterov", mu_max=1.0),
]


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "autodiff"])
@pytest.mark.parametrize(
    "seeds",
    [(0, 0, 0, 0), (3, 1, 0, 3), (3, 3, 1, 1)],
    ids=["one seed", "own seeds", "two seeds"],
)
def test_rows_of_a_joined_method_equal_each_alone(seeds: tuple[int, ...], by_hand: bool) -> None:
    problem = Tiny(by_hand=by_hand)
    together, seen = run(fleet(joined(*KINDS), seeds, problem=problem))
    for row, (kind, seed) in enumerate(zip(KINDS, seeds, strict=True)):
        (alone,), seen_alone = run(fleet(kind, (seed,), problem=problem))
        difference = (alone.theta - together[row].theta).norm()
        assert difference <= 1e-12 * alone.theta.norm()
        np.testing.assert_allclose(seen.values(row), seen_alone.values(), rtol=1e-12)
        assert seen.updates(row) == seen_alone.updates()
        assert plain(alone) == plain(together[row])


def test_rows_may_differ_in_what_they_start_as() -> None:
    """Each is the trial alone of the problem that it starts as."""
    starts = [Tiny(start=scale) for scale in (0.25, 1.0, 2.0)]
    data = DeviceData.from_data(Tiny().data(), CPU, torch.float64)
    budget = Budget("updates", 40.0)
    together = Fleet(Tiny(), data, joined(nag(), nag(), nag()), [0, 0, 1], budget, 3, starts)
    outcomes, seen = run(together)
    for row, (start, seed) in enumerate(zip(starts, (0, 0, 1), strict=True)):
        (alone,), seen_alone = run(fleet(nag(), (seed,), problem=start))
        assert (alone.theta - outcomes[row].theta).norm() <= 1e-12 * alone.theta.norm()
        np.testing.assert_allclose(seen.values(row), seen_alone.values(), rtol=1e-12)


@pytest.mark.parametrize(
    ("method", "seeds"),
    [(joined(*KINDS[:3]), (0, 1, 1)), (HessianFree(cg_max=8), (0,))],
    ids=["momentum", "hf"],
)
def test_two_runs_of_one_seed_are_equal_bit_for_bit(method: Any, seeds: tuple[int, ...]) -> None:
    budget = Budget("gradients", 1600)
    once, twice = (run(fleet(method, seeds, budget, evaluations=5)) for _ in range(2))
    for row in range(len(seeds)):
        assert torch.equal(once[0][row].theta, twice[0][row].theta)
        assert once[1].values(row) == twice[1].values(row)
        assert once[1].updates(row) == twice[1].updates(row)
        assert [m.diagnostics for m in once[1].rows[row]] == [
            m.diagnostics for m in twice[1].rows[row]
        ]


def test_methods_under_one_seed_start_alike_and_see_the_same_cases() -> None:
    made = fleet(joined(nag(), SGD("torch", batch=BATCH)), (5, 5))
    assert torch.equal(made.theta[0], made.theta[1])
    hf = fleet(HessianFree(), (5,))
    assert torch.equal(hf.theta[0], made.theta[0])
    hf.objective.next_batch(6, "curvature")
    hf.objective.next_batch(FULL)
    batches = [each.objective.next_batch(BATCH) for each in (made, hf)]
    assert torch.equal(batches[0].inputs, batches[1].inputs)
