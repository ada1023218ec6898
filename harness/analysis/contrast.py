"""A pre-registered statement about results, decided: a contrast of arms against a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.harness.analysis import statistics

Decision = Literal["holds", "does not hold", "cannot tell"]
Values = Mapping[str, Mapping[int, float | None]]
"""Arm → seed → value; None: the trial diverged."""

ALPHA = 0.05


@dataclass(frozen=True)
class Statement:
    """The mean over seeds of Σ w·value (of logarithms where `scale` is "log") is on one side.

    With weights 1 and −1 on the logarithm it is the ratio of two arms' geometric means; with
    1, −1, −1 and 1 it is a ratio of such ratios; with the one weight 1 it is an arm's mean.
    """

    says: str
    """The statement in words."""
    weights: Mapping[str, float]
    """Arm → w; they sum to 0, or to 1 where the statement is about a single arm."""
    scale: Literal["log", "plain"]
    side: Literal["above", "below"]
    threshold: float
    """A factor where `scale` is "log", else in the values' unit."""


@dataclass(frozen=True)
class Decided:
    """What the trials say of a statement; estimate and interval are in the threshold's unit."""

    decision: Decision
    n: int
    """Seeds that all arms have."""
    estimate: float | None
    low: float | None
    high: float | None
    """Ends of the 95 % interval; None: infinite, or a trial diverged."""
    interval_kind: statistics.IntervalKind | None
    reason: str
    """Why nothing can be told, where it cannot."""


def decide(statement: Statement, values: Values) -> Decided:
    """Hold a statement against results that are paired by seed.

    It holds where the whole 95 % interval of `statistics.interval` is on the stated side of the
    threshold, does not hold where all of it is on the other, and otherwise nothing can be told,
    as where a trial diverged.
    """
    arms = [values[arm] for arm in statement.weights]
    seeds = sorted(set.intersection(*(set(arm) for arm in arms)))
    table = [[arm[seed] for arm in arms] for seed in seeds]
    gone = sum(any(not _is_finite(v) for v in row) for row in table)
    if gone or not seeds:
        reason = "No seed is in all arms."
        if gone:
            reason = f"In {gone} of {len(seeds)} seeds a trial diverged, or has no such value."
        return Decided("cannot tell", len(seeds), None, None, None, None, reason)
    x = np.array(table, dtype=np.float64)
    if statement.scale == "log":
        if x.min() <= 0:
            reason = "A value is not positive, and has no logarithm."
            return Decided("cannot tell", len(seeds), None, None, None, None, reason)
        x = np.log(x)
    differences = x @ np.array(list(statement.weights.values()))
    found = statistics.interval(differences, ALPHA)
    threshold = math.log(statement.threshold) if statement.scale == "log" else statement.threshold
    above, below = found.low > threshold, found.high < threshold
    holds, fails = (above, below) if statement.side == "above" else (below, above)
    decision: Decision = "holds" if holds else "does not hold" if fails else "cannot tell"
    estimate, low, high = (
        _in_unit(value, statement.scale)
        for value in (float(differences.mean()), found.low, found.high)
    )
    reason = "" if decision != "cannot tell" else "The interval holds the threshold."
    return Decided(decision, len(seeds), estimate, low, high, found.kind, reason)


def together(decisions: Sequence[Decision]) -> Decision:
    """Return what follows for a claim that is the conjunction of its statements.

    All must hold, so that no correction for their number is needed (Berger 1982, the
    intersection–union test): a claim is found to hold wrongly no more often than one statement,
    and that no more often than its interval promises, whose seeds are to scatter evenly about
    their mean.
    """
    if "does not hold" in decisions:
        return "does not hold"
    return "cannot tell" if "cannot tell" in decisions or not decisions else "holds"


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _in_unit(value: float, scale: str) -> float | None:
    if scale == "log":
        return math.exp(value) if abs(value) < 700 else None
    return value if math.isfinite(value) else None
