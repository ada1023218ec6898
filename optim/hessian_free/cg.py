"""Preconditioned conjugate gradients with a stop rule on the quadratic model's progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.objective import Curvature, Dots, dots

FIRST_KEPT = 5
KEPT_RATIO = 1.3

CHECK_EVERY = 10
"""Steps between two looks at CG's scalars away from the CPU. A look makes the host wait until the
device has done all that was queued, and the device until the host queues more; what is wasted for
it are the steps that were queued after the end, 9 at most."""

VECTORS_OF_CG = 3 + CHECK_EVERY
"""r, z, p, and the iterates between two looks; those that are kept come on top."""

Ended = Literal["progress", "limit", "solved", "no curvature", "not finite"]
"""Why CG ended: the stop rule, the step limit, residual 0, pᵀAp ≤ 0 by rounding, overflow."""


class Vectors:
    """The vectors of CG, each of θ's shape, allocated once and used again by every run.

    The iterates of the steps between two looks are held side by side, so that a look finds the
    one at which CG ended: x_i is `ring[i % check_every]`, and `ring[0]` is `x`.
    """

    def __init__(self, like: Float[Tensor, "1 P"], check_every: int | None = None) -> None:
        # On a CPU nothing is queued, so every step is looked at.
        self.check_every = check_every or (1 if like.device.type == "cpu" else CHECK_EVERY)
        self.x, self.r, self.z, self.p = (torch.zeros_like(like) for _ in range(4))
        self.ring = [self.x, *(torch.empty_like(like) for _ in range(self.check_every - 1))]
        self.scalars = like.new_empty(self.check_every, 4)
        self.kept: list[Tensor] = []

    def keep(self, index: int, x: Float[Tensor, "1 P"]) -> Float[Tensor, "1 P"]:
        """Return a copy of x in the `index`-th of the vectors for kept iterates."""
        if index == len(self.kept):
            self.kept.append(torch.empty_like(x))
        return self.kept[index].copy_(x)


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
    keep: bool = True,
    dots: Dots = dots,
) -> Solution:
    """Minimise φ(x) = ½xᵀAx + gᵀx, that is solve A x = −g, from `vectors.x`, which is overwritten.

    One product a step, and one for the start unless it is 0. φ costs no product: with the
    residual r = Ax + g it is ½xᵀ(r + g). What is returned does not depend on how often the host
    looks (`vectors.check_every`); products made after the end are counted, since they are made.

    Args:
        product: v ↦ A v, A positive definite; may return the same memory every time.
        gradient: g.
        preconditioner: the diagonal of M, or None for M = I.
        vectors: `vectors.x` holds x₀ and, in the end, the last iterate, or 0 after an overflow.
        max_steps: CG steps at most.
        tolerance: of `should_stop`, per step.
        keep: whether to keep the iterates at i = ⌈5·1.3^j⌉, or only the last.
        dots: how inner products are taken, `Objective.dots`.

    Reference: Martens (2010), sections 4.4, 4.6 and 4.7; Nocedal & Wright (2006), Algorithm 5.3.
    """
    x, r, p, every = vectors.x, vectors.r, vectors.p, vectors.check_every
    rows, found, models = vectors.scalars.unbind(), Solution(), list[float]()
    grid = kept_steps(max_steps) if keep else frozenset()

    def preconditioned() -> Tensor:
        return r if preconditioner is None else torch.div(r, preconditioner, out=vectors.z)

    def look(last: int) -> bool:
        """Read the scalars of the steps up to `last`; say whether CG ended in one of them."""
        first = (last - 1) // every * every + 1
        # The one place where the host waits for the device.
        read: list[list[float]] = vectors.scalars.tolist()
        for step in range(first, last + 1):
            ended = _end(read[step % every], models, tolerance)
            if ended or step == max_steps:
                found.ended = ended or "limit"
                # A step without curvature had length 0: its iterate is the one before.
                if step % every:
                    vectors.x.copy_(vectors.ring[step % every])
                return True
            if step in grid:
                copy = vectors.keep(len(found.iterates), vectors.ring[step % every])
                found.iterates.append(Iterate(step, copy, models[-1]))
        return False

    if x.any():
        torch.add(product(x), gradient, out=r)
    else:
        r.copy_(gradient)
    z = preconditioned()
    # The search direction points uphill, p = z + βp, which takes one pass; steps are subtracted.
    p.copy_(z)
    (rz,) = dots((r, z))
    for step in range(1, max_steps + 1):
        slot = step % every
        ap = product(p)
        (pap,) = dots((p, ap))
        # A step of length 0 where pᵀAp is no curvature leaves x as it was.
        alpha = torch.where(pap > 0, rz / pap, 0.0)
        x = torch.addcmul(x, p, alpha, value=-1, out=vectors.ring[slot])
        r.addcmul_(ap, alpha, value=-1)
        z = preconditioned()
        rz_next, xr, xg = dots((r, z), (x, r), (x, gradient))
        torch.stack((pap, rz_next, xr, xg), out=rows[slot])
        if (slot == 0 or step == max_steps) and look(step):
            break
        torch.addcmul(z, p, rz_next / rz, out=p)
        rz = rz_next
    found.steps = len(models)
    if found.ended == "not finite":
        found.iterates = []
        vectors.x.zero_()
    elif found.steps and not _has_last(found):
        found.iterates.append(Iterate(found.steps, vectors.x, models[-1]))
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


def _end(scalars: Sequence[float], models: list[float], tolerance: float) -> Ended | None:
    """Say why CG ends at this step, if it does; φ of a completed step goes into `models`."""
    curvature, residual, xr, xg = scalars
    if not all(map(math.isfinite, scalars)):
        return "not finite"
    if curvature <= 0:
        return "no curvature"
    models.append(0.5 * (xr + xg))
    if should_stop(models, tolerance):
        return "progress"
    return "solved" if residual == 0 else None


def kept_steps(max_steps: int) -> frozenset[int]:
    """Return the steps whose iterates are kept, i = ⌈5·1.3^j⌉ up to the limit.

    >>> sorted(kept_steps(15))
    [5, 7, 9, 11, 15]
    """
    steps, due = set[int](), float(FIRST_KEPT)
    while due <= max_steps:
        steps.add(math.ceil(due))
        due *= KEPT_RATIO
    return frozenset(steps)


def _has_last(found: Solution) -> bool:
    return bool(found.iterates) and found.iterates[-1].step == found.steps
