"""The update rules in the paper's own letters, for one trial: what every fast version must equal.

Sutskever et al. 2013, Eqs. 1–4:

    CM    v' = μ v − ε ∇f(θ)            θ' = θ + v'
    NAG   v' = μ v − ε ∇f(θ + μ v)      θ' = θ + v'
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def momentum(
    theta: Tensor, v: Tensor, gradient: Callable[[Tensor], Tensor], epsilon: float, mu: float
) -> tuple[Tensor, Tensor]:
    """Return θ', v' of classical momentum; μ = 0 is gradient descent."""
    v = mu * v - epsilon * gradient(theta)
    return theta + v, v


def nesterov(
    theta: Tensor, v: Tensor, gradient: Callable[[Tensor], Tensor], epsilon: float, mu: float
) -> tuple[Tensor, Tensor]:
    """Return θ', v' of Nesterov's accelerated gradient, which looks ahead to θ + μv."""
    v = mu * v - epsilon * gradient(theta + mu * v)
    return theta + v, v
