"""What nothing refers to is removed, and only that, whatever else lies in the same folders."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import MethodSpec, TrialSpec
from bench.harness.store import garbage, tables
from bench.harness.store.garbage import GarbageGroup, collect
from bench.harness.store.results import Store
from bench.harness.store.spool import Spool, SpooledMeasurement
from tests.harness.store.test_sql import content

pytestmark = pytest.mark.usefixtures("workdir")  # Where a PostgreSQL store keeps its files.


def counts(heaps: Sequence[GarbageGroup]) -> dict[str, int]:
    return {heap.kind: heap.count for heap in heaps}


def removed(store: Store, **options: Any) -> dict[str, int]:
    said: list[GarbageGroup] = []
    heaps = collect(store, said.extend, **options)
    assert list(heaps) == said
    return counts(heaps)


def files(store: Store) -> set[str]:
    folder = store.artifacts.parent
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if "bench.db" not in p.name}


def drop(store: Store, comparison: str) -> None:
    """Remove a comparison by hand, as somebody might."""
    mine = select(tables.fleet.c.id).where(tables.fleet.c.comparison_id == comparison)
    with store._write() as connection:
        connection.execute(
            delete(tables.fleet_trial).where(tables.fleet_trial.c.fleet_id.in_(mine))
        )
        for table in (tables.fleet, tables.plan, tables.comparison_trial):
            connection.execute(delete(table).where(table.c.comparison_id == comparison))
        connection.execute(delete(tables.comparison).where(tables.comparison.c.id == comparison))


@pytest.fixture
def other(spec: TrialSpec) -> TrialSpec:
    """A trial of a protocol and a method of its own."""
    protocol = replace(spec.protocol, problem="faces")
    return TrialSpec(protocol, MethodSpec("sgd", "torch", {"lr": 0.5}), 1)


@pytest.fixture
def ended(
    store: Store, begin: Callable[..., int], measured: Callable[..., Measurement]
) -> Callable[..., int]:
    """Enter a trial that has ended, with three measurements and a picture; return its id."""

    def enter(comparison: str, spec: TrialSpec, **given: Any) -> int:
        id = begin(comparison, spec, **given)
        store.record([(id, measured(i)) for i in range(3)])
        store.end(id, "budget", None, measured(2).ledger, measured(2))
        folder = store.files_of_trial(id)
        folder.mkdir(parents=True)
        (folder / "picture.png").write_bytes(b"1234567")
        return id

    return enter


def test_trials_that_no_comparison_has(
    store: Store, comparison: str, ended: Callable[..., int], spec: TrialSpec, other: TrialSpec
) -> None:
    kept = ended(comparison, spec)
    before, files_before = content(store.url), files(store)
    dropped = store.new_comparison(other.protocol, "run", "bench run")
    for seed in range(2):
        ended(dropped, replace(other, seed=seed), context={"threads": 2})
    # One that another comparison has taken over stays.
    store.adopt(comparison, ended(dropped, spec))
    assert removed(store) == {}
    drop(store, dropped)
    full = content(store.url)
    expected = {
        "measurements": 6, "trials": 2, "methods": 1, "protocols": 1, "contexts": 1,
        "folders of pictures": 2,
    }  # fmt: skip
    assert removed(store, dry_run=True) == expected
    assert content(store.url) == full
    (pictures,) = (h for h in collect(store, lambda _: None) if h.kind == "folders of pictures")
    assert pictures.bytes == 14
    assert removed(store) == {}
    assert [trial.id for trial in store.trials(comparison)] == [kept, kept + 3]
    store.end_dead()
    after = content(store.url)
    for table in ("bench_protocol", "bench_method", "bench_context", "bench_comparison"):
        assert after[table] == before[table]
    assert files_before < files(store)


def test_what_runs_or_can_be_resumed_stays(
    store: Store, begin: Callable[..., int], ended: Callable[..., int], spec: TrialSpec
) -> None:
    folder = store.artifacts.parent / "checkpoints"
    folder.mkdir(parents=True)
    states = {}
    for status in ("planned", "running", "interrupted", "failed", "done"):
        id = store.new_comparison(spec.protocol, "comparison", "bench", plan={"a": 1})
        for fleet in store.add_fleets(id, [(1.0, {}), (2.0, {})]):
            store.lease("elsewhere:1", id, fleet.number)
            ended(id, spec, fleet=(fleet.id, 0), owner="elsewhere:1")
        first, second = store.fleets(id)
        store.end_fleet(first.id, "elsewhere:1", "ended")
        with store._write() as connection:
            connection.execute(
                update(tables.comparison).where(tables.comparison.c.id == id).values(status=status)
            )
        states[status] = id
        for fleet in (first, second):
            for end in ("000001.ckpt", "000002.ckpt", "new"):
                (folder / f"{id}-{fleet.number:04d}.{end}").write_bytes(b"12345")
    names = ["0badc0de-0000.000001.ckpt", "notes.txt", f"{states['done']}-0000.ckpt.bak"]
    for name in names:
        (folder / name).write_text("not of this store")
    before = content(store.url)
    (heap,) = collect(store, lambda _: None)
    assert heap == GarbageGroup("checkpoints", 3, 15, "their fleets have ended")
    gone = {f"checkpoints/{states['done']}-0000.{e}" for e in ("000001.ckpt", "000002.ckpt", "new")}
    assert not gone & files(store)
    assert len(list(folder.iterdir())) == 5 * 6 - 3 + len(names)
    assert content(store.url) == before


def test_a_trial_that_runs_is_left_to_its_process(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    begin(comparison, owner="elsewhere:1")
    drop(store, comparison)
    assert removed(store) == {}
    with store._write() as connection:
        connection.execute(update(tables.trial).values(heartbeat=None))
    assert removed(store)["trials"] == 1


def test_spooled_rows_of_trials_that_are_gone(
    store: Store, comparison: str, ended: Callable[..., int], spec: TrialSpec,
    measured: Callable[..., Measurement],
) -> None:  # fmt: skip
    here, *others_here = (ended(comparison, replace(spec, seed=seed)) for seed in range(6))
    with store._write() as connection:
        # Gone but the last, so that these numbers were given here; later ones may be a copy's.
        for id in others_here[:-1]:
            for table in (tables.comparison_trial, tables.measurement):
                connection.execute(delete(table).where(table.c.trial_id == id))
            connection.execute(delete(tables.trial).where(tables.trial.c.id == id))
    folder = store.artifacts.parent / "spool"
    later = Spool(store, folder, print)
    later.append([SpooledMeasurement(others_here[-1] + 1, measured(5))])
    later.close()
    kept = []
    for ids in ([here + 1, here], [here + 1, here + 2], [here + 3]):
        spool = Spool(store, folder, print)
        spool.append([SpooledMeasurement(id, measured(5)) for id in ids])
        kept.append(spool)
    mixed, gone, alive = kept
    with gone.path.open("ab") as cut:
        cut.write(b'{"Measured": {"trial')
    mixed.close()
    gone.close()
    others = folder / f"{'a' * 32}-1-00000000.jsonl"
    others.write_bytes(gone.path.read_bytes())
    strange = folder / f"{store.id}-1-00000000.jsonl"
    strange.write_bytes(b"no rows\n")
    assert removed(store) == {"spool files": 1}
    assert sorted(folder.iterdir()) == sorted([mixed.path, alive.path, others, strange, later.path])
    alive.close()
    with alive.path.open("rb") as reading:
        fcntl.flock(reading, fcntl.LOCK_EX)
        assert removed(store) == {}
    assert removed(store) == {"spool files": 1}


def test_a_file_that_resists_keeps_its_rows(
    store: Store, comparison: str, ended: Callable[..., int], spec: TrialSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ended(comparison, spec)
    drop(store, comparison)
    before = content(store.url)

    def resist(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as resisting:
        resisting.setattr(garbage.shutil, "rmtree", resist)
        with pytest.raises(Infrastructure, match="cannot be removed: Permission denied"):
            removed(store)
    assert content(store.url) == before
    assert removed(store)["trials"] == 1


def test_a_name_that_leads_elsewhere_removes_nothing_there(
    store: Store, comparison: str, ended: Callable[..., int], spec: TrialSpec
) -> None:
    ended(comparison, spec)
    precious = store.artifacts.parent / "precious"
    precious.mkdir()
    with store._write() as connection:
        connection.execute(update(tables.trial).values(uuid="/../../../precious"))
    drop(store, comparison)
    assert "folders of pictures" not in removed(store)
    assert precious.is_dir()


@pytest.mark.slow
def test_runs_that_begin_meanwhile_lose_nothing(
    store: Store, spec: TrialSpec, other: TrialSpec, comparison: str, begin: Callable[..., int]
) -> None:
    # Each trial begun brings back a method and a context that the last collection removed.
    stop, failures = threading.Event(), list[Exception]()

    def clean() -> None:
        with Store.open(store.url) as mine:
            while not stop.is_set():
                try:
                    collect(mine, lambda _: None)
                except Exception as error:
                    failures.append(error)
                    return

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    begun = []
    for seed in range(30):
        dropped = store.new_comparison(other.protocol, "run", "bench run")
        trial = begin(dropped, replace(other, seed=seed), context={"threads": 9})
        begun.append(store.trial(trial).id)
        assert store.trials(dropped) != []
        store.end(trial, "budget", None, Ledger(), None)
        drop(store, dropped)
        begun.append(begin(comparison, replace(spec, seed=seed)))
    stop.set()
    cleaner.join()
    assert failures == []
    assert len(store.trials(comparison)) == 30
    removed(store)
    assert len(store.trials()) == 30


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own.
@pytest.mark.parametrize(
    "url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_runs_deleted_in_mlflow_are_left_to_sync(
    store: Store, comparison: str, ended: Callable[..., int], spec: TrialSpec
) -> None:
    import mlflow

    from bench.harness.store.mlflow.mirror import sync

    ended(comparison, spec)
    sync(store)
    client = mlflow.MlflowClient(tracking_uri=store.url, registry_uri=store.url)
    run = str(store.trials()[0].mlflow_run_id)
    before = client.get_run(run).data
    client.delete_run(run)
    assert removed(store) == {}
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    sync(store)
    again = client.get_run(run)
    assert again.info.lifecycle_stage == "active"
    assert again.data.to_dictionary() == before.to_dictionary()
