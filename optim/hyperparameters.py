"""Declared hyperparameters, and how their values are read from text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Value = int | float | str | bool
Scale = Literal["linear", "log", "log from one"]


class UsageError(ValueError):
    """The user's input is not valid; the message says what is allowed."""


class Unavailable(RuntimeError):
    """This machine lacks something that the user's input needs; the message says what to do."""


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter: its type, default, bounds, and the range in which it is tuned.

    `low` and `high` bound what is accepted (inclusive; `open_low` excludes `low`
    itself). `tune` is (low, high) for search, and `scale` says how it is spread:
    evenly, on log x, or on log(1 − x). `grid` is the published or customary grid.
    """

    name: str
    kind: type
    default: Value
    meaning: str
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    choices: tuple[str, ...] = ()
    tune: tuple[float, float] | None = None
    scale: Scale = "linear"
    grid: tuple[Value, ...] = ()

    def cast(self, given: object, owner: str) -> Value:
        """Return `given` in this hyperparameter's type; raise UsageError with what is allowed."""
        where = f"{owner}: {self.name}={given}"
        value = self._convert(given, where)
        if self.choices and value not in self.choices:
            raise UsageError(f"{where}: allowed are {', '.join(self.choices)}.")
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value) or self._outside(value):
                raise UsageError(f"{where} is out of range: {self.bounds()}.")
        return value

    def bounds(self) -> str:
        """Return the allowed values as text."""
        low = "" if self.low is None else f"{'above' if self.open_low else 'at least'} {self.low:g}"
        high = "" if self.high is None else f"at most {self.high:g}"
        return " and ".join(part for part in (low, high) if part) or "any finite number is allowed"

    def _convert(self, given: object, where: str) -> Value:
        text = str(given).strip()
        if self.kind is bool:
            if text.lower() in ("true", "1", "yes", "on"):
                return True
            if text.lower() in ("false", "0", "no", "off"):
                return False
            raise UsageError(f"{where}: allowed are true and false.")
        if self.kind is str:
            return text
        try:
            number = float(text)
        except ValueError:
            if ".." in text:
                raise UsageError(
                    f"{where} is a range, from which only `bench compare --tune N` draws values. "
                    "Write one number here."
                ) from None
            raise UsageError(f"{where} is not a number.") from None
        if self.kind is int:
            if not math.isfinite(number) or number != int(number):
                raise UsageError(f"{where} is not a whole number.")
            return int(number)
        return number

    def _outside(self, value: float) -> bool:
        below = self.low is not None and (value < self.low or (self.open_low and value == self.low))
        return below or (self.high is not None and value > self.high)


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
