"""A convex objective on K rows whose minimum moves with every batch, so that no run ends at rest.

f_n(θ) = ½ (θ − m_n)ᵀ H (θ − m_n) + Σ log cosh(θ − m_n), m_n drawn anew for batch n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.optim.objective import Curvature, Full, Stream, dots
from tests.optim.dense import spectrum

WIDTH = 6
HESSIAN = spectrum(torch.logspace(-2, 1, WIDTH))
"""Its eigenvalues span three decades, so that both momentum and look-ahead matter."""
MINIMA = 3 + torch.randn(1_000, WIDTH, generator=torch.Generator().manual_seed(0)).double()
"""m_0, m_1, …, one a batch."""


@dataclass(frozen=True)
class Numbered:
    """Batch n."""

    n: int
    cases: int


class MovingObjective:
    """Rows see the same batches; the gradient's memory is spoilt by the next call."""

    dots = staticmethod(dots)

    def __init__(self) -> None:
        self.batches = 0
        self.handed_out: Tensor | None = None

    def next_batch(self, size: int | Full, stream: Stream = "gradient") -> Numbered:
        assert isinstance(size, int)
        self.batches += 1
        return Numbered(self.batches - 1, size)

    def at(self, n: int) -> Callable[[Tensor], Tensor]:
        """∇f_n as a plain function of one row or of several."""

        def gradient(theta: Tensor) -> Tensor:
            away = theta - MINIMA[n]
            return away @ HESSIAN + away.tanh()

        return gradient

    def loss(self, theta: Tensor, on: Numbered) -> Tensor:
        away = theta - MINIMA[on.n]
        return 0.5 * ((away @ HESSIAN) * away).sum(1) + torch.log(torch.cosh(away)).sum(1)

    def gradient(self, theta: Tensor, on: Numbered) -> tuple[Tensor, Tensor]:
        if self.handed_out is not None:
            self.handed_out.fill_(float("nan"))
        self.handed_out = self.at(on.n)(theta)
        return self.loss(theta, on), self.handed_out

    def squared_gradient(self, theta: Tensor, on: Numbered) -> Tensor:
        raise NotImplementedError

    def curvature(self, theta: Tensor, on: Numbered, structural: float | None = None) -> Curvature:
        raise NotImplementedError

    def hessian(self, theta: Tensor, on: Numbered) -> tuple[Tensor, Tensor, Curvature]:
        slope = 1 - (theta - MINIMA[on.n]).tanh().square()
        return *self.gradient(theta, on), lambda v: v @ HESSIAN + slope * v


def start(rows: int = 1) -> Tensor:
    """θ of shape (rows, WIDTH), every row the same."""
    return torch.linspace(-1, 2, WIDTH, dtype=torch.float64).repeat(rows, 1)
