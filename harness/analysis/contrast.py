"""Decide pre-registered statements about results: contrasts of arms against a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.harness.analysis import statistics
from bench.harness.analysis.sample import Sample, rounding_of

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
    """Arm → w; the weights sum to 0, or to 1 for a statement about a single arm."""
    scale: Literal["log", "plain"]
    side: Literal["above", "below"]
    threshold: float
    """A factor where `scale` is "log", else in the values' unit."""


@dataclass(frozen=True)
class StatementResult:
    """The result of a statement; estimate and interval are in the threshold's unit."""

    decision: Decision
    n: int
    """Seeds that all arms have."""
    estimate: float | None
    low: float | None
    high: float | None
    """Ends of the 95 % interval; None: infinite, or a trial diverged."""
    interval_kind: statistics.IntervalKind | None
    reason: str
    """Why the statement cannot be decided; empty if it is decided."""


def decide(statement: Statement, values: Values) -> StatementResult:
    """Decide a statement with results that are paired by seed.

    It holds if the whole 95 % interval of `statistics.interval` is on the stated side of the
    threshold. It does not hold if the whole interval is on the other side. Otherwise, or if a trial
    diverged, the decision is "cannot tell".
    """
    arms = [values[arm] for arm in statement.weights]
    seeds = sorted(set.intersection(*(set(arm) for arm in arms)))
    table = [[arm[seed] for arm in arms] for seed in seeds]
    gone = sum(any(not _is_finite(v) for v in row) for row in table)
    if gone or not seeds:
        reason = "The arms have no seed in common."
        if gone:
            reason = f"For {gone} of {len(seeds)} seeds, a trial diverged or lacks this value."
        return StatementResult("cannot tell", len(seeds), None, None, None, None, reason)
    rows = [[float(v) for v in row if v is not None] for row in table]
    log = statement.scale == "log"
    if log and min(map(min, rows)) <= 0:
        reason = "A value is not positive, so it has no logarithm."
        return StatementResult("cannot tell", len(seeds), None, None, None, None, reason)
    differences = Sample.combined(rows, list(statement.weights.values()), log)
    found = statistics.interval(differences, ALPHA)
    threshold = math.log(statement.threshold) if log else statement.threshold
    # An end that may be the threshold, but for rounding, is on neither side of it.
    blur = differences.blur + rounding_of(threshold)
    above, below = found.low > threshold + blur, found.high < threshold - blur
    holds, fails = (above, below) if statement.side == "above" else (below, above)
    decision: Decision = "holds" if holds else "does not hold" if fails else "cannot tell"
    estimate, low, high = (
        _in_unit(value, statement.scale) for value in (differences.mean, found.low, found.high)
    )
    reason = "" if decision != "cannot tell" else "The interval contains the threshold."
    return StatementResult(decision, len(seeds), estimate, low, high, found.kind, reason)


def combined_decision(decisions: Sequence[Decision]) -> Decision:
    """Return the decision on a claim, which holds if all its statements hold.

    No correction for their number is needed (Berger 1982, the intersection–union test): the error
    rate of "holds" is at most that of a single statement, which is that of its interval, provided
    that the values of the seeds scatter symmetrically about their mean.
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
