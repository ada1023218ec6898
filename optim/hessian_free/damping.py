"""The Levenberg–Marquardt rule for the damping λ."""

from __future__ import annotations

import math

LOW_RATIO = 1 / 4
"""Below this ρ the quadratic model is trusted less."""
HIGH_RATIO = 3 / 4
"""Above this ρ the quadratic model is trusted more."""
RANGE = 1e10
"""λ stays between λ₀ / RANGE and λ₀ · RANGE: beyond, floating point no longer sees it move."""
LEAST, MOST = 1e-30, 1e30
"""λ is not moved beyond these, which float32 holds with room to compute."""


def reduction_ratio(before: float, after: float, model_change: float) -> float:
    """Return ρ = (h(θ+p) − h(θ)) / q(p), or −∞ if h rose or is not finite.

    `before` and `after` are h at θ itself and at θ+p, on the chunk; `model_change` is
    q(p) = gᵀp + ½pᵀ(G + L2)p, measured from θ (p = 0), never from the warm start,
    and without damping. A model that promises no change (q = 0), or none that is
    finite, gives −∞ too.

    Reference: Martens (2010), section 4.1; Martens & Sutskever (2012), section 6.

    >>> reduction_ratio(10.0, 9.0, -2.0), reduction_ratio(10.0, 11.0, -2.0)
    (0.5, -inf)
    """
    change = after - before
    if not math.isfinite(change) or change > 0 or model_change == 0:
        return -math.inf
    ratio = change / model_change
    return ratio if math.isfinite(ratio) and math.isfinite(model_change) else -math.inf


def adapted(lam: float, rho: float, factor: float, start: float) -> float:
    """Return the next λ: × factor if ρ < ¼, ÷ factor if ρ > ¾, within `limits` of λ₀ = `start`.

    >>> adapted(45.0, 0.1, 1.5, 45.0), adapted(45.0, 0.5, 1.5, 45.0), adapted(45.0, 1.0, 1.5, 45.0)
    (67.5, 45.0, 30.0)
    """
    if rho < LOW_RATIO or math.isnan(rho):
        lam *= factor
    elif rho > HIGH_RATIO:
        lam /= factor
    low, high = limits(start)
    return min(max(lam, low), high)


def limits(start: float) -> tuple[float, float]:
    """Return the least and the greatest λ of a run that started at λ₀ ≤ `MOST`; 0 stays 0.

    >>> limits(0.0), limits(1e-25), limits(2e22)
    ((0.0, 0.0), (1e-30, 1e-15), (2000000000000.0, 1e+30))
    """
    return min(max(start / RANGE, LEAST), start), min(start * RANGE, MOST)
