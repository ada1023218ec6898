"""Named views of the flat parameter vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

ALIGNMENT = 16
"""Views and rows start at multiples of this many values: 64 bytes in float32."""


@dataclass(frozen=True)
class Layout:
    """Where each named parameter lives in a row of θ; padding between them stays 0.

    >>> import torch
    >>> layout = Layout({"weight": (3, 2), "bias": (2,)})
    >>> layout.size, layout.count
    (32, 8)
    >>> theta = torch.zeros(5, layout.size)
    >>> layout.views(theta)["weight"].shape
    torch.Size([5, 3, 2])
    """

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """P, the padded length of a row."""
        return sum(_padded(math.prod(shape)) for shape in self.shapes.values())

    @property
    def count(self) -> int:
        """The number of real parameters, padding left out."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def views(self, theta: Float[Tensor, "*K P"]) -> dict[str, Tensor]:
        """Return views of shape (*K, *shape) into θ; writing to them writes to θ."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            views[name] = theta[..., start : start + size].view((*theta.shape[:-1], *shape))
            start += _padded(size)
        return views


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
