"""Named views of the flat parameter vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, get_args

from jaxtyping import Float
from torch import Tensor

ALIGNMENT = 16
"""Views and rows start at multiples of this many values: 64 bytes in float32."""

Role = Literal["weight", "kernel", "embedding", "norm", "bias", "vector"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Layout:
    """Where each named parameter lives in a row of θ, and its part in the network.

    Padding between the parameters stays 0.

    >>> import torch
    >>> layout = Layout({"weight": (3, 2), "bias": (2,)})
    >>> layout.size, layout.count
    (32, 8)
    >>> theta = torch.zeros(5, layout.size)
    >>> layout.views(theta)["weight"].shape
    torch.Size([5, 3, 2])
    """

    shapes: Mapping[str, tuple[int, ...]]
    transposed: frozenset[str] = frozenset()
    """Matrices stored as (inputs, outputs); those of torch's layers are (outputs, inputs)."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Where a shape does not tell the role: two axes or more are a weight, fewer a vector."""
    layers: Mapping[str, str] = field(default_factory=dict)
    """Where a name does not tell the layer, which is what stands before the last dot."""

    @property
    def size(self) -> int:
        """P, the padded length of a row."""
        return sum(_padded(math.prod(shape)) for shape in self.shapes.values())

    @cached_property
    def _pieces(self) -> list[_Piece]:
        """The parameters in the order in which they lie in a row."""
        sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        return [_Piece(n, self.shapes[n], size, _padded(size)) for n, size in sizes.items()]

    @property
    def count(self) -> int:
        """The number of real parameters, padding left out."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def role(self, name: str) -> Role:
        """Return what a parameter is in the network."""
        by_shape: Role = "weight" if len(self.shapes[name]) > 1 else "vector"
        return self.roles.get(name, by_shape)

    def layer(self, name: str) -> str:
        """Return the layer that a parameter belongs to."""
        return self.layers.get(name, name.rpartition(".")[0])

    def views(self, theta: Float[Tensor, "*K P"]) -> dict[str, Tensor]:
        """Return views of shape (*K, *shape) into θ; writing to them writes to θ."""
        leading = theta.shape[:-1]
        pieces = zip(self._pieces, theta.split([p.padded for p in self._pieces], -1), strict=True)
        return {
            p.name: (each if p.size == p.padded else each[..., : p.size]).view((*leading, *p.shape))
            for p, each in pieces
        }

    def parameters(self, row: Float[Tensor, " P"]) -> dict[str, Tensor]:
        """Return views into one row, every matrix of a layer as (outputs, inputs), as in torch."""
        views = self.views(row)
        return {n: view.mT if n in self.transposed else view for n, view in views.items()}


class _Piece(NamedTuple):
    name: str
    shape: tuple[int, ...]
    size: int
    padded: int


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
