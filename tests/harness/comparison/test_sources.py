"""A comparison trains again what a changed source decides, and says what it cannot see."""

from pathlib import Path

import pytest

from bench.harness.comparison.combine import combine_records
from bench.harness.comparison.compare import compare
from bench.harness.core.errors import Incomparable
from bench.harness.store.results import Store
from tests.harness.core.test_sources import as_before, forget  # noqa: F401
from tests.harness.small import request

MINE = """
from bench.optim.momentum.methods import NAG
import steps

class Mine(NAG):
    name = "mine"
    made = steps.SIZE
"""
OWN = """
import bench
import numpy as np
from torch import nn
from width import WIDTH

x = np.linspace(-1, 1, 40, dtype="float32")[:, None]

def make(preset):
    net = lambda: nn.Sequential(nn.Linear(1, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))
    return bench.problem(net, train=(x, x), test=(x, x), name="own", budget=200)
"""
FILES = {"mine.py": MINE, "steps.py": "SIZE = 1\n", "own.py": OWN, "width.py": "WIDTH = 2\n"}


@pytest.fixture
def reused(workdir: Path, store_url: str):
    """Return a function: changed files → which of two trials were reused."""
    import sys

    def of(**changed: str) -> list[bool]:
        for name, text in FILES.items():
            (workdir / name).write_text(changed.get(name.removesuffix(".py"), text))
        path, modules = list(sys.path), set(sys.modules)
        summary = compare(
            request(
                store_url,
                "./mine.py:Mine[batch=20]",
                problem="./own.py:make",
                budget="updates=3",
                seeds=1,
            )
        )
        forget(path, modules)
        assert summary is not None
        with Store.open(store_url) as store:
            record = store.comparison(summary["comparison"])
            return [trial.id in record.reused for trial in store.trials(record.id)]

    return of


def test_a_helper_that_changes_means_another_trial(reused) -> None:
    assert reused() == [False]
    assert reused() == [True]
    assert reused(steps="SIZE = 2\n") == [False]
    assert reused(width="WIDTH = 3\n") == [False]
    assert reused(own=OWN + "# edited\n") == [False]
    assert reused(own=OWN.replace("nn.Tanh()", "nn.ReLU()")) == [False]
    assert reused() == [True]


SHARED_NAME = """
import bench
import numpy as np
from torch import nn

x = np.linspace(-1, 1, 40, dtype="float32")[:, None]

def problem(net):
    return bench.problem(net, train=(x, x), test=(x, x), name="own", budget=200)

def narrow(preset):
    return problem(lambda: nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)))

def wide(preset):
    return problem(lambda: nn.Sequential(nn.Linear(1, 9), nn.Tanh(), nn.Linear(9, 1)))
"""


def test_two_modules_of_one_name_are_not_joined(workdir: Path, store_url: str) -> None:
    """One name, equal data, budget and metric: their protocols are equal, and they are not."""
    (workdir / "shared_name.py").write_text(SHARED_NAME)
    found = []
    for name, optimizer in (("narrow", "nag"), ("wide", "sgd"), ("narrow", "cm")):
        found.append(
            compare(
                request(
                    store_url,
                    f"{optimizer}[batch=20]",
                    problem=f"./shared_name.py:{name}",
                    budget="updates=3",
                    seeds=1,
                )
            )
        )
    narrow, wide, same = (each["comparison"] for each in found if each is not None)
    with Store.open(store_url) as store:
        records = {id: store.comparison(id) for id in (narrow, wide, same)}
        assert len({record.protocol.key for record in records.values()}) == 1
        with pytest.raises(Incomparable, match=r"because their problems differ: source .*"):
            combine_records(store, [records[narrow], records[wide]], ())
        allowed = combine_records(store, [records[narrow], records[wide]], ("source",)).summary
        assert allowed["pairs"][0]["allowed"] == ["source"]
        assert combine_records(store, [records[narrow], records[same]], ()).summary["pairs"]


def test_trials_that_shared_the_seconds_of_their_budget_are_not_compared(store_url: str) -> None:
    first, other = (
        compare(request(store_url, f"{name}[batch=20]", budget="seconds=0.05", seeds=2))
        for name in ("nag", "sgd")
    )
    assert first is not None and other is not None
    with Store.open(store_url) as store:
        ids = (first["comparison"], other["comparison"])
        records = [store.comparison(id) for id in ids]
        trials = [trial for id in ids for trial in store.trials(id)]
        assert [(t.fleet_rows, t.seconds_are) for t in trials] == [(1, "alone")] * 4
        assert combine_records(store, records, ()).summary["pairs"]
        with store._write() as connection:
            connection.exec_driver_sql("UPDATE bench_trial SET fleet_rows = 2")
        with pytest.raises(Incomparable, match="have shared the seconds of their budget"):
            combine_records(store, records, ())
