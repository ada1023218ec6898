"""Each defect found in a published Hessian-free package, by name; here it is absent."""

import math

import pytest
import torch

from bench.optim.hessian_free import HessianFree
from bench.optim.hessian_free.cg import Vectors, conjugate_gradients
from tests.optim.dense import DenseObjective, linear, small_autoencoder, small_mlp


@pytest.mark.parametrize("lam", [1.0, 45.0])
def test_reduction_ratio_from_the_warm_start(lam: float) -> None:
    """With ρ from the warm start λ grows by 3/2 for ever here and the loss stays at 5.93."""
    objective, theta = small_autoencoder()
    method = HessianFree(lam=lam, chunks=2)
    state = method.init(theta, 0, None)
    reports = [method.step(theta, objective, state) for _ in range(50)]
    assert max(report["lambda"] for report in reports) == lam
    assert reports[-1]["lambda"] < 0.1 * lam
    assert reports[15]["loss"] > 5.9
    assert reports[-1]["loss"] < 4


def test_preconditioner_that_is_not_applied() -> None:
    """On a badly scaled problem CG needs far fewer steps with the preconditioner."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -3, 30, dtype=torch.float64)
    x = torch.randn(200, 30, generator=generator, dtype=torch.float64) * scales
    targets = (torch.rand(200, 1, generator=generator) < 0.5).double()
    steps = {}
    for precondition in (False, True):
        theta = torch.zeros(1, 30, dtype=torch.float64)
        method = HessianFree(
            lam=1e-8, l2=0, chunks=1, precondition=precondition, exponent=1.0, cg_tolerance=1e-8
        )
        report = method.step(theta, DenseObjective(linear, x, targets), method.init(theta, 0, None))
        steps[precondition] = report["cg_steps"]
    assert steps[True] < 0.5 * steps[False]


def test_damping_that_is_lost_at_resume() -> None:
    objective, theta = small_mlp()
    method = HessianFree(lam=11.39)
    state = method.init(theta, 0, None)
    for _ in range(3):
        method.step(theta, objective, state)
    saved, lam = method.state_dict(state), state.lam
    resumed = method.init(theta, 0, None)
    method.load_state_dict(resumed, saved)
    assert lam != 11.39
    assert method.step(theta, objective, resumed)["lambda"] == lam


def test_stop_rule_without_its_factor_k() -> None:
    """On this quadratic the rule stops at 185; without k it would run on to 486."""
    a = torch.logspace(0, -5, 1500, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(1, 1500, generator=generator, dtype=torch.float64) * a.sqrt()
    found = conjugate_gradients(lambda v: v * a, g, None, Vectors(g), 1000, 5e-4)
    assert found.ended == "progress"
    assert found.steps < 250


def test_two_products_a_cg_step() -> None:
    objective, theta = small_mlp()
    method = HessianFree(lam=5.0)
    state = method.init(theta, 0, None)
    first = method.step(theta, objective, state)
    assert objective.calls["product"] == first["cg_steps"]
    objective.calls.clear()
    second = method.step(theta, objective, state)
    assert objective.calls["product"] == second["cg_steps"] + 1


def test_preconditioned_cg_with_the_unpreconditioned_residual() -> None:
    """With r·r for r·z in the first step length the first iterate is wrong by tens of percent."""
    a = torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64)
    m = torch.tensor([[2.0, 0.5, 4.0]], dtype=torch.float64)
    g = torch.tensor([[1.0, -2.0, 5.0]], dtype=torch.float64)
    vectors = Vectors(g)
    conjugate_gradients(lambda v: v * a, g, m, vectors, 1, 0.0)
    z = g / m
    expected = -z * (g * z).sum() / (z * a * z).sum()
    torch.testing.assert_close(vectors.x, expected, rtol=1e-15, atol=0)


def test_no_bernoulli_cross_entropy() -> None:
    """The matching curvature y(1 − y) makes the step on logistic outputs Newton's."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    targets = (torch.rand(40, 1, generator=generator) < 0.5).double()
    theta = torch.zeros(1, 4, dtype=torch.float64)
    method = HessianFree(lam=0, l2=0, chunks=1, cg_tolerance=0)
    method.step(theta, DenseObjective(linear, x, targets), method.init(theta, 0, None))
    newton = torch.linalg.solve(x.T @ x / 4, x.T @ (targets - 0.5))
    torch.testing.assert_close(theta, newton.T, rtol=1e-10, atol=0)


def test_no_line_search() -> None:
    """A full step that overshoots is shortened until the loss falls."""
    x = torch.tensor([[1.0]], dtype=torch.float64)
    theta = torch.tensor([[6.0]], dtype=torch.float64)
    objective = DenseObjective(linear, x, torch.full_like(x, 0.5))
    method = HessianFree(lam=0, l2=0, chunks=1)
    report = method.step(theta, objective, method.init(theta, 0, None))
    assert report["rho"] == -math.inf
    assert 0 < report["rate"] < 1
    assert report["decrease"] > 0
