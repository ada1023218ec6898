"""The position of a chosen value in a grid or range, and the value that extends a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.optim.values import leaves

Scale = Literal["linear", "log", "log from one"]
Side = Literal["smallest", "largest"]

MARGIN = 0.05
"""The outer part of a range, on its scale, that counts as its edge."""
DECADE = 10.0
DIGITS = 3
"""Significant digits of a value that continues or divides a grid."""


@dataclass(frozen=True)
class Edge:
    """A chosen value at the edge of the values tried; values beyond it may be better."""

    name: str
    value: float
    side: Side
    tried: list[float]

    @property
    def sentence(self) -> str:
        """The edge in words."""
        end = "upper" if self.side == "largest" else "lower"
        tried = f"{len(self.tried)} values tried, {self.tried[0]:g} to {self.tried[-1]:g}"
        return f"{self.name}={self.value:g} is at the {end} end of the {tried}"

    @property
    def advice(self) -> str:
        """The edge in words, and what it means; terminal, page and log have the same sentence."""
        return f"{self.sentence}; values beyond it may be better"


@dataclass(frozen=True)
class Axis:
    """The values of one numeric hyperparameter: a grid, or draws from a range."""

    name: str
    tried: tuple[float, ...]
    """The distinct values, ascending; at least two."""
    scale: Scale
    limits: tuple[float, float] | None = None
    """The range from which the values were drawn; None: they are a grid."""
    place: int | None = None
    """The place of the number in a tuple, from 0, counted through tuples in it; None: in none."""

    @property
    def label(self) -> str:
        """The name, with the place in a tuple: `betas[1]`."""
        return self.name if self.place is None else f"{self.name}[{self.place}]"

    def of(self, hyperparameters: Mapping[str, Any]) -> float:
        """Return the number among the hyperparameters of a point."""
        number: float = list(leaves(hyperparameters[self.name]))[self.place or 0]
        return number

    def side(self, value: float) -> Side | None:
        """Return the edge at which a value lies; None: at neither.

        The edges of a grid are its smallest and its largest value. The edges of a range are its
        outer 5 % on its scale, because one of the draws is always the outermost.
        """
        if self.limits is None:
            ends: dict[float, Side] = {self.tried[0]: "smallest", self.tried[-1]: "largest"}
            return ends.get(value)
        low, high, here = (_evenly(x, self.scale) for x in (*self.limits, value))
        share = (here - low) / (high - low)
        return "smallest" if share <= MARGIN else "largest" if share >= 1 - MARGIN else None

    def beyond(self, side: Side) -> float:
        """Return the value that continues the grid at one end.

        A linear grid continues by its last difference. A logarithmic grid of numbers with one
        significant digit that spans a decade continues with the same digits: after 0.001, 0.005,
        0.01 and 0.05 comes 0.1. Other logarithmic grids continue by their last ratio. On the scale
        of 1 − x, the same rules apply to 1 − x.
        """
        if self.scale == "linear":
            end, before = _ends(self.tried, side)
            return float(f"{end + (end - before):.12g}")
        if self.scale == "log from one":
            mirrored = tuple(_complement(x) for x in reversed(self.tried))
            return _complement(_next(mirrored, "smallest" if side == "largest" else "largest"))
        return _next(self.tried, side)

    def between(self, one: float, other: float) -> float:
        """Return the value halfway between two on the scale, with three significant digits."""
        if self.scale == "linear":
            return float(f"{(one + other) / 2:.12g}")
        if self.scale == "log from one":
            return _complement(_rounded(math.sqrt((1 - one) * (1 - other))))
        return _rounded(math.sqrt(one * other))

    def neighbours(self, value: float) -> list[float]:
        """Return the next smaller and the next larger value."""
        at = self.tried.index(value)
        return [self.tried[i] for i in (at - 1, at + 1) if 0 <= i < len(self.tried)]


def _evenly(x: float, scale: Scale) -> float:
    """Return the position of a value on its scale; it increases with the value."""
    if scale == "linear":
        return x
    return math.log(x) if scale == "log" else -math.log(1 - x)


def _next(grid: Sequence[float], side: Side) -> float:
    end, before = _ends(grid, side)
    digits = {_first_digit(x) for x in grid}
    if None not in digits and grid[-1] / grid[0] >= DECADE:
        exponents = range(math.floor(math.log10(end)) - 1, math.floor(math.log10(end)) + 2)
        candidates = [float(f"{digit}e{exponent}") for digit in digits for exponent in exponents]
        if side == "largest":
            return min(x for x in candidates if x > end)
        return max(x for x in candidates if x < end)
    value = end * (end / before)
    rounded = _rounded(value)
    # Do not round if the grid is finer than the digits.
    return rounded if (rounded > end) == (value > end) and rounded != end else value


def _ends(grid: Sequence[float], side: Side) -> tuple[float, float]:
    """Return the outermost value of one side, and the one before it."""
    return (grid[-1], grid[-2]) if side == "largest" else (grid[0], grid[1])


def _first_digit(x: float) -> int | None:
    """Return the digit of a number with one significant digit; None for other numbers."""
    digit, _, exponent = f"{x:.0e}".partition("e")
    return int(digit) if float(f"{digit}e{exponent}") == x else None


def _rounded(x: float) -> float:
    return float(f"{x:.{DIGITS}g}")


def _complement(x: float) -> float:
    """Return 1 − x without the rounding error of the subtraction."""
    return float(f"{1 - x:.12g}")
