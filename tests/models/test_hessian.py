"""Hessian products against dense Hessians, which torch makes of the loss of one row.

They are made a row at a time, from gradients: `torch.func.hessian` of torch 2.13 has a wrong second
derivative of LayerNorm with respect to its weight (findings/torch-hessian-of-layer-norm.sh).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.harness.check.small_problems import Layers, Network
from bench.harness.planning import problems
from bench.models.autodiff import AutodiffPasses
from bench.models.layout import Layout
from bench.models.losses import HalfSquaredError, Huber, MatchingLoss, SoftmaxCrossEntropy
from bench.models.passes import PASSES
from bench.models.problem import DataSource, Problem
from tests.models.test_from_module import cases, problem
from tests.models.test_passes import LOSSES, close, plain_loss
from tests.models.tiny import Tiny, padding

WITHIN = 1e-10


def drawn(of: Problem, rows: int, seed: int = 1) -> Tensor:
    """Rows of normal parameters, with padding of 0."""
    normal = torch.Generator().manual_seed(seed)
    theta = torch.zeros(rows, of.layout.size, dtype=torch.float64)
    for view in of.layout.views(theta).values():
        view.copy_(0.7 * torch.randn(view.shape, generator=normal, dtype=torch.float64))
    return theta


def row_loss(of: Problem, x: Tensor, t: Tensor) -> Callable[[Tensor], Tensor]:
    """The mean loss of one row over its cases, (B, …)."""

    def loss(row: Tensor) -> Tensor:
        z = of.logits(of.layout.views(row[None]), x[None])
        return of.loss.per_case(z, t[None]).mean()

    return loss


def check(of: Problem, x: Tensor, t: Tensor, rows: int = 1) -> None:
    """Compare loss, gradient and products with those of each row's dense Hessian."""
    theta, vectors = drawn(of, rows), [drawn(of, rows, seed) for seed in (2, 3)]
    out = torch.full_like(theta, torch.nan)
    out[:, padding(of)] = 0
    value, product = AutodiffPasses(of).hessian(theta, x, t, out)
    where = [k * len(x) // rows for k in range(rows)]
    losses = [row_loss(of, x[k], t[k]) for k in where]
    close(value, torch.stack([f(row) for f, row in zip(losses, theta, strict=True)]))
    expected = [torch.func.grad(f)(row) for f, row in zip(losses, theta, strict=True)]
    close(out, torch.stack(expected))
    hessian: Any = torch.autograd.functional.hessian
    dense = [hessian(f, row) for f, row in zip(losses, theta, strict=True)]
    # It was linearised at a copy.
    theta.fill_(torch.nan)
    for v in vectors:
        hv = torch.stack([h @ one for h, one in zip(dense, v, strict=True)])
        found = product(v)
        assert (found - hv).norm() <= WITHIN * hv.norm()
        assert not found[:, padding(of)].any()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize(
    ("rows", "groups"), [(1, 1), (3, 1), (3, 3), (4, 2)], ids=["K1", "shared", "own", "groups"]
)
def test_of_an_autoencoder(loss: MatchingLoss, rows: int, groups: int) -> None:
    x = torch.rand(groups, 5, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    t = x / x.sum(-1, keepdim=True) if isinstance(loss, SoftmaxCrossEntropy) else x
    check(Tiny(loss), x, t, rows)


def test_the_loss_is_torchs_own() -> None:
    """The oracle above uses `Problem.loss`, so once it is torch's."""
    for kind in LOSSES:
        z, t = torch.randn(3, 4, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
        t = t / t.sum(-1, keepdim=True)
        pairs = list(zip(z, t, strict=True))
        close(kind.per_case(z, t), torch.stack([plain_loss(kind, *pair) for pair in pairs]))


@pytest.mark.parametrize("of", [Network(), Layers(False), Layers(True)], ids=["0", "1", "2"])
def test_of_the_networks_of_bench_check(of: Problem) -> None:
    data = of.data(DataSource(()))
    x, t = (torch.from_numpy(each[:5])[None] for each in (data.train_inputs, data.train_targets))
    check(of, x, t, rows=2)


class Last(nn.Module):
    """A recurrent layer."""

    def __init__(self, layer: type[nn.Module]) -> None:
        super().__init__()
        self.layer: Any = layer(3, 3, batch_first=True)
        self.out = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm, self.out = nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(x + self.attention(x, x, x)[0]).mean(1))


class Tied(nn.Module):
    """A weight in two places, a frozen parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.arange(5.0))
        self.frozen = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.inside = nn.Linear(5, 5, bias=False)
        self.again = self.inside
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.again(torch.tanh(self.inside(x - self.mean))) / self.frozen
        return self.out(h)


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Unflatten(1, (2, 3)), nn.Linear(3, 2),
        nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), (5,)),
    "relu": (lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), (5,)),
    "convolution": (convolution, (1, 5)),
    "attention": (Attention, (3, 4)),
    "GRU": (lambda: Last(nn.GRU), (4, 3)),
    "LSTM": (lambda: Last(nn.LSTM), (4, 3)),
    "tied": (Tied, (5,)),
}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", MODULES)
def test_of_a_module(name: str, rows: int) -> None:
    make, shape = MODULES[name]
    of, data = problem(make, *shape), cases(*shape)(DataSource(()))
    x, t = (torch.from_numpy(each)[None] for each in (data.train_inputs, data.train_targets))
    check(of, x, t, rows)


@pytest.mark.parametrize("loss", [Huber(0.5), HalfSquaredError()], ids=["huber", "squares"])
def test_of_another_loss(loss: MatchingLoss) -> None:
    of = problem(MODULES["dense"][0])
    of.loss = loss
    data = cases(5)(DataSource(()))
    x, t = (torch.from_numpy(each)[None] for each in (data.train_inputs, data.train_targets))
    check(of, x, t)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("text", ["add[T=20]", "mem5[T=20]"])
def test_of_a_recurrent_network(text: str) -> None:
    """Its Hessian is too large to be made; forward mode of the gradient is another way to it."""
    of = problems.resolve(text, "quick")
    data = of.data(DataSource(()))
    x, t = (
        torch.from_numpy(each[:3].astype(np.float64)) for each in
        (data.train_inputs, data.train_targets)
    )  # fmt: skip
    theta = of.initialize(np.random.default_rng(0))[None]
    v, out = drawn(of, 1, 2), torch.zeros_like(theta)
    _, product = AutodiffPasses(of).hessian(theta, x[None], t[None], out)
    gradient = torch.func.grad(row_loss(of, x, t))
    g, hv = torch.func.jvp(gradient, (theta[0],), (v[0],))
    assert (out[0] - g).norm() <= WITHIN * g.norm()
    assert (product(v)[0] - hv).norm() <= WITHIN * hv.norm()


class Linear(Problem):
    """A loss of Σ w: its gradient is constant, and its Hessian 0."""

    def __init__(self) -> None:
        super().__init__(
            *("linear", "quick", Layout({"w": (3,), "c": (2,)}), Mean(), None, "", 1, 1, (), 0.1)
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        return inputs * params["w"].unsqueeze(1) + params["c"].unsqueeze(1).sum(-1, True)

    def initialize(self, rng: np.random.Generator) -> Tensor:
        raise NotImplementedError

    def data(self, source: DataSource) -> Any:
        raise NotImplementedError


class Mean(HalfSquaredError):
    def per_case(self, z: Tensor, targets: Tensor) -> Tensor:
        return (z * targets).sum(-1)


def test_of_a_linear_loss_is_0() -> None:
    of = Linear()
    x = torch.ones(1, 4, 3, dtype=torch.float64)
    out = torch.zeros(1, of.layout.size, dtype=torch.float64)
    _, product = AutodiffPasses(of).hessian(drawn(of, 1), x, 2 * x, out)
    assert of.layout.views(out)["w"].eq(2).all() and of.layout.views(out)["c"].eq(6).all()
    assert not product(drawn(of, 1)).any()


def test_every_product_counts_as_a_pass_and_writes_over_the_one_before() -> None:
    of = Tiny()
    x, theta = torch.rand(1, 5, 12, dtype=torch.float64), drawn(of, 2)
    before = PASSES.run
    _, product = AutodiffPasses(of).hessian(theta, x, x, torch.zeros_like(theta))
    assert PASSES.run == before + 1
    first = product(theta)
    assert product(2 * theta) is first
    assert PASSES.run == before + 3
