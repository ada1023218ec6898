"""A store of an earlier revision is brought up to date, with all that it holds."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Table

from bench.harness.core.records import Measurement
from bench.harness.core.spec import Protocol, TrialSpec, canonical_json
from bench.harness.store import engine as module
from bench.harness.store import tables
from bench.harness.store.engine import artifacts_of
from bench.harness.store.results import Store
from bench.harness.store.rows import measurement_row

ROOT = Path(__file__).parents[3]
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
    hyperparameters = canonical_json(method.hyperparameters)
    return [
        (
            tables.protocol,
            {
                "key": protocol.key,
                "problem": protocol.problem,
                "preset": protocol.preset,
                "body": canonical_json(protocol.as_dict()),
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


FLEETS: list[tuple[Table, dict[str, Any]]] = [
    (
        tables.plan,
        {
            "comparison_id": "0000bbbb",
            "digest": "p" * 64,
            "body": '{"a":1}',
            "shared": True,
            "created": THEN,
        },
    ),
    (
        tables.fleet,
        {
            "comparison_id": "0000bbbb",
            "number": 0,
            "cost": 1.5,
            "task": "{}",
            "status": "running",
            "lease_owner": "elsewhere:1",
            "heartbeat": THEN,
        },
    ),
    (tables.fleet_trial, {"fleet_id": 1, "position": 0, "trial_id": 1}),
]
REVISIONS = ("0001", "0002", "0003")


@pytest.fixture
def earlier(
    url: str,
    spec: TrialSpec,
    measured: Callable[..., Measurement],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], dict[str, list[dict[str, Any]]]]:
    """Make a store at a revision, with rows in all tables it has, and return these."""

    def make(revision: str) -> dict[str, list[dict[str, Any]]]:
        upgrade = module.command.upgrade
        with monkeypatch.context() as before:
            before.setattr(module.command, "upgrade", lambda config, _: upgrade(config, revision))
            Store.open(url).close()
        rows = held(spec, measured(3))
        rows += [(tables.claim, CLAIM)] if revision >= "0002" else []
        rows += FLEETS if revision >= "0003" else []
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            for table, row in rows:
                then = {name: value for name, value in row.items() if name != "fleet_seconds"}
                connection.execute(table.insert().values(then))
        engine.dispose()
        found = everything(url)
        assert set(found) == {table.name for table, _ in rows} | {"bench_store"}
        return found

    return make


def see_kept(
    before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]
) -> None:
    for name, old in before.items():
        assert [{k: new[k] for k in old[0]} for new in after[name]] == old


def schema(url: str) -> list[Any]:
    """Return tables, columns, keys and indexes as the database describes them."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        look = sqlalchemy.inspect(connection)
        found = [
            (
                name,
                [{**c, "type": str(c["type"])} for c in look.get_columns(name)],
                look.get_pk_constraint(name),
                sorted(look.get_foreign_keys(name), key=str),
                sorted(look.get_indexes(name), key=str),
                sorted(look.get_unique_constraints(name), key=str),
            )
            for name in sorted(look.get_table_names())
        ]
    engine.dispose()
    return found


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_store_of_an_earlier_revision_keeps_what_it_holds(
    url: str,
    protocol: Protocol,
    measured: Callable[..., Measurement],
    earlier: Callable[[str], dict[str, list[dict[str, Any]]]],
    revision: str,
) -> None:
    before = earlier(revision)
    with Store.open(url) as store:
        after = everything(url)
        see_kept(before, after)
        assert set(after) == set(tables.metadata.tables)
        assert store.id == before["bench_store"][0]["id"]
        assert store.comparison("0000a").protocol == protocol
        assert [c.owner for c in store.comparisons()] == [None, None]
        assert store.measurements([1])[1] == [with_fleet(measured(3), rows=1)]
        assert [c.id for c in store.claims()] == ["0000cccc"] * (revision >= "0002")
        planned = store.plan("0000bbbb")
        assert (planned is not None) == (revision >= "0003")
        assert [f.trials for f in store.fleets("0000bbbb")] == [(1,)] * (revision >= "0003")
        # What was running then ends as it would have.
        (dead,) = store.end_dead()
        assert dead.reason == "its process died (no heartbeat since 2020-02-03 04:05:06 UTC)"
        assert {f.status for f in store.fleets("0000bbbb")} <= {"planned"}
        assert store.comparison("0000b").status == "interrupted"
        assert store.take_over("0000b", "here:1").owner == "here:1"


def with_fleet(taken: Measurement, rows: int) -> Measurement:
    """Return a measurement whose seconds were those of a fleet of so many rows."""
    whole = taken.ledger.seconds
    ledger = replace(taken.ledger, seconds=whole / rows, fleet_seconds=whole)
    return replace(taken, ledger=ledger)


