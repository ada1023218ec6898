"""What is timed beside MLflow's client is the same for both, and a full store is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.harness.store.mlflow.mirror import initialise
from bench.harness.store.results import Store
from benchmarks.store.full_store import fill
from benchmarks.store.store import _Client, _Ours, _taken, _values


@pytest.mark.slow
def test_both_write_and_read_every_value(store_url: str, tmp_path: Path) -> None:
    taken = [_taken(trial, 130) for trial in range(2)]
    with Store.open(store_url) as store:
        initialise(store_url)
        ours, client = _Ours(store, taken, tmp_path), _Client(store_url, taken)
        for each in (ours, client):
            for _ in range(2):
                if each is ours:
                    ours.begin()
                each.record()
        assert list(ours.read().values()) == taken
        for measurements, series in zip(taken, client.read(), strict=True):
            read = {points[0].key: {p.step: p.value for p in points} for points in series}
            plain = [_values(m) for m in measurements]
            assert read == {name: {i: v[name] for i, v in enumerate(plain)} for name in plain[0]}


def test_a_full_store_has_so_many_trials_in_so_many_comparisons(store_url: str) -> None:
    fill(store_url, 10, 3)
    with Store.open(store_url) as store:
        comparisons = store.comparisons()
        assert [c.status for c in comparisons] == ["done"] * 3
        trials = [trial for c in comparisons for trial in store.trials(c.id)]
        assert len(trials) == len({t.key for t in trials}) == 10
        assert {t.status for t in trials} == {"budget"}
        assert len(store.measurements([trials[0].id])[trials[0].id]) == 25
