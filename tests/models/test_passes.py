"""Both kinds of passes against dense oracles: explicit Jacobians and per-case gradients."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models.losses import (
    HalfSquaredError,
    LogisticCrossEntropy,
    MatchingLoss,
    SoftmaxCrossEntropy,
)
from bench.models.passes import Passes
from tests.models.tiny import Tiny, padding

LOSSES = [LogisticCrossEntropy(), SoftmaxCrossEntropy(), HalfSquaredError()]
CASES = 5
WITHIN = 1e-10


def plain_loss(kind: MatchingLoss, z: Tensor, t: Tensor) -> Tensor:
    """The loss of one case in torch's own words."""
    if isinstance(kind, LogisticCrossEntropy):
        return F.binary_cross_entropy_with_logits(z, t, reduction="sum")
    if isinstance(kind, SoftmaxCrossEntropy):
        return F.cross_entropy(z, t)
    return F.mse_loss(z, t, reduction="sum") / 2


@dataclass
class Setting:
    """A problem, K rows of parameters, and cases that the rows share or not."""

    problem: Tiny
    theta: Tensor
    inputs: Tensor
    targets: Tensor

    @classmethod
    def make(cls, loss: MatchingLoss, by_hand: bool, rows: int, shared: bool) -> Setting:
        problem = Tiny(loss, by_hand)
        rng = torch.Generator().manual_seed(3)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        theta = 0.7 * draw(rows, problem.layout.size)
        theta[:, padding(problem)] = 0
        batches = 1 if shared else rows
        inputs = torch.sigmoid(draw(batches, CASES, 12))
        targets = torch.sigmoid(draw(batches, CASES, 12))
        if isinstance(loss, SoftmaxCrossEntropy):
            targets /= targets.sum(-1, keepdim=True)
        return cls(problem, theta, inputs, targets)

    @property
    def passes(self) -> Passes:
        return self.problem.passes()

    def cases(self, k: int) -> list[tuple[Tensor, Tensor]]:
        """The pairs (x, t) that row k sees."""
        k %= len(self.inputs)
        return list(zip(self.inputs[k], self.targets[k], strict=True))

    def z(self, row: Tensor, x: Tensor) -> Tensor:
        """The pre-activations of one case, by the definition of the network."""
        p = self.problem.layout.views(row)
        h = torch.sigmoid(x @ p["W1"] + p["b1"])
        h = torch.sigmoid(h @ p["W2"] + p["b2"])
        h = h @ p["W3"] + p["b3"]
        h = torch.sigmoid(h @ p["W4"] + p["b4"])
        h = torch.sigmoid(h @ p["W5"] + p["b5"])
        return h @ p["W6"] + p["b6"]

    def oracle_losses(self, k: int) -> Tensor:
        row, kind = self.theta[k], self.problem.loss
        return torch.stack([plain_loss(kind, self.z(row, x), t) for x, t in self.cases(k)])

    def oracle_gradients(self, k: int) -> Tensor:
        """Every case's gradient, one by one: (B, P)."""
        row = self.theta[k].clone().requires_grad_()
        return torch.stack(
            [
                torch.autograd.grad(plain_loss(self.problem.loss, self.z(row, x), t), row)[0]
                for x, t in self.cases(k)
            ]
        )

    def oracle_gauss_newton(self, k: int) -> Tensor:
        """G = mean over cases of Jᵀ H_L J, dense: (P, P)."""
        row, k = self.theta[k], k % len(self.inputs)

        def of_a_case(x: Tensor, t: Tensor) -> Tensor:
            j = torch.func.jacrev(self.z)(row, x)
            loss = torch.func.grad(lambda z: plain_loss(self.problem.loss, z, t))
            hessian = torch.func.jacrev(loss)
            return j.T @ hessian(self.z(row, x)) @ j

        return torch.func.vmap(of_a_case)(self.inputs[k], self.targets[k]).mean(0)


@pytest.fixture(params=[(1, True), (3, True), (3, False)], ids=["K1", "K3 shared", "K3 own"])
def shape(request: pytest.FixtureRequest) -> tuple[int, bool]:
    return request.param


@pytest.fixture(params=LOSSES, ids=lambda loss: type(loss).__name__)
def loss(request: pytest.FixtureRequest) -> MatchingLoss:
    return request.param


@pytest.fixture(params=[True, False], ids=["by hand", "autodiff"])
def setting(request: pytest.FixtureRequest, loss: MatchingLoss, shape: tuple[int, bool]) -> Setting:
    return Setting.make(loss, request.param, *shape)


def close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert (got - expected).norm() <= WITHIN * expected.norm()


