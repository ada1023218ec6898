"""The batch computations that a problem offers, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Prices:
    """What a pass over one case costs, in gradient-equivalents, counted from the network."""

    loss: float = 1 / 3
    gradient: float = 1.0
    squared_gradient: float = 1.0
    linearization: float = 1 / 3
    product: float = 4 / 3


class Passes(Protocol):
    """The computations on one batch that a problem offers, for K rows at once.

    `inputs` and `targets` are (G, B, …), where G divides K: rows stand in G groups of K / G, and
    those of a group share their cases. Row k sees the cases of group ⌊k·G/K⌋.
    """

    prices: Prices
    capturable: bool
    """Whether gradients and products can be captured in a CUDA graph; autograd's threads cannot."""

    def logits(self, theta: Float[Tensor, "K P"], inputs: Tensor) -> Tensor:
        """Return the outputs' pre-activations, (K, B, T)."""

    def loss(self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of every row, (K,)."""

    def gradient(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        out: Float[Tensor, "K P"],
    ) -> Tensor:
        """Write the gradient of the mean loss into `out`; return the mean loss, (K,)."""

    def squared_gradient(
        self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor
    ) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient."""

    def curvature(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        structural: float | None = None,
    ) -> Callable[[Float[Tensor, "K P"]], Float[Tensor, "K P"]]:
        """Linearise once; return v ↦ mean over cases of Jᵀ H_L J v.

        Every product is written into the same memory, over the product before it. With
        `structural` = s it is Jᵀ H_L J + s·J_xᵀ diag(1 − h²) J_x, where x are the hidden
        pre-activations of all time steps and h = tanh(x) (Martens & Sutskever 2011, sec. 4.2);
        ValueError for a network without hidden state over time.
        """
