"""New names for imported comparisons and trials whose names are taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, overload

from bench.harness.store.rows import to_json
from bench.harness.store.transfer.columns import time_text


def alternative_id(id: str, created: datetime) -> str:
    """Return another id for a comparison or claim whose id is taken; it is always the same."""
    return hashlib.sha256(f"{id} {time_text(created)}".encode()).hexdigest()[: len(id)]


@overload
def renamed_report(
    report: str, ids: Mapping[str, str], attempts: Mapping[tuple[str, int], int]
) -> str: ...
@overload
def renamed_report(
    report: None, ids: Mapping[str, str], attempts: Mapping[tuple[str, int], int]
) -> None: ...
def renamed_report(
    report: str | None, ids: Mapping[str, str], attempts: Mapping[tuple[str, int], int]
) -> str | None:
    """Return a report's JSON with the new names of comparisons and attempts.

    `ids` has the new ids by old id, `attempts` the new attempts by key and old attempt. A report
    that names none of them is returned unchanged.
    """
    if report is None or not (ids or attempts):
        return report
    before = json.loads(report)
    after = _renamed(before, ids, attempts)
    return report if after == before else to_json(after)


def _renamed(value: Any, ids: Mapping[str, str], attempts: Mapping[tuple[str, int], int]) -> Any:
    if isinstance(value, str):
        return ids.get(value, value)
    if isinstance(value, list):
        return [_renamed(each, ids, attempts) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _renamed(each, ids, attempts) for key, each in value.items()}
    trial = (plain.get("key"), plain.get("attempt"))
    if all(isinstance(each, str | int) for each in trial) and trial in attempts:
        plain["attempt"] = attempts[trial]  # type: ignore[index]
    return plain
