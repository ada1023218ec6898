"""The MLflow runs of a comparison's trials, which are known only after its summary is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from bench.harness.core.records import TrialRecord
from bench.harness.planning.request import Request
from bench.harness.report.files import to_json
from bench.harness.store.results import Store


def with_runs(summary: Mapping[str, Any], trials: Iterable[TrialRecord]) -> dict[str, Any]:
    """Return a summary that names the MLflow run of every trial that has one."""
    runs = {(trial.key, trial.attempt): trial.mlflow_run_id for trial in trials}

    def filled(trial: Mapping[str, Any]) -> dict[str, Any]:
        name = trial["key"], trial["attempt"]
        return {**trial, "mlflow_run_id": runs.get(name) or trial.get("mlflow_run_id")}

    methods = [{**row, "trials": list(map(filled, row["trials"]))} for row in summary["methods"]]
    return {**summary, "methods": methods}


def completed(request: Request, summary: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a summary with its MLflow runs, once MLflow has all trials; also in its file."""
    if summary is None or request.no_mlflow:
        return summary
    id = summary["comparison"]
    with Store.open(request.store, create=False) as store:
        summary = with_runs(summary, store.trials(id))
        with suppress(OSError):
            (store.files_of_comparison(id) / "comparison.json").write_text(
                to_json(summary), "utf-8"
            )
    return summary
