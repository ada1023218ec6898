"""Matching losses: the loss, its derivative and its curvature at the outputs' pre-activations z.

For a matching (canonical) loss the derivative is y − t and the curvature H_L is that of
the output nonlinearity, positive semi-definite whatever the target
(Martens & Sutskever 2012, sec. 6).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Z = Float[Tensor, "*B T"]


class MatchingLoss(ABC):
    """A loss a case, summed over the T outputs."""

    name: ClassVar[str]

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
