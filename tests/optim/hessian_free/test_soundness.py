"""Whatever an objective does, a step has a defined outcome and a run comes to an end."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.optim.hessian_free.base import STALLED
from tests.optim.dense import DenseObjective, linear, quadratic, small_mlp
from tests.optim.hessian_free.nasty import CANNOT, Method, both, logistic, nasty, run, stops


@both
@pytest.mark.parametrize("every", [2, 5, 16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_products_that_are_not_finite_now_and_then(
    make: Callable[..., Method], every: int, bad: float
) -> None:
    """The step is rejected, λ raised, CG starts from 0 again; training goes on."""
    objective, theta = nasty(product=lambda n, v: v.mul_(bad) if n % every == 0 else v)
    reports = run(make(lam=5.0), objective, theta, 25)
    rejected = [r for r in reports if r["rate"] == 0]
    assert rejected
    assert all(r["rho"] == -math.inf for r in rejected)
    for a, b in zip(reports, reports[1:], strict=False):
        if a["rate"] == 0:
            assert b["lambda"] == a["lambda"] * 1.5
    if every == 16:
        assert stops(reports) is None
        assert reports[-1]["loss"] < reports[0]["loss"]


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("lam", [0.0, 1.0, 45.0])
def test_products_that_are_never_finite_end_the_trial(
    make: Callable[..., Method], bad: float, lam: float
) -> None:
    objective, theta = logistic(seed=0)
    objective.product = lambda n, v: v.fill_(bad)
    start = theta.clone()
    reports = run(make(lam=lam), objective, theta, 1000)
    assert (len(reports), stops(reports)) == (STALLED, CANNOT)
    assert torch.equal(theta, start)


@both
def test_a_curvature_that_rounding_makes_negative(make: Callable[..., Method]) -> None:
    """CG ends before it, and the iterates so far are good ones."""
    made = 0

    def product(_: int, value: Tensor) -> Tensor:
        nonlocal made
        made += 1
        return value.mul_(-1e6) if made == 6 else value

    objective, theta = nasty(product=product)
    method = make(lam=1.0, l2=0)
    state: Any = method.init(theta, 0, None)
    for steps in (5, 4, 4):
        before, made = theta.clone(), 0
        report = method.step(theta, objective, state)
        # With a warm start, the first product is that of the start.
        assert report["cg_steps"] == steps
        assert report["rate"] > 0
        assert report["decrease"] > 0
        assert not torch.equal(theta, before)


@both
def test_negative_curvature_from_the_first_step_on(make: Callable[..., Method]) -> None:
    """λ is raised until it outweighs the curvature, and the trial goes on."""
    objective, theta = nasty(product=lambda n, v: v.neg_())
    reports = run(make(lam=1e-6, l2=0), objective, theta, 60)
    assert stops(reports) is None
    assert reports[0]["rate"] == 0
    assert reports[-1]["lambda"] > 1e-6
    assert reports[-1]["loss"] < reports[0]["loss"]


@both
def test_zero_gradient_ends_the_trial(make: Callable[..., Method]) -> None:
    minimum = torch.ones(3, dtype=torch.float64)
    theta = minimum.clone().unsqueeze(0)
    reports = run(make(l2=0), quadratic(torch.eye(3).double(), minimum), theta, 10)
    assert len(reports) == 1
    assert stops(reports) == "The gradient is zero: θ is a stationary point."


@both
def test_a_gradient_that_is_not_finite_ends_the_trial(make: Callable[..., Method]) -> None:
    objective, theta = nasty()
    gradient = objective.gradient
    objective.gradient = lambda *a: (gradient(*a)[0], theta * math.nan)  # type: ignore
    reports = run(make(), objective, theta, 10)
    assert len(reports) == 1
    assert stops(reports) == "The gradient is not finite although the loss is."


@both
def test_a_regulariser_that_overflows_ends_the_trial(make: Callable[..., Method]) -> None:
    objective, theta = nasty()
    theta.fill_(1e160)
    reports = run(make(l2=1.0), objective, theta, 10)
    assert stops(reports) in (
        "The regulariser is not finite although the loss is.",
        "The gradient is zero: θ is a stationary point.",
    )


@both
def test_a_loss_that_is_not_finite_moves_nothing(make: Callable[..., Method]) -> None:
    """The training loop calls such a trial diverged; the method only reports the loss."""
    objective, theta = nasty()
    objective.inputs[0, 0] = math.nan
    start = theta.clone()
    method = make()
    state: Any = method.init(theta, 0, None)
    report = method.step(theta, objective, state)
    assert report["loss"].isnan().all()
    assert torch.equal(theta, start)
    assert (state.lam, state.stalled, "stop" in report) == (45.0, 0, False)


@both
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_one_case_and_batches_of_one_case(make: Callable[..., Method], lam: float) -> None:
    objective, theta = nasty(cases=1)
    reports = run(make(lam=lam), objective, theta, 10)
    assert reports[-1]["loss"] < reports[0]["loss"]
    objective, theta = nasty(cases=24)
    reports = run(make(lam=1.0, batch=1), objective, theta, 30)
    assert len(reports) == 30
    assert objective.position["gradient"] == 30


@both
@pytest.mark.parametrize(
    ("lam", "factor", "value"), [(0.0, 1.5, math.nan), (45.0, 1.0, math.inf), (45.0, 1.5, 1e300)]
)
def test_a_loss_that_cannot_be_lowered_ends_the_trial(
    make: Callable[..., Method], lam: float, factor: float, value: float
) -> None:
    objective, theta = logistic(seed=0)
    objective.trial = lambda _: value
    reports = run(make(lam=lam, lam_factor=factor), objective, theta, 1000)
    assert (len(reports), stops(reports)) == (STALLED, CANNOT)


@both
def test_a_loss_that_stays_the_same_ends_the_trial(make: Callable[..., Method]) -> None:
    objective, theta = logistic(seed=0)
    constant = objective.loss(theta, objective.next_batch(8))
    gradient = objective.gradient
    objective.loss = lambda *_: constant  # type: ignore[method-assign]
    objective.gradient = lambda *a: (constant, gradient(*a)[1])  # type: ignore[method-assign]
    reports = run(make(lam=1.0, l2=0), objective, theta, 1000)
    assert stops(reports) == CANNOT


@both
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_not_finite_at_trial_points(
    make: Callable[..., Method], value: float
) -> None:
    """Every other trial point has no loss: it is gone around, or the step is rejected."""
    count = iter(range(10**9))
    objective, theta = nasty(trial=lambda v: value if next(count) % 2 else v)
    reports = run(make(lam=5.0), objective, theta, 30)
    assert stops(reports) is None
    assert reports[-1]["loss"] < reports[0]["loss"]


@both
@pytest.mark.parametrize("lam", [5e-324, 1e-35, 1.0, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_damping_at_its_bounds(make: Callable[..., Method], lam: float, dtype: torch.dtype) -> None:
    for spoil in (None, lambda n, v: v.fill_(math.nan)):
        objective, theta = logistic(seed=0, dtype=dtype)
        objective.product = spoil
        reports = run(make(lam=lam), objective, theta, 70)
        assert spoil is None or stops(reports) == CANNOT


@both
def test_singular_curvature_without_damping(make: Callable[..., Method]) -> None:
    """Fewer cases than parameters: G has a null space, and the gradient is not in it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    targets = torch.randn(5, 1, generator=generator, dtype=torch.float64)
    # At a minimum nothing but rounding says where to go, so that is where this ends.
    for most in range(1, 11):
        theta = torch.zeros(1, 12, dtype=torch.float64)
        method = make(lam=0, l2=0, precondition=False, decay=0.5)
        run(method, DenseObjective(linear, x, targets, "squared"), theta, most)
        if (x @ theta.T - targets).square().sum() < 1e-20:
            break
    else:
        pytest.fail("no minimum within 10 updates")
    # Of all minima it is the one nearest to the start.
    nearest = torch.linalg.pinv(x) @ targets
    torch.testing.assert_close(theta, nearest.T, rtol=0, atol=1e-5)


