"""The regularised objective h, its damped Gauss–Newton matrix, and its quadratic model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.objective import Batch, Curvature, Objective


@dataclass(frozen=True)
class Regularized:
    """h(θ) = f(θ) + ½ L2 ‖θ‖², over all parameters, biases included (as in Martens 2010's code)."""

    objective: Objective
    l2: float

    def dot(self, a: Float[Tensor, "1 P"], b: Float[Tensor, "1 P"]) -> float:
        """Return a·b."""
        (value,) = self.objective.dots((a, b))
        return value.item()

    def loss(self, theta: Float[Tensor, "1 P"], on: Batch) -> float:
        """Return h(θ)."""
        return self.objective.loss(theta, on).item() + self.penalty(theta)

    def penalty(self, theta: Float[Tensor, "1 P"]) -> float:
        """Return ½ L2 ‖θ‖²."""
        return 0.5 * self.l2 * self.dot(theta, theta)

    def gradient(
        self, theta: Float[Tensor, "1 P"], on: Batch, out: Float[Tensor, "1 P"]
    ) -> Float[Tensor, " 1"]:
        """Write ∇h = ∇f + L2 θ into `out`; return f(θ), without the regulariser."""
        loss, gradient = self.objective.gradient(theta, on)
        # `gradient` is memory that the objective's next call writes over.
        torch.add(gradient, theta, alpha=self.l2, out=out)
        return loss.clone()

    def curvature(
        self, theta: Float[Tensor, "1 P"], on: Batch, lam: float, structural: float | None = None
    ) -> Curvature:
        """Return v ↦ A v = (G + s·G_S + (L2 + λ) I) v, linearised once at θ on `on`.

        s is `structural`, and there is no G_S where it is None. A v is in memory that the
        next product writes over.
        """
        product, shift = self.objective.curvature(theta, on, structural), self.l2 + lam

        def damped(v: Float[Tensor, "1 P"]) -> Float[Tensor, "1 P"]:
            return product(v).add_(v, alpha=shift)

        return damped

    def model(
        self,
        theta: Float[Tensor, "1 P"],
        on: Batch,
        gradient: Float[Tensor, "1 P"],
        p: Float[Tensor, "1 P"],
    ) -> float:
        """Return q(p) = gᵀp + ½pᵀ(G + L2 I)p, by a linearisation and a product of their own."""
        undamped = self.curvature(theta, on, lam=0.0)(p)
        return self.dot(gradient, p) + 0.5 * self.dot(undamped, p)
