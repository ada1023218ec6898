"""What tests of the Python API share: a store, and a comparison that takes moments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.harness.cli.main import main
from tests.harness.small import BUDGET, PROBLEM


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.harness.comparison.compare.write_files", lambda *given: None)


@pytest.fixture(autouse=True)
def store(workdir: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store that calls and commands find in the environment."""
    monkeypatch.setenv("BENCH_STORE", store_url)
    return store_url


@pytest.fixture
def compare() -> Callable[..., bench.Result]:
    """`bench.compare` on a problem so small that it takes moments."""

    def run(optimizers: Any = "nag[batch=20]", problem: Any = PROBLEM, **given: Any) -> Any:
        usual = {
            **{"seeds": 2, "budget": BUDGET, "device": "cpu", "threads": 1},
            **{"mlflow": False, "progress": False},
        }
        return bench.compare(optimizers, problem, **{**usual, **given})

    return run


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """`bench compare` on the same; its JSON."""

    def run(optimizers: str, *options: str) -> dict[str, Any]:
        words = (
            *("compare", "--optimizers", optimizers, "--problem", PROBLEM, "--seeds", "2"),
            *("--budget", BUDGET, "--device", "cpu", "--threads", "1", "--no-mlflow"),
        )
        with pytest.raises(SystemExit) as ended:
            main([*words, "--json", "-", *options])
        out, err = capfd.readouterr()
        assert ended.value.code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    return run