def test_logits_and_loss(setting: Setting) -> None:
    s = setting
    z = torch.stack(
        [torch.stack([s.z(row, x) for x, _ in s.cases(k)]) for k, row in enumerate(s.theta)]
    )
    close(s.passes.logits(s.theta, s.inputs).clone(), z)
    expected = torch.stack([s.oracle_losses(k).mean() for k in range(len(s.theta))])
    close(s.passes.loss(s.theta, s.inputs, s.targets), expected)


def test_gradient_is_the_mean_of_per_case_gradients(setting: Setting) -> None:
    s, out = setting, torch.zeros_like(setting.theta)
    value = s.passes.gradient(s.theta, s.inputs, s.targets, out)
    close(value, torch.stack([s.oracle_losses(k).mean() for k in range(len(s.theta))]))
    close(out, torch.stack([s.oracle_gradients(k).mean(0) for k in range(len(s.theta))]))
    assert not out[:, padding(s.problem)].any()


def test_gradient_writes_over_what_was_there(setting: Setting) -> None:
    s, fresh = setting, torch.zeros_like(setting.theta)
    s.passes.gradient(s.theta, s.inputs, s.targets, fresh)
    used = torch.where(padding(s.problem), 0.0, torch.nan).to(s.theta).repeat(len(s.theta), 1)
    s.passes.gradient(s.theta, s.inputs, s.targets, used)
    assert torch.equal(fresh, used)


def test_squared_gradient_is_the_mean_of_squared_per_case_gradients(setting: Setting) -> None:
    s = setting
    got = s.passes.squared_gradient(s.theta, s.inputs, s.targets)
    rows = range(len(s.theta))
    close(got, torch.stack([s.oracle_gradients(k).square().mean(0) for k in rows]))
    assert not got[:, padding(s.problem)].any()


def test_products_are_those_of_the_dense_gauss_newton_matrix(setting: Setting) -> None:
    s, rows = setting, len(setting.theta)
    product = s.passes.curvature(s.theta, s.inputs, s.targets)
    dense = [s.oracle_gauss_newton(k) for k in range(rows)]
    for seed in range(4):
        v = torch.randn(
            s.theta.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        got = product(v)
        close(got, torch.stack([g @ v[k] for k, g in enumerate(dense)]))
        assert not got[:, padding(s.problem)].any()


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "autodiff"])
def test_gauss_newton_matrix_is_symmetric_and_positive_semidefinite(
    loss: MatchingLoss, by_hand: bool
) -> None:
    s = Setting.make(loss, by_hand, rows=1, shared=True)
    p = s.problem.layout.size
    # A row for each unit vector gives the whole matrix at once.
    product = s.passes.curvature(s.theta.repeat(p, 1), s.inputs, s.targets)
    g = product(torch.eye(p, dtype=torch.float64))
    close(g, s.oracle_gauss_newton(0))
    assert (g - g.T).abs().max() <= 1e-14 * g.abs().max()
    eigenvalues = torch.linalg.eigvalsh((g + g.T) / 2)
    assert eigenvalues[0] >= -1e-13 * eigenvalues[-1]
    # At most B·T directions are curved.
    assert (eigenvalues > 1e-10 * eigenvalues[-1]).sum() <= CASES * 12


def test_hand_written_passes_equal_autodiff(loss: MatchingLoss, shape: tuple[int, bool]) -> None:
    s, other = Setting.make(loss, True, *shape), Setting.make(loss, False, *shape)
    v = torch.randn(s.theta.shape, generator=torch.Generator().manual_seed(1)).double()
    gradients = [torch.zeros_like(v), torch.zeros_like(v)]
    for each, out in zip((s, other), gradients, strict=True):
        each.passes.gradient(s.theta, s.inputs, s.targets, out)
    close(*gradients)
    on = (s.theta, s.inputs, s.targets)
    close(s.passes.loss(*on), other.passes.loss(*on))
    close(s.passes.squared_gradient(*on), other.passes.squared_gradient(*on))
    close(s.passes.curvature(*on)(v), other.passes.curvature(*on)(v))


def test_linearization_stays_as_it_was_made(setting: Setting) -> None:
    """Neither later passes, later linearisations nor a changed θ touch it."""
    s, passes = setting, setting.passes
    v = torch.ones_like(s.theta)
    product = passes.curvature(s.theta, s.inputs, s.targets)
    kept = product(v).clone()
    elsewhere = s.theta + 1
    second = passes.curvature(elsewhere, s.inputs, s.targets)
    other = second(v).clone()
    passes.loss(elsewhere, s.inputs, s.targets)
    passes.gradient(elsewhere, s.inputs, s.targets, torch.zeros_like(v))
    passes.squared_gradient(elsewhere, s.inputs, s.targets)
    s.theta.mul_(-2)
    assert torch.equal(product(v), kept)
    assert torch.equal(second(v), other)
    assert not torch.equal(kept, other)


