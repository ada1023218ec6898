"""The passes through time against oracles: explicit Jacobians of one case at a time, autograd."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models import rnn
from bench.models.losses import (
    HalfSquaredError,
    LogisticCrossEntropy,
    MatchingLoss,
    SoftmaxCrossEntropy,
    SteppedSoftmaxCrossEntropy,
)
from bench.models.rnn import RecurrentNetwork, RecurrentPasses

LOSSES = [LogisticCrossEntropy(), SoftmaxCrossEntropy(), HalfSquaredError()]
STEPPED = SteppedSoftmaxCrossEntropy()
NETWORK = RecurrentNetwork(features=2, units=4, outputs=3)
AT_EVERY_STEP = RecurrentNetwork(features=2, units=4, outputs=3, every_step=True)
STEPS, CASES = 6, 5
WITHIN = 1e-10


def plain_loss(kind: MatchingLoss, z: Tensor, t: Tensor) -> Tensor:
    """The loss of one case in torch's own words."""
    if kind is STEPPED:
        return F.cross_entropy(z, t, reduction="sum")
    if isinstance(kind, LogisticCrossEntropy):
        return F.binary_cross_entropy_with_logits(z, t, reduction="sum")
    if isinstance(kind, SoftmaxCrossEntropy):
        return F.cross_entropy(z, t)
    return F.mse_loss(z, t, reduction="sum") / 2


