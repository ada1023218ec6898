"""The peers compute what ours computes; otherwise their times could not be compared."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from bench.models.deep_autoencoders import DeepAutoencoder, Preset
from bench.models.problem import Data, DataSource
from benchmarks.hessian_free.gauss_newton import CURVLINOPS, products
from benchmarks.updates.plain import cross_entropy, loop, sequential

BATCH = 7


def no_data(setting: Preset, source: DataSource) -> Data:
    raise AssertionError("the inputs are random here")


@pytest.fixture
def problem() -> DeepAutoencoder:
    return DeepAutoencoder("small", "quick", Preset(3, (6, 4, 2), 20, 5, 1, 2, (1.0,), ""), no_data)


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def random_row(problem: DeepAutoencoder, draw: torch.Generator) -> Tensor:
    theta = torch.zeros(1, problem.layout.size, dtype=torch.float64)
    for view in problem.layout.views(theta).values():
        view.normal_(generator=draw)
    return theta


def flat(problem: DeepAutoencoder, parts: Sequence[Tensor]) -> Tensor:
    """Put weights and biases as nn.Linear has them into a row of θ."""
    theta = torch.zeros(1, problem.layout.size, dtype=torch.float64)
    for view, part in zip(problem.layout.views(theta).values(), parts, strict=True):
        view.copy_(part.t() if part.dim() == 2 else part)
    return theta


def test_plain_network_has_our_loss_and_gradient(
    problem: DeepAutoencoder, draw: torch.Generator
) -> None:
    theta, x = random_row(problem, draw), torch.rand(BATCH, 9, generator=draw).double()
    ours = torch.zeros_like(theta)
    value = problem.passes().gradient(theta, x[None], x[None], ours)
    model = sequential(problem, theta)
    loss = cross_entropy(model(x), x)
    torch.testing.assert_close(loss.detach(), value[0])
    theirs = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(flat(problem, theirs), ours)


# What curvlinops imports uses torch.jit.script.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_every_means_gives_the_same_gauss_newton_product(
    problem: DeepAutoencoder, draw: torch.Generator
) -> None:
    theta, v = random_row(problem, draw), random_row(problem, draw)
    x = torch.rand(BATCH, 9, generator=draw).double()
    found = {}
    for name, linearize in products(problem, theta, x, v).items():
        product = linearize()()
        found[name] = product if isinstance(product, Tensor) else flat(problem, product)
    if CURVLINOPS in found:
        found[CURVLINOPS] /= BATCH
    expected, *others = found.values()
    assert others and bool(expected.any())
    for other in others:
        torch.testing.assert_close(other, expected)


def test_plain_loop_learns(problem: DeepAutoencoder, draw: torch.Generator) -> None:
    model = sequential(problem, random_row(problem, draw))
    x = torch.rand(20, 9, generator=draw).double()
    update = loop(model, x, 5, foreach=True)
    before = cross_entropy(model(x), x).item()
    for _ in range(100):
        update()
    assert cross_entropy(model(x), x).item() < before
