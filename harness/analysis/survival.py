"""Survival analysis: times to an event that some trials have not reached at their end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.harness.analysis.sample import Floats

_HALF = 0.5 + 1e-9
"""One half, with a tolerance for rounding in the Kaplan–Meier product."""


@dataclass(frozen=True)
class Survival:
    """A step function S: the share of trials without the event yet; 1 before the first step."""

    times: Floats
    """Ascending times at which S takes a new value."""
    shares: Floats

    @property
    def median(self) -> float | None:
        """The first time at which S ≤ ½; None if S stays above."""
        there = self.times[self.shares <= _HALF]
        return float(there[0]) if len(there) else None

    def restricted_mean(self, horizon: float) -> float:
        """Return ∫₀^τ S(t) dt, the mean of min(T, τ) (Royston & Parmar 2013), τ the horizon.

        τ is in the unit of the times. It must not exceed the end of the shortest trial, so that S
        is known up to τ.

        >>> kaplan_meier([1, 3], [True, False]).restricted_mean(3)
        2.0
        """
        inside = self.times < horizon
        steps = np.concatenate([[0.0], self.times[inside], [horizon]])
        return float(np.diff(steps) @ np.concatenate([[1.0], self.shares[inside]]))


def kaplan_meier(times: ArrayLike, reached: ArrayLike) -> Survival:
    """Return the product-limit estimate S(t) = Π (1 − dᵢ/nᵢ) over tᵢ ≤ t (Kaplan & Meier 1958).

    `times` is (n,) and not negative: the time of the event if `reached`, else the end of the trial,
    which is infinite for a trial that would never have the event. At tᵢ, dᵢ of the nᵢ trials that
    are still without the event and have not ended have it. Without trials, S is 1 everywhere.
    """
    x, got = np.asarray(times, dtype=np.float64), np.asarray(reached, dtype=bool)
    if not len(x):
        return Survival(np.empty(0), np.empty(0))
    # scipy takes no infinite times. An end at the last finite time counts as later than all.
    x = np.minimum(x, np.max(x, initial=0.0, where=np.isfinite(x)))
    found = stats.ecdf(stats.CensoredData.right_censored(x, ~got)).sf
    return Survival(found.quantiles, found.probabilities)
