"""A quadratic as a training objective, for experiments with methods alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.objective import Batch, Curvature, Full, Method, Stream, dots

Product = Callable[[Float[Tensor, "1 P"]], Float[Tensor, "1 P"]]
"""v ↦ A v; the next product may overwrite the memory of the result."""


@dataclass(frozen=True)
class QuadraticBatch:
    """A batch of a quadratic, which has no cases to draw."""

    cases: int = 1


@dataclass(frozen=True)
class Quadratic:
    """φ(x) = ½ xᵀA x + gᵀx as an `bench.optim.objective.Objective`, the same in every row of x."""

    dots = staticmethod(dots)

    product: Product
    linear: Float[Tensor, "1 P"]
    """g."""

    @classmethod
    def of(cls, matrix: Float[Tensor, "P P"]) -> Quadratic:
        """Return ½ xᵀA x for a dense symmetric A."""
        return cls(lambda v: v @ matrix, matrix.new_zeros(1, len(matrix)))

    def products(self, v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
        """Return A v of every row, a new tensor."""
        return torch.cat([self.product(row[None]).clone() for row in v])

    def at(self, x: Float[Tensor, "K P"]) -> Float[Tensor, " K"]:
        """Return φ(x) of every row, in float64."""
        return self._value(x, self.products(x))

    def _value(self, x: Tensor, ax: Tensor) -> Tensor:
        return (x.double() * (0.5 * ax + self.linear).double()).sum(1)

    @property
    def spent(self) -> float:
        """Return 0: there is no budget."""
        return 0.0

    def next_batch(self, size: int | Full, stream: Stream = "gradient") -> QuadraticBatch:
        """Return the batch of all streams."""
        return QuadraticBatch()

    def loss(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, " K"]:
        """Return φ(θ) of every row."""
        return self.at(theta)

    def gradient(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"]]:
        """Return φ(θ) and ∇φ(θ) = Aθ + g."""
        ax = self.products(theta)
        return self._value(theta, ax), ax + self.linear

    def gradient_parts(
        self, theta: Float[Tensor, "1 P"], on: Batch
    ) -> tuple[Float[Tensor, " 1"], list[Tensor]]:
        """Return φ(θ) and ∇φ(θ) of one row; θ is its only parameter."""
        value, gradient = self.gradient(theta, on)
        return value, [gradient[0]]

    def squared_gradient(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, "K P"]:
        """Return (Aθ + g)²: there is one case."""
        return (self.products(theta) + self.linear).square()

    def curvature(
        self, theta: Float[Tensor, "K P"], on: Batch, structural: float | None = None
    ) -> Curvature:
        """Return v ↦ A v; raise ValueError if structural damping is requested."""
        if structural is not None:
            raise ValueError("A quadratic has no hidden state over time; write structural=0.")
        return self.products

    def hessian(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"], Curvature]:
        """Return φ(θ), ∇φ(θ) and v ↦ A v."""
        return *self.gradient(theta, on), self.products


@torch.no_grad()
def follow(
    method: Method, quadratic: Quadratic, start: Float[Tensor, "K P"], steps: int
) -> Iterator[Float[Tensor, "K P"]]:
    """Yield the start and the iterate after each of `steps` updates; the memory is reused."""
    theta = start.clone()
    state = method.init(theta, seed=0, budget=None)
    yield theta
    for _ in range(steps):
        method.step(theta, quadratic, state)
        yield method.iterate(theta, state)
