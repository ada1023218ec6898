"""Values that a problem's brackets set, read from text and refused in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from bench.models.initialization import INITIALIZATIONS, Initialization

MOST_INPUTS = 100_000


def known(problem: str, given: Mapping[str, object], names: Iterable[str]) -> None:
    """Refuse what the problem has no parameter for; ValueError says which there are."""
    allowed = list(names)
    for key in given:
        if key not in allowed:
            raise ValueError(f"{problem} has no parameter {key}; it has {', '.join(allowed)}")


def whole(name: str, given: object, low: int, high: int) -> int:
    """Read a whole number from `low` to `high`."""
    try:
        value = int(str(given))
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ValueError(f"{name}={given}: a whole number from {low} to {high:,} is allowed")
    return value


def positive(name: str, given: object) -> float:
    """Read a finite number greater than 0."""
    try:
        value = float(str(given))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={given}: a number greater than 0 is allowed")
    return value


def switch(name: str, given: object) -> bool:
    """Read true or false."""
    text = str(given).lower()
    if text not in ("true", "false"):
        raise ValueError(f"{name}={given}: true or false is allowed")
    return text == "true"


def choice(name: str, given: object, allowed: Iterable[str]) -> str:
    """Read one of the words that are allowed."""
    text, words = str(given), list(allowed)
    if text not in words:
        raise ValueError(f"{name}={given}: allowed are {', '.join(words)}")
    return text


def initialization(
    name: str, given: Mapping[str, object]
) -> tuple[Initialization, dict[str, float]]:
    """Return the part called `name` with what `given` sets of `scale` and `fan_in`.

    Beside it stand the values that are not its defaults: two ways of writing a start are one
    protocol. ValueError for a value that the part does not take.
    """
    make, usual = INITIALIZATIONS[name]
    read: dict[str, float] = {}
    for key, value in given.items():
        if value is None:
            continue
        if key not in usual:
            raise ValueError(f"{key}={value}: init={name} takes {' and '.join(usual)}")
        read[key] = whole(key, value, 1, MOST_INPUTS) if key == "fan_in" else positive(key, value)
    return make(**read), {key: value for key, value in read.items() if value != usual[key]}