@both
def test_no_curvature_at_all_without_damping(make: Callable[..., Method]) -> None:
    """A p = −g has no solution; there is no damping to raise, and the trial ends."""
    objective, theta = logistic(seed=0)
    objective.product = lambda n, v: v.zero_()
    reports = run(make(lam=0, l2=0), objective, theta, 1000)
    assert (len(reports), stops(reports)) == (STALLED, CANNOT)


@both
def test_a_step_too_long_for_its_square_is_not_taken(make: Callable[..., Method]) -> None:
    objective = quadratic(1e-12 * torch.eye(4), torch.ones(4))
    gradient = objective.gradient
    objective.gradient = lambda *a: (gradient(*a)[0], gradient(*a)[1] * 1e22)  # type: ignore
    objective.loss = lambda *a: torch.zeros(1)  # type: ignore[method-assign]
    theta = torch.zeros(1, 4)
    reports = run(make(lam=0, l2=0, precondition=False), objective, theta, 3)
    assert [report["cg_steps"] > 0 for report in reports] == [True] * 3
    assert all(report["rate"] == 0 for report in reports)


@both
@pytest.mark.parametrize("lam", [1.0, 45.0])
def test_damping_does_not_grow_for_ever(make: Callable[..., Method], lam: float) -> None:
    objective, theta = small_mlp()
    reports = run(make(lam=lam, chunks=2), objective, theta, 60)
    assert max(report["lambda"] for report in reports) <= lam * 1.5
    assert reports[-1]["loss"] < 0.7 * reports[0]["loss"]
