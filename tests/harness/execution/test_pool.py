"""Fleets over processes: what is recorded is what one process records."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from bench.harness.comparison.compare import compare
from bench.harness.core.errors import Usage
from bench.harness.core.spec import MethodSpec, TrialSpec
from bench.harness.execution.pool import _Dispatcher, _unpickled
from bench.harness.execution.pool_process import _pickled
from bench.harness.planning import placement
from bench.harness.store.owner import this_process
from bench.harness.store.results import Store
from tests.harness.execution.test_run import PROTOCOL
from tests.harness.small import request

MINE = """
import torch
from tests.harness.plugins import Watcher


class Mine(Watcher):
    name = "mine"

    def step(self, theta, objective, state):
        return super().step(theta, objective, state) | {"threads": torch.get_num_threads()}


class Odd(Exception):
    def __init__(self, number, why):
        super().__init__(f"{why} {number}")


class Raising(Watcher):
    name = "raising"

    def step(self, theta, objective, state):
        if state["updates"] == 9:
            raise Odd("ten", "at")
        return super().step(theta, objective, state)
"""


@pytest.fixture(autouse=True)
def two_processes(monkeypatch, workdir):
    """Two cores, work of any size worth two processes, and a user's own files."""
    monkeypatch.setattr("bench.harness.planning.preparation.os.cpu_count", lambda: 2)
    monkeypatch.setattr(placement, "MIN_SECONDS_FOR_PROCESSES", 0.0)
    (workdir / "mine.py").write_text(MINE)
    (workdir / "problem.py").write_text("from tests.harness.small import make\n")


def recorded(store):
    """What is on record, but for clocks and memory."""
    return {
        (trial.method, trial.seed): (
            (trial.key, trial.source_digest, trial.status, trial.fleet_rows, trial.purpose),
            [
                replace(m, ledger=replace(m.ledger, seconds=0.0, fleet_seconds=0.0, peak_memory=0))
                for m in store.measurements([trial.id])[trial.id]
            ],
            sorted(path.name for path in store.files_of_trial(trial.id).iterdir()),
            {**store.info_of(trial.id), "host": ""},
        )
        for trial in store.trials()
    }


def contexts(store):
    found = [store.context_of(trial.context_digest) for trial in store.trials()]
    return {(context["threads"], context["fleets_beside"]) for context in found}


def test_it_is_what_one_process_records_and_is_found_again(tmp_path, capfd):
    urls = [f"sqlite:///{tmp_path / name / 'bench.db'}" for name in ("spread", "here")]
    asked = [
        request(url, "nag[batch=20],./mine.py:Mine", problem="./problem.py:make", threads=threads)
        for url, threads in zip(urls, (2, 1), strict=True)
    ]
    spread, here = (compare(each) for each in asked)
    said = "Fleets are trained in separate processes: 2 at a time, 1 thread each."
    assert capfd.readouterr().err.count(said) == 1
    assert [row["final"] for row in spread["methods"]] == [row["final"] for row in here["methods"]]
    with Store.open(urls[0]) as one, Store.open(urls[1]) as other:
        assert recorded(one) == recorded(other)
        assert (contexts(one), contexts(other)) == ({(1, 1)}, {(1, 0)})
        for (method, _), (_, measured, _, _) in recorded(one).items():
            if method == "mine":
                assert measured[-1].diagnostics["threads"] == 1
        # One trial less makes no other plan of it, and the rest is found.
        with one._write() as connection:
            connection.exec_driver_sql(
                "UPDATE bench_trial SET status = 'interrupted' WHERE label = 'mine' AND seed = 1"
            )
        again = compare(asked[0])
        assert "3 of 4 trials are on record" in capfd.readouterr().err
        assert len(one.trials()) == 5
        assert contexts(one) == {(1, 1)}
    assert [row["final"] for row in again["methods"]] == [row["final"] for row in spread["methods"]]


def test_several_processes_record_in_postgresql(postgres_url):
    compare(request(postgres_url, "nag[batch=20],./mine.py:Mine", threads=2))
    with Store.open(postgres_url) as store:
        assert [trial.status for trial in store.trials()] == ["budget"] * 4
        assert contexts(store) == {(1, 1)}


def test_an_error_in_one_is_raised_here(store_url):
    with pytest.raises(RuntimeError, match="^Odd: at ten$"):
        compare(request(store_url, "nag[batch=20],./mine.py:Raising", seeds=1, threads=2))
    with Store.open(store_url) as store:
        ended = {trial.method: (trial.status, trial.reason) for trial in store.trials()}
        assert store.comparisons()[0].status == "failed"
    assert ended == {"nag": ("budget", None), "raising": ("failed", "Odd('at ten')")}


def test_of_what_the_dead_process_had_alone_the_lease_ends(store_url):
    """Whatever it was dealt: a worker elsewhere may have leased that before it did."""
    living, dead = this_process(), "elsewhere:17"
    with Store.open(store_url) as store:
        id = store.new_comparison(PROTOCOL, "comparison", "bench compare")
        fleets = store.add_fleets(id, [(1.0, {})] * 3)
        begun = {}
        for fleet, owner in zip(fleets[:2], (dead, living), strict=True):
            assert store.lease(owner, id, fleet.number)
            begun[owner] = begin(store, id, owner, fleet)
        process = SimpleNamespace(owner=dead, fleet=fleets[1])
        run = SimpleNamespace(store=store, comparison_id=id)
        dispatcher = _Dispatcher(run, fleets, bars=None)
        assert dispatcher._end_trials(process, "its process died") == [begun[dead]]
        assert [(fleet.status, fleet.owner) for fleet in store.fleets(id)] == [
            ("planned", None),
            ("running", living),
            ("planned", None),
        ]
        ended = store.trial(begun[dead])
        assert (ended.status, ended.reason) == ("interrupted", "its process died")
        assert store.trial(begun[living]).status == "running"


def begin(store, comparison, owner, fleet):
    return store.begin(
        comparison,
        TrialSpec(PROTOCOL, MethodSpec("nag", "torch", {}), fleet.number),
        label="nag",
        purpose="reported",
        source_digest="",
        context={},
        info={},
        fleet_rows=1,
        seconds_are="shared",
        owner=owner,
        fleet=(fleet.id, 0),
    )


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError


@pytest.mark.parametrize(
    ("error", "expected", "told"),
    [
        (ZeroDivisionError("at ten"), ZeroDivisionError, "at ten"),
        (Usage("Write it so."), Usage, "Write it so."),
        (Unpicklable("at ten"), RuntimeError, "Unpicklable: at ten"),
    ],
)
def test_an_error_arrives_as_what_it_was_where_it_can(error, expected, told):
    try:
        raise error
    except Exception as raised:
        found = _unpickled(*_pickled(raised))
    assert type(found) is expected
    assert str(found) == told
    if expected is not RuntimeError:
        assert "test_an_error_arrives" in found.__notes__[0]
