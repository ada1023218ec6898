"""Declared hyperparameters, and how their values are read from text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from bench.optim.values import Kind, NoValue, Value, is_number, leaves, read, value_text

Scale = Literal["linear", "log", "log from one"]


class UsageError(ValueError):
    """The user's input is not valid; the message says what is allowed."""


class Unavailable(RuntimeError):
    """This machine lacks something that the user's input needs; the message says what to do."""


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter: its type, default, bounds, and the range in which it is tuned.

    `kind` is bool, int, float, str, a tuple such as tuple[float, float], one of these with
    `| None`, or object for any plain value. `low` and `high` bound every number that is accepted
    (inclusive; `open_low` excludes `low` itself). `tune` is (low, high) for search, and `scale`
    says how it is spread: evenly, on log x, or on log(1 − x). `grid` is the published or customary
    grid.
    """

    name: str
    kind: Kind
    default: Value
    meaning: str
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    choices: tuple[Value, ...] = ()
    tune: tuple[float, float] | None = None
    scale: Scale = "linear"
    grid: tuple[Value, ...] = ()

    def cast(self, given: object, owner: str) -> Value:
        """Return `given` in this hyperparameter's type; raise UsageError with what is allowed."""
        where = f"{owner}: {self.name}={given}"
        try:
            value = read(given, self.kind)
        except NoValue as error:
            raise UsageError(f"{where}{error}") from None
        if self.choices and value is not None and value not in self.choices:
            raise UsageError(f"{where}: allowed are {', '.join(map(value_text, self.choices))}.")
        if any(self._outside(each) for each in leaves(value)):
            raise UsageError(f"{where} is out of range: {self.bounds()}.")
        return value

    def bounds(self) -> str:
        """Return the allowed values as text."""
        low = "" if self.low is None else f"{'above' if self.open_low else 'at least'} {self.low:g}"
        high = "" if self.high is None else f"at most {self.high:g}"
        return " and ".join(part for part in (low, high) if part) or "any finite number is allowed"

    def _outside(self, value: Value) -> bool:
        if not is_number(value):
            return False
        below = self.low is not None and (value < self.low or (self.open_low and value == self.low))
        above = self.high is not None and value > self.high
        return below or above or not math.isfinite(value)


def cast_all(
    space: Iterable[Hyperparameter], given: Mapping[str, object], owner: str
) -> dict[str, Value]:
    """Return every hyperparameter of `space`, from `given` or by default, cast and checked."""
    known = {h.name: h for h in space}
    for name in given:
        if name not in known:
            raise UsageError(
                f"{owner} has no hyperparameter {name!r}{nearest(name, known)} "
                f"It has: {', '.join(known) or 'none'}."
            )
    return {n: h.cast(given.get(n, h.default), owner) for n, h in known.items()}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known name, or "." if none is similar."""
    lowered = {each.lower(): each for each in known}
    match = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean {lowered[match[0]]!r}?" if match else "."
