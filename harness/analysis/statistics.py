"""Tests and intervals for differences that are paired by seed.

docs/statistics.md has the theory and the interpretation of each value.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from bench.harness.analysis.sample import Floats, Sample
from bench.harness.analysis.splits import split_means

IntervalKind = Literal["permutation", "t"]
Values = Sample | ArrayLike
"""A sample; plain numbers, (n,), are read as results."""

T_BELOW = 6
"""Below this number of seeds, the permutation interval has infinite ends at 0.05."""
POWER = 0.8
"""The probability of a verdict that defines `smallest_detectable` and `seeds_to_decide`."""
MAX_SEEDS = 1_000
"""More seeds than this are not counted by `seeds_to_decide`."""


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval for a mean, and its kind."""

    low: float
    high: float
    kind: IntervalKind

    def within(self, lowest: float, highest: float) -> Interval:
        """Return the part of the interval in which the mean can lie."""
        return Interval(max(self.low, lowest), min(self.high, highest), self.kind)


def sign_flip_p(differences: Values) -> float:
    """Return the two-sided p of the paired permutation test of a mean of zero.

    p = #{s ∈ {−1, 1}ⁿ : |Σ sᵢ dᵢ| ≥ |Σ dᵢ|} / 2ⁿ, exact up to 20 differences; above, over
    65,536 assignments drawn with a fixed seed, the observed one among them (Phipson &
    Smyth 2010). `differences` is (n,), finite, n ≥ 1. Sums that are equal except for the rounding
    of their own terms are equal.

    >>> sign_flip_p([1, 2, 3, 4, 5, 6])
    0.03125
    """
    lower, upper = split_means(_sample(differences))
    return float(np.mean((lower <= 0) & (upper >= 0)))


def permutation_interval(differences: Values, alpha: float = 0.05) -> Interval:
    """Return every mean θ for which `sign_flip_p(d − θ)` > alpha; it excludes 0 iff p ≤ alpha.

    Flipping the signs of a set A of the seeds, with B the others, gives |Σ s(d − θ)| ≥
    |Σ (d − θ)| exactly where θ lies between the means of A and B (Hartigan 1969). Both
    ends are therefore order statistics of sub-sample means; infinite where n is too small.
    """
    lower, upper = split_means(_sample(differences))
    passed = math.floor(alpha * len(lower) + 1e-9)
    low = np.partition(lower, passed)[passed]
    high = -np.partition(-upper, passed)[passed]
    return Interval(float(low), float(high), "permutation")


def t_interval(values: Values, alpha: float = 0.05) -> Interval:
    """Return Student's interval for the mean of (n,) values; infinite ends for n = 1."""
    x = _sample(values)
    if len(x) < 2:
        return Interval(-math.inf, math.inf, "t")
    half = float(stats.t.isf(alpha / 2, len(x) - 1)) * x.spread / math.sqrt(len(x))
    return Interval(x.mean - half, x.mean + half, "t")


def interval(differences: Values, alpha: float = 0.05) -> Interval:
    """Return Student's interval below 6 differences, the permutation interval from there on."""
    x = _sample(differences)
    return t_interval(x, alpha) if len(x) < T_BELOW else permutation_interval(x, alpha)


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p, in the given order (Holm 1979).

    p̃₍ᵢ₎ = max over j ≤ i of min(1, (m − j + 1) p₍ⱼ₎).

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    adjusted = [1.0] * len(p)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def seeds_needed(pairs: int, alpha: float = 0.05) -> int:
    """Return the fewest seeds that can reach p ≤ alpha after Holm's correction for `pairs` pairs.

    The smallest p of n seeds is 2 / 2ⁿ, and Holm's first step multiplies it by `pairs`.

    >>> [seeds_needed(pairs) for pairs in (1, 3, 6)]
    [6, 7, 8]
    """
    n = 1
    while pairs * 2.0 ** (1 - n) > alpha:
        n += 1
    return n


