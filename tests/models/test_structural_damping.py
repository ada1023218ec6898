"""Structural damping by autodiff against dense matrices, on a small recurrent network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.models.autodiff import AutodiffPasses
from bench.models.layout import Layout
from bench.models.losses import LogisticCrossEntropy
from bench.models.metrics import squared_error
from bench.models.problem import Data, DataSource, Problem

STEPS, UNITS, CASES = 4, 3, 5
ENDS = torch.tensor([4, 2, 3, 1, 4])
"""How many steps each case has."""


class Recurrent(Problem):
    """h_t = tanh(x_t), x_t = u_t Wx + h_{t−1} Wh + bh; outputs from h at a case's end."""

    def __init__(self) -> None:
        loss = LogisticCrossEntropy()
        super().__init__(
            name="small",
            preset="quick",
            layout=Layout(
                {"Wx": (2, UNITS), "Wh": (UNITS, UNITS), "bh": (UNITS,), "Wo": (UNITS, 2)}
            ),
            loss=loss,
            metric=squared_error(loss),
            initialization="",
            budget=1,
            evaluations=1,
            targets=(),
            margin=1.0,
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        return self.logits_and_states(params, inputs)[0]

    def logits_and_states(
        self, params: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.zeros(len(params["Wh"]), CASES, UNITS, dtype=inputs.dtype)
        xs, weights, end = [], [], h
        for t in range(STEPS):
            u = inputs[..., t, :]
            xs.append(u @ params["Wx"] + h @ params["Wh"] + params["bh"].unsqueeze(1))
            h = torch.tanh(xs[-1])
            alive = (t < ENDS).unsqueeze(1)
            weights.append((1 - h.detach().square()) * alive)
            end = torch.where(alive, h, end)
        return end @ params["Wo"], torch.cat(xs, -1), torch.cat(weights, -1)

    def initialize(self, rng: np.random.Generator) -> Tensor:
        raise AssertionError("the parameters are random here")

    def data(self, source: DataSource) -> Data:
        raise AssertionError("the inputs are random here")


def dense(problem: Recurrent, row: Tensor, inputs: Tensor, factor: float) -> Tensor:
    """Mean over cases of Jᵀ H_L J + factor·J_xᵀ diag(1 − h²) J_x, from explicit Jacobians."""

    def outputs(flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, x, weights = problem.logits_and_states(problem.layout.views(flat[None]), inputs)
        return z[0], x[0], weights[0]

    z, _, weights = outputs(row)
    jz, jx, _ = torch.func.jacrev(outputs)(row)
    y = torch.sigmoid(z)
    total = torch.zeros(len(row), len(row), dtype=row.dtype)
    for case in range(CASES):
        total += jz[case].T @ torch.diag(y[case] * (1 - y[case])) @ jz[case]
        total += factor * jx[case].T @ torch.diag(weights[case]) @ jx[case]
    return total / CASES


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("structural", [0.0, 0.3, 2.0])
def test_products_are_those_of_the_dense_matrix(rows: int, structural: float) -> None:
    problem, rng = Recurrent(), torch.Generator().manual_seed(5)
    theta = torch.randn(rows, problem.layout.size, generator=rng, dtype=torch.float64)
    inputs = torch.randn(1, CASES, STEPS, 2, generator=rng, dtype=torch.float64)
    targets = torch.rand(1, CASES, 2, generator=rng, dtype=torch.float64)
    product = AutodiffPasses(problem).curvature(theta, inputs, targets, structural)
    for _ in range(3):
        v = torch.randn(theta.shape, generator=rng, dtype=torch.float64)
        expected = [dense(problem, theta[k], inputs, structural) @ v[k] for k in range(rows)]
        torch.testing.assert_close(product(v), torch.stack(expected), rtol=1e-10, atol=1e-12)


def test_without_it_and_with_a_factor_of_0_products_are_equal() -> None:
    problem, rng = Recurrent(), torch.Generator().manual_seed(6)
    theta = torch.randn(1, problem.layout.size, generator=rng, dtype=torch.float64)
    inputs = torch.randn(1, CASES, STEPS, 2, generator=rng, dtype=torch.float64)
    targets = torch.rand(1, CASES, 2, generator=rng, dtype=torch.float64)
    passes, v = AutodiffPasses(problem), torch.ones_like(theta)
    plain = passes.curvature(theta, inputs, targets)(v)
    torch.testing.assert_close(passes.curvature(theta, inputs, targets, 0.0)(v), plain)


def test_steps_beyond_a_case_s_end_do_not_count() -> None:
    problem, rng = Recurrent(), torch.Generator().manual_seed(7)
    theta = torch.randn(1, problem.layout.size, generator=rng, dtype=torch.float64)
    inputs = torch.randn(1, CASES, STEPS, 2, generator=rng, dtype=torch.float64)
    targets = torch.rand(1, CASES, 2, generator=rng, dtype=torch.float64)
    passes, v = AutodiffPasses(problem), torch.ones_like(theta)
    before = passes.curvature(theta, inputs, targets, 1.0)(v).clone()
    beyond = torch.arange(STEPS) >= ENDS.unsqueeze(1)
    inputs[0][beyond] += 10
    assert torch.equal(passes.curvature(theta, inputs, targets, 1.0)(v), before)
