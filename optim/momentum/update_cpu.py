"""The momentum update in one pass over memory, compiled by Numba for one CPU thread.

torch needs four passes. The update is bound by memory, so a single serial pass is
faster than torch's on two threads; a parallel Numba kernel would start an OpenMP
layer of its own, which changes torch's number of threads.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jaxtyping import Float
from torch import Tensor


def fused_update(
    y: Float[Tensor, "K P"],
    v: Float[Tensor, "K P"],
    gradient: Float[Tensor, "K P"],
    lr: Float[Tensor, "K 1"],
    mu: Float[Tensor, "K 1"],
    ahead: Float[Tensor, "K 1"],
    look: Float[Tensor, "K 1"],
) -> None:
    """v ← μv − εg, y ← y + (ahead·v − look·εg), in place."""
    _kernel()(*(tensor.numpy() for tensor in (y, v, gradient, lr, mu, ahead, look)))


def compile_for(like: Tensor) -> None:
    """Compile the kernel for this type now, off the training clock, or load it from disk."""
    fused_update(*(like.new_zeros(1, 1) for _ in range(7)))


@cache
def _kernel() -> Any:
    """Compile on first use: importing Numba takes longer than `bench --help` may."""
    import numba

    # Multiply and add may be contracted to one rounding; nothing else is relaxed, so that
    # a NaN stays a NaN.
    @numba.njit(fastmath={"contract"}, error_model="numpy", cache=True)
    def update(y: Any, v: Any, g: Any, lr: Any, mu: Any, ahead: Any, look: Any) -> None:
        for k in range(y.shape[0]):
            epsilon, m, a = lr[k, 0], mu[k, 0], ahead[k, 0]
            slip = look[k, 0] * epsilon
            points, velocities, gradients = y[k], v[k], g[k]
            for i in range(len(points)):
                gradient = gradients[i]
                velocity = m * velocities[i] - epsilon * gradient
                velocities[i] = velocity
                points[i] += a * velocity - slip * gradient

    return update
