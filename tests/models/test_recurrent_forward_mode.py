"""The passes through time of every task against torch's forward mode, and rows against one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.models.recurrent import SequenceProblem
from bench.models.recurrent_tasks import KINDS

CASES, ROWS = 4, 3
WITHIN = 1e-11

every_task = pytest.mark.parametrize("name", KINDS)
# torch's own forward mode, at its first use.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Setting:
    """A task's problem in float64, different rows of parameters, directions, and cases."""

    def __init__(self, name: str) -> None:
        self.problem = SequenceProblem(name, "quick")
        rng = np.random.default_rng(3)
        self.theta = torch.stack([self.problem.initialize(rng) for _ in range(ROWS)])
        self.u, self.v = (self.direction(seed) for seed in range(2))
        inputs, targets = self.problem.task.draw(rng, ROWS * CASES)
        self.inputs, self.targets = (
            torch.from_numpy(each).double().unflatten(0, (ROWS, CASES))
            for each in (inputs, targets)
        )

    def direction(self, seed: int) -> Tensor:
        """Normal in every parameter, 0 in the padding."""
        normal = torch.Generator().manual_seed(seed)
        out = torch.zeros_like(self.theta)
        for view in self.problem.layout.views(out).values():
            view.copy_(torch.randn(view.shape, generator=normal, dtype=torch.float64))
        return out

    def logits(self, theta: Tensor) -> Tensor:
        """By the plain model, one step after another."""
        return self.problem.logits(self.problem.layout.views(theta), self.inputs)

    def per_row(self, theta: Tensor) -> Tensor:
        return self.problem.loss.per_case(self.logits(theta), self.targets).mean(1)


def along(function: Callable[[Tensor], Tensor], at: Tensor, v: Tensor) -> Tensor:
    """∂ function(at + s v)/∂s by forward mode."""
    derivative: Tensor = torch.func.jvp(function, (at,), (v,))[1]
    return derivative


def close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert (got - expected).norm() <= WITHIN * expected.norm()


@every_task
def test_the_gradient_along_a_direction_is_the_loss_by_forward_mode(name: str) -> None:
    s = Setting(name)
    gradient = torch.zeros_like(s.theta)
    s.problem.passes().gradient(s.theta, s.inputs, s.targets, gradient)
    close((gradient * s.v).sum(1), along(s.per_row, s.theta, s.v))


@every_task
def test_the_curvature_is_that_of_logits_by_forward_mode(name: str) -> None:
    """uᵀGv = mean over cases of (Ju)ᵀ H_L (Jv), H_L v being the slope's own derivative."""
    s = Setting(name)
    z, ju, jv = s.logits(s.theta), along(s.logits, s.theta, s.u), along(s.logits, s.theta, s.v)
    slope = torch.func.grad(lambda z: s.problem.loss.per_case(z, s.targets).sum())
    expected = (ju * along(slope, z, jv)).flatten(2).sum(2).mean(1)
    product = s.problem.passes().curvature(s.theta, s.inputs, s.targets)
    close((s.u * product(s.v)).sum(1), expected)


@every_task
def test_rows_at_once_are_each_row_alone(name: str) -> None:
    """Different parameters and different cases a row, in everything that passes compute."""
    s = Setting(name)
    together = everything(s, slice(0, ROWS))
    for k in range(ROWS):
        for mine, alone in zip(together, everything(s, slice(k, k + 1)), strict=True):
            close(mine[k : k + 1], alone)
    assert not torch.allclose(together[2][0], together[2][1])


def everything(s: Setting, rows: slice) -> list[Tensor]:
    passes, theta = s.problem.passes(), s.theta[rows]
    cases = s.inputs[rows], s.targets[rows]
    gradient = torch.zeros_like(theta)
    passes.gradient(theta, *cases, gradient)
    return [
        passes.logits(theta, cases[0]).clone(),
        passes.loss(theta, *cases).clone(),
        gradient,
        passes.squared_gradient(theta, *cases),
        passes.curvature(theta, *cases)(s.v[rows]),
        passes.curvature(theta, *cases, 0.1)(s.v[rows]),
    ]
