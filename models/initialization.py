"""Initialisations of weight matrices, drawn in float64 so that every device starts alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

FAN_IN = 15
RADIUS = 1.1
"""The spectral radius of hidden-to-hidden weights in Sutskever et al. 2013, Table 4."""


def sparse(
    rng: np.random.Generator, fan_in: int, units: int, scale: float = 1.0
) -> Float[np.ndarray, "fan_in units"]:
    """Give each unit 15 incoming weights from scale·N(0, 1), the rest 0 (Martens 2010, sec. 5).

    A unit with fewer than 15 inputs gets all of them. Column j holds unit j's weights.
    """
    count = min(FAN_IN, fan_in)
    # Sorting one uniform per connection draws without replacement for all units at once.
    chosen = np.argsort(rng.random((units, fan_in)), axis=1)[:, :count]
    weights = np.zeros((units, fan_in))
    np.put_along_axis(weights, chosen, scale * rng.standard_normal((units, count)), axis=1)
    return np.ascontiguousarray(weights.T)


def recurrent(
    rng: np.random.Generator, units: int, radius: float = RADIUS
) -> Float[np.ndarray, "units units"]:
    """Give each unit 15 incoming weights, rescaled to a spectral radius (Sutskever 2013, Table 4).

    The spectral radius is the greatest absolute value of an eigenvalue.
    """
    weights = sparse(rng, units, units)
    largest = float(np.abs(np.linalg.eigvals(weights)).max())
    return weights * (radius / largest)
