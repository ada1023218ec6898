"""A store of an earlier revision is brought up to date, with all that it holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Table

from harness.records import Measurement
from harness.spec import Protocol, TrialSpec, canonical
from harness.store import opening, tables
from harness.store.results import Store
from harness.store.rows import measurement_row

THEN = datetime(2020, 2, 3, 4, 5, 6, 7, tzinfo=UTC)


def everything(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all of bench's tables, as the database has them."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = {}
        for name in sqlalchemy.inspect(connection).get_table_names():
            if name.startswith("bench_") and name != tables.VERSION_TABLE:
                rows = connection.exec_driver_sql(f"SELECT * FROM {name}").mappings()
                found[name] = sorted((dict(row) for row in rows), key=str)
    engine.dispose()
    return found


def held(spec: TrialSpec, measured: Measurement) -> list[tuple[Table, dict[str, Any]]]:
    """Return rows for every table but bench_claim: one comparison that is done, one that runs."""
    protocol, method = spec.protocol, spec.method
    comparison = {
        "protocol_key": protocol.key,
        "kind": "comparison",
        "command": "bench compare",
        "created": THEN,
        "heartbeat": THEN,
    }
    trial = {
        "key": spec.key,
        "attempt": 1,
        "protocol_key": protocol.key,
        "method_key": method.key,
        "label": "nag",
        "seed": 0,
        "purpose": "reported",
        "status": "running",
        "source_digest": "5" * 64,
        "context_digest": "c" * 64,
        "info": "{}",
        "fleet_rows": 1,
        "seconds_are": "alone",
        "created": THEN,
        "heartbeat": THEN,
        "lease_owner": "elsewhere:1",
    }
    hyperparameters = canonical(method.hyperparameters)
    return [
        (
            tables.protocol,
            {
                "key": protocol.key,
                "problem": protocol.problem,
                "preset": protocol.preset,
                "body": canonical(protocol.as_dict()),
                "created": THEN,
            },
        ),
        (
            tables.method,
            {
                "key": method.key,
                "name": "nag",
                "backend": "torch",
                "hyperparameters": hyperparameters,
            },
        ),
        (tables.context, {"digest": "c" * 64, "body": "{}"}),
        (tables.comparison, {"id": "0000aaaa", "status": "done", **comparison}),
        (tables.comparison, {"id": "0000bbbb", "status": "running", **comparison}),
        (tables.trial, trial),
        (tables.comparison_trial, {"comparison_id": "0000bbbb", "trial_id": 1, "reused": False}),
        (tables.measurement, measurement_row(1, measured)),
        (
            tables.verdict,
            {"comparison_id": "0000aaaa", "a": "nag", "b": "hf", "position": 0, "body": "{}"},
        ),
        (tables.baseline, {"name": "b", "accepted": THEN, "comparison_id": "0000aaaa"}),
    ]


CLAIM = {
    "id": "0000cccc",
    "claim": 1,
    "version": 1,
    "preset": "quick",
    "rule_digest": "r" * 64,
    "decision": "holds",
    "body": "{}",
    "created": THEN,
}


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_store_of_an_earlier_revision_keeps_what_it_holds(
    url: str,
    protocol: Protocol,
    spec: TrialSpec,
    measured: Callable[..., Measurement],
    monkeypatch: pytest.MonkeyPatch,
    revision: str,
) -> None:
    upgrade = opening.command.upgrade
    with monkeypatch.context() as earlier:
        earlier.setattr(opening.command, "upgrade", lambda config, _: upgrade(config, revision))
        Store.open(url).close()
    rows = held(spec, measured(3))
    if revision == "0002":
        rows.append((tables.claim, CLAIM))
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for table, row in rows:
            connection.execute(table.insert().values(row))
    engine.dispose()
    before = everything(url)
    assert set(before) == {table.name for table, _ in rows} | {"bench_store"}
    with Store.open(url) as store:
        after = everything(url)
        for name, old in before.items():
            kept = [{k: new[k] for k in old[0]} for new in after[name]]
            assert kept == old
        assert set(after) == set(tables.metadata.tables)
        assert store.id == before["bench_store"][0]["id"]
        assert store.comparison("0000a").protocol == protocol
        assert [c.owner for c in store.comparisons()] == [None, None]
        assert store.measurements([1])[1] == [measured(3)]
        assert [c.id for c in store.claims()] == ["0000cccc"] * (revision == "0002")
        assert store.plan("0000aaaa") is None
        assert store.fleets("0000aaaa") == [] == store.unfinished()
        # What was running then ends as it would have.
        (dead,) = store.end_dead()
        assert dead.reason == "its process died (no heartbeat since 2020-02-03 04:05:06 UTC)"
        assert store.comparison("0000b").status == "interrupted"
        assert store.take_over("0000b", "here:1").owner == "here:1"