def test_the_seconds_of_a_fleet_become_shares_of_its_trials(
    url: str,
    measured: Callable[..., Measurement],
    earlier: Callable[[str], dict[str, list[dict[str, Any]]]],
) -> None:
    earlier("0003")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE bench_trial SET fleet_rows = 4, seconds = 12")
    engine.dispose()
    with Store.open(url) as store:
        assert store.measurements([1])[1] == [with_fleet(measured(3), rows=4)]
        ledger = store.trial(1).ledger
        assert (ledger.seconds, ledger.fleet_seconds) == (3.0, 12.0)


def test_trials_get_names_that_are_the_same_in_every_copy(
    url: str,
    workdir: Path,
    spec: TrialSpec,
    earlier: Callable[[str], dict[str, list[dict[str, Any]]]],
) -> None:
    before = earlier("0003")
    folder = artifacts_of(sqlalchemy.make_url(url)) / "bench"
    for name in ("trial-1", "trial-77", "trial-x", "0000aaaa"):
        (folder / name).mkdir(parents=True)
        (folder / name / "picture.png").write_text(name)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        more = {k: v for k, v in before["bench_trial"][0].items() if k != "id"}
        names = ", ".join(more)
        for attempt in range(2, 20):
            values = ", ".join(str(attempt) if name == "attempt" else name for name in more)
            connection.exec_driver_sql(
                f"INSERT INTO bench_trial ({names}) SELECT {values} FROM bench_trial WHERE id = 1"
            )
    engine.dispose()
    Store.open(url).close()
    after = everything(url)
    store, rows = after["bench_store"][0]["id"], after["bench_trial"]
    # From what a trial is and when it was begun: two copies that went on apart differ in what came.
    told = {
        row["id"]: f"{store}/{row['id']}/{row['key']}/{row['attempt']}/{THEN:%Y-%m-%dT%H:%M:%S.%f}"
        for row in rows
    }
    names = {id: hashlib.sha256(text.encode()).hexdigest()[:32] for id, text in told.items()}
    assert {row["id"]: row["uuid"] for row in rows} == names
    assert len(names) == len(set(names.values())) == 19
    # Their pictures go by the name now; what is not this store's stays.
    assert {path.name: (path / "picture.png").read_text() for path in folder.iterdir()} == {
        f"trial-{names[1]}": "trial-1",
        **{name: name for name in ("trial-77", "trial-x", "0000aaaa")},
    }


KILLED = """
import sys, time
from sqlalchemy import Engine, event
from bench.harness.store.engine import artifacts_of
from bench.harness.store.results import Store

@event.listens_for(Engine, "commit")
def commit(connection):
    print("all is changed, nothing is committed", flush=True)
    time.sleep(600)

Store.open(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("revision", ["0001", "0003"])
def test_an_upgrade_that_is_killed_leaves_the_old_version(
    url: str, earlier: Callable[[str], dict[str, list[dict[str, Any]]]], revision: str
) -> None:
    before = earlier(revision)
    old = schema(url)
    command = [sys.executable, "-c", KILLED, url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "nothing is committed" in process.stdout.readline()
        process.kill()
    assert schema(url) == old
    assert everything(url) == before
    assert version_of(url) == revision
    with Store.open(url) as store:
        see_kept(before, everything(url))
        assert len(store.trials()) == 1
    assert version_of(url) != revision


def version_of(url: str) -> str:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT version_num FROM {tables.VERSION_TABLE}")
        version: str = found.scalar_one()
    engine.dispose()
    return version


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own.
def test_mlflow_s_upgrade_and_ours_change_nothing_of_each_other(
    url: str, earlier: Callable[[str], dict[str, list[dict[str, Any]]]]
) -> None:
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base

    before = earlier("0001")
    ours = schema(url)
    engine = sqlalchemy.create_engine(url)
    # The tables of MLflow 0.8, which its own upgrade brings to this version.
    Base.metadata.create_all(engine)
    utils._upgrade_db(engine)
    assert everything(url) == before
    assert [table for table in schema(url) if table[0].startswith("bench_")] == ours
    theirs = [table for table in schema(url) if not table[0].startswith("bench_")]
    assert len(theirs) > 30
    Store.open(url).close()
    assert [table for table in schema(url) if not table[0].startswith("bench_")] == theirs
    utils._verify_schema(engine)
    after, ours = everything(url), schema(url)
    utils._upgrade_db(engine)
    engine.dispose()
    assert (everything(url), schema(url)) == (after, ours)
