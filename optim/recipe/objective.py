"""The objective as a method with a recipe sees it: gradients are accumulated, clipped, decayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.objective import FULL, Batch, Curvature, Dots, Full, Objective, Stream

NO_CLIP = float("inf")
TINY = 1e-6
"""What torch.nn.utils.clip_grad_norm_ adds to a norm before it divides by it."""


@dataclass(frozen=True)
class Batches:
    """Several batches whose mean is asked for."""

    parts: Sequence[Batch]

    @property
    def cases(self) -> int:
        """Number of cases a row, of all."""
        return sum(part.cases for part in self.parts)

    def shares(self) -> Iterator[tuple[Batch, float]]:
        """Yield every batch with its share of the cases."""
        cases = self.cases
        for part in self.parts:
            yield part, part.cases / cases


@dataclass
class Gradients:
    """What is done to every gradient, in columns of shape (K, 1); None where no row has it."""

    accumulation: int
    clip_norm: Float[Tensor, "K 1"] | None
    """The greatest norm; infinite for a row without."""
    clip_value: Float[Tensor, "K 1"] | None
    total: Float[Tensor, "K P"] | None
    """Memory for the sum over batches."""
    l2: Float[Tensor, "K 1"] | None = None
    """λ_t of this step, added as λ_t θ."""

    @property
    def are_as_they_are(self) -> bool:
        """Whether nothing is done to them."""
        changes = (self.clip_norm, self.clip_value, self.l2)
        return self.accumulation == 1 and all(each is None for each in changes)

    def change(
        self, gradient: Float[Tensor, "K P"], theta: Float[Tensor, "K P"], dots: Dots
    ) -> Float[Tensor, "K P"]:
        """Clip a gradient and add the decay, in place; return it."""
        if self.clip_value is not None:
            torch.minimum(gradient, self.clip_value, out=gradient)
            torch.maximum(gradient, -self.clip_value, out=gradient)
        if self.clip_norm is not None:
            squares = torch.stack(dots(*((row, row) for row in gradient.split(1)))).unsqueeze(1)
            factor = (self.clip_norm / squares.sqrt().add_(TINY)).clamp_(max=1.0)
            # A norm may overflow, and ∞ / ∞ is no number.
            gradient.mul_(factor.masked_fill_(self.clip_norm == NO_CLIP, 1.0))
        if self.l2 is not None:
            gradient.addcmul_(theta, self.l2)
        return gradient


class RecipeObjective:
    """An `Objective` in front of another, which computes and charges."""

    def __init__(
        self,
        objective: Objective,
        gradients: Gradients,
        parameters: Callable[[Float[Tensor, " P"]], Mapping[str, Tensor]],
    ) -> None:
        self._objective, self._gradients = objective, gradients
        self._parameters = parameters
        """A row's parameters by name (`Layout.parameters`)."""
        self.dots = objective.dots

    @property
    def spent(self) -> float:
        """The share of the budget that is spent."""
        return self._objective.spent

    def next_batch(self, size: int | Full, stream: Stream = "gradient") -> Batch:
        """Take the next cases of a stream; of gradients, as many batches as are accumulated."""
        number = self._gradients.accumulation
        if number == 1 or size is FULL or stream != "gradient":
            return self._objective.next_batch(size, stream)
        return Batches([self._objective.next_batch(size, stream) for _ in range(number)])

    def loss(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, " K"]:
        """Return f(θ) of every row."""
        return _mean(on, lambda part: self._objective.loss(theta, part))

    def gradient(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"]]:
        """Return f(θ) and ∇f(θ), accumulated, clipped and with the decay."""
        if isinstance(on, Batches):
            loss, gradient = self._accumulated(theta, on)
        else:
            loss, gradient = self._objective.gradient(theta, on)
        return loss, self._gradients.change(gradient, theta, self.dots)

    def gradient_parts(
        self, theta: Float[Tensor, "1 P"], on: Batch
    ) -> tuple[Float[Tensor, " 1"], list[Tensor]]:
        """Return f(θ) and ∇f(θ) of one row, changed likewise, a new tensor for each parameter."""
        if self._gradients.are_as_they_are:
            return self._objective.gradient_parts(theta, on)
        loss, gradient = self.gradient(theta, on)
        views = self._parameters(gradient[0]).values()
        # Optimizers may count on gradients whose numbers lie in a row.
        return loss, [view.clone(memory_format=torch.contiguous_format) for view in views]

    def squared_gradient(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient; a new tensor."""
        return _mean(on, lambda part: self._objective.squared_gradient(theta, part))

    def curvature(
        self, theta: Float[Tensor, "K P"], on: Batch, structural: float | None = None
    ) -> Curvature:
        """Return v ↦ G v at θ on `on`."""
        if not isinstance(on, Batches):
            return self._objective.curvature(theta, on, structural)
        parts = [
            (self._objective.curvature(theta, part, structural), share)
            for part, share in on.shares()
        ]
        return _mean_product(parts, theta)

    def hessian(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"], Curvature]:
        """Return f(θ), ∇f(θ) as `gradient` does, and v ↦ H v of the objective itself."""
        if not isinstance(on, Batches):
            loss, gradient, product = self._objective.hessian(theta, on)
            return loss, self._gradients.change(gradient, theta, self.dots), product
        losses: list[Tensor] = []
        parts: list[tuple[Curvature, float]] = []
        gradient = torch.zeros_like(theta)
        for part, share in on.shares():
            loss, some, multiply = self._objective.hessian(theta, part)
            gradient.add_(some, alpha=share)
            losses.append(loss * share)
            parts.append((multiply, share))
        changed = self._gradients.change(gradient, theta, self.dots)
        return torch.stack(losses).sum(0), changed, _mean_product(parts, theta)

    def _accumulated(
        self, theta: Float[Tensor, "K P"], on: Batches
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"]]:
        total = self._gradients.total
        assert total is not None
        total.zero_()
        losses: list[Tensor] = []
        for part, share in on.shares():
            loss, gradient = self._objective.gradient(theta, part)
            total.add_(gradient, alpha=share)
            losses.append(loss * share)
        return torch.stack(losses).sum(0), total


def _mean_product(
    parts: Sequence[tuple[Curvature, float]], theta: Float[Tensor, "K P"]
) -> Curvature:
    """Return v ↦ the sum of products with their shares."""
    total = torch.zeros_like(theta)

    def product(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
        total.zero_()
        for part, share in parts:
            total.add_(part(v), alpha=share)
        return total

    return product


def _mean(on: Batch, value: Callable[[Batch], Tensor]) -> Tensor:
    """Return a mean over cases of one batch, or of several."""
    if not isinstance(on, Batches):
        return value(on)
    return torch.stack([value(part) * share for part, share in on.shares()]).sum(0)
