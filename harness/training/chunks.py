"""How many cases are computed at once, to bound memory."""

from __future__ import annotations

SLICE = 2_500
"""Larger batches are computed in slices of so many cases."""
EVALUATED = 4 * SLICE
"""Evaluation takes at most so many cases at once, counted over all rows: what it needs is then the
same for a fleet of any size, and not the most that the fleet ever holds."""


def evaluated_at_once(rows: int) -> int:
    """Return how many cases of a set are evaluated at once, for K rows.

    >>> [evaluated_at_once(rows) for rows in (1, 4, 16, 54)]
    [2500, 2500, 625, 185]
    """
    return max(1, min(SLICE, EVALUATED // rows))
