"""The regularised objective h and its damped Gauss–Newton matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from optim.objective import Batch, Curvature, Objective


def dot(a: Float[Tensor, "1 P"], b: Float[Tensor, "1 P"]) -> Float[Tensor, ""]:
    """Return a·b as a scalar that stays on the device."""
    return torch.dot(a.view(-1), b.view(-1))


def chunk_size(cases: int, chunks: int) -> int:
    """Return ⌈N / chunks⌉, the number of cases in a curvature batch.

    >>> chunk_size(20_000, 4), chunk_size(10, 4)
    (5000, 3)
    """
    return -(-cases // chunks)


@dataclass(frozen=True)
class Regularized:
    """h(θ) = f(θ) + ½ L2 ‖θ‖², over all parameters, biases included (as in Martens 2010's code)."""

    objective: Objective
    l2: float

    def loss(self, theta: Float[Tensor, "1 P"], on: Batch) -> float:
        """Return h(θ)."""
        return self.objective.loss(theta, on).item() + self.penalty(theta)

    def penalty(self, theta: Float[Tensor, "1 P"]) -> float:
        """Return ½ L2 ‖θ‖²."""
        return 0.5 * self.l2 * dot(theta, theta).item()

    def gradient(
        self, theta: Float[Tensor, "1 P"], on: Batch, out: Float[Tensor, "1 P"]
    ) -> Float[Tensor, " 1"]:
        """Write ∇h = ∇f + L2 θ into `out`; return f(θ), without the regulariser."""
        loss, gradient = self.objective.gradient(theta, on)
        # `gradient` is memory that the objective's next call writes over.
        torch.add(gradient, theta, alpha=self.l2, out=out)
        return loss.clone()

    def curvature(self, theta: Float[Tensor, "1 P"], on: Batch, lam: float) -> Curvature:
        """Return v ↦ A v = G v + (L2 + λ) v, with G linearised once at θ on `on`."""
        product, shift = self.objective.curvature(theta, on), self.l2 + lam

        def damped(v: Float[Tensor, "1 P"]) -> Float[Tensor, "1 P"]:
            return product(v).add_(v, alpha=shift)

        return damped
