"""Limits on the number of cases that are computed at once, to bound memory."""

from __future__ import annotations

SLICE_CASES = 2_500
"""Larger batches are computed in slices of this many cases."""
EVALUATION_CASES = 4 * SLICE_CASES
"""Limit for an evaluation, summed over all rows. Its memory is then the same for a fleet of any
size, and does not become the peak of the fleet."""


def evaluation_slice(rows: int) -> int:
    """Return how many cases of a set are evaluated at once for K rows.

    >>> [evaluation_slice(rows) for rows in (1, 4, 16, 54)]
    [2500, 2500, 625, 185]
    """
    return max(1, min(SLICE_CASES, EVALUATION_CASES // rows))
