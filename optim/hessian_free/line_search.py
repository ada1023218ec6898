"""The two searches on the true objective: back along CG's iterates, then along the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from bench.optim.hessian_free.cg import Iterate

SHRINK = 0.8
"""The rate's factor from one trial step to the next."""
SHRINKS = 60
"""How often the rate is shrunk before the step is rejected."""
SUFFICIENT = 0.01
"""Armijo's constant c."""


@dataclass(frozen=True)
class Backtracked:
    """The iterate that backtracking chose, h there, and how many evaluations it took."""

    iterate: Iterate
    value: float
    evaluations: int


@dataclass(frozen=True)
class Found:
    """The rate that the line search accepted (0: none), h there, and its evaluations."""

    rate: float
    value: float
    evaluations: int


def backtrack(iterates: Sequence[Iterate], h: Callable[[Tensor], float]) -> Backtracked:
    """Evaluate h(x) at the kept iterates from last to first until it gets worse; return the best.

    A value that is not finite counts as +∞. Of equals the earlier iterate is chosen.

    Reference: Martens (2010), section 4.6.
    """
    best, lowest, evaluations = iterates[-1], math.inf, 0
    for iterate in reversed(iterates):
        value = _or_infinite(h(iterate.x))
        evaluations += 1
        if value > lowest:
            break
        best, lowest = iterate, value
    return Backtracked(best, lowest, evaluations)


def search(h: Callable[[float], float], start: float, slope: float, at_one: float) -> Found:
    """Shrink the rate from 1 until h(θ + rate·p) ≤ h(θ) + c·rate·gᵀp; rate 0 if it never is.

    Args:
        h: the objective as a function of the rate.
        start: h(θ).
        slope: gᵀp; where it is positive, h(θ + rate·p) ≤ h(θ) is asked for.
        at_one: h(θ + p), already known.

    Reference: Armijo's rule; Nocedal & Wright (2006), Eq. 3.4.
    """
    rate, value = 1.0, _or_infinite(at_one)
    for evaluations in range(SHRINKS + 1):
        if value <= start + SUFFICIENT * rate * min(slope, 0.0):
            return Found(rate, value, evaluations)
        if evaluations < SHRINKS:
            rate *= SHRINK
            value = _or_infinite(h(rate))
    return Found(0.0, start, SHRINKS)


def _or_infinite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
