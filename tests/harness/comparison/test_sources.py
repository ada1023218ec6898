"""A comparison trains again what a changed source decides, and says what it cannot see."""

from pathlib import Path

import pytest

from bench.harness.comparison.compare import compare
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
