"""A gradient that a torch optimizer can differentiate again, by Hessian products and nothing else.

`torch.autograd.grad(gradients, parameters, grad_outputs=z)` is H z, as it is in a training loop
after `backward(create_graph=True)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Along = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""z ↦ H z, a part for every parameter."""


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, product: Along, parts: Sequence[Tensor], *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.product = product
        ctx.save_for_backward(*parameters)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # As torch does, this raises where a parameter was changed since the gradient was taken.
        parameters = ctx.saved_tensors
        with torch.no_grad():
            parts = ctx.product(along)
        return None, None, *_Product.apply(parts, *along, *parameters)  # type: ignore[no-untyped-call]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Sequence[Tensor], *depends: Tensor) -> tuple[Tensor, ...]:
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # `once_differentiable` would not raise: it leads to no parameter, as if this were constant.
        raise RuntimeError(
            "it differentiates a Hessian product, and an objective has no third derivatives"
        )


def differentiable(
    parts: Sequence[Tensor], parameters: Sequence[Tensor], product: Along
) -> tuple[Tensor, ...]:
    """Return a gradient whose derivative with respect to the parameters is a Hessian product.

    Args:
        parts: the gradient of every parameter, in memory that nobody else has.
        parameters: the parameters, of the same shapes.
        product: called once for each derivative.
    """
    with torch.enable_grad():
        made: tuple[Tensor, ...] = _Gradient.apply(product, parts, *parameters)  # type: ignore[no-untyped-call]
    return made
