"""Baselines, nights and noise as they are kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bench.harness.core.records import NightMetric
from bench.harness.core.spec import Protocol
from bench.harness.store.results import Store
from bench.harness.store.transfer.export import INTERRUPTED, export
from bench.harness.store.transfer.importer import import_folder

METRIC = NightMetric(
    "quality", "a" * 64, "curves / quick", "nag", "error", "lower", "log", "b" * 64, "worse"
)
NIGHT = ("nightly", "5" * 64, "main", "c0ffee", {"host": "h"})


def test_a_night_comes_back_with_its_metrics_in_order(store: Store) -> None:
    uuid = store.begin_night(*NIGHT)
    assert store.nights()[0].status == "running" and store.nights()[0].metrics == ()
    metrics = [
        dataclasses.replace(METRIC, value=-1.25, reference=-1.5, threshold=0.1, sd=0.02, n=6),
        dataclasses.replace(METRIC, kind="digest", digest="c" * 64, state="new", reason="first"),
    ]
    store.end_night(uuid, "changed", "postgresql://u:secret@h/d is away", metrics)
    (night,) = store.nights()
    assert (night.uuid, night.status, night.commit) == (uuid, "changed", "c0ffee")
    assert night.metrics == tuple(metrics) and night.info == {"host": "h"}
    assert night.ended is not None and night.created <= night.ended
    assert "secret" not in (night.reason or "")


def test_nights_are_found_by_suite_and_baseline_the_newest_first(store: Store) -> None:
    ids = [store.begin_night(*NIGHT) for _ in range(3)]
    other = store.begin_night("weekly", "5" * 64, "main", None, {})
    store.begin_night("nightly", "5" * 64, "other", None, {})
    assert [night.uuid for night in store.nights("nightly", "main")] == ids[::-1]
    assert [night.uuid for night in store.nights("nightly", "main", limit=2)] == ids[:0:-1]
    assert [night.uuid for night in store.nights("weekly")] == [other]
    assert len(store.nights()) == 5


def test_what_is_accepted_last_comes_first(store: Store, protocol: Protocol) -> None:
    ids = [store.new_comparison(protocol, "comparison", "bench compare") for _ in range(3)]
    times = [store.accept("main", id, note) for id, note in zip(ids, ("a", None, "c"), strict=True)]
    store.accept("other", ids[0], None)
    assert times == sorted(set(times))
    assert [(b.comparison_id, b.note) for b in store.baselines("main")] == [
        (ids[2], "c"),
        (ids[1], None),
        (ids[0], "a"),
    ]
    assert len(store.baselines()) == 4


def test_noise_is_found_by_suite_the_newest_first(store: Store) -> None:
    first, second = (store.save_noise("nightly", {"sd": sd}) for sd in (0.1, 0.2))
    store.save_noise("weekly", {})
    assert [(n.uuid, n.body["sd"]) for n in store.noises("nightly")] == [
        (second, 0.2),
        (first, 0.1),
    ]


def test_a_night_that_runs_is_moved_as_one_that_failed(store: Store, tmp_path: Path) -> None:
    uuid = store.begin_night(*NIGHT)
    export(store, tmp_path / "out", (), "jsonl")
    to = f"sqlite:///{tmp_path / 'other' / 'bench.db'}"
    import_folder(tmp_path / "out", lambda: Store.open(to))
    with Store.open(to) as other:
        (night,) = other.nights()
    assert (night.uuid, night.status, night.reason) == (uuid, "failed", INTERRUPTED)
    assert store.nights()[0].status == "running"
