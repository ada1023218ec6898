"""What the data that were not judged say about a pair: its own difference and interval."""

from __future__ import annotations

import math
from typing import Any

from bench.harness.analysis.judged import JudgedMetric
from bench.harness.analysis.verdict import Pair, Results, verdicts


def other_data(
    pair: Pair, other: JudgedMetric, results: Results, log_scale: bool, is_share: bool
) -> dict[str, Any] | None:
    """Return the pair's difference on the other data split, and whether it contradicts the verdict.

    It contradicts it if its own 95 % interval excludes 0 on the other side. The direction of the
    judged data is that of a verdict "better", else of an interval that excludes 0. `results` are by
    method and seed on the other data. None if there is no difference there.
    """
    (found,) = verdicts(
        {name: results[name] for name in (pair.a, pair.b)},
        direction=other.direction,
        log_scale=log_scale,
        margin=0.0,
        is_share=is_share,
    )
    if found.difference is None:
        return None
    here, there = _side(pair), _side(found)
    if pair.verdict in ("a better", "b better"):
        is_lower = (pair.verdict == "a better") == (other.direction == "lower")
        here = -1 if is_lower else 1
    return {
        "metric": other.name,
        "words": other.words,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "unit": found.unit,
        "ratio": ratio(found),
        "interval_kind": found.interval_kind,
        "n": found.n,
        "contradicts": here * there < 0,
        "better": (found.a if (there < 0) == (other.direction == "lower") else found.b)
        if there
        else None,
    }


def ratio(pair: Pair) -> dict[str, float | None] | None:
    """Return the mean ratio a / b and its interval; None where plain differences are compared."""
    if pair.unit != "ratio" or pair.difference is None:
        return None
    ends = (("value", pair.difference), ("low", pair.low), ("high", pair.high))
    return {name: exp_or_none(value) for name, value in ends}


def exp_or_none(value: float | None) -> float | None:
    """Return e to the value, or None if the result would overflow or underflow."""
    return math.exp(value) if value is not None and abs(value) < 700 else None


def _side(pair: Pair) -> int:
    """Return 1 or −1 where the interval excludes 0, on the side of the difference."""
    if pair.low is None or pair.high is None:
        return 0
    return (pair.low > 0) - (pair.high < 0)
