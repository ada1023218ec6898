"""What `list` and `show` ask of a store."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import Usage
from harness.records import ComparisonRecord, TrialRecord
from harness.store.results import Store

ID_DIGITS = 8
"""The length of a comparison's id."""


def comparisons(store: Store) -> list[ComparisonRecord]:
    """Return all comparisons, the newest first; those whose process died are ended before."""
    found = store.comparisons()
    if any(record.status == "running" for record in found):
        store.end_dead()
        found = store.comparisons()
    return found


def memberships(
    store: Store, records: Sequence[ComparisonRecord]
) -> dict[int, list[ComparisonRecord]]:
    """Return the comparisons that each trial is part of, the one that ran it first."""
    found: dict[int, list[ComparisonRecord]] = {}
    for record in records:
        for trial in store.trials(record.id):
            found.setdefault(trial.id, []).append(record)
    for trial_id, parts in found.items():
        parts.sort(key=lambda record: trial_id in record.reused)
    return found


def find(store: Store, text: str) -> ComparisonRecord | TrialRecord:
    """Return the trial with this number or the comparison with this id or beginning of one.

    Usage names the nearest where there is neither. A comparison's id may consist of
    decimal digits: all eight of them are tried as an id first, fewer as a trial first.
    """
    if not text.isdecimal():
        return store.comparison(text)
    first, second = (_comparison, _trial) if len(text) == ID_DIGITS else (_trial, _comparison)
    try:
        return first(store, text)
    except Usage:
        try:
            return second(store, text)
        except Usage:
            return _trial(store, text)


def _comparison(store: Store, text: str) -> ComparisonRecord | TrialRecord:
    return store.comparison(text)


def _trial(store: Store, text: str) -> ComparisonRecord | TrialRecord:
    return store.trial(int(text))
