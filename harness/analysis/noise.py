"""The scatter of a night's value when nothing changes, and the threshold that follows from it.

docs/statistics.md has the theory and the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from bench.harness.analysis.sample import Sample

Scale = Literal["log", "plain"]

FAMILY_WISE = 1 / 1000
"""The share of nights with a finding by chance, at most, for any number of metrics."""
POWER = 0.8
"""The probability of detection that defines `smallest_detectable`."""
FALSE_ALARM_LEVEL = 0.05
"""The rate at which false alarms are counted: 1 in 1,000 nights is too rare to be counted in 20."""

_SPLITS = 2_000


@dataclass(frozen=True)
class Scatter:
    """The scatter of one night's value, from repeated measurements of an unchanged program."""

    sd: float | None
    """Standard deviation of a night's value on the metric's scale; None: it is unknown."""
    df: int
    """Degrees of freedom of `sd`."""
    n: int
    """The number of measurements."""
    seeds: int = 1
    """A night's value is the mean of this number of seeds; 1 for a time."""
    false_alarms: float | None = None
    """The share of pairs of nights, drawn from these values, that differ at FALSE_ALARM_LEVEL."""
    reason: str = ""
    """Why there is no `sd`."""


@dataclass(frozen=True)
class Noise:
    """The scatter of one metric of a suite, with the metric's identity."""

    kind: Literal["quality", "time"]
    protocol_key: str
    problem: str
    """Problem, preset and budget as text."""
    method: str
    metric: str
    context_digest: str
    """The context of the measurement."""
    scale: Scale
    sd: float | None
    df: int
    n: int
    seeds: int
    false_alarms: float | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Noise:
        """Read the values that `as_dict` returned."""
        return cls(**plain)


def scatter(values: Sequence[float | None], scale: Scale, seeds: int = 1) -> Scatter:
    """Estimate the scatter of a night's value, which is the mean of `seeds` such values.

    sd = s / √seeds, s² = Σ (x − x̄)² / (N − 1) with N − 1 degrees of freedom. `values` are N
    measurements, or None for a trial without a value. With `scale` "log", their logarithms count.
    """
    n = len(values)
    found = [value for value in values if value is not None]

    def none(reason: str) -> Scatter:
        return Scatter(None, 0, n, seeds, reason=reason)

    if len(found) < n:
        return none(f"{n - len(found)} of {n} trials have no final value: they diverged or failed.")
    if n < 2:
        return none("One measurement is not enough to estimate the scatter.")
    x = np.array(found, dtype=np.float64)
    if scale == "log":
        if x.min() <= 0:
            return none("A value is not positive, so it has no logarithm.")
        x = np.log(x)
    sample = Sample.combined([[value] for value in found], [1.0], scale == "log")
    if sample.is_constant:
        return none(f"All {n} measurements are equal, so the scatter is unknown.")
    sd = sample.spread / math.sqrt(seeds)
    return Scatter(sd, n - 1, n, seeds, _false_alarms(x, seeds))


def threshold(sd: float, df: int, family: int, alpha: float = FAMILY_WISE) -> float:
    """Return the largest |difference| of two nights' values that is no finding.

    t₁₋α/₂ₘ(df) · sd · √2. If nothing changes and values are normal, each of `family` = m metrics
    exceeds it with probability α/m, and any of them with at most α (Bonferroni), for any dependence
    between metrics.

    >>> round(threshold(sd=0.01, df=19, family=8), 3)
    0.068
    """
    return float(_critical(df, family, alpha) * sd * math.sqrt(2))


def smallest_detectable(
    sd: float, df: int, family: int, alpha: float = FAMILY_WISE, power: float = POWER
) -> float:
    """Return the true change that exceeds `threshold` with probability `power`.

    δ with P(T > t₁₋α/₂ₘ) = power, T ~ noncentral t(df, δ / (sd·√2)).
    """
    noncentrality = special.nctdtrinc(df, 1 - power, _critical(df, family, alpha))
    return float(noncentrality * sd * math.sqrt(2))


def _critical(df: int, family: int, alpha: float) -> float:
    return float(stats.t.isf(alpha / (2 * family), df))


def _false_alarms(x: NDArray[np.float64], seeds: int) -> float | None:
    """Count how often two nights drawn from the values differ, judged by the scatter of the rest.

    It is about FALSE_ALARM_LEVEL if values are normal. None if too few values are left.
    """
    left = len(x) - 2 * seeds
    if left < 2:
        return None
    splits = np.random.default_rng(0).permuted(np.tile(x, (_SPLITS, 1)), axis=1)
    first, second = splits[:, :seeds].mean(1), splits[:, seeds : 2 * seeds].mean(1)
    sd = splits[:, 2 * seeds :].std(1, ddof=1) / math.sqrt(seeds)
    limit = _critical(left - 1, family=1, alpha=FALSE_ALARM_LEVEL) * sd * math.sqrt(2)
    return float(np.mean(np.abs(first - second) > limit))
