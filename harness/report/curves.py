"""Learning curves of a method: their median and their spread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.harness.core.metrics import is_share
from bench.harness.core.records import Ledger, Measurement, TrialRecord

Floats = NDArray[np.floating[Any]]
Data = Literal["train", "test"]

CURRENCIES = {
    "updates": "updates",
    "examples": "examples",
    "gradients": "gradient-equivalents",
    "seconds": "seconds",
}
"""Field of the ledger → its name in pictures and tables."""

_POINTS = 200


@dataclass(frozen=True)
class Curve:
    """A trial's metric against its spending; values may be infinite or NaN."""

    x: Floats
    y: Floats
    diverged: bool

    @classmethod
    def of(
        cls, trial: TrialRecord, taken: Sequence[Measurement], currency: str, data: Data
    ) -> Curve:
        """Return the measurements after the first update.

        The initial point, at which nothing is spent, does not fit on a logarithmic axis.
        """
        used = [m for m in taken if spent(m.ledger, currency) > 0]
        return cls(
            np.array([spent(m.ledger, currency) for m in used], dtype=float),
            np.array([metric(m, data) for m in used], dtype=float),
            trial.status == "diverged",
        )

    @property
    def finite(self) -> Curve:
        """The points that can be drawn."""
        seen = np.isfinite(self.y)
        return Curve(self.x[seen], self.y[seen], self.diverged)


@dataclass(frozen=True)
class Band:
    """Least, median and greatest value of several curves on one grid; NaN where not finite."""

    x: Floats
    low: Floats
    median: Floats
    high: Floats


@dataclass(frozen=True)
class Scale:
    """The scale of a metric's axis, and the value that is worse than all others."""

    log: bool
    worst: float

    @classmethod
    def of(
        cls, direction: str, scale: str, measurements: Sequence[Measurement], metric: str = ""
    ) -> Scale:
        """Return a log scale if logarithms are compared and all values are positive.

        The axis of a share is linear, whatever is compared.
        """
        shown = [y for m in measurements for y in (m.train_metric, m.test_metric)]
        log = scale == "log" and not is_share(metric)
        log = log and all(y > 0 for y in shown if math.isfinite(y))
        return cls(log, math.inf if direction == "lower" else -math.inf)

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any], measurements: Sequence[Measurement]) -> Scale:
        """Return the scale of a comparison's metric."""
        protocol = summary["protocol"]
        return cls.of(protocol["direction"], summary["scale"], measurements, protocol["metric"])


def spent(ledger: Ledger, currency: str) -> float:
    """Return what was spent in a currency."""
    return float(getattr(ledger, currency))


def metric(measurement: Measurement, data: Data) -> float:
    """Return the metric on training or on test data."""
    return measurement.train_metric if data == "train" else measurement.test_metric


def metric_in_words(name: str) -> str:
    """Return the name of a metric without its data set.

    >>> metric_in_words("train_squared_error")
    'squared error'
    """
    return name.removeprefix("train_").replace("_", " ")


def band(curves: Sequence[Curve], scale: Scale) -> Band | None:
    """Return minimum, median and maximum of curves, whose points straight lines on the axes join.

    The band ends where the shortest trial without divergence ends. A diverged trial counts as worst
    after its last finite value. None if a trial that did not diverge has no point.
    """
    grid, values = _on_grid([curve.finite for curve in curves], scale)
    if not len(grid):
        return None
    low, median, high = (_finite(f(values, axis=0), scale) for f in (np.min, np.median, np.max))
    return Band(grid, low, median, high)


def profiled(summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the profile of every method in order; an empty dict if no target was reached.

    Comparisons recorded by earlier versions of bench have no profiles.
    """
    of = summary.get("profiles", {}).get("methods", {})
    if all(steps["updates"][-1][1] <= 0 for steps in of.values()):
        return {}
    return {row["method"]: of[row["method"]] for row in summary["methods"] if row["method"] in of}


def profile_steps(
    summary: Mapping[str, Any], currency: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Return by method the amounts spent at which the share of reached targets rises.

    All profiles begin at the least amount at which any target was reached, because 0 does not fit
    on a logarithmic axis.
    """
    of = {method: steps[currency] for method, steps in profiled(summary).items()}
    first = min((x for steps in of.values() for x, _ in steps if x > 0), default=1.0)
    found = {}
    for method, steps in of.items():
        reached_before = max((share for x, share in steps if x <= 0), default=0.0)
        shown = [(first, reached_before), *((x, share) for x, share in steps if x > 0)]
        found[method] = ([x for x, _ in shown], [share for _, share in shown])
    return found


def _on_grid(curves: Sequence[Curve], scale: Scale) -> tuple[Floats, Floats]:
    """Return a common grid of x and all curves on it, (T, X); logarithms where these are drawn."""
    going = [c.x for c in curves if not c.diverged] or [c.x for c in curves]
    if not going or not all(len(x) for x in going):
        return np.empty(0), np.empty((0, 0))
    start = max(c.x[0] for c in curves if len(c.x))
    grid = np.geomspace(start, max(start, min(x[-1] for x in going)), _POINTS)
    values = [
        np.interp(
            np.log(grid),
            np.log(c.x),
            np.log(c.y) if scale.log else c.y,
            right=scale.worst if c.diverged else None,
        )
        if len(c.x)
        else np.full(len(grid), scale.worst)
        for c in curves
    ]
    return grid, np.array(values)


def _finite(values: Floats, scale: Scale) -> Floats:
    finite = np.where(np.isfinite(values), values, np.nan)
    return np.exp(finite) if scale.log else finite
