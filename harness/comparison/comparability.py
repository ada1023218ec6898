"""Protocol fields that differ: which of them may, and how that is said."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness.core.errors import Incomparable, Usage
from bench.harness.core.records import ComparisonRecord
from bench.harness.core.spec import Protocol, canonical, exact
from bench.optim.hyperparameters import nearest

FIELDS = tuple(Protocol.__dataclass_fields__)
NEVER = "direction"
"""Where one method's metric is to be small and the other's large, there is no verdict."""
SHOWN = 12
"""Digits of a digest that are shown."""


def differing(
    records: Sequence[ComparisonRecord], allowed: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the protocol fields that differ, each with its value by comparison.

    Raises Incomparable where one is not among `allowed`.
    """
    check_allowed(allowed)
    bodies = {record.id: record.protocol.as_dict() for record in records}
    apart = {
        name: {id: body[name] for id, body in bodies.items()}
        for name in FIELDS
        if len({canonical(body[name]) for body in bodies.values()}) > 1
    }
    if refused := [name for name in apart if name not in allowed]:
        told = "; ".join(f"{name} ({values_in_words(name, apart[name])})" for name in refused)
        raise Incomparable(
            f"Comparisons {' and '.join(bodies)} cannot be compared, since their protocols differ: "
            f"{told}.{way_on(refused)}"
        )
    return apart


def check_allowed(fields: Sequence[str]) -> Sequence[str]:
    """Return the fields that are allowed to differ; Usage for one that cannot be."""
    may = [name for name in FIELDS if name != NEVER]
    for name in fields:
        if name not in may:
            raise Usage(
                f"--allow {name}: this is no field of a protocol that may differ"
                f"{nearest(name, may)} Allowed: {', '.join(may)}."
            )
    return fields


def in_words(field: str, value: Any) -> str:
    """Return the value that a protocol's field has in its plain values as text for a person."""
    if field == "budget":
        return f"{exact(value['amount'])} {value['currency']}"
    if field == "parameters":
        return ", ".join(f"{name}={plain(each)}" for name, each in value.items()) or "none"
    return str(value)


def plain(value: Any) -> str:
    """Return a plain value as text for a person."""
    if isinstance(value, bool) or value is None:
        return "–" if value is None else str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.12g}"
    return str(value)


def way_on(refused: Sequence[str]) -> str:
    """Return the end of a refusal: how to compare all the same, where that is possible."""
    if NEVER in refused:
        return ""
    options = " ".join(f"--allow {name}" for name in refused)
    return f" {options} compares them all the same, and says so."


def values_in_words(field: str, values: Mapping[str, Any]) -> str:
    """Return the values of a field by comparison as text for a person; digests are shortened."""
    return ", ".join(f"{_short(in_words(field, value))} in {id}" for id, value in values.items())


def _short(value: str) -> str:
    return f"{value[:SHOWN]}…" if re.fullmatch("[0-9a-f]{64}", value) else value