def run(row: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """One case, step by step and no further than its end: z, and the pre-activations (S', n).

    Without an end marker, z is (S, O).
    """
    p = NETWORK.layout().views(row)
    every_step = x.shape[1] == 2
    end = len(x) - 1 if every_step else int(x[:, -1].argmax())
    h, before, z = p["h0"], [], []
    for t in range(end + 1):
        before.append(x[t, :2] @ p["Wx"] + h @ p["Wh"] + p["bh"])
        h = torch.tanh(before[-1])
        z.append(h @ p["Wo"] + p["bo"])
    return torch.stack(z) if every_step else z[-1], torch.stack(before)


@dataclass
class Setting:
    """K rows of parameters, and cases of different lengths that the rows share or not."""

    loss: MatchingLoss
    theta: Tensor
    inputs: Tensor
    targets: Tensor

    @classmethod
    def make(cls, loss: MatchingLoss, rows: int, shared: bool) -> Setting:
        rng = torch.Generator().manual_seed(5)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        layout = NETWORK.layout()
        theta = torch.zeros(rows, layout.size, dtype=torch.float64)
        for view in layout.views(theta).values():
            view.copy_(0.6 * draw(*view.shape))
        batches = 1 if shared else rows
        inputs = draw(batches, CASES, STEPS, 3)
        ends = torch.tensor([5, 3, 0, 4, 5]).roll(1, 0)
        inputs[..., -1] = F.one_hot(ends, STEPS)
        if loss is STEPPED:
            targets = torch.softmax(draw(batches, CASES, STEPS, 3), -1)
            return cls(loss, theta, inputs[..., :-1], targets)
        targets = torch.softmax(draw(batches, CASES, 3), -1)
        return cls(loss, theta, inputs, targets)

    @property
    def passes(self) -> RecurrentPasses:
        every_step = self.inputs.shape[-1] == 2
        return RecurrentPasses(AT_EVERY_STEP if every_step else NETWORK, self.loss, STEPS)

    def cases(self, k: int) -> list[tuple[Tensor, Tensor]]:
        k %= len(self.inputs)
        return list(zip(self.inputs[k], self.targets[k], strict=True))

    def losses(self, k: int) -> Tensor:
        return torch.stack(
            [plain_loss(self.loss, run(self.theta[k], x)[0], t) for x, t in self.cases(k)]
        )

    def gradients(self, k: int) -> Tensor:
        """Every case's gradient, one by one: (B, P)."""
        row = self.theta[k].clone().requires_grad_()
        return torch.stack(
            [
                torch.autograd.grad(plain_loss(self.loss, run(row, x)[0], t), row)[0]
                for x, t in self.cases(k)
            ]
        )

    def gauss_newton(self, k: int, structural: float) -> Tensor:
        """Mean over cases of Jᵀ H_L J + s J_xᵀ diag(1 − h²) J_x, dense: (P, P)."""
        row, width = self.theta[k], self.theta.shape[1]
        total = torch.zeros(width, width, dtype=torch.float64)
        for x, t in self.cases(k):
            z, before = run(row, x)
            j = torch.func.jacrev(lambda r, x=x: run(r, x)[0].flatten())(row)
            slope = torch.func.grad(lambda z, t=t: plain_loss(self.loss, z, t))
            size = z.numel()
            h_l = torch.func.jacrev(slope)(z).reshape(size, size)
            jx = torch.func.jacrev(lambda r, x=x: run(r, x)[1].flatten())(row)
            weights = 1 - torch.tanh(before.flatten()).square()
            total += j.T @ h_l @ j + structural * jx.T @ (weights[:, None] * jx)
        return total / CASES


@pytest.fixture(params=[(1, True), (3, True), (3, False)], ids=["K1", "K3 shared", "K3 own"])
def shape(request: pytest.FixtureRequest) -> tuple[int, bool]:
    return request.param


@pytest.fixture(params=[*LOSSES, STEPPED], ids=lambda loss: type(loss).__name__)
def setting(request: pytest.FixtureRequest, shape: tuple[int, bool]) -> Setting:
    return Setting.make(request.param, *shape)


def close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert (got - expected).norm() <= WITHIN * expected.norm()


def padding() -> Tensor:
    unused = torch.ones(NETWORK.layout().size)
    for view in NETWORK.layout().views(unused).values():
        view.zero_()
    return unused.bool()


def test_logits_are_read_at_the_end_of_each_case_or_at_every_step(setting: Setting) -> None:
    s = setting
    expected = [
        torch.stack([run(row, x)[0] for x, _ in s.cases(k)]) for k, row in enumerate(s.theta)
    ]
    close(s.passes.logits(s.theta, s.inputs), torch.stack(expected))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_what_comes_after_the_end_has_no_influence(
    loss: MatchingLoss, shape: tuple[int, bool]
) -> None:
    s = Setting.make(loss, *shape)
    changed = s.inputs.clone()
    changed[:, 2, 3:, :-1] = 1e3
    ends = s.inputs[:, 2, :, -1].argmax(-1)
    assert (ends < 4).all()
    changed[:, 2, :, :-1] = torch.where(
        (torch.arange(STEPS) > ends[:, None])[..., None],
        changed[:, 2, :, :-1],
        s.inputs[:, 2, :, :-1],
    )
    assert torch.equal(s.passes.logits(s.theta, changed), s.passes.logits(s.theta, s.inputs))
    ours, theirs = torch.zeros_like(s.theta), torch.zeros_like(s.theta)
    s.passes.gradient(s.theta, s.inputs, s.targets, ours)
    s.passes.gradient(s.theta, changed, s.targets, theirs)
    close(theirs, ours)


def test_gradient_is_the_mean_of_per_case_gradients(setting: Setting) -> None:
    s = setting
    # What was in the memory does not matter.
    out = torch.where(padding(), 0.0, torch.nan).to(s.theta).repeat(len(s.theta), 1)
    value = s.passes.gradient(s.theta, s.inputs, s.targets, out)
    close(value, torch.stack([s.losses(k).mean() for k in range(len(s.theta))]))
    close(out, torch.stack([s.gradients(k).mean(0) for k in range(len(s.theta))]))
    assert torch.equal(s.passes.loss(s.theta, s.inputs, s.targets), value)


def test_squared_gradient_is_of_the_sum_over_time_of_each_case(setting: Setting) -> None:
    s = setting
    got = s.passes.squared_gradient(s.theta, s.inputs, s.targets)
    close(got, torch.stack([s.gradients(k).square().mean(0) for k in range(len(s.theta))]))


def test_squared_gradient_in_several_pieces(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = setting
    whole = s.passes.squared_gradient(s.theta, s.inputs, s.targets)
    monkeypatch.setattr("bench.models.rnn.SAMPLE_VALUES", 2 * s.theta.shape[1])
    close(s.passes.squared_gradient(s.theta, s.inputs, s.targets), whole)


@pytest.mark.parametrize("structural", [None, 0.3])
def test_product_equals_the_dense_matrix(setting: Setting, structural: float | None) -> None:
    s = setting
    product = s.passes.curvature(s.theta, s.inputs, s.targets, structural)
    dense = [s.gauss_newton(k, structural or 0.0) for k in range(len(s.theta))]
    for seed in range(2):
        v = torch.randn(s.theta.shape, generator=torch.Generator().manual_seed(seed)).double()
        v[:, padding()] = 0
        got = product(v)
        close(got, torch.stack([g @ each for g, each in zip(dense, v, strict=True)]))
        assert not got[:, padding()].any()


# torch's own forward mode, at its first use.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_r_pass_is_forward_mode(setting: Setting) -> None:
    """With H_L = I, vᵀGv is the mean over cases of ‖Jv‖², Jv by torch's forward mode."""
    s = Setting(HalfSquaredError(), setting.theta, setting.inputs, setting.targets)
    assert s.passes.logits(s.theta, s.inputs).shape[1:] == s.targets.shape[1:]
    v = torch.randn(s.theta.shape, generator=torch.Generator().manual_seed(0)).double()
    v[:, padding()] = 0
    got = (v * s.passes.curvature(s.theta, s.inputs, s.targets)(v)).sum(1)
    for k, row in enumerate(s.theta):
        squares = [
            torch.func.jvp(lambda r, x=x: run(r, x)[0], (row,), (v[k],))[1].square().sum()
            for x, _ in s.cases(k)
        ]
        close(got[k], torch.stack(squares).mean())


def test_linearised_once_whatever_happens_to_theta_and_to_other_passes(setting: Setting) -> None:
    s = setting
    passes, theta = s.passes, s.theta.clone()
    product = passes.curvature(theta, s.inputs, s.targets)
    v = torch.where(padding(), 0.0, torch.ones_like(theta))
    first = product(v).clone()
    theta.zero_()
    passes.gradient(theta, s.inputs, s.targets, torch.zeros_like(theta))
    passes.curvature(theta, s.inputs, s.targets)(v)
    again = product(v)
    assert torch.equal(again, first)
    assert product(v).data_ptr() == again.data_ptr()


@pytest.mark.parametrize("loss", [HalfSquaredError(), STEPPED], ids=["end", "every step"])
def test_rows_are_independent(loss: MatchingLoss) -> None:
    s = Setting.make(loss, 3, shared=False)
    v = torch.where(padding(), 0.0, torch.ones_like(s.theta))
    together = s.passes.curvature(s.theta, s.inputs, s.targets, 0.2)(v)
    for k in range(3):
        one = slice(k, k + 1)
        alone = s.passes.curvature(s.theta[one], s.inputs[one], s.targets[one], 0.2)(v[one])
        close(together[one].clone(), alone)


@pytest.mark.parametrize("loss", [HalfSquaredError(), STEPPED])
def test_steps_of_many_values_are_the_same(
    loss: MatchingLoss, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting.make(loss, 3, shared=False)
    narrow, wide = torch.zeros_like(setting.theta), torch.zeros_like(setting.theta)
    given = setting.theta, setting.inputs, setting.targets
    setting.passes.gradient(*given, narrow)
    monkeypatch.setattr(rnn, "WIDE_STEP", 1)
    setting.passes.gradient(*given, wide)
    torch.testing.assert_close(wide, narrow, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_by_expm1_is_accurate_to_a_few_units_in_the_last_place(dtype: torch.dtype) -> None:
    sizes = torch.logspace(-30, 4, 5_000, dtype=torch.float64).to(dtype)
    x = torch.cat([-sizes, torch.zeros(1, dtype=dtype), sizes])
    exact = np.tanh(x.double().numpy().astype(np.longdouble))
    found = rnn._tanh_by_expm1(x.clone()).double().numpy()
    error = np.abs(found - exact) / np.maximum(np.abs(exact), np.finfo(np.float64).tiny)
    assert error.max() <= 4 * torch.finfo(dtype).eps
    ends = torch.tensor([math.inf, -math.inf, math.nan], dtype=dtype)
    assert rnn._tanh_by_expm1(ends).nan_to_num(7.0).tolist() == [1.0, -1.0, 7.0]


def test_prices_are_counted_from_the_network() -> None:
    """n = 4, D = 2, O = 3 over 6 steps: F = 6·(2 + 4)·4 + 4·3 = 156, F₁ = 6·2·4 = 48.

    Read at every step, F = 6·(2 + 4)·4 + 6·4·3 = 216.
    """
    prices = NETWORK.prices(STEPS)
    assert prices.loss == prices.linearization == pytest.approx(156 / (3 * 156 - 48))
    assert prices.product == pytest.approx((4 * 156 - 2 * 48) / (3 * 156 - 48))
    assert AT_EVERY_STEP.prices(STEPS).loss == pytest.approx(216 / (3 * 216 - 48))
