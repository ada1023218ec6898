"""Time to target; trials that do not reach the target are censored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.harness.analysis.sample import ULPS
from bench.harness.analysis.survival import kaplan_meier
from bench.harness.analysis.verdict import Direction
from bench.harness.core.records import Ledger, Measurement, TrialRecord
from bench.harness.core.spec import CURRENCIES, Budget

Amounts = Mapping[str, float | None]
"""Currency → an amount of it."""


@dataclass(frozen=True)
class BudgetEnd:
    """The end of a budget, on which updates depend."""

    budget: Budget
    anytime_updates: int
    """How many of the first updates do not."""


@dataclass(frozen=True)
class Course:
    """The measurements of a trial, and its spending at the end."""

    measurements: Sequence[Measurement]
    spent: Ledger
    whole: bool
    """Whether the trial spent its whole budget. A trial that diverged or stopped by itself would
    not have made progress with a larger budget."""
    end: BudgetEnd | None = None
    """The end that its last updates depend on; None if none does."""

    @classmethod
    def of(cls, trial: TrialRecord, measurements: Sequence[Measurement], budget: Budget) -> Course:
        """Return the course of a recorded trial that has an outcome; `budget` is what it had."""
        free = trial.anytime_updates
        return cls(
            measurements,
            trial.ledger,
            trial.status == "budget" and not trial.reason,
            None if free is None else BudgetEnd(budget, free),
        )

    def before_the_end(self) -> Course | None:
        """Return it as far as it does not depend on its end; None if it does from the beginning."""
        if self.end is None:
            return self
        free = self.end.anytime_updates
        before = [m for m in self.measurements if m.ledger.updates <= free]
        return Course(before, before[-1].ledger, whole=False) if free and before else None


@dataclass(frozen=True)
class TimeToTarget:
    """The Kaplan–Meier estimate of what a method's trials spent to reach a target."""

    target: float
    reached: int
    of: int
    median: Amounts
    """None if fewer than half of the trials reach the target."""
    restricted_mean: Amounts
    """The mean spending until the target or the horizon; None without a horizon."""
    horizon: Amounts


def first_reaching(
    measurements: Sequence[Measurement], target: float, direction: Direction
) -> Ledger | None:
    """Return the ledger of the first measurement at or beyond the target on training data.

    Its resolution is that of the evaluation grid. A value that is the target except for its
    rounding reaches it. None: the target was not reached; NaN reaches no target.
    """
    by = ULPS * math.ulp(target)
    for measurement in measurements:
        value = measurement.train_metric
        if value <= target + by if direction == "lower" else value >= target - by:
            return measurement.ledger
    return None


def amount(ledger: Ledger, currency: str) -> float:
    """Return the amount of one of `bench.harness.core.spec.CURRENCIES`."""
    return float(getattr(ledger, currency))


def horizons(courses: Sequence[Course]) -> Amounts:
    """Return by currency the least amount that a trial with its whole budget spent.

    Restricted means are comparable only with the same horizon, so `courses` must hold the trials of
    all methods. None if no trial spent its whole budget.
    """
    whole = [course.spent for course in courses if course.whole]
    return {c: min((amount(spent, c) for spent in whole), default=None) for c in CURRENCIES}


def time_to_target(
    courses: Sequence[Course], target: float, direction: Direction, horizon: Amounts
) -> TimeToTarget:
    """Return median and restricted mean of what trials spent until they reached a target.

    A trial that did not reach it is censored: at its spending if it spent its whole budget, else
    later than all others. If a diverged trial were censored at its divergence, it would count like
    a trial that could still have reached the target.
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
