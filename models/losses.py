"""Matching losses: the loss, its derivative and its curvature at the outputs' pre-activations z.

For a matching (canonical) loss the derivative is y − t and the curvature H_L is that of
the output nonlinearity, positive semi-definite whatever the target
(Martens & Sutskever 2012, sec. 6).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Z = Float[Tensor, "*B T"]


class MatchingLoss(ABC):
    """A loss a case, summed over the T outputs."""

    name: str

    @abstractmethod
    def per_case(self, z: Z, targets: Z) -> Float[Tensor, "*B"]:
        """Return L(z, t) of every case."""

    @abstractmethod
    def outputs(self, z: Z) -> Z:
        """Return y, the outputs that match this loss."""

    @abstractmethod
    def link(self, y: Z) -> Z:
        """Return a z whose outputs are y, infinite where no finite one is."""

    @abstractmethod
    def curvature_at(self, z: Z, targets: Z) -> Callable[[Z], Z]:
        """Return r ↦ H_L r at z, a new tensor; what does not depend on r is computed once."""

    def values(self, targets: Z) -> Z:
        """Return what outputs are compared with: the targets, without weights that come with them.

        It has the outputs' shape.
        """
        return targets

    def check_targets(self, targets: np.ndarray) -> None:  # noqa: B027
        """Raise ValueError for targets of which L is no loss; by default every number is one."""

    def derivative(self, z: Z, targets: Z) -> Z:
        """Return ∂L/∂z = y − t, a new tensor."""
        return self.outputs(z) - targets


class LogisticCrossEntropy(MatchingLoss):
    """Logistic outputs y = σ(z); L = −Σ t log y + (1 − t) log(1 − y); H_L = diag(y(1 − y))."""

    name = "cross-entropy, summed over outputs, mean over cases"

    def per_case(self, z: Z, targets: Z) -> Float[Tensor, "*B"]:
        # softplus(z) − t z is the same sum without the logarithm of a rounded y. Above the
        # threshold softplus(z) is taken to be z, which at 40 is exact in float64 as well.
        return F.softplus(z, threshold=40.0).sub_(targets * z).sum(-1)

    def outputs(self, z: Z) -> Z:
        return torch.sigmoid(z)

    def link(self, y: Z) -> Z:
        return torch.logit(y)

    def curvature_at(self, z: Z, targets: Z) -> Callable[[Z], Z]:
        y = torch.sigmoid(z)
        slope = y * (1 - y)
        return lambda r: slope * r

    def check_targets(self, targets: np.ndarray) -> None:
        least, most = targets.min(), targets.max()
        if least < 0 or most > 1:
            raise ValueError(
                f"targets of the logistic cross-entropy are probabilities, from 0 to 1; found "
                f"{least:g} to {most:g}. Write labels of -1 and 1 as 0 and 1"
            )


class SoftmaxCrossEntropy(MatchingLoss):
    """Softmax outputs; L = −Σ t log y with t ≥ 0; ∂L/∂z = s y − t; H_L = s (diag(y) − y yᵀ).

    s = Σ t is the case's weight: 1 for probabilities, the weight of the class for a weighted
    one-hot target, and 0 for a target of zeros, which masks the case.
    """

    name = "softmax cross-entropy, mean over cases"

    def per_case(self, z: Z, targets: Z) -> Float[Tensor, "*B"]:
        return -(targets * torch.log_softmax(z, -1)).sum(-1)

    def outputs(self, z: Z) -> Z:
        return torch.softmax(z, -1)

    def link(self, y: Z) -> Z:
        return y.log()

    def derivative(self, z: Z, targets: Z) -> Z:
        return self.outputs(z).mul_(targets.sum(-1, keepdim=True)) - targets

    def curvature_at(self, z: Z, targets: Z) -> Callable[[Z], Z]:
        y = torch.softmax(z, -1)
        weighted = y * targets.sum(-1, keepdim=True)
        return lambda r: weighted * (r - (y * r).sum(-1, keepdim=True))

    def check_targets(self, targets: np.ndarray) -> None:
        least = targets.min()
        if least < 0:
            raise ValueError(
                "targets of the softmax cross-entropy are probabilities of the classes, one-hot "
                f"for a known class; none is negative, but found {least:g}"
            )
        if not targets.any():
            raise ValueError(
                "all targets of the softmax cross-entropy are 0; a target of zeros masks its case"
            )


class SteppedSoftmaxCrossEntropy(SoftmaxCrossEntropy):
    """Softmax outputs at each of S steps, z (…, S, T); L is summed over the steps too."""

    name = "softmax cross-entropy, summed over steps, mean over cases"

    def per_case(
        self, z: Float[Tensor, "*B S T"], targets: Float[Tensor, "*B S T"]
    ) -> Float[Tensor, "*B"]:
        return super().per_case(z, targets).sum(-1)


class HalfSquaredError(MatchingLoss):
    """Linear outputs y = z; L = ½ Σ (y − t)²; H_L = I."""

    name = "half squared error, summed over outputs, mean over cases"

    def per_case(self, z: Z, targets: Z) -> Float[Tensor, "*B"]:
        return (z - targets).square().sum(-1) / 2

    def outputs(self, z: Z) -> Z:
        return z

    def link(self, y: Z) -> Z:
        return y

    def curvature_at(self, z: Z, targets: Z) -> Callable[[Z], Z]:
        return torch.clone


class Huber(MatchingLoss):
    """Linear outputs y = z; L = Σ r²/2 where |r| ≤ δ and δ|r| − δ²/2 beyond, with r = y − t.

    ∂L/∂z = r, clipped to ±δ; H_L = diag(1 where |r| ≤ δ, else 0). ValueError unless δ > 0.

    Reference: Huber (1964), Robust estimation of a location parameter.
    """

    def __init__(self, delta: float = 1.0) -> None:
        if not 0 < delta < float("inf"):
            raise ValueError(f"delta is {delta!r}; it must be a positive number")
        self.delta = delta
        self.name = f"Huber loss, δ = {delta:g}, summed over outputs, mean over cases"

    def per_case(self, z: Z, targets: Z) -> Float[Tensor, "*B"]:
        size = (z - targets).abs()
        inner = size.clamp(max=self.delta)
        # r²/2 within δ, where inner is |r|; beyond it δ|r| − δ²/2.
        return (inner * (size - inner / 2)).sum(-1)

    def outputs(self, z: Z) -> Z:
        return z

    def link(self, y: Z) -> Z:
        return y

    def derivative(self, z: Z, targets: Z) -> Z:
        return (z - targets).clamp_(-self.delta, self.delta)

    def curvature_at(self, z: Z, targets: Z) -> Callable[[Z], Z]:
        within = ((z - targets).abs() <= self.delta).to(z.dtype)
        return lambda r: within * r


class Weighted(MatchingLoss):
    """w L of another loss, the weight w ≥ 0 being the last column of the targets, (…, T + 1).

    Every case has its weight; with `Stepped` around it every step has, and 0 masks it. The mean
    over cases is over their number, not their weights.
    """

    def __init__(self, loss: MatchingLoss) -> None:
        self.loss = loss
        self.name = f"weighted {loss.name}"

    def per_case(self, z: Z, targets: Z) -> Float[Tensor, "*B"]:
        return self.loss.per_case(z, self.values(targets)) * targets[..., -1]

    def outputs(self, z: Z) -> Z:
        return self.loss.outputs(z)

    def link(self, y: Z) -> Z:
        return self.loss.link(y)

    def values(self, targets: Z) -> Z:
        return self.loss.values(targets[..., :-1])

    def derivative(self, z: Z, targets: Z) -> Z:
        return self.loss.derivative(z, self.values(targets)) * targets[..., -1:]

    def curvature_at(self, z: Z, targets: Z) -> Callable[[Z], Z]:
        curved, weight = self.loss.curvature_at(z, self.values(targets)), targets[..., -1:]
        return lambda r: curved(r) * weight

    def check_targets(self, targets: np.ndarray) -> None:
        if targets.ndim < 2 or targets.shape[-1] < 2:
            raise ValueError(
                f"targets of a weighted loss have the shape {targets.shape}; the last column is "
                "the weight, after those of the outputs"
            )
        weights = targets[..., -1]
        if weights.min() < 0 or not weights.any():
            raise ValueError(
                "the last column of the targets of a weighted loss are weights; none may be "
                f"negative, and one must be above 0, but found {weights.min():g} to "
                f"{weights.max():g}"
            )
        self.loss.check_targets(targets[..., :-1])


class Stepped(MatchingLoss):
    """Another loss at each of S steps, z (…, S, T), summed over the steps."""

    def __init__(self, loss: MatchingLoss) -> None:
        self.loss = loss
        self.name = f"at every step: {loss.name}"

    def per_case(
        self, z: Float[Tensor, "*B S T"], targets: Float[Tensor, "*B S T"]
    ) -> Float[Tensor, "*B"]:
        return self.loss.per_case(z, targets).sum(-1)

    def outputs(self, z: Z) -> Z:
        return self.loss.outputs(z)

    def link(self, y: Z) -> Z:
        return self.loss.link(y)

    def values(self, targets: Z) -> Z:
        return self.loss.values(targets)

    def derivative(self, z: Z, targets: Z) -> Z:
        return self.loss.derivative(z, targets)

    def curvature_at(self, z: Z, targets: Z) -> Callable[[Z], Z]:
        return self.loss.curvature_at(z, targets)

    def check_targets(self, targets: np.ndarray) -> None:
        if targets.ndim < 3:
            raise ValueError(
                f"targets of a loss at every step have the shape (cases, steps, outputs), not "
                f"{targets.shape}"
            )
        self.loss.check_targets(targets)
