"""Preconditioned conjugate gradients with a stop rule on the quadratic model's progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from optim.hessian_free.curvature import dot
from optim.objective import Curvature

FIRST_KEPT = 5
KEPT_RATIO = 1.3

Ended = Literal["progress", "limit", "solved", "no curvature", "not finite"]
"""Why CG ended: the stop rule, the step limit, residual 0, pᵀAp ≤ 0 by rounding, overflow."""


class Vectors:
    """The vectors of CG, each of θ's shape, allocated once and used again by every run."""

    def __init__(self, like: Float[Tensor, "1 P"]) -> None:
        self.x, self.r, self.z, self.p = (torch.zeros_like(like) for _ in range(4))
        self.kept: list[Tensor] = []

    def keep(self, index: int) -> Float[Tensor, "1 P"]:
        """Return a copy of x in the `index`-th of the vectors for kept iterates."""
        if index == len(self.kept):
            self.kept.append(torch.empty_like(self.x))
        return self.kept[index].copy_(self.x)


@dataclass(frozen=True)
class Iterate:
    """x_i with its step i and φ(x_i); its memory is valid until the next run."""

    step: int
    x: Float[Tensor, "1 P"]
    model: float


@dataclass
class Solution:
    """The kept iterates (none after an overflow), the completed steps, and why CG ended."""

    iterates: list[Iterate] = field(default_factory=list)
    steps: int = 0
    ended: Ended = "limit"


def conjugate_gradients(
    product: Curvature,
    gradient: Float[Tensor, "1 P"],
    preconditioner: Float[Tensor, "1 P"] | None,
    vectors: Vectors,
    max_steps: int,
    tolerance: float,
) -> Solution:
    """Minimise φ(x) = ½xᵀAx + gᵀx, that is solve A x = −g, from `vectors.x`, which is overwritten.

    One product a step, and one for the start unless it is 0. φ costs no product: with the
    residual r = Ax + g it is ½xᵀ(r + g).

    Args:
        product: v ↦ A v, A positive definite; a new tensor every time.
        gradient: g.
        preconditioner: the diagonal of M, or None for M = I.
        vectors: `vectors.x` holds x₀ and, in the end, the last iterate.
        max_steps: CG steps at most.
        tolerance: of `should_stop`, per step.

    Reference: Martens (2010), sections 4.4, 4.6 and 4.7; Nocedal & Wright (2006), Algorithm 5.3.
    """
    x, r, p = vectors.x, vectors.r, vectors.p

    def preconditioned() -> Tensor:
        return r if preconditioner is None else torch.div(r, preconditioner, out=vectors.z)

    if x.any():
        torch.add(product(x), gradient, out=r)
    else:
        r.copy_(gradient)
    z = preconditioned()
    torch.neg(z, out=p)
    rz = dot(r, z)
    found, models, due = Solution(), list[float](), float(FIRST_KEPT)
    for step in range(1, max_steps + 1):
        ap = product(p)
        pap = dot(p, ap)
        # A step of length 0 where pᵀAp is no curvature leaves x as it was.
        alpha = torch.where(pap > 0, rz / pap, 0.0)
        x.addcmul_(p, alpha)
        r.addcmul_(ap, alpha)
        z = preconditioned()
        rz_next = dot(r, z)
        # The one place in a step where the host waits for the device.
        scalars: list[float] = torch.stack((pap, rz_next, dot(x, r), dot(x, gradient))).tolist()
        curvature, residual, xr, xg = scalars
        if not all(map(math.isfinite, scalars)):
            found.ended, found.iterates = "not finite", []
            break
        if curvature <= 0:
            found.ended = "no curvature"
            break
        found.steps = step
        models.append(0.5 * (xr + xg))
        if step == math.ceil(due):
            found.iterates.append(Iterate(step, vectors.keep(len(found.iterates)), models[-1]))
            due *= KEPT_RATIO
        if should_stop(models, tolerance):
            found.ended = "progress"
            break
        if residual == 0:
            found.ended = "solved"
            break
        p.mul_(rz_next / rz).sub_(z)
        rz = rz_next
    if found.ended != "not finite" and found.steps and not _has_last(found):
        found.iterates.append(Iterate(found.steps, vectors.keep(len(found.iterates)), models[-1]))
    return found


def should_stop(models: Sequence[float], tolerance: float) -> bool:
    """Say whether CG's relative progress per step, over the last k steps, is below `tolerance`.

    Stop at step i > k if φ(x_i) < 0 and (φ(x_i) − φ(x_{i−k})) / φ(x_i) < k·tolerance,
    k = max(10, ⌈0.1 i⌉). `models` holds φ(x_1) … φ(x_i).

    Reference: Martens (2010), section 4.4.
    """
    i = len(models)
    k = max(10, -(-i // 10))
    if i <= k or models[-1] >= 0:
        return False
    return (models[-1] - models[-1 - k]) / models[-1] < k * tolerance


def _has_last(found: Solution) -> bool:
    return bool(found.iterates) and found.iterates[-1].step == found.steps
