"""Differences between protocols: which fields may differ, and how errors show them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness.core.errors import Incomparable, Usage
from bench.harness.core.records import ComparisonRecord
from bench.harness.core.spec import Protocol, canonical_json, exact_text
from bench.optim.hyperparameters import nearest

FIELDS = tuple(Protocol.__dataclass_fields__)
NEVER = "direction"
"""The field that must never differ: one metric would be better if lower, the other if higher."""
SOURCE = "source"
"""What differs where the source of a user's own problem does; no field of the protocol tells."""
SHOWN_DIGITS = 12
"""Digits of a digest in messages."""


def differing_fields(
    records: Sequence[ComparisonRecord],
    allowed: Sequence[str],
    sources: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the protocol fields that differ, each with its value by comparison.

    `sources` are the digests of the problem's source by comparison, where it is the user's own:
    two problems of one name, with equal data and budget, may be two networks. Raises
    Incomparable for a field that is not `allowed` to differ.
    """
    check_allowed(allowed)
    bodies = {record.id: record.protocol.as_dict() for record in records}
    apart = {
        name: {id: body[name] for id, body in bodies.items()}
        for name in FIELDS
        if len({canonical_json(body[name]) for body in bodies.values()}) > 1
    }
    if len(set((sources or {}).values())) > 1:
        apart[SOURCE] = dict(sources or {})
    if refused := [name for name in apart if name not in allowed]:
        shown = "; ".join(f"{name} ({values_in_words(name, apart[name])})" for name in refused)
        raise Incomparable(
            f"Comparisons {' and '.join(bodies)} cannot be compared, because their "
            f"{'problems' if refused == [SOURCE] else 'protocols'} differ: "
            f"{shown}.{allow_hint(refused)}"
        )
    return apart


def check_allowed(fields: Sequence[str]) -> Sequence[str]:
    """Return `fields`; raise Usage for a field that must not differ or does not exist."""
    may = [*(name for name in FIELDS if name != NEVER), SOURCE]
    for name in fields:
        if name not in may:
            raise Usage(
                f"--allow {name}: this is not a protocol field that may differ"
                f"{nearest(name, may)} Allowed: {', '.join(may)}."
            )
    return fields


def in_words(field: str, value: Any) -> str:
    """Return a protocol field's plain value as text."""
    if field == "budget":
        return f"{exact_text(value['amount'])} {value['currency']}"
    if field == "parameters":
        return ", ".join(f"{name}={plain(each)}" for name, each in value.items()) or "none"
    return str(value)


def plain(value: Any) -> str:
    """Return a plain value as text."""
    if isinstance(value, bool) or value is None:
        return "–" if value is None else str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.12g}"
    return str(value)


def allow_hint(refused: Sequence[str]) -> str:
    """Return the sentence of an error that names the options for comparing nevertheless."""
    if NEVER in refused:
        return ""
    options = " ".join(f"--allow {name}" for name in refused)
    return f" With {options} they are compared nevertheless, and the report notes it."


def values_in_words(field: str, values: Mapping[str, Any]) -> str:
    """Return the values of a field by comparison as text, with shortened digests."""
    return ", ".join(f"{_short(in_words(field, value))} in {id}" for id, value in values.items())


def _short(value: str) -> str:
    return f"{value[:SHOWN_DIGITS]}…" if re.fullmatch("[0-9a-f]{64}", value) else value
