"""The MLflow runs that a summary names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bench.harness.comparison.mlflow_runs import with_runs


def test_runs_that_came_later_are_filled_in() -> None:
    rows = [{"key": "a", "attempt": n, "seed": n, "mlflow_run_id": None} for n in (1, 2, 3)]
    summary = {"methods": [{"method": "nag", "trials": rows}], "notes": []}
    known: Any = [
        SimpleNamespace(key="a", attempt=1, mlflow_run_id="r" * 32),
        SimpleNamespace(key="a", attempt=2, mlflow_run_id=None),
    ]
    found = with_runs(summary, known)
    assert [trial["mlflow_run_id"] for trial in found["methods"][0]["trials"]] == [
        "r" * 32,
        None,
        None,
    ]
    assert rows[0]["mlflow_run_id"] is None
