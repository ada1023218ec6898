"""The batch computations that a problem offers, and what they cost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from jaxtyping import Float
from torch import Tensor


class PassCount(threading.local):
    """How often networks have run in this thread, forwards or for a product, by whomever asked."""

    run: int = 0
    strangers: ClassVar[int] = 0
    """Threads in which a network has run and nobody has said that it may."""
    _is_known: bool = False

    def __init__(self) -> None:
        """Begin to count in one more thread."""
        PassCount.strangers += 1

    def know_thread(self) -> None:
        """Say that networks may run in this thread."""
        if not self._is_known:
            self._is_known = True
            PassCount.strangers -= 1


PASSES = PassCount()
PASSES.know_thread()


class Prices(Protocol):
    """What a pass over one case costs, in gradient-equivalents."""

    @property
    def loss(self) -> float:
        """A loss without a gradient."""

    @property
    def gradient(self) -> float:
        """A gradient: 1."""

    @property
    def squared_gradient(self) -> float:
        """The squares of per-case gradients."""

    @property
    def linearization(self) -> float:
        """What comes before the first Gauss–Newton product."""

    @property
    def product(self) -> float:
        """A Gauss–Newton product."""

    @property
    def hessian(self) -> float:
        """What comes before the first Hessian product, loss and gradient among it."""

    @property
    def hessian_product(self) -> float:
        """A Hessian product."""


@dataclass(frozen=True)
class LayerPrices:
    """The prices of hand-written passes, counted from the sizes of the layers."""

    forward: float
    """Multiplications of a forward pass for one case, F."""
    first: float
    """Those of them that take the inputs, F₁."""

    @property
    def gradient(self) -> float:
        """1, which is 3F − F₁ multiplications: nobody needs the gradient of the inputs."""
        return 1.0

    @property
    def loss(self) -> float:
        """F."""
        return self.forward / self._of_gradient

    @property
    def squared_gradient(self) -> float:
        """3F − F₁: forwards, δ backwards, and (h²)ᵀ δ² in place of hᵀ δ."""
        return 1.0

    @property
    def linearization(self) -> float:
        """F."""
        return self.forward / self._of_gradient

    @property
    def product(self) -> float:
        """4F − 2F₁: two products a layer forwards and two backwards, one each for the first."""
        return (4 * self.forward - 2 * self.first) / self._of_gradient

    @property
    def hessian(self) -> float:
        """3F − F₁: a gradient."""
        return 1.0

    @property
    def hessian_product(self) -> float:
        """6F − 4F₁: differentiated, a gradient has two products a layer for each of its three."""
        return (6 * self.forward - 4 * self.first) / self._of_gradient

    @property
    def _of_gradient(self) -> float:
        return 3 * self.forward - self.first


class Passes(Protocol):
    """The computations on one batch that a problem offers, for K rows at once.

    `inputs` and `targets` are (G, B, …), where G divides K: rows stand in G groups of K / G, and
    those of a group share their cases. Row k sees the cases of group ⌊k·G/K⌋.
    """

    @property
    def prices(self) -> Prices | None:
        """What the passes cost; None: it is counted on a few cases (`bench.models.prices`)."""

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
