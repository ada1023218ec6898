"""Time-to-target, with trials that never get there counted as censored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.records import Ledger, Measurement


@dataclass(frozen=True)
class TimeToTarget:
    """What half of a method's trials had spent when they reached a target."""

    target: float
    reached: int
    of: int
    seconds: float | None
    gradients: float | None
    """None where fewer than half of the trials reached the target."""


def first_reaching(
    measurements: Sequence[Measurement], target: float, direction: Literal["lower", "higher"]
) -> Ledger | None:
    """Return the ledger of the first measurement at or beyond the target on training data.

    Its resolution is that of the evaluation grid. None: never reached; a value that is not
    a number reaches nothing.
    """
    for measurement in measurements:
        value = measurement.train_metric
        if value <= target if direction == "lower" else value >= target:
            return measurement.ledger
    return None


def time_to_target(
    trials: Sequence[Sequence[Measurement]], target: float, direction: Literal["lower", "higher"]
) -> TimeToTarget:
    """Return the median over trials; one that ends short of the target counts as last.

    The median is that of Kaplan and Meier (1958): the first time by which at least half of
    the trials had reached the target. Trials of one budget are all censored at its end, so
    it needs no other weights.
    """
    ledgers = [first_reaching(trial, target, direction) for trial in trials]
    there = [ledger for ledger in ledgers if ledger is not None]

    def median(spent: Callable[[Ledger], float]) -> float | None:
        middle = math.ceil(len(trials) / 2)
        return sorted(map(spent, there))[middle - 1] if 0 < middle <= len(there) else None

    return TimeToTarget(
        target,
        len(there),
        len(trials),
        median(lambda ledger: ledger.seconds),
        median(lambda ledger: ledger.gradients),
    )
