"""Ranges to tune in: those that a method declares, and those that a person writes in brackets.

A range stands in the place of a number, `nag[lr=0.001..0.1]`, or of a number in a tuple,
`torch.optim.Adam[betas=(0.9,0.9..0.999)]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.harness.analysis.grids import Scale
from bench.harness.core.errors import Usage
from bench.optim.hyperparameters import Hyperparameter
from bench.optim.registry import class_of
from bench.optim.text import ParsedEntry
from bench.optim.values import Value, is_number, leaves, takes_words, without_none

DOTS = ".."
PUNCTUATION = ("(", ")", ",")
HALF = 0.5
"""A number from here to below 1 is taken for a momentum or another weight of the past."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, and how they are spread."""

    low: float
    high: float
    scale: Scale
    is_whole: bool = False

    def at(self, u: float) -> str:
        """Return the number at u ∈ [0, 1) as text, with three significant digits."""
        low, high = self.low, self.high
        if self.scale == "log":
            value = low * (high / low) ** u
        elif self.scale == "log from one":
            value = 1 - (1 - low) * ((1 - high) / (1 - low)) ** u
            value = 1 - float(f"{1 - value:.3g}")
        else:
            value = low + (high - low) * u
        if self.is_whole:
            return str(min(max(round(value), math.ceil(low)), math.floor(high)))
        if self.scale != "log from one":
            value = float(f"{value:.3g}")
        # Rounding to three digits may leave the range.
        return f"{min(max(value, low), high):.12g}"


@dataclass(frozen=True)
class Tuned:
    """A hyperparameter whose value is drawn: one number, or some of the numbers in a tuple."""

    name: str
    pieces: tuple[str | Range, ...]
    """The text of its value, with ranges where numbers are drawn."""

    @property
    def ranges(self) -> list[Range]:
        """The ranges, in order; each is one dimension of the search."""
        return [piece for piece in self.pieces if isinstance(piece, Range)]

    @property
    def by_place(self) -> dict[int, Range]:
        """Each range by its place among the numbers and words of the value."""
        found = [self.pieces[i] for i in _places(self.pieces)]
        return {place: each for place, each in enumerate(found) if isinstance(each, Range)}

    def text(self, point: Iterator[float]) -> str:
        """Return the value at a point of [0, 1)ⁿ; each range takes one of its coordinates."""
        return "".join(
            piece if isinstance(piece, str) else piece.at(next(point)) for piece in self.pieces
        )


def tuned(written: ParsedEntry) -> list[Tuned]:
    """Return what `--tune N` draws for an entry: ranges that it writes, else that are declared.

    What an entry gives a value, or a grid, stays as it is written.
    """
    given, found = written_ranges(written), []
    for h in class_of(written).space:
        if h.name in given:
            found.append(given[h.name])
        elif h.tune is not None and h.name not in written.values:
            low, high = h.tune
            found.append(Tuned(h.name, (Range(low, high, h.scale, h.kind is int),)))
    return found


def written_ranges(written: ParsedEntry) -> dict[str, Tuned]:
    """Return the hyperparameters with a written range; Usage for one that cannot be searched."""
    space = {h.name: h for h in class_of(written).space}
    found = {}
    for name, values in written.values.items():
        # An unknown name is refused where methods are made.
        if name in space and any(
            _is_range(space[name], piece) for v in values for piece in _pieces(v)
        ):
            where = f"{written.name}: {name}={'|'.join(values)}"
            if len(values) > 1:
                raise Usage(f"{where}: write either one range, LOW..HIGH, or values, a|b|c.")
            found[name] = _read(space[name], values[0], written.name, where)
    return found


def _read(h: Hyperparameter, text: str, owner: str, where: str) -> Tuned:
    pieces = _pieces(text)
    ends = [_ends(h, piece, where) for piece in pieces]
    # The ends are checked as values are.
    lows, highs = (list(leaves(h.cast("".join(side), owner))) for side in zip(*ends, strict=True))
    usual = list(leaves(h.default))
    read: list[str | Range] = [*pieces]
    for place, i in enumerate(_places(pieces)):
        if _is_range(h, pieces[i]):
            by_default = usual[place] if len(usual) == len(lows) else None
            read[i] = _range(h, lows[place], highs[place], by_default, where)
    return Tuned(h.name, tuple(read))


def _pieces(text: str) -> list[str]:
    """Return the numbers and words of a value, and the parentheses and commas around them."""
    return [piece.strip() for piece in re.split(r"([(),])", text) if piece.strip()]


def _places(pieces: Sequence[str | Range]) -> list[int]:
    """Return where numbers, words and ranges are among the pieces of a value."""
    return [i for i, piece in enumerate(pieces) if piece not in PUNCTUATION]


def _is_range(h: Hyperparameter, text: str) -> bool:
    """Return whether a text is meant as a range: a word may have dots in it."""
    if DOTS not in text or without_none(h.kind) is str:
        return False
    return not takes_words(h.kind) or all(map(_is_number_text, text.split(DOTS)))


def _ends(h: Hyperparameter, text: str, where: str) -> tuple[str, str]:
    """Return both ends of a range, or what is no range twice."""
    if not _is_range(h, text):
        return text, text
    low, _, high = (end.strip() for end in text.partition(DOTS))
    if not (low and high) or DOTS in high:
        example = "(0.9,0.9..0.999)" if isinstance(h.default, tuple) else "0.001..0.1"
        raise Usage(f"{where}: write a range as LOW..HIGH, for example {h.name}={example}.")
    return low, high


def _range(h: Hyperparameter, low: Value, high: Value, usual: Value, where: str) -> Range:
    """Return the range between two ends; `usual` is the default in its place."""
    if not (is_number(low) and is_number(high)):
        raise Usage(f"{where}: the ends of a range must be numbers.")
    if not low < high:
        raise Usage(f"{where}: the first end of a range must be below the second.")
    scale = _scale(h, low, high, usual)
    if scale == "log" and low <= 0:
        raise Usage(
            f"{where}: a range is searched evenly over the logarithm, so both its ends must be "
            "above 0. Begin it above 0, or write values, a|b|c."
        )
    if scale == "log" and math.isinf(high / low):
        raise Usage(f"{where}: the range is too wide. Write ends that are nearer to each other.")
    return Range(float(low), float(high), scale, isinstance(low, int) and isinstance(high, int))


def _scale(h: Hyperparameter, low: float, high: float, usual: Value) -> Scale:
    """Return log(1 − x) for what weighs the past, such as a momentum or a beta; else log x.

    That is what the method declares. Where it declares nothing, a number below 1 is a weight if
    the range, or its default value, begins at a half.
    """
    is_weight = low >= HALF or (is_number(usual) and HALF <= usual < 1)
    from_one = h.scale == "log from one" or (h.scale == "linear" and is_weight)
    return "log from one" if from_one and high < 1 else "log"


def _is_number_text(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
