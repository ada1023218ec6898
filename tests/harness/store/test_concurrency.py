"""Many processes record into one store at once, and open it empty at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bench.harness.store import tables
from bench.harness.store.results import Store
from tests.harness.store.recording import MEASUREMENTS, SPEC, TRIALS, measured

ROOT = Path(__file__).parents[3]


def record_at_once(url: str, count: int, folder: Path) -> list[list[int]]:
    """Start processes, let them all go on together, and return the ids of each one's trials."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.harness.store.recording", url, str(number)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate() for process in processes]
    assert [errors for _, errors in told] == [""] * count
    assert [process.returncode for process in processes] == [0] * count
    return [[int(id) for id in said.split()] for said, _ in told]


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_doubled(url: str, tmp_path: Path) -> None:
    count = 8 if url.startswith("sqlite") else 16
    begun = record_at_once(url, count, tmp_path)
    # Nothing was put on disk in place of the store.
    assert not list(tmp_path.glob("spool-*/*"))
    with Store.open(url) as store:
        trials = {trial.id: trial for trial in store.trials()}
        assert sorted(id for ids in begun for id in ids) == sorted(trials)
        assert sorted(t.attempt for t in trials.values()) == list(range(1, count * TRIALS + 1))
        assert {t.key for t in trials.values()} == {SPEC.key}
        assert len({t.uuid for t in trials.values()}) == count * TRIALS
        found = store.measurements(trials)
        for number, ids in enumerate(begun):
            for trial, id in enumerate(ids):
                taken = [measured(number, trial, index) for index in range(MEASUREMENTS)]
                assert repr(found[id]) == repr(taken)
                ended = trials[id]
                assert (ended.status, ended.ledger) == ("budget", taken[-1].ledger)
                assert ended.train_metric == taken[-1].train_metric
        comparisons = store.comparisons()
        assert sorted(c.summary["number"] for c in comparisons if c.summary) == list(range(count))
        for each in comparisons:
            assert each.status == "done" and each.summary is not None
            assert [t.id for t in store.trials(each.id)] == sorted(begun[each.summary["number"]])
        with store._read() as connection:
            rows = {
                table.name: connection.scalar(select(func.count()).select_from(table))
                for table in (tables.store, tables.protocol, tables.method, tables.context)
            }
            beats = connection.execute(select(tables.trial.c.heartbeat, tables.trial.c.started))
            assert all(beat > started for beat, started in beats)
        assert set(rows.values()) == {1}
