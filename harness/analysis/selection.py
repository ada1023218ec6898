"""The choice of hyperparameters on tuning seeds, and the expected result of fewer points."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, TypeGuard, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = float | None
"""A final metric; None: the trial diverged."""


def best(candidates: Mapping[Key, Sequence[Value]], direction: Literal["lower", "higher"]) -> Key:
    """Return the candidate whose worst tuning seed is best; the first among equals.

    Not the mean: a rate at the edge of stability trains well with most seeds and fails with others,
    and the choice must work for new seeds. A candidate with a diverged trial ranks below all
    candidates without one; among those, fewer diverged trials rank higher. Raises ValueError if
    there is no candidate, or one without trials.
    """
    if not candidates or not all(candidates.values()):
        raise ValueError("every candidate needs at least one trial, and there must be one.")
    sign = 1.0 if direction == "lower" else -1.0

    def rank(key: Key) -> tuple[int, float]:
        finite = [sign * v for v in candidates[key] if _is_finite(v)]
        return len(candidates[key]) - len(finite), max(finite, default=math.inf)

    return min(candidates, key=rank)


def worst(values: Sequence[Value], direction: Literal["lower", "higher"]) -> Value:
    """Return a candidate's worst value over its tuning seeds; None if a trial diverged."""
    finite = [v for v in values if _is_finite(v)]
    if len(finite) < len(values):
        return None
    return max(finite) if direction == "lower" else min(finite)


def expected_best(
    values: Sequence[Value], direction: Literal["lower", "higher"]
) -> list[float | None]:
    """Return the expected best of k = 1 … N tried candidates, one value each.

    E_k = Σᵢ C(i − 1, k − 1) / C(N, k) · x₍ᵢ₎ with x sorted from worst to best: the mean over
    all subsets of size k, free of bias (Dodge et al. 2019, Eq. 2, draws with replacement;
    Tang et al. 2020). None for a k at which a subset may contain only diverged trials.
    """
    finite = [v for v in values if _is_finite(v)]
    n, diverged = len(values), len(values) - len(finite)
    ordered = sorted(finite, reverse=direction == "lower")
    curve: list[float | None] = []
    for k in range(1, n + 1):
        if k <= diverged:
            curve.append(None)
            continue
        weights = (math.comb(diverged + i, k - 1) for i in range(len(ordered)))
        curve.append(sum(w * x for w, x in zip(weights, ordered, strict=True)) / math.comb(n, k))
    return curve


def _is_finite(value: Value) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
