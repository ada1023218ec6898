"""The diagonal preconditioner of conjugate gradients."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def diagonal(
    squared_gradient: Float[Tensor, "1 P"], shift: float, exponent: float
) -> Float[Tensor, "1 P"]:
    """Return M = (mean over cases of the squared per-case gradient + λ + L2)^exponent.

    Overwrites `squared_gradient`; `shift` is λ + L2. An entry that is 0 (an unused
    parameter without damping) becomes 1, which leaves its residual, 0, unscaled.

    Reference: Martens (2010), section 4.7, exponent ¾.
    """
    m = squared_gradient.add_(shift).pow_(exponent)
    return m.masked_fill_(m == 0, 1.0)
