"""Momentum schedules of Sutskever et al. 2013: μ as a function of the update t = 0, 1, …"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """μ_t, the momentum of update t."""

    def __call__(self, t: int) -> float:
        """Return μ_t."""


@dataclass(frozen=True)
class Rising:
    """μ_t = min(1 − 2^(−1 − log₂(⌊t/period⌋ + 1)), μ_max)   (Eq. 5, where the period is 250).

    >>> [round(Rising(0.9)(t), 4) for t in (0, 250, 500, 1000)]
    [0.5, 0.75, 0.8333, 0.9]
    """

    mu_max: float
    period: int = 250

    def __call__(self, t: int) -> float:
        """Return μ_t."""
        return min(1 - 0.5 / (t // self.period + 1), self.mu_max)


@dataclass(frozen=True)
class Constant:
    """μ_t = 0.9, or μ_max where that is smaller, for `warmup` updates, then μ_max (sec. 4)."""

    mu_max: float
    warmup: int = 1000

    def __call__(self, t: int) -> float:
        """Return μ_t."""
        return min(0.9, self.mu_max) if t < self.warmup else self.mu_max


@dataclass
class Nesterov1983:
    """μ_t = (a_t − 1)/a_{t+1} with a_0 = 1, a_{t+1} = (1 + √(4a_t² + 1))/2, at most μ_max (A.1).

    >>> schedule = Nesterov1983(1.0)
    >>> schedule(0), abs(schedule(1000) - (1 - 3 / 1005)) < 1e-4
    (0.0, True)
    """

    mu_max: float

    def __post_init__(self) -> None:
        self._a = [1.0]

    def __call__(self, t: int) -> float:
        """Return μ_t; the sequence a is kept, so that steps in order cost nothing."""
        while len(self._a) < t + 2:
            self._a.append((1 + math.sqrt(4 * self._a[-1] ** 2 + 1)) / 2)
        return min((self._a[t] - 1) / self._a[t + 1], self.mu_max)


@dataclass(frozen=True)
class FinalPhase:
    """`before`, but μ = min(final_mu, before) in the last `length` updates of a run (sec. 3)."""

    before: Schedule
    updates: int
    length: int
    final_mu: float = 0.9

    def __call__(self, t: int) -> float:
        """Return μ_t."""
        mu = self.before(t)
        return min(self.final_mu, mu) if t >= self.updates - self.length else mu

    @property
    def first_lowered(self) -> float:
        """The first update of the run whose μ it lowers; ∞ if it lowers none."""
        last = range(max(0, self.updates - self.length), self.updates)
        return next((t for t in last if self.before(t) > self.final_mu), math.inf)
