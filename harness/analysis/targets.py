"""Time-to-target, with trials that never get there counted as censored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.harness.analysis.survival import kaplan_meier
from bench.harness.analysis.verdict import Direction
from bench.harness.core.records import Ledger, Measurement, TrialRecord
from bench.harness.core.spec import CURRENCIES

Amounts = Mapping[str, float | None]
"""Currency → an amount of it."""


@dataclass(frozen=True)
class Course:
    """What a trial measured on its way, and what it had spent at its end."""

    measurements: Sequence[Measurement]
    spent: Ledger
    whole: bool
    """It spent its budget. One that diverged or stopped of itself would not have moved again,
    whatever it had been given."""

    @classmethod
    def of(cls, trial: TrialRecord, measurements: Sequence[Measurement]) -> Course:
        """Return the course of a recorded trial that has an outcome."""
        return cls(measurements, trial.ledger, trial.status == "budget" and not trial.reason)


@dataclass(frozen=True)
class TimeToTarget:
    """What a method's trials had spent when they reached a target, by Kaplan and Meier."""

    target: float
    reached: int
    of: int
    median: Amounts
    """None where the share of trials that are not there stays above one half."""
    restricted_mean: Amounts
    """The mean of what was spent until the target or the horizon; None where there is none."""
    horizon: Amounts


def first_reaching(
    measurements: Sequence[Measurement], target: float, direction: Direction
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


def amount(ledger: Ledger, currency: str) -> float:
    """Return what was spent in one of `bench.harness.core.spec.CURRENCIES`."""
    return float(getattr(ledger, currency))


def horizons(courses: Sequence[Course]) -> Amounts:
    """Return how far all trials were followed: the least that a whole one spent, by currency.

    Restricted means can be compared under one horizon only: give the trials of all methods. None
    where no trial is whole.
    """
    whole = [course.spent for course in courses if course.whole]
    return {c: min((amount(spent, c) for spent in whole), default=None) for c in CURRENCIES}


def time_to_target(
    courses: Sequence[Course], target: float, direction: Direction, horizon: Amounts
) -> TimeToTarget:
    """Return median and restricted mean of what trials spent until they reached a target.

    A trial that did not reach it is censored: at what it had spent where it is whole, else later
    than all others. To censor a diverged trial where it diverged would take it for one that might
    have got there as soon as the others.
    """
    reaching = [first_reaching(course.measurements, target, direction) for course in courses]
    reached = [ledger is not None for ledger in reaching]
    medians: dict[str, float | None] = {}
    means: dict[str, float | None] = {}
    for currency in CURRENCIES:
        times = [
            amount(ledger or course.spent, currency) if ledger or course.whole else math.inf
            for ledger, course in zip(reaching, courses, strict=True)
        ]
        survival, end = kaplan_meier(times, reached), horizon[currency]
        medians[currency] = survival.median
        means[currency] = survival.restricted_mean(end) if courses and end is not None else None
    return TimeToTarget(target, sum(reached), len(courses), medians, means, horizon)
