"""Choosing hyperparameters on tuning seeds, and what the effort of choosing bought."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, TypeGuard, TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)
Value = float | None
"""A final metric; None: the trial diverged."""


def best(
    candidates: Mapping[Key, Sequence[Value]],
    direction: Literal["lower", "higher"],
    *,
    log_scale: bool = True,
) -> Key:
    """Return the candidate with the best mean over its tuning seeds; the first among equals.

    The mean is of logarithms where `log_scale` (plain where any value is not positive).
    A candidate with a diverged trial ranks below all without one, and among such the one
    with fewer. ValueError where there is no candidate, or one without trials.
    """
    if not candidates or not all(candidates.values()):
        raise ValueError("every candidate needs at least one trial, and there must be one.")
    finite = {key: [v for v in values if _is_finite(v)] for key, values in candidates.items()}
    log = log_scale and all(v > 0 for values in finite.values() for v in values)
    sign = 1.0 if direction == "lower" else -1.0

    def rank(key: Key) -> tuple[int, float]:
        values = finite[key]
        diverged = len(candidates[key]) - len(values)
        if not values:
            return diverged, math.inf
        return diverged, sign * float(np.mean(np.log(values) if log else values))

    return min(candidates, key=rank)


def score(values: Sequence[Value], log_scale: bool) -> Value:
    """Return a candidate's mean over its tuning seeds, geometric where `log_scale`.

    None where a trial diverged; plain where a value is not positive.
    """
    finite = [v for v in values if _is_finite(v)]
    if len(finite) < len(values):
        return None
    if log_scale and min(finite) > 0:
        return float(np.exp(np.mean(np.log(finite))))
    return float(np.mean(finite))


def expected_best(
    values: Sequence[Value], direction: Literal["lower", "higher"]
) -> list[float | None]:
    """Return the expected best of k = 1 … N tried candidates, one value each.

    E_k = Σᵢ C(i − 1, k − 1) / C(N, k) · x₍ᵢ₎ with x sorted from worst to best: the mean over
    all subsets of size k, free of bias (Dodge et al. 2019, Eq. 2, draws with replacement;
    Tang et al. 2020). None where a subset may hold nothing but diverged trials.
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
