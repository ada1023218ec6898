"""Change points of a series: steps in noise of known standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LIMIT = 3.2
"""Standard errors between the means before and after a change. In simulations with normal values
and no change, the first change is found after about 260 nights on average. A step of 2 standard
deviations is found within 5 nights in 77 % of cases after 10 nights at the old level, 86 % after
20, 91 % after 50."""
LEAST = 2
"""Nights at a new level, at least: a single deviating night is not a new level."""


@dataclass(frozen=True)
class Change:
    """A step in a series."""

    index: int
    """Index of the first value at the new level."""
    found: int
    """Index of the value with which it was found."""
    size: float
    """New mean less old mean, in standard deviations of a night's value."""


def find_change_points(
    values: Sequence[float | None], sd: float, reference: float | None = None
) -> list[Change]:
    """Return the steps of a series; each is found with earlier nights only, never with later ones.

    After every night t, consider all steps that may have begun at a night k ≤ t, by the generalised
    likelihood ratio of normal values with known standard deviation (Basseville & Nikiforov 1993,
    §2.4),

        z = |mean(x_k … x_t) − mean(x_1 … x_{k−1})| / (sd · √(1/(t − k + 1) + 1/(k − 1))).

    If the largest z is above LIMIT and k < t, the series has changed at this k, and restarts there.
    `values` are on the scale of `sd`; None is a night without a value. `reference`, the accepted
    value, counts as a night before the first one, unless it equals the first value.
    """
    present = [(index, value) for index, value in enumerate(values) if value is not None]
    level: list[tuple[int, float]] = []
    if reference is not None and present and present[0][1] != reference:
        level.append((-1, reference))
    changes = []
    for night in present:
        level.append(night)
        x = np.array([value for _, value in level]) / sd
        before = np.arange(1, len(x))
        after, sums = len(x) - before, np.cumsum(x)
        steps = (sums[-1] - sums[:-1]) / after - sums[:-1] / before
        z = np.abs(steps) / np.sqrt(1 / before + 1 / after)
        step = int(z.argmax()) if len(z) else 0
        # A step at the newest night alone needs the next night as confirmation.
        if len(z) and z[step] > LIMIT and after[step] >= LEAST:
            level = level[step + 1 :]
            changes.append(Change(level[0][0], night[0], float(steps[step])))
    return changes
