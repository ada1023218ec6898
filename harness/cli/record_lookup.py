"""Queries to a store that several commands share."""

from __future__ import annotations

from collections.abc import Collection

from bench.harness.core.errors import Usage
from bench.harness.core.records import ComparisonRecord, TrialRecord
from bench.harness.store.results import Store

ID_DIGITS = 8
"""The length of a comparison's id."""


def comparisons(store: Store, limit: int | None = None) -> list[ComparisonRecord]:
    """Return comparisons, the newest first, after ending those whose process was killed."""
    store.end_abandoned()
    return store.comparisons(limit)


def comparisons_by_trial(
    store: Store, trial_ids: Collection[int]
) -> dict[int, list[ComparisonRecord]]:
    """Return the comparisons that contain each trial: first the one that ran it, then by age."""
    ids = store.comparisons_of(trial_ids)
    every = {id for of_trial in ids.values() for id in of_trial}
    records = {record.id: record for record in store.comparisons(ids=every)}
    return {trial: [records[id] for id in of_trial] for trial, of_trial in ids.items()}


def find(store: Store, text: str) -> ComparisonRecord | TrialRecord:
    """Return the trial with this number, or the comparison whose id is or begins with `text`.

    Raises Usage, with the nearest match, where there is neither. A comparison's id may consist of
    decimal digits only: eight digits are looked up as an id first, fewer as a trial first.
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


def newest(store: Store) -> ComparisonRecord:
    """Return the newest comparison; raise Usage if the store has none."""
    found = store.comparisons(1)
    if not found:
        raise Usage(
            f"There is no comparison in {store.redacted_url} yet; `bench compare` runs one."
        )
    return found[0]


def _comparison(store: Store, text: str) -> ComparisonRecord | TrialRecord:
    return store.comparison(text)


def _trial(store: Store, text: str) -> ComparisonRecord | TrialRecord:
    return store.trial(int(text))
