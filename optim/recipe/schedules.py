"""Factors of the learning rate and of the weight decay, by the place in a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

RateShape = Literal["constant", "linear", "cosine", "wsd", "inverse_sqrt", "inverse"]
DecayShape = Literal["constant", "linear", "cosine"]

ANYTIME: tuple[RateShape, ...] = ("constant", "inverse_sqrt", "inverse")
"""Shapes that do not depend on where the run ends."""


@dataclass(frozen=True)
class Place:
    """The place of an update in a run."""

    t: int
    """The number of updates before it."""
    share: float
    """The share of the budget spent before it: t / updates where their number is known."""
    updates: int | None
    """The updates of the whole run, if their number is known."""


def count(length: float, updates: int | None) -> float:
    """Return a length in updates; it is written as a share of all (below 1) or as their number.

    A share of a run whose updates are not known has no length: NaN.

    >>> count(0.1, 1000), count(50.0, None)
    (100, 50)
    """
    if length == 0 or length >= 1:
        return int(length)
    return math.nan if updates is None else max(1, round(length * updates))


@dataclass(frozen=True)
class RateSchedule:
    """The factor of the learning rate: a linear warm-up over W updates, and then a shape.

    In the warm-up it is (t + 1) / W. Behind it, u ∈ [0, 1] is the share of what is left, and

        constant        1
        linear          1 − (1 − floor) u
        cosine          floor + (1 − floor) (1 + cos πu) / 2
        wsd             1, and in the last updates, C of them, linearly from 1 to floor
        inverse_sqrt    √(W / (t + 1)), not below floor; W = 1 without a warm-up
        inverse         W / (t + 1), not below floor
    """

    shape: RateShape = "constant"
    warmup: float = 0.0
    """A share of the updates (below 1) or their number."""
    cooldown: float = 0.2
    """That of wsd, likewise."""
    floor: float = 0.0

    def warmup_updates(self, updates: int | None) -> float:
        """Return W; NaN for a share of an unknown number."""
        return count(self.warmup, updates)

    def anytime_updates(self, updates: int | None) -> float:
        """Return how many first updates have factors that do not depend on where the run ends."""
        if 0 < self.warmup < 1:
            return 0
        if self.shape in ANYTIME:
            return math.inf
        if self.shape == "wsd" and updates is not None:
            return max(0, updates - count(self.cooldown, updates))
        return min(self.warmup, updates or 0)

    def at(self, place: Place, warmed: float) -> float:
        """Return the factor; `warmed` is the share of the budget spent in the warm-up.

        >>> half = RateSchedule("linear", warmup=2)
        >>> [round(half.at(Place(t, t / 10, 10), 0.2), 3) for t in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
        """
        w = self.warmup_updates(place.updates)
        if place.t < w:
            return (place.t + 1) / w
        if self.shape == "inverse_sqrt":
            return max(self.floor, math.sqrt(max(w, 1) / (place.t + 1)))
        if self.shape == "inverse":
            return max(self.floor, max(w, 1) / (place.t + 1))
        return falling(self.shape, self._progress(place, warmed), self.floor)

    def _progress(self, place: Place, warmed: float) -> float:
        """Return u: the share of what the shape has done."""
        begin = warmed
        if self.shape == "wsd":
            whole = self.cooldown >= 1 and place.updates is not None
            begin = 1 - (self.cooldown / (place.updates or 1) if whole else self.cooldown)
        left = 1 - begin
        return min(1.0, max(0.0, (place.share - begin) / left)) if left > 0 else 1.0


@dataclass(frozen=True)
class DecaySchedule:
    """The factor of the weight decay: from 1 to `end` over the whole run, linearly or as a cosine.

    >>> DecaySchedule("linear", 3.0).at(Place(5, 0.5, 10))
    2.0
    """

    shape: DecayShape = "constant"
    end: float = 0.0

    def at(self, place: Place) -> float:
        """Return the factor."""
        return falling(self.shape, min(1.0, place.share), self.end)


def falling(shape: str, u: float, end: float) -> float:
    """Return the way from 1 at u = 0 to `end` at u = 1; linear is the shape of wsd too."""
    if shape == "constant":
        return 1.0
    if shape == "cosine":
        return end + (1 - end) * (1 + math.cos(math.pi * u)) / 2
    return 1 - (1 - end) * u
