"""What every method must satisfy, on a convex quadratic and on a small autoencoder."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, get_origin

import pytest
import torch
from torch import Tensor

from bench.models.autodiff import AutodiffPasses
from bench.models.problem import Problem
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.registry import find
from tests.laws.regression import CASES, Regression
from tests.laws.runs import METHODS, NAMES, Run, method, same
from tests.models.tiny import Tiny, padding

PROBLEMS: list[Callable[[], Problem]] = [Regression, Tiny]

every_method = pytest.mark.parametrize("text", METHODS)
every_problem = pytest.mark.parametrize("problem", PROBLEMS)
every_fleet = pytest.mark.parametrize("text", [t for t in METHODS if method(t).fleet_key])
every_loner = pytest.mark.parametrize("text", [t for t in METHODS if not method(t).fleet_key])

TO_THE_MINIMUM: dict[str, tuple[int, dict[str, object]]] = {
    "sgd": (150, {"lr": 1, "batch": CASES}),
    "cm": (250, {"lr": 0.3, "batch": CASES}),
    "nag": (150, {"lr": 0.3, "batch": CASES, "l2": 0}),
    "hf": (12, {"l2": 0, "lam": 0.1, "chunks": 1}),
    "hfm": (30, {"l2": 0, "lam": 0.1, "chunks": 1, "batch": 0}),
    "torch.optim.AdamW": (500, {"lr": 0.02, "batch": CASES, "weight_decay": 0}),
}


@every_method
def test_a_convex_quadratic_is_lowered_to_its_minimum(text: str) -> None:
    steps, given = TO_THE_MINIMUM[text.split("@")[0]]
    problem = Regression()
    run = Run(method(text, **given), problem, budget=steps)
    everything = run.data.train

    def excess() -> float:
        loss = AutodiffPasses(problem).loss(run.iterate, everything.inputs, everything.targets)
        return loss.item() - problem.minimum()

    before = excess()
    run.step(steps)
    assert -1e-12 < excess() < 1e-9 * before


@every_problem
@every_method
def test_one_seed_gives_one_run_and_draws_from_no_global_stream(
    text: str, problem: Callable[[], Problem]
) -> None:
    runs, random = [], torch.get_rng_state()
    for seed in (0, 0, 1):
        runs.append(Run(method(text), problem(), seeds=[seed]).step(6))
    assert torch.equal(torch.get_rng_state(), random)
    first, again, other = runs
    assert torch.equal(first.iterate, again.iterate)
    assert same(first.method.state_dict(first.state), again.method.state_dict(again.state))
    assert same([dict(r) for r in first.reports], [dict(r) for r in again.reports])
    assert not torch.equal(first.iterate, other.iterate)


@every_problem
@every_method
def test_state_round_trip(text: str, problem: Callable[[], Problem]) -> None:
    run = Run(method(text), problem()).step(5)
    saved, kept = run.method.state_dict(run.state), run.method.state_dict(run.state)
    other = Run(method(text), problem(), seeds=[1]).step(2)
    other.theta.copy_(run.theta)
    other.method.load_state_dict(other.state, saved)
    assert same(other.method.state_dict(other.state), kept)
    # What was saved has memory of its own: neither run writes to it.
    kept = copy.deepcopy(kept)
    run.step(3)
    other.step(3)
    assert same(saved, kept)
    assert not same(run.method.state_dict(run.state), kept)


@every_problem
@every_method
@pytest.mark.parametrize("at", [0, 5])
def test_interrupted_is_straight(text: str, problem: Callable[[], Problem], at: int) -> None:
    straight = Run(method(text), problem()).step(10)
    saved = Run(method(text), problem()).step(at).save()
    resumed = Run(method(text), problem()).restore(saved).step(10 - at)
    assert torch.equal(resumed.theta, straight.theta)
    assert torch.equal(resumed.iterate, straight.iterate)
    assert same(
        resumed.method.state_dict(resumed.state), straight.method.state_dict(straight.state)
    )
    assert torch.equal(resumed.reports[-1]["loss"], straight.reports[-1]["loss"])


@every_problem
@every_method
def test_every_loss_is_that_of_the_parameters_and_cases_at_hand(
    text: str, problem: Callable[[], Problem]
) -> None:
    run = Run(method(text), problem())
    oracle = AutodiffPasses(run.problem)
    for _ in range(6):
        before = len(run.objective.gradients)
        run.step()
        theta, cases = run.objective.gradients[before]
        expected = oracle.loss(theta, cases.inputs, cases.targets)
        torch.testing.assert_close(run.reports[-1]["loss"], expected, rtol=1e-12, atol=0)
        # Other cases from here on: a loss that is remembered would be another one's.
        run.data.train.inputs.mul_(0.9)


@every_problem
@every_method
def test_the_point_of_the_gradient_moves_with_every_step(
    text: str, problem: Callable[[], Problem]
) -> None:
    run = Run(method(text), problem()).step(6)
    points = [theta for theta, _ in run.objective.gradients]
    assert torch.equal(points[0], Run(method(text), problem()).theta)
    assert all(not torch.equal(a, b) for a, b in zip(points, points[1:], strict=False))


@every_problem
@every_method
def test_batches_and_inputs_are_left_alone(text: str, problem: Callable[[], Problem]) -> None:
    run = Run(method(text), problem())
    inputs, targets = run.data.train.inputs.clone(), run.data.train.targets.clone()
    run.step(6)
    assert torch.equal(run.data.train.inputs, inputs)
    assert torch.equal(run.data.train.targets, targets)
    assert run.objective.batches
    for batch, x, t in run.objective.batches:
        assert torch.equal(batch.inputs, x)
        assert torch.equal(batch.targets, t)


@every_problem
@every_method
@pytest.mark.parametrize("final_mu", [0.5, 0.9])
def test_the_first_updates_do_not_depend_on_where_the_budget_ends(
    text: str, problem: Callable[[], Problem], final_mu: float
) -> None:
    known = {h.name for h in find(text.split("@")[0]).space}
    given = {"final_mu": final_mu} if "final_mu" in known else {}
    short, long = (Run(method(text, **given), problem(), budget=n) for n in (12, 40))
    same_for = short.method.anytime_updates(12)
    assert short.method.anytime_updates(None) == math.inf
    for update in range(1, 13):
        short.step()
        long.step()
        # NAG's θ is its look-ahead point without the next μ: the same one, but for rounding.
        are_same = torch.allclose(short.iterate, long.iterate, rtol=1e-12, atol=1e-14)
        assert are_same == (update <= same_for)


@every_problem
@every_method
def test_the_ledger_shows_every_call_and_the_declared_cost(
    text: str, problem: Callable[[], Problem]
) -> None:
    run = Run(method(text), problem())
    for _ in range(5):
        before = run.account.gradients
        run.step()
        declared = run.method.cost_of_a_step
        if declared is not None:
            assert run.account.gradients - before == pytest.approx(declared, rel=1e-12)
    assert run.account.gradients == pytest.approx(run.objective.price, rel=1e-12)
    assert run.account.examples == run.objective.examples
    assert run.account.products == run.objective.products
    # A warm start costs a product of its own.
    cg_steps = sum(report.get("cg_steps", 0) for report in run.reports)
    assert 0 <= run.account.products - cg_steps < len(run.reports)


@every_problem
@every_method
def test_the_report_has_the_loss_and_numbers(text: str, problem: Callable[[], Problem]) -> None:
    (report,) = Run(method(text), problem()).step().reports
    assert report["loss"].shape == (1,)
    assert all(isinstance(value, int | float) for name, value in report.items() if name != "loss")


@every_problem
@every_method
def test_padding_stays_zero(text: str, problem: Callable[[], Problem]) -> None:
    run = Run(method(text), problem()).step(8)
    unused = padding(run.problem)
    assert unused.any()

    def check(value: Any) -> None:
        if isinstance(value, Tensor) and value.shape == run.theta.shape:
            assert not value[:, unused].any()
        elif isinstance(value, dict):
            for each in value.values():
                check(each)

    check(run.theta)
    check(run.iterate)
    check(run.method.state_dict(run.state))


def fleet(text: str) -> Method:
    first, *others = (method(text, lr=lr) for lr in (0.05, 0.02, 0.01))
    return first.join(others)


@every_problem
@every_fleet
@pytest.mark.parametrize("seeds", [[0, 0, 0], [0, 1, 2]], ids=str)
@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_a_row_that_diverges_changes_no_other_bit(
    text: str, problem: Callable[[], Problem], seeds: list[int], spoilt: float
) -> None:
    sound = Run(fleet(text), problem(), seeds)
    start = sound.theta.clone()
    start[1, 0] = spoilt
    broken = Run(fleet(text), problem(), seeds, start=start)
    sound.step(8)
    broken.step(8)
    assert not broken.theta[1].isfinite().all()
    for mate in (0, 2):
        assert torch.equal(broken.iterate[mate], sound.iterate[mate])
        assert torch.equal(broken.reports[-1]["loss"][mate], sound.reports[-1]["loss"][mate])


@every_problem
@every_fleet
@pytest.mark.parametrize("seeds", [[0, 0, 0], [0, 1, 2]], ids=str)
def test_a_row_of_a_fleet_is_the_trial_alone(
    text: str, problem: Callable[[], Problem], seeds: list[int]
) -> None:
    together = Run(fleet(text), problem(), seeds).step(12)
    assert together.reports[-1]["loss"].shape == (3,)
    for row, lr in enumerate((0.05, 0.02, 0.01)):
        alone = Run(method(text, lr=lr), problem(), [seeds[row]]).step(12)
        torch.testing.assert_close(together.iterate[row], alone.iterate[0], rtol=1e-12, atol=1e-14)
    # A row is charged what the trial alone is.
    assert together.account.gradients == alone.account.gradients


@every_loner
def test_a_method_for_one_trial_refuses_company(text: str) -> None:
    with pytest.raises(UsageError, match=f"^{text.split('@')[0]} trains one trial at a time"):
        method(text).join([method(text)])


@pytest.mark.parametrize("name", NAMES)
def test_a_method_declares_itself(name: str) -> None:
    cls = find(name)
    assert cls.name == name
    assert cls.reference
    assert "torch" in cls.backends
    assert len({h.name for h in cls.space}) == len(cls.space)
    for h in cls.space:
        assert h.meaning
        plain = get_origin(h.kind) or h.kind
        assert type(h.default) is plain or (plain, type(h.default)) == (float, int)
        for value in (h.default, *h.grid, *(h.tune or ())):
            assert h.cast(value, name) == value
    made = cls(cls.backends[0])
    assert made.backend == cls.backends[0]
    assert list(made.hyperparameters) == [h.name for h in cls.space]
    assert made.hyperparameters == {h.name: h.default for h in cls.space}
