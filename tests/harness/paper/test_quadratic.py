import pytest
import torch

from bench.harness.paper.quadratic import Quadratic, follow
from bench.optim.objective import FULL
from bench.optim.registry import resolve
from tests.optim.dense import spectrum

A = spectrum(torch.tensor([0.1, 0.5, 1.0, 3.0, 8.0]))
G = torch.linspace(-1, 2, 5, dtype=torch.float64)[None]
X = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def quadratic():
    """½ xᵀAx + gᵀx, whose products all come in the same memory."""
    memory = torch.empty_like(G)
    return Quadratic(lambda v: torch.mm(v, A, out=memory), G)


def test_value_and_derivatives(quadratic):
    rows = X.clone().requires_grad_()
    expected = 0.5 * ((rows @ A) * rows).sum(1) + (rows * G).sum(1)
    (gradient,) = torch.autograd.grad(expected.sum(), rows)
    batch = quadratic.next_batch(FULL)
    torch.testing.assert_close(quadratic.loss(X, batch), expected.detach())
    loss, found = quadratic.gradient(X, batch)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(found, gradient)
    torch.testing.assert_close(quadratic.squared_gradient(X, batch), gradient**2)
    torch.testing.assert_close(quadratic.curvature(X, batch)(X), X @ A)
    assert batch.cases == 1


def test_structural_damping_is_refused(quadratic):
    with pytest.raises(ValueError, match="no hidden state over time; write structural=0"):
        quadratic.curvature(X, quadratic.next_batch(1), structural=0.1)


@pytest.mark.parametrize(
    "method",
    ["nag[lr=0.1,mu_max=0.8,schedule=constant,batch=1]", "hf[chunks=1,lam=0.01,l2=0]"],
)
def test_methods_find_the_minimum(quadratic, method):
    start = torch.zeros_like(G)
    path = [x.clone() for x in follow(resolve(method), quadratic, start, 300)]
    assert len(path) == 301 and not path[0].any() and not start.any()
    torch.testing.assert_close(path[-1], -torch.linalg.solve(A, G[0])[None], rtol=1e-6, atol=1e-6)


def test_single_precision_is_valued_in_double():
    quadratic = Quadratic.of(A.float())
    assert quadratic.at(X.float()).dtype == torch.float64
