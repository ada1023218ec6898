"""Matching losses against autograd, and against 60 decimal digits where they saturate."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.models.losses import (
    HalfSquaredError,
    Huber,
    LogisticCrossEntropy,
    MatchingLoss,
    SoftmaxCrossEntropy,
    Stepped,
    SteppedSoftmaxCrossEntropy,
    Weighted,
)

LOSSES = [LogisticCrossEntropy(), SoftmaxCrossEntropy(), HalfSquaredError()]
EXTREME = [0.0, 1.0, 6.0, 21.0, 39.9, 40.1, 50.0, 1e3]


@pytest.fixture(params=LOSSES, ids=lambda loss: type(loss).__name__)
def loss(request: pytest.FixtureRequest) -> MatchingLoss:
    return request.param


def case(loss: MatchingLoss, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    z, t, r = (torch.randn(7, generator=rng, dtype=torch.float64) for _ in range(3))
    return 2 * z, torch.softmax(t, 0), r


def test_derivative_is_that_of_the_loss(loss: MatchingLoss) -> None:
    z, t, _ = case(loss)
    at = z.requires_grad_()
    (expected,) = torch.autograd.grad(loss.per_case(at, t), at)
    torch.testing.assert_close(loss.derivative(z, t), expected, rtol=1e-12, atol=1e-14)


def test_the_link_undoes_the_outputs(loss: MatchingLoss) -> None:
    _, y, _ = case(loss)
    torch.testing.assert_close(loss.outputs(loss.link(y)), y, rtol=1e-13, atol=0)
    certain = torch.eye(7, dtype=torch.float64)[2]
    assert torch.equal(loss.outputs(loss.link(certain)), certain)


def test_a_loss_at_every_step_is_summed_over_steps() -> None:
    z, t = (torch.stack([case(LOSSES[1], seed)[i] for seed in range(6)]) for i in range(2))
    stepped = SteppedSoftmaxCrossEntropy().per_case(z.view(2, 3, 7), t.view(2, 3, 7))
    torch.testing.assert_close(stepped, LOSSES[1].per_case(z, t).view(2, 3).sum(1))


def test_curvature_is_the_hessian_at_the_outputs(loss: MatchingLoss) -> None:
    z, t, r = case(loss)
    hessian = torch.autograd.functional.hessian(lambda z: loss.per_case(z, t), z)
    product = loss.curvature_at(z, t)
    torch.testing.assert_close(product(r), hessian @ r, rtol=1e-12, atol=1e-14)
    ours = torch.stack([product(e) for e in torch.eye(7, dtype=torch.float64)])
    torch.testing.assert_close(ours, hessian, rtol=1e-12, atol=1e-14)
    assert torch.linalg.eigvalsh(ours)[0] >= -1e-15


def test_curvature_is_that_of_the_outputs_whatever_the_target(loss: MatchingLoss) -> None:
    """For a matching loss H_L is the Jacobian of the output nonlinearity."""
    z, t, r = case(loss)
    jacobian = torch.autograd.functional.jacobian(loss.outputs, z)
    torch.testing.assert_close(loss.curvature_at(z, t)(r), jacobian @ r, rtol=1e-12, atol=1e-14)


def test_cases_do_not_mix(loss: MatchingLoss) -> None:
    cases = [case(loss, seed) for seed in range(6)]
    z, t, r = (torch.stack(each).view(2, 3, 7) for each in zip(*cases, strict=True))
    for k, b in ((0, 0), (1, 2)):
        one = z[k, b], t[k, b], r[k, b]
        torch.testing.assert_close(loss.per_case(z, t)[k, b], loss.per_case(*one[:2]))
        torch.testing.assert_close(loss.derivative(z, t)[k, b], loss.derivative(*one[:2]))
        torch.testing.assert_close(
            loss.curvature_at(z, t)(r)[k, b], loss.curvature_at(one[0], one[1])(one[2])
        )


def test_results_are_new_tensors(loss: MatchingLoss) -> None:
    """The passes scale them in place."""
    z, t, r = case(loss)
    kept = z.clone(), t.clone(), r.clone()
    loss.derivative(z, t).zero_()
    product = loss.curvature_at(z, t)
    again = product(r).clone()
    product(r).zero_()
    assert torch.equal(product(r), again)
    loss.per_case(z, t).zero_()
    assert all(map(torch.equal, (z, t, r), kept))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("size", EXTREME)
@pytest.mark.parametrize("sign", [1, -1])
def test_logistic_where_it_saturates(
    dtype: torch.dtype, t: float, size: float, sign: float
) -> None:
    loss, z = LogisticCrossEntropy(), torch.tensor([sign * size], dtype=dtype)
    target, exact = torch.tensor([t], dtype=dtype), Decimal(z.item())
    with localcontext() as context:
        context.prec = 60
        y = 1 / (1 + (-exact).exp())
        # −log σ(z) = log(1 + e^(−z)), so that nothing cancels.
        value = Decimal(t) * (1 + (-exact).exp()).ln() + (1 - Decimal(t)) * (1 + exact.exp()).ln()
        curvature = y * (1 - y)
    rounding = torch.finfo(dtype).eps
    got = loss.per_case(z, target).item()
    assert got == pytest.approx(float(value), abs=2 * rounding * max(1, size))
    assert got >= 0
    assert loss.derivative(z, target).item() == pytest.approx(float(y) - t, abs=rounding)
    # Above z = 36 y rounds to 1, and the curvature to 0: absolutely right, not relatively.
    got = loss.curvature_at(z, t)(torch.ones_like(z)).item()
    assert got == pytest.approx(float(curvature), abs=rounding)
    assert got >= 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hit", range(4))
def test_softmax_where_it_saturates(dtype: torch.dtype, hit: int) -> None:
    loss, z = SoftmaxCrossEntropy(), torch.tensor([1e3, 50.0, -50.0, -1e3], dtype=dtype)
    t = torch.zeros(4, dtype=dtype)
    t[hit] = 1
    with localcontext() as context:
        context.prec = 60
        total = sum(Decimal(each).exp() for each in z.tolist())
        y = [Decimal(each).exp() / total for each in z.tolist()]
        value = total.ln() - Decimal(z[hit].item())
    rounding = torch.finfo(dtype).eps
    assert loss.per_case(z, t).item() == pytest.approx(float(value), abs=2e3 * rounding)
    expected = torch.tensor([float(each) for each in y], dtype=dtype) - t
    torch.testing.assert_close(loss.derivative(z, t), expected, rtol=0, atol=rounding)
    product = loss.curvature_at(z, t)(torch.ones_like(z))
    assert product.isfinite().all()
    assert product.abs().max() <= rounding


def test_softmax_curvature_of_a_constant_is_zero() -> None:
    """Adding a constant to all logits changes nothing."""
    z, t, _ = case(LOSSES[1])
    assert LOSSES[1].curvature_at(z, t)(torch.ones_like(z)).abs().max() <= 1e-15


# Losses whose curvature depends on the target, as (loss, targets of 6 cases in 7 columns).

SUMS = torch.tensor([0.0, 1.0, 5.0, 0.3, 1.0, 2.5], dtype=torch.float64)[:, None]
INNER = [*LOSSES, Huber(0.8)]


def with_targets() -> list[tuple[MatchingLoss, Tensor]]:
    t = torch.softmax(torch.randn(6, 7, generator=torch.Generator().manual_seed(3)).double(), -1)
    return [
        (SoftmaxCrossEntropy(), t * SUMS),
        (Huber(0.8), 2 * t - 1),
        *((Weighted(inner), torch.cat([t, SUMS], -1)) for inner in INNER),
    ]


@pytest.mark.parametrize("which", range(len(with_targets())))
def test_curvature_and_derivative_where_the_target_weighs(which: int) -> None:
    loss, targets = with_targets()[which]
    z = 2 * torch.randn(6, 7, generator=torch.Generator().manual_seed(4)).double()
    product, slope = loss.curvature_at(z, targets), loss.derivative(z, targets)
    assert loss.values(targets).shape == z.shape
    for case in range(6):
        t = targets[case]
        hessian = torch.autograd.functional.hessian(lambda at, t=t: loss.per_case(at, t), z[case])
        for unit in range(7):
            r = torch.zeros_like(z)
            r[case, unit] = 1
            torch.testing.assert_close(product(r)[case], hessian[unit], rtol=1e-12, atol=1e-14)
        assert torch.linalg.eigvalsh(hessian)[0] >= -1e-14
        at = z[case].clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss.per_case(at, t), at)
        torch.testing.assert_close(slope[case], expected, rtol=1e-12, atol=1e-14)


def test_masked_steps_are_left_out() -> None:
    loss = Stepped(Weighted(HalfSquaredError()))
    z, t = (torch.randn(2, 3, 7, dtype=torch.float64) for _ in range(2))
    mask = torch.tensor([[1.0, 1, 0], [1, 0, 0]], dtype=torch.float64)
    targets = torch.cat([t, mask[..., None]], -1)
    expected = torch.stack(
        [
            HalfSquaredError().per_case(z[0, :2], t[0, :2]).sum(),
            *LOSSES[2].per_case(z[1, :1], t[1, :1]),
        ]
    )
    torch.testing.assert_close(loss.per_case(z, targets), expected)
    assert not loss.derivative(z, targets)[mask == 0].any()
    assert torch.equal(loss.curvature_at(z, targets)(z), z * mask[..., None])


def test_stepped_softmax_is_the_softmax_at_every_step() -> None:
    z, t = (torch.softmax(torch.randn(2, 3, 7, dtype=torch.float64), -1) for _ in range(2))
    one, other = SteppedSoftmaxCrossEntropy(), Stepped(SoftmaxCrossEntropy())
    assert torch.equal(one.per_case(z, t), other.per_case(z, t))
    assert torch.equal(one.curvature_at(z, t)(t), other.curvature_at(z, t)(t))


@pytest.mark.parametrize(
    ("loss", "targets", "told"),
    [
        (LogisticCrossEntropy(), [[-1.0, 1.0]], "from 0 to 1; found -1 to 1"),
        (LogisticCrossEntropy(), [[0.0, 2.0]], "from 0 to 1; found 0 to 2"),
        (SoftmaxCrossEntropy(), [[-0.1, 1.1]], "none is negative, but found -0.1"),
        (SoftmaxCrossEntropy(), [[0.0, 0.0]], "all targets of the softmax cross-entropy are 0"),
        (Weighted(HalfSquaredError()), [[1.0, -1.0]], "are weights; none may be negative"),
        (Weighted(HalfSquaredError()), [[1.0, 0.0]], "one must be above 0"),
        (Weighted(HalfSquaredError()), [[1.0]], "the last column is the weight"),
        (Weighted(LogisticCrossEntropy()), [[-1.0, 1.0]], "from 0 to 1; found -1 to -1"),
        (Stepped(HalfSquaredError()), [[1.0]], r"have the shape \(cases, steps, outputs\)"),
    ],
)
def test_targets_outside_the_domain(loss: MatchingLoss, targets: list, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        loss.check_targets(np.array(targets))


def test_soft_and_weighted_targets_are_within_it() -> None:
    SoftmaxCrossEntropy().check_targets(np.array([[0.2, 0.8], [5.0, 0.0], [0.0, 0.0]]))
    LogisticCrossEntropy().check_targets(np.array([[0.0, 0.3, 1.0]]))
    HalfSquaredError().check_targets(np.array([[-1e9]]))


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan"), float("inf")])
def test_huber_has_a_positive_delta(delta: float) -> None:
    with pytest.raises(ValueError, match="must be a positive number"):
        Huber(delta)
