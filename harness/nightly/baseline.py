"""Baselines: the accepted comparison for each protocol, with which nights are compared."""

from __future__ import annotations

from collections.abc import Sequence

from bench.harness.core.errors import Usage
from bench.harness.core.records import BaselineRecord, ComparisonRecord
from bench.harness.core.text import visible
from bench.harness.store.results import Store


def accept(
    store: Store, ids: Sequence[str], name: str, note: str | None
) -> list[tuple[ComparisonRecord, BaselineRecord | None]]:
    """Accept comparisons under a name; return each with the acceptance that it replaces.

    `ids` are ids or their first characters. Raises Usage, before anything is accepted, for an
    unknown id, for a run or tuning, for an unfinished comparison, and for two comparisons with the
    same protocol.
    """
    if not name.strip() or visible(name) != name:
        raise Usage(f"--name {visible(name)!r}: give a name such as main.")
    records = [store.comparison(id) for id in ids]
    for record in records:
        if record.kind != "comparison":
            raise Usage(
                f"{record.id} is a {record.kind}, but only comparisons can be accepted. "
                "`bench list comparisons` lists them."
            )
        if record.status != "done" or record.summary is None:
            raise Usage(
                f"{record.id} is {record.status}, but only a finished comparison can be accepted. "
                f"`bench resume {record.id}` continues an interrupted one."
            )
    by_protocol: dict[str, str] = {}
    for record in records:
        other = by_protocol.setdefault(record.protocol.key, record.id)
        if other != record.id:
            raise Usage(
                f"{other} and {record.id} have the same protocol, for which a baseline can have "
                "only one comparison. Accept one of them."
            )
    before = accepted(store, name)
    chosen = {record.id: record for record in records}
    for record in chosen.values():
        store.accept(name, record.id, note)
    return [(record, before.get(record.protocol.key)) for record in chosen.values()]


def accepted(store: Store, name: str) -> dict[str, BaselineRecord]:
    """Return a baseline: the newest accepted comparison of each protocol, by protocol key."""
    newest: dict[str, BaselineRecord] = {}
    for key, record in with_protocol(store, store.baselines(name)):
        newest.setdefault(key, record)
    return newest


def with_protocol(
    store: Store, records: Sequence[BaselineRecord]
) -> list[tuple[str, BaselineRecord]]:
    """Return acceptances in the given order, each with the key of its comparison's protocol."""
    comparisons = store.comparisons(ids={record.comparison_id for record in records})
    keys = {comparison.id: comparison.protocol.key for comparison in comparisons}
    return [(keys[record.comparison_id], record) for record in records]
