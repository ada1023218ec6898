"""`import bench` is quick, and shows what there is."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import bench


def test_it_takes_less_than_50_ms() -> None:
    code = "import time; t = time.perf_counter(); import bench; print(time.perf_counter() - t)"
    taken = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        taken.append(float(done.stdout))
    assert min(taken) < 0.05


def test_every_public_name_is_there_and_documented() -> None:
    for name in bench.__all__:
        found = getattr(bench, name)
        assert name in dir(bench)
        assert name.startswith("__") or found.__doc__


def test_the_version_is_that_of_the_package() -> None:
    assert bench.__version__ == version("bench-harness")


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'comprae'"):
        bench.comprae  # type: ignore[attr-defined]  # noqa: B018
