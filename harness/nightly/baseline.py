"""Baselines: which comparison is accepted, under each protocol, as what nights are held against."""

from __future__ import annotations

from collections.abc import Sequence

from bench.harness.core.errors import Usage
from bench.harness.core.records import BaselineRecord, ComparisonRecord
from bench.harness.core.text import visible
from bench.harness.store.results import Store


def accept(
    store: Store, ids: Sequence[str], name: str, note: str | None
) -> list[tuple[ComparisonRecord, BaselineRecord | None]]:
    """Accept comparisons under a name; return each with the acceptance that it takes the place of.

    `ids` are ids or their beginnings. Usage, before anything is accepted, for an id that is not
    one comparison's, for what is no comparison or is not done, and for two under one protocol.
    """
    if not name.strip() or visible(name) != name:
        raise Usage(f"--name {visible(name)!r}: write a name such as main.")
    records = [store.comparison(id) for id in ids]
    for record in records:
        if record.kind != "comparison":
            raise Usage(
                f"{record.id} is a {record.kind}: only comparisons are accepted. "
                "`bench list comparisons` has them."
            )
        if record.status != "done" or record.summary is None:
            raise Usage(
                f"{record.id} is {record.status}: only a comparison that is done is accepted. "
                f"`bench resume {record.id}` goes on with one that was interrupted."
            )
    by_protocol: dict[str, str] = {}
    for record in records:
        other = by_protocol.setdefault(record.protocol.key, record.id)
        if other != record.id:
            raise Usage(
                f"{other} and {record.id} have one protocol, under which a baseline has one "
                "comparison: accept one of them."
            )
    before = accepted(store, name)
    chosen = {record.id: record for record in records}
    for record in chosen.values():
        store.accept(name, record.id, note)
    return [(record, before.get(record.protocol.key)) for record in chosen.values()]


def accepted(store: Store, name: str) -> dict[str, BaselineRecord]:
    """Return what is accepted under a name: the newest of each protocol, by the protocol's key."""
    newest: dict[str, BaselineRecord] = {}
    for key, record in with_protocol(store, store.baselines(name)):
        newest.setdefault(key, record)
    return newest


def with_protocol(
    store: Store, records: Sequence[BaselineRecord]
) -> list[tuple[str, BaselineRecord]]:
    """Return acceptances in the order given, each with the key of its comparison's protocol."""
    comparisons = store.comparisons(ids={record.comparison_id for record in records})
    keys = {comparison.id: comparison.protocol.key for comparison in comparisons}
    return [(keys[record.comparison_id], record) for record in records]
