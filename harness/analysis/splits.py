"""Splits of a sample in two, and the means of both sides, from exact sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.harness.analysis.sample import Floats, Sample

EXACT_UP_TO = 20
"""Up to this number of seeds, all splits are counted; above, a fixed sample of them."""

Integers = NDArray[np.int64]
_SAMPLED = 65_536
_BITS = 32
"""Bits of a limb: the sum of up to 2³¹ limbs fits into 64 bits."""


@lru_cache(maxsize=1)
def split_means(sample: Sample) -> tuple[Floats, Floats]:
    """Return the smaller and the larger of the means of A and B, for every split in two.

    A split and its mirror image are one; the split with an empty side gives (−inf, inf). A sum is
    exact until it is rounded once. It is zero if it is not larger than the rounding of its own
    terms, so that ties count as ties.
    """
    n = len(sample)
    inside = _subset_sums if n <= EXACT_UP_TO else _sampled_sums
    counts = inside(np.ones(n, dtype=np.int64))
    proper = (counts > 0) & (counts < n)
    sides = _means(sample.exact, inside, proper)
    for means, blur in zip(sides, _means(sample.rounding, inside, proper), strict=True):
        means[np.abs(means) <= blur] = 0.0
    whole = np.full(len(proper) - int(proper.sum()), np.inf)
    lower = np.concatenate([-whole, np.minimum(*sides)])
    upper = np.concatenate([whole, np.maximum(*sides)])
    return lower, upper


def _means(
    numbers: Sequence[Fraction],
    inside: Callable[[Integers], Integers],
    proper: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """Return the means over A and over B of every proper split, each within 3 ulp.

    The numbers are whole multiples of a common unit. Their sums are taken limb by limb in whole
    numbers; the limbs of a sum are then added up from the highest to the lowest. Once the sum so
    far is rounded at all, the lower limbs are too small to cancel it.
    """
    unit = math.lcm(*(number.denominator for number in numbers))
    integers = [int(number * unit) for number in numbers]
    top = max(max(integer.bit_length() for integer in integers) - 1, 0)
    counts = inside(np.ones(len(numbers), dtype=np.int64))[proper]
    means = (np.zeros(len(counts)), np.zeros(len(counts)))
    for low in reversed(range(0, top + 1, _BITS)):
        limbs = np.array([_limb(integer, low) for integer in integers], dtype=np.int64)
        of_a = inside(limbs)[proper]
        for total, of_one in zip(means, (of_a, limbs.sum() - of_a), strict=True):
            total += np.ldexp(of_one.astype(np.float64), low - top)
    size = float(Fraction(2**top, unit))
    for total, count in zip(means, (counts, len(numbers) - counts), strict=True):
        total /= count
        total *= size
    return means


def _limb(integer: int, low: int) -> int:
    limb = abs(integer) >> low & (1 << _BITS) - 1
    return limb if integer > 0 else -limb


def _subset_sums(numbers: Integers) -> Integers:
    """Return the sums over all sets with the first number: their mirror images are left out."""
    sums = numbers[:1]
    for number in numbers[1:]:
        sums = np.concatenate([sums, sums + number])
    return sums


def _sampled_sums(numbers: Integers) -> Integers:
    sums = np.zeros(_SAMPLED, dtype=np.int64)
    for number, has in zip(numbers, _sampled_sides(len(numbers)), strict=True):
        np.add(sums, number, out=sums, where=has)
    return sums


@lru_cache(maxsize=1)
def _sampled_sides(n: int) -> NDArray[np.bool_]:
    """Return which seeds lie in A, (n, 65,536); in the first assignment, all of them."""
    inside = np.random.default_rng(0).integers(0, 2, size=(_SAMPLED, n), dtype=np.int8)
    inside[0] = 1
    return np.ascontiguousarray(inside.T.astype(np.bool_))