def test_products_write_over_the_one_before_and_may_be_added_to(setting: Setting) -> None:
    s = setting
    product = s.passes.curvature(s.theta, s.inputs, s.targets)
    v, rng = torch.empty_like(s.theta), torch.Generator().manual_seed(2)
    v.normal_(generator=rng)[:, padding(s.problem)] = 0
    first = product(v)
    expected = first.clone()
    first.add_(v)
    # The same tensor with other values, as CG's direction is, then the first values again.
    kept = v.clone()
    v.normal_(generator=rng)[:, padding(s.problem)] = 0
    second = product(v)
    assert second.data_ptr() == first.data_ptr()
    assert not torch.equal(second, expected)
    assert torch.equal(product(v.copy_(kept)), expected)
    assert torch.equal(product(kept), expected)


def test_arguments_are_left_alone(setting: Setting) -> None:
    s = setting
    given = (s.theta, s.inputs, s.targets)
    copies = [tensor.clone() for tensor in given]
    v = torch.ones_like(s.theta)
    s.passes.loss(*given)
    s.passes.gradient(*given, torch.zeros_like(v))
    s.passes.squared_gradient(*given)
    s.passes.curvature(*given)(v)
    assert all(map(torch.equal, given, copies))
    assert (v == 1).all()


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "autodiff"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_row_of_nan_leaves_the_others_bit_for_bit(by_hand: bool, shared: bool) -> None:
    s = Setting.make(LOSSES[0], by_hand, rows=3, shared=shared)
    sick, on = s.theta.clone(), (s.inputs, s.targets)
    sick[1, ~padding(s.problem)] = torch.nan

    def everything(theta: Tensor) -> list[Tensor]:
        gradient = torch.zeros_like(theta)
        return [
            s.passes.loss(theta, *on),
            s.passes.gradient(theta, *on, gradient),
            gradient,
            s.passes.squared_gradient(theta, *on),
            s.passes.curvature(theta, *on)(torch.ones_like(theta)),
        ]

    for well, beside_nan in zip(everything(s.theta), everything(sick), strict=True):
        assert torch.equal(well[[0, 2]], beside_nan[[0, 2]])
        assert beside_nan[1].isnan().any()


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "autodiff"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [50.0, 1e3])
def test_saturated_outputs_give_finite_results(
    by_hand: bool, dtype: torch.dtype, bias: float
) -> None:
    problem = Tiny(by_hand=by_hand)
    theta = torch.zeros(1, problem.layout.size, dtype=dtype)
    # With W = 0 the logits are the output biases, whatever the inputs.
    signs = torch.tensor([1.0, -1.0]).repeat(6)
    problem.layout.views(theta)["b6"].copy_(bias * signs)
    x = torch.full((1, 4, 12), 0.5, dtype=dtype)
    t = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=dtype).view(1, 4, 1).expand(1, 4, 12)
    passes, out = problem.passes(), torch.zeros_like(theta)
    loss = passes.gradient(theta, x, t, out)
    # −log σ(b) = 0 and −log σ(−b) = b to this precision: six outputs at b and six at −b.
    assert loss.item() == pytest.approx(6 * bias, rel=1e-6)
    expected = (signs > 0).to(dtype) - t[0].mean(0)
    torch.testing.assert_close(problem.layout.views(out)["b6"][0], expected, rtol=0, atol=1e-6)
    assert out.isfinite().all()
    assert passes.squared_gradient(theta, x, t).isfinite().all()
    product = passes.curvature(theta, x, t)(torch.ones_like(theta))
    assert product.isfinite().all()
    assert product.abs().max() < 1e-6


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "autodiff"])
def test_structural_damping_is_refused(by_hand: bool) -> None:
    s = Setting.make(LOSSES[0], by_hand, rows=1, shared=True)
    with pytest.raises(ValueError, match="structural|structurally"):
        s.passes.curvature(s.theta, s.inputs, s.targets, structural=0.1)


def test_per_case_gradients_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    s = Setting.make(LOSSES[0], False, rows=3, shared=False)
    whole = s.passes.squared_gradient(s.theta, s.inputs, s.targets)
    # Two cases at a time, the last alone.
    monkeypatch.setattr("bench.models.autodiff.SAMPLE_VALUES", 2 * s.problem.layout.size + 1)
    close(s.passes.squared_gradient(s.theta, s.inputs, s.targets), whole)


def test_passes_alternate_between_more_shapes_than_they_keep_memory_for() -> None:
    s = Setting.make(LOSSES[0], True, rows=1, shared=True)
    passes = s.passes
    expected = {}
    for _ in range(2):
        for cases in (1, 2, 3, 4, 5, 1):
            loss = passes.loss(s.theta, s.inputs[:, :cases], s.targets[:, :cases])
            assert torch.equal(loss, expected.setdefault(cases, loss))