def smallest_detectable(differences: Values, alpha: float = 0.05) -> float | None:
    """Return the smallest true mean difference that n such seeds detect with power 0.8.

    It is the δ at which a two-sided paired t test at `alpha` rejects in δ's direction with
    probability 0.8: P(T > t₁₋α/₂) = 0.8 for T ~ noncentral t(n − 1, δ√n / s), with s the
    observed standard deviation; an approximation to the permutation test's power. None
    for n = 1.
    """
    x = _sample(differences)
    n = len(x)
    if n < 2:
        return None
    critical = stats.t.isf(alpha / 2, n - 1)
    noncentrality = special.nctdtrinc(n - 1, 1 - POWER, critical)
    return float(noncentrality) * x.spread / math.sqrt(n)


def seeds_to_decide(
    differences: Values, margin: float, pairs: int = 1, alpha: float = 0.05
) -> int | None:
    """Return the number of seeds that would decide, given the observed mean and deviation.

    It is the smallest n above the present one, at least `seeds_needed`, at which one of two
    verdicts is reached with probability 0.8, by paired t tests (see `smallest_detectable`):
    "better", P(T > t₁₋α/₂) with noncentrality |d̄|√n / s, at alpha / pairs; or "equivalent", two
    one-sided tests at alpha, at least P(T₋ > t₁₋α) + P(T₊ > t₁₋α) − 1 with noncentralities
    (margin ∓ |d̄|)√n / s, for |d̄| < margin. `margin` is in the unit of the differences.
    None for a single difference, which has no deviation, and if 1,000 seeds are too few.

    >>> seeds_to_decide([1, -1, 2, 0, 1, -1], margin=0.1)
    106
    """
    x = _sample(differences)
    if len(x) < 2:
        return None
    first = max(seeds_needed(pairs, alpha), len(x) + 1)
    effect, spread = abs(x.mean), x.spread
    if spread == 0:
        return first

    def power(n: int) -> float:
        better = _power(effect / spread, n, alpha / pairs / 2)
        if effect >= margin:
            return better
        nearer = _power((margin - effect) / spread, n, alpha)
        farther = _power((margin + effect) / spread, n, alpha)
        return max(better, nearer + farther - 1)

    found = first + bisect_left(range(first, MAX_SEEDS + 1), POWER, key=power)
    return found if found <= MAX_SEEDS else None


def signed_ranks(differences: ArrayLike, rounding: ArrayLike = 0.0) -> Floats:
    """Return sign(dᵢ) · rank(|dᵢ|), ties at their mean rank; ±inf ranks above every finite.

    Differences that are equal except for their `rounding` are ties.

    >>> signed_ranks([-1.0, 2.0, np.inf, -np.inf, 0.0]).tolist()
    [-2.0, 3.0, 4.5, -4.5, 0.0]
    """
    d = np.asarray(differences, dtype=np.float64)
    size, by = np.abs(d), np.broadcast_to(np.asarray(rounding, dtype=np.float64), d.shape)
    order = np.argsort(size)
    low, high = (size - by)[order], (size + by)[order]
    steps = np.zeros(len(d), dtype=np.int64)
    steps[1:] = low[1:] > np.maximum.accumulate(high)[:-1]
    levels = np.empty_like(steps)
    levels[order] = np.cumsum(steps)
    ranks: Floats = np.sign(d) * stats.rankdata(levels)
    return ranks


def _power(effect: float, n: int, level: float) -> float:
    """Return the probability that a one-sided t test detects an effect in standard deviations."""
    critical = special.stdtrit(n - 1, 1 - level)
    # Above a noncentrality of about 40, scipy sometimes gives NaN; the probability is 1 from 30 on.
    return 1 - float(special.nctdtr(n - 1, min(effect * math.sqrt(n), 30), critical))


def _sample(values: Values) -> Sample:
    return values if isinstance(values, Sample) else Sample.of(values)
