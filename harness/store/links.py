"""Queries for the trials of many comparisons at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import TypeVar

from sqlalchemy import Connection, select

from bench.harness.store import tables as t

# Ids in one statement: databases limit their number.
CHUNK = 10_000
_T = TypeVar("_T", int, str)


def chunks(ids: Collection[_T]) -> Iterator[list[_T]]:
    """Yield the ids in order, as many at once as a statement may contain.

    A number that no column can hold is no id, and is left out.
    """
    ordered = sorted(id for id in ids if isinstance(id, str) or 0 <= id < 2**31)
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def comparisons_of(connection: Connection, trial_ids: Collection[int]) -> dict[int, list[str]]:
    """Return by trial the ids of its comparisons, the one that ran it first, then by age."""
    linked, comparison = t.comparison_trial, t.comparison.c
    found: dict[int, list[str]] = {id: [] for id in trial_ids}
    for some in chunks(trial_ids):
        query = (
            select(linked.c.trial_id, linked.c.comparison_id)
            .join(t.comparison)
            .where(linked.c.trial_id.in_(some))
            .order_by(linked.c.reused, comparison.created, comparison.id)
        )
        for trial_id, comparison_id in connection.execute(query):
            found[trial_id].append(comparison_id)
    return found


def methods_and_seeds(
    connection: Connection, comparison_ids: Collection[str]
) -> dict[str, list[tuple[str, int]]]:
    """Return by comparison the label and the seed of its trials, in the order of their ids."""
    linked, trial = t.comparison_trial.c, t.trial.c
    found = defaultdict(list)
    for some in chunks(comparison_ids):
        query = (
            select(linked.comparison_id, trial.label, trial.seed)
            .join_from(t.comparison_trial, t.trial)
            .where(linked.comparison_id.in_(some))
            .order_by(trial.id)
        )
        for comparison_id, label, seed in connection.execute(query):
            found[comparison_id].append((label, seed))
    return {id: found[id] for id in comparison_ids}
