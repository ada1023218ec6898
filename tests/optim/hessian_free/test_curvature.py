import pytest
import torch

from bench.optim.hessian_free.batches import curvature_batch, gradient_batch, share
from bench.optim.hessian_free.curvature import Regularized
from bench.optim.hessian_free.preconditioner import diagonal
from bench.optim.objective import FULL
from tests.optim.dense import small_mlp, small_rnn


def test_curvature_is_the_dense_matrix() -> None:
    objective, theta = small_mlp()
    cases = objective.next_batch(FULL)
    product = Regularized(objective, l2=0.1).curvature(theta, cases, lam=2.0)
    n = theta.shape[1]
    identity = torch.eye(n, dtype=torch.float64)
    explicit = torch.cat([product(row.unsqueeze(0)).clone() for row in identity])
    dense = objective.gauss_newton(theta, cases) + 2.1 * identity
    torch.testing.assert_close(explicit, dense, rtol=1e-14, atol=1e-14)
    assert objective.calls["linearization"] == 1
    assert objective.calls["product"] == n


def test_gradient_is_that_of_the_regularised_loss() -> None:
    objective, theta = small_mlp()
    h, cases, out = Regularized(objective, 0.3), objective.next_batch(FULL), torch.empty_like(theta)
    loss = h.gradient(theta, cases, out)
    assert torch.equal(loss, objective.loss(theta, cases))
    assert h.loss(theta, cases) == loss.item() + h.penalty(theta)
    for i in (0, 7, 30, theta.shape[1] - 1):
        e = torch.zeros_like(theta)
        e[0, i] = 1e-6
        slope = (h.loss(theta + e, cases) - h.loss(theta - e, cases)) / 2e-6
        assert abs(slope - out[0, i].item()) < 1e-8


def test_gradient_outlives_the_objectives_next_call() -> None:
    objective, theta = small_mlp()
    cases, out = objective.next_batch(FULL), torch.empty_like(theta)
    Regularized(objective, 0.0).gradient(theta, cases, out)
    objective.loss(theta, cases)
    assert out.isfinite().all()


@pytest.mark.parametrize("structural", [None, 0.0, 0.3])
def test_structural_curvature_is_the_dense_matrix(structural: float | None) -> None:
    objective, theta = small_rnn()
    cases, n = objective.next_batch(FULL), theta.shape[1]
    product = Regularized(objective, l2=0.1).curvature(theta, cases, 2.0, structural)
    identity = torch.eye(n, dtype=torch.float64)
    explicit = torch.cat([product(row.unsqueeze(0)).clone() for row in identity])
    dense = objective.gauss_newton(theta, cases) + 2.1 * identity
    dense += (structural or 0.0) * objective.structural(theta, cases)
    torch.testing.assert_close(explicit, dense, rtol=1e-14, atol=1e-14)


def test_model_is_the_dense_one_and_costs_a_product() -> None:
    objective, theta = small_rnn()
    cases, g, p = objective.next_batch(FULL), theta.sin(), theta.cos()
    q = Regularized(objective, l2=0.1).model(theta, cases, g, p)
    dense = objective.gauss_newton(theta, cases) + 0.1 * torch.eye(theta.shape[1]).double()
    assert q == pytest.approx((g @ p.T + 0.5 * p @ dense @ p.T).item(), rel=1e-14)
    assert objective.calls == {"linearization": 1, "product": 1}


def test_shares_cover_the_whole() -> None:
    assert [share(20_000, c) for c in (1, 4, 8, 20)] == [20_000, 5_000, 2_500, 1_000]
    assert share(10, 3) == 4
    assert share(3, 8) == 1


@pytest.mark.parametrize(
    ("whole", "part", "chunks", "cases", "chunk"),
    [(0, 1, 1, 24, 24), (0, 1, 5, 24, 5), (0, 16, 1, 2, 2), (10, 1, 4, 10, 3), (10, 3, 1, 4, 4)],
)
def test_batches(whole: int, part: int, chunks: int, cases: int, chunk: int) -> None:
    objective, _ = small_mlp(cases=24)
    gradient = gradient_batch(objective, whole, part)
    curvature = curvature_batch(objective, gradient, chunks)
    assert (gradient.cases, curvature.cases) == (cases, chunk)
    assert (curvature is gradient) == (chunks == 1)
    drawn = 0 if (whole, part) == (0, 1) else cases
    assert objective.position == {"gradient": drawn, "curvature": 0 if chunks == 1 else chunk}


def test_where_cases_are_drawn_anew_the_whole_is_a_number_or_an_error() -> None:
    objective, _ = small_rnn(fresh=True)
    assert gradient_batch(objective, 10, 3).cases == 4
    for part in (1, 16):
        with pytest.raises(ValueError, match="give the method a batch size"):
            gradient_batch(objective, 0, part)


def test_preconditioner_is_the_per_case_gradients_by_brute_force() -> None:
    objective, theta = small_mlp()
    cases = objective.next_batch(FULL)
    squares = torch.zeros_like(theta)
    for i in range(len(objective.inputs)):
        row = theta[0].clone().requires_grad_()
        z = objective.network(row, objective.inputs[i : i + 1])
        t = objective.targets[i : i + 1]
        loss = (torch.nn.functional.softplus(z) - t * z).sum()
        squares += torch.autograd.grad(loss, row)[0].square() / len(objective.inputs)
    m = diagonal(objective.squared_gradient(theta, cases), shift=0.5 + 2e-5, exponent=0.75)
    torch.testing.assert_close(m, (squares + 0.5 + 2e-5) ** 0.75, rtol=1e-13, atol=0)


def test_preconditioner_leaves_unused_parameters_alone() -> None:
    m = diagonal(torch.tensor([[4.0, 0.0]]), shift=0.0, exponent=0.5)
    assert m.tolist() == [[2.0, 1.0]]
