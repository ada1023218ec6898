"""A curve as one line of text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget
from bench.harness.report.table import number

_LEVELS = "▁▂▃▄▅▆▇█"
_LOST = "×"
WIDTH = 40


@dataclass(frozen=True)
class Axes:
    """Axes that several curves share, so that they can be compared by eye.

    Horizontal: the start, then the budget spent, on a log scale from the first measurement.
    Vertical: the training metric, on a log scale if all values are positive.
    """

    budget: Budget
    first: float
    """The smallest amount above 0 that was spent at a measurement."""
    low: float
    high: float
    log: bool

    @classmethod
    def around(cls, curves: Iterable[Sequence[Measurement]], budget: Budget) -> Axes:
        """Return axes that contain all curves."""
        taken = [m for curve in curves for m in curve]
        spent = [s for m in taken if (s := _spent(m, budget)) > 0]
        values = [m.train_metric for m in taken if math.isfinite(m.train_metric)]
        low, high = min(values, default=0.0), max(values, default=0.0)
        return cls(budget, min(spent, default=budget.amount), low, high, log=low > 0)

    def line(self, curve: Sequence[Measurement]) -> str:
        """Return the curve as a step function; × marks values that are not finite.

        The part of the budget that is not spent yet is blank.
        """
        columns = [" "] * WIDTH
        reached = 0
        for m in curve:
            column = self._column(_spent(m, self.budget))
            held = columns[reached]
            columns[reached:column] = [held] * (column - reached)
            columns[column] = self._level(m.train_metric)
            reached = column
        return "".join(columns)

    def legend(self, metric: str) -> str:
        """Describe both axes in one line."""
        scale = "log scale" if self.log else "linear scale"
        return (
            f"{metric}, {scale}: {_LEVELS[0]} is {number(self.low)}, {_LEVELS[-1]} is "
            f"{number(self.high)}; from left to right: the start, then {number(self.first)} to "
            f"{number(self.budget.amount)} {self.budget.currency}, log scale"
        )

    def _column(self, spent: float) -> int:
        if spent <= 0:
            return 0
        if self.first >= self.budget.amount:
            return WIDTH - 1
        share = math.log(spent / self.first) / math.log(self.budget.amount / self.first)
        return min(WIDTH - 1, 1 + int(share * (WIDTH - 1)))

    def _level(self, value: float) -> str:
        if not math.isfinite(value):
            return _LOST
        return _bar(*((math.log(v) if self.log else v) for v in (value, self.low, self.high)))


def bars(values: Iterable[float | None], low: float, high: float) -> str:
    """Return a bar for each value between low and high; a blank for None.

    >>> bars([0.0, None, 0.5, 1.0], 0.0, 1.0)
    '▁ ▅█'
    """
    return "".join(" " if value is None else _bar(value, low, high) for value in values)


def _bar(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.0
    return _LEVELS[min(len(_LEVELS) - 1, int(share * len(_LEVELS)))]


def _spent(measurement: Measurement, budget: Budget) -> float:
    return float(getattr(measurement.ledger, budget.currency))
