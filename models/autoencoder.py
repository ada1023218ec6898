"""Deep autoencoders (Hinton & Salakhutdinov 2006): forward, backward and R-passes by hand.

The passes write into preallocated memory, for K rows at once, and are held to
autodiff by the tests. With W of shape (K, in, out) a layer is h W + b.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.models.groups import affine_into, curvature_over_groups, over_groups, product_into
from bench.models.layout import Layout, Role
from bench.models.losses import MatchingLoss
from bench.models.passes import PASSES, LayerPrices
from bench.models.workspace import Workspace


@dataclass(frozen=True)
class Architecture:
    """Layer sizes from input to output; every hidden layer is logistic but the linear code."""

    sizes: tuple[int, ...]
    """784, 400, …, 6, …, 400, 784."""

    @classmethod
    def mirrored(cls, encoder: Sequence[int]) -> Architecture:
        """Return the autoencoder whose decoder mirrors `encoder`.

        >>> Architecture.mirrored((4, 3, 2)).sizes
        (4, 3, 2, 3, 4)
        """
        return cls((*encoder, *reversed(encoder[:-1])))

    @property
    def depth(self) -> int:
        """Number of weight layers."""
        return len(self.sizes) - 1

    @property
    def code(self) -> int:
        """Index of the linear code layer, counted as the layer whose output it is."""
        return self.depth // 2

    def layout(self) -> Layout:
        """Return W1, b1, W2, b2, … as views of θ."""
        shapes: dict[str, tuple[int, ...]] = {}
        layers: dict[str, str] = {}
        for i, (fan_in, fan_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False), 1):
            shapes[f"W{i}"] = (fan_in, fan_out)
            shapes[f"b{i}"] = (fan_out,)
            layers |= {f"W{i}": str(i), f"b{i}": str(i)}
        weights = frozenset(name for name in shapes if name.startswith("W"))
        biases: dict[str, Role] = {name: "bias" for name in shapes if name not in weights}
        return Layout(shapes, transposed=weights, roles=biases, layers=layers)

    def prices(self) -> LayerPrices:
        """Count the multiplications of every pass; a layer's product takes as many as weights."""
        weights = [a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False)]
        return LayerPrices(forward=sum(weights), first=weights[0])


KEPT_VIEWS = 4


