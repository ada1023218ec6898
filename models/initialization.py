"""Initialisations of weight matrices, drawn in float64 so that every device starts alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

FAN_IN = 15


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
