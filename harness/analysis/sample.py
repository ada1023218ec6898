"""Samples of results: exact numbers, each with what rounding may have done to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DIGITS = 15
"""A decimal number of up to this many digits is recovered from the float that is nearest to it."""
ULPS = 4
"""Units in the last place by which rounding may have moved any other result."""
_ZERO = Fraction(0)


@dataclass(frozen=True)
class Sample:
    """One number for each seed, and how far rounding may have moved it.

    A result that is written with up to 15 digits is this decimal number exactly: 10000.01 is
    1000001/100, although the float that holds it is not. Any other result is known to within 4
    units in its own last place. So the rounding of one large result blurs no other result.
    """

    exact: tuple[Fraction, ...]
    rounding: tuple[Fraction, ...]

    @classmethod
    def of(cls, values: ArrayLike) -> Sample:
        """Return (n,) results; ValueError if there is none or one is not finite."""
        return cls.combined([[value] for value in _finite(values)], [1.0])

    @classmethod
    def differences(cls, x: ArrayLike, y: ArrayLike, logarithmic: bool = False) -> Sample:
        """Return xᵢ − yᵢ, or log xᵢ − log yᵢ.

        Results that differ by their rounding only have the difference 0.

        >>> Sample.differences([10000.01, 0.1 + 0.2], [10000.0, 0.3]).exact
        (Fraction(1, 100), Fraction(0, 1))
        """
        return cls.combined(zip(_finite(x), _finite(y), strict=True), [1.0, -1.0], logarithmic)

    @classmethod
    def combined(
        cls, rows: Iterable[Sequence[float]], weights: Sequence[float], logarithmic: bool = False
    ) -> Sample:
        """Return Σⱼ wⱼ xᵢⱼ, or of logarithms, for every row xᵢ of results.

        Where `logarithmic`, all results must be positive. The rounding of log x is that of x
        relative to it, and that of the logarithm.
        """
        table = [list(row) for row in rows]
        if logarithmic:
            found = [_of_logarithms(row, weights) for row in np.log(table).tolist()]
        else:
            found = [_of_results(row, weights) for row in table]
        # What may be rounding alone is zero, and then exactly so.
        kept = [(x, by) if abs(x) > by else (_ZERO, _ZERO) for x, by in found]
        return cls(tuple(x for x, _ in kept), tuple(by for _, by in kept))

    def __len__(self) -> int:
        return len(self.exact)

    @cached_property
    def values(self) -> Floats:
        """The numbers as floats, (n,)."""
        return np.array([float(x) for x in self.exact])

    @cached_property
    def mean(self) -> float:
        """The mean, rounded once."""
        return float(sum(self.exact, _ZERO) / len(self))

    @cached_property
    def blur(self) -> float:
        """How far rounding may have moved a mean of some of the numbers, at most."""
        return float(max(self.rounding))

    @cached_property
    def is_constant(self) -> bool:
        """Whether all numbers are equal, except for their rounding."""
        bounds = zip(self.exact, self.rounding, strict=True)
        lows, highs = zip(*((x - by, x + by) for x, by in bounds), strict=True)
        return bool(max(lows) <= min(highs))

    @cached_property
    def spread(self) -> float:
        """The standard deviation √(Σ (xᵢ − x̄)² / (n − 1)), n ≥ 2; 0 if all are equal."""
        if self.is_constant:
            return 0.0
        mean = sum(self.exact, _ZERO) / len(self)
        # Of numbers whose squares would overflow, too.
        return math.hypot(*(float(x - mean) for x in self.exact)) / math.sqrt(len(self) - 1)


def rounding_of(value: float) -> float:
    """Return how far rounding may have moved a result.

    >>> rounding_of(0.3), rounding_of(0.1 + 0.2) < 1e-15
    (0.0, True)
    """
    return float(_read(value)[1])


def _of_results(row: Sequence[float], weights: Sequence[float]) -> tuple[Fraction, Fraction]:
    total = by = _ZERO
    for x, weight in zip(row, map(Fraction, weights), strict=True):
        value, rounding = _read(x)
        total += weight * value
        by += abs(weight) * rounding
    return total, by


def _of_logarithms(row: Sequence[float], weights: Sequence[float]) -> tuple[Fraction, Fraction]:
    terms = [weight * log for log, weight in zip(row, weights, strict=True)]
    size = math.fsum(abs(weight) * (1 + abs(log)) for log, weight in zip(row, weights, strict=True))
    # A power of two, because it has no digits that would make exact sums longer.
    by = math.ldexp(ULPS, math.frexp(size * math.ulp(1.0))[1])
    return Fraction(math.fsum(terms)), Fraction(by)


def _read(value: float) -> tuple[Fraction, Fraction]:
    """Return a result as an exact number, and how far rounding may have moved it."""
    text = repr(float(value))
    if len(Decimal(text).normalize().as_tuple().digits) <= DIGITS:
        return Fraction(text), _ZERO
    return Fraction(value), ULPS * Fraction(math.ulp(value))


def _finite(values: ArrayLike) -> Sequence[float]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError("one or more finite values in a row are needed.")
    found: list[float] = x.tolist()
    return found
