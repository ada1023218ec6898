"""What `list` and `show` ask of a store."""

from __future__ import annotations

from collections.abc import Collection

from bench.harness.core.errors import Usage
from bench.harness.core.records import ComparisonRecord, TrialRecord
from bench.harness.store.results import Store

ID_DIGITS = 8
"""The length of a comparison's id."""


def comparisons(store: Store, limit: int | None = None) -> list[ComparisonRecord]:
    """Return comparisons, the newest first; those whose process died are ended before."""
    end_dead(store)
    return store.comparisons(limit)


def end_dead(store: Store) -> None:
    """End what dead processes ran, where anything is said to run, so that it is not shown so."""
    if store.is_running():
        store.end_dead()


def parts_of(store: Store, trial_ids: Collection[int]) -> dict[int, list[ComparisonRecord]]:
    """Return the comparisons that each trial is part of, the one that ran it first, then by age."""
    ids = store.comparisons_of(trial_ids)
    records = {r.id: r for r in store.comparisons(ids={id for some in ids.values() for id in some})}
    return {trial: [records[id] for id in some] for trial, some in ids.items()}


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