class AutoencoderPasses:
    """The batch computations of a deep autoencoder on K rows."""

    capturable = True

    def __init__(self, architecture: Architecture, loss: MatchingLoss) -> None:
        self.architecture = architecture
        self.matching = loss
        self.layout = architecture.layout()
        self.prices = architecture.prices()
        self._memory = Workspace()
        self._kept_views: dict[tuple[object, ...], dict[str, Tensor]] = {}

    def logits(self, theta: Float[Tensor, "K P"], inputs: Tensor) -> Tensor:
        """Return the outputs' pre-activations (K, B, T); overwritten by the next pass."""
        return self._forward(self._views(theta), inputs)[-1]

    def loss(self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of every row, (K,), summed in float64."""
        return _mean(over_groups(self.matching.per_case, self.logits(theta, inputs), targets))

    def gradient(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        out: Float[Tensor, "K P"],
    ) -> Tensor:
        """Write the gradient of the mean loss into `out`; return the mean loss, (K,)."""
        params, into = self._views(theta), self._views(out)
        h = self._forward(params, inputs)
        value = _mean(over_groups(self.matching.per_case, h[-1], targets))
        delta = over_groups(self.matching.derivative, h[-1], targets).div_(inputs.shape[1])
        self._backward(params, h, delta, into)
        return value

    def squared_gradient(
        self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor
    ) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient.

        For a weight the per-case gradient is h δ, so its mean square is (h²)ᵀ δ² / B.
        """
        out = torch.zeros_like(theta)
        params, into = self.layout.views(theta), self.layout.views(out)
        h = self._forward(params, inputs)
        delta = over_groups(self.matching.derivative, h[-1], targets)
        cases = inputs.shape[1]
        for i in range(self.architecture.depth, 0, -1):
            squared = delta.square().div_(cases)
            product_into(into[f"W{i}"], h[i - 1].square(), squared)
            torch.sum(squared, 1, out=into[f"b{i}"])
            if i > 1:
                delta = self._through(params[f"W{i}"], delta, h[i - 1], i - 1, None)
        return out

    def curvature(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        structural: float | None = None,
    ) -> Callable[[Float[Tensor, "K P"]], Float[Tensor, "K P"]]:
        """Run forward once; return v ↦ Gv by an R-forward and a backward pass (Schraudolph 2002).

        Rz = Rh W + h V + c,  Rh = σ'(z) Rz,  then back with H_L Rz in place of the
        loss's derivative. Every product is written into the same memory.
        """
        if structural is not None:
            raise ValueError(
                "An autoencoder has no hidden state over time, which structural damping acts on; "
                "write structural=0"
            )
        params = {name: view.clone() for name, view in self.layout.views(theta).items()}
        rows, cases = theta.shape[0], inputs.shape[1]
        h = self._forward(params, inputs, self._allocate(rows, cases, theta))
        slopes = [self._slope(h[i], i) for i in range(self.architecture.depth)]
        r = [inputs, *self._allocate(rows, cases, theta)]
        curved = curvature_over_groups(self.matching.curvature_at, h[-1], targets)
        out = torch.zeros_like(theta)
        into = self.layout.views(out)

        def product(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            PASSES.run += 1
            tangent = self._views(v)
            for i in range(1, self.architecture.depth + 1):
                affine_into(r[i], h[i - 1], tangent[f"W{i}"], tangent[f"b{i}"])
                if i > 1:
                    r[i].baddbmm_(r[i - 1], params[f"W{i}"])
                slope = slopes[i] if i < self.architecture.depth else None
                if slope is not None:
                    r[i].mul_(slope)
            self._backward(params, h, curved(r[-1]).div_(cases), into, slopes)
            return out

        return product

    def _forward(
        self, params: dict[str, Tensor], inputs: Tensor, memory: list[Tensor] | None = None
    ) -> list[Tensor]:
        """Return [inputs, h1, …, z]: every layer's outputs, the last before its nonlinearity."""
        PASSES.run += 1
        if memory is None:
            b = params["b1"]
            memory = self._memory.take("forward", self._shapes(len(b), inputs.shape[1]), b)
        h = [inputs, *memory]
        for i in range(1, self.architecture.depth + 1):
            affine_into(h[i], h[i - 1], params[f"W{i}"], params[f"b{i}"])
            if self._logistic(i):
                h[i].sigmoid_()
        return h

    def _backward(
        self,
        params: dict[str, Tensor],
        h: list[Tensor],
        delta: Tensor,
        into: dict[str, Tensor],
        slopes: list[Tensor | None] | None = None,
    ) -> None:
        """Write Jᵀδ into the views `into`, δ given at the outputs' pre-activations."""
        for i in range(self.architecture.depth, 0, -1):
            product_into(into[f"W{i}"], h[i - 1], delta)
            torch.sum(delta, 1, out=into[f"b{i}"])
            if i > 1:
                slope = None if slopes is None else slopes[i - 1]
                delta = self._through(params[f"W{i}"], delta, h[i - 1], i - 1, slope)

    def _through(
        self, weight: Tensor, delta: Tensor, h: Tensor, layer: int, slope: Tensor | None
    ) -> Tensor:
        """Carry δ back through a layer's weights and the nonlinearity below them."""
        below = torch.bmm(delta, weight.transpose(1, 2))
        if slope is not None:
            return below.mul_(slope)
        if self._logistic(layer):
            torch.ops.aten.sigmoid_backward.grad_input(below, h, grad_input=below)
        return below

    def _slope(self, h: Tensor, layer: int) -> Tensor | None:
        """Return σ'(z) = h (1 − h) of a logistic hidden layer."""
        return torch.addcmul(h, h, h, value=-1) if layer and self._logistic(layer) else None

    def _logistic(self, layer: int) -> bool:
        return layer not in (self.architecture.code, self.architecture.depth)

    def _views(self, theta: Tensor) -> dict[str, Tensor]:
        """Return views of θ, kept for the last few tensors: a run uses the same ones all along.

        Kept views hold on to their memory, so no other tensor can be at the same address.
        """
        place = (theta.data_ptr(), theta.shape, theta.dtype)
        if place not in self._kept_views:
            if len(self._kept_views) == KEPT_VIEWS:
                self._kept_views.pop(next(iter(self._kept_views)))
            self._kept_views[place] = self.layout.views(theta)
        return self._kept_views[place]

    def _shapes(self, rows: int, cases: int) -> tuple[tuple[int, ...], ...]:
        return tuple((rows, cases, size) for size in self.architecture.sizes[1:])

    def _allocate(self, rows: int, cases: int, like: Tensor) -> list[Tensor]:
        return [like.new_empty(shape) for shape in self._shapes(rows, cases)]


def _mean(per_case: Tensor) -> Tensor:
    """Mean over cases in float64: a line search compares losses that differ in the 7th digit."""
    return per_case.mean(1, dtype=torch.float64)
