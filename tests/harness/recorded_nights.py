"""Nights written by hand: what they find is said, not measured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bench.harness.core.records import NightMetric, NightRecord

FIRST = datetime(2026, 3, 1, 2, tzinfo=UTC)
PROTOCOL = "p" * 64
HERE = "c" * 64


def quality(**given: Any) -> NightMetric:
    """Return a metric of an error that is as it was; what is given replaces what is usual."""
    usual: dict[str, Any] = {
        "kind": "quality",
        "protocol_key": PROTOCOL,
        "problem": "curves / quick",
        "method": "nag",
        "metric": "train_squared_error",
        "direction": "lower",
        "scale": "log",
        "context_digest": HERE,
        "state": "same",
        "value": 0.01,
        "reference": 0.0,
        "threshold": 0.05,
        "sd": 0.01,
        "n": 6,
    }
    return NightMetric(**{**usual, **given})


def digest(letter: str = "a", **given: Any) -> NightMetric:
    """Return a metric of a digest that consists of one letter."""
    nothing = dict.fromkeys(("value", "reference", "threshold", "sd", "n"))
    return quality(
        **{
            "kind": "digest",
            "metric": "theta after 20 updates",
            "direction": "equal",
            "scale": "plain",
            "digest": letter * 64,
            **nothing,
            **given,
        }
    )


def night(day: int, *metrics: NightMetric, **given: Any) -> NightRecord:
    """Return the night of a day, 0 the first, which took eight minutes."""
    created = FIRST + timedelta(days=day)
    usual: dict[str, Any] = {
        "uuid": f"{day:032x}",
        "suite": "nightly",
        "suite_digest": "s" * 64,
        "baseline": "main",
        "status": "clean",
        "reason": None,
        "commit": f"{day:040x}",
        "info": {"host": "here"},
        "created": created,
        "ended": created + timedelta(minutes=8),
        "metrics": metrics,
    }
    return NightRecord(**{**usual, **given})
