"""What is recorded of comparisons, as pandas DataFrames. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.harness.core.records import ComparisonRecord, Measurement, TrialRecord
from bench.harness.core.spec import problem_text
from bench.harness.report.table import claim, evidence, judged

TIME = "datetime64[us, UTC]"
LEDGER = {
    "updates": "int64",
    "examples": "int64",
    "gradients": "float64",
    "products": "int64",
    "cg_steps": "int64",
    "seconds": "float64",
    "peak_memory": "int64",
    "fleet_seconds": "float64",
}
CURRENCIES = ("updates", "examples", "gradients", "seconds")

VERDICTS = {
    **{"a": "string", "b": "string", "verdict": "string", "metric": "string", "claim": "string"},
    **{"difference": "float64", "low": "float64", "high": "float64", "unit": "string"},
    **{"ratio": "float64", "ratio_low": "float64", "ratio_high": "float64"},
    **{"p": "float64", "n": "int64", "interval_kind": "string"},
    **{"smallest_detectable": "float64", "seeds_to_decide": "Int64", "reason": "string"},
    "evidence": "string",
}
TABLE = {
    **{"method": "string", "name": "string", "backend": "string", "n": "int64"},
    **{"train": "float64", "train_low": "float64", "train_high": "float64"},
    **{"test": "float64", "test_low": "float64", "test_high": "float64"},
    **dict.fromkeys(LEDGER, "float64"),
    **{"seconds_are": "string", "target": "float64", "reached": "int64", "of": "int64"},
    **{f"{currency}_to_target": "float64" for currency in CURRENCIES},
    "time_refused": "bool",
    **{"published": "float64", "tuning_trials": "int64", "hyperparameters": "object"},
}
POINTS = {
    **{"method": "string", "name": "string", "budget": "float64", "currency": "string"},
    **{"n": "int64", "mean": "float64", "low": "float64", "high": "float64"},
    **{"diverged": "int64", "updates": "float64", "tuning_trials": "int64"},
    **{"hyperparameters": "object", "comparison": "string"},
}
TRIALS = {
    **{"trial": "int64", "method": "string", "name": "string", "seed": "int64"},
    **{"purpose": "string", "status": "string", "reason": "string"},
    **{"train": "float64", "test": "float64", **LEDGER, "seconds_are": "string"},
    **{"fleet_rows": "int64", "attempt": "int64", "reused": "bool"},
    **{"started": TIME, "ended": TIME, "uuid": "string", "key": "string"},
}
MEASUREMENTS = {
    **{"trial": "int64", "method": "string", "seed": "int64", "index": "int64", **LEDGER},
    **{"train": "float64", "test": "float64", "train_loss": "float64", "test_loss": "float64"},
}
DIAGNOSTIC = "diagnostic_"
"""How the column of a diagnostic begins, as a method or a problem reports it of itself."""
COMPARISONS = {
    **{"id": "string", "kind": "string", "status": "string", "problem": "string"},
    **{"preset": "string", "data": "string", "metric": "string", "budget": "string"},
    **{"precision": "string", "methods": "object", "seeds": "int64", "verdicts": "object"},
    **{"created": TIME, "ended": TIME, "command": "string"},
}
LAWS = {"law": "string", "state": "string", "figure": "string"}
NOISE = {
    **{"kind": "string", "problem": "string", "method": "string", "metric": "string"},
    **{"scale": "string", "n": "int64", "sd": "float64", "df": "float64"},
    **{"threshold": "float64", "smallest_detectable": "float64", "false_alarms": "float64"},
    **{"reason": "string", "protocol_key": "string", "context_digest": "string"},
}
"""Each table: its columns, and the type of each."""


def frame(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table of these columns and types; what a row lacks is missing."""
    found = list(rows)
    return pd.DataFrame(
        {
            name: pd.Series([row.get(name) for row in found], dtype=kind)
            for name, kind in columns.items()
        }
    )


def verdicts(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each pair of methods."""
    return frame(VERDICTS, (_pair(pair, summary) for pair in summary["pairs"]))


def points(curve: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each method and budget."""
    rows = (
        {
            **point,
            "method": row["method"],
            "name": row["name"],
            "budget": point["amount"],
            "currency": curve["currency"],
            "tuning_trials": point["tuning"]["trials"],
            "hyperparameters": dict(point["hyperparameters"]),
        }
        for row in curve["methods"]
        for point in row["points"]
    )
    return frame(POINTS, rows)


def budget_verdicts(curve: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each budget and pair of methods."""
    rows = (
        {**_pair(pair, curve), "budget": each["amount"]}
        for each in curve["budgets"]
        for pair in each["pairs"]
    )
    return frame({"budget": "float64", **VERDICTS}, rows)


def _pair(pair: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    ratio = pair["ratio"] or {}
    return {
        **pair,
        "metric": judged(summary)["name"],
        "claim": claim(pair, summary),
        "evidence": evidence(pair, summary),
        "ratio": ratio.get("value"),
        "ratio_low": ratio.get("low"),
        "ratio_high": ratio.get("high"),
    }


def table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each method."""
    return frame(TABLE, map(_method, summary["methods"]))


def _method(row: Mapping[str, Any]) -> dict[str, Any]:
    final, time = row["final"], row["time_to_target"]
    return {
        **{name: row[name] for name in ("method", "name", "backend", "n", "published")},
        **{"train": final["mean"], "train_low": final["low"], "train_high": final["high"]},
        "test": final["test"]["mean"],
        "test_low": final["test"]["low"],
        "test_high": final["test"]["high"],
        **row["ledger"],
        **{name: time[name] for name in ("target", "reached", "of")},
        **{f"{currency}_to_target": time[currency] for currency in CURRENCIES},
        # Earlier versions of bench refused none.
        "time_refused": bool(time.get("refused")),
        "tuning_trials": row["tuning"]["trials"],
        "hyperparameters": dict(row["hyperparameters"]),
    }


def trials(found: Sequence[TrialRecord], reused: frozenset[int]) -> pd.DataFrame:
    """Return a row for each trial."""
    return frame(TRIALS, (_trial(trial, trial.id in reused) for trial in found))


def _trial(trial: TrialRecord, reused: bool) -> dict[str, Any]:
    own = ("method", "seed", "purpose", "status", "reason", "seconds_are", "fleet_rows", "attempt")
    return {
        **{name: getattr(trial, name) for name in (*own, "started", "ended", "uuid", "key")},
        "trial": trial.id,
        "name": trial.method_name,
        "train": trial.train_metric,
        "test": trial.test_metric,
        "reused": reused,
        **{name: getattr(trial.ledger, name) for name in LEDGER},
    }


def measurements(
    found: Sequence[TrialRecord], taken: Mapping[int, Sequence[Measurement]]
) -> pd.DataFrame:
    """Return a row for each measurement of each trial, with a column for each diagnostic."""
    rows = [_measurement(trial, each) for trial in found for each in taken.get(trial.id, ())]
    diagnostics = sorted({name for row in rows for name in row if name.startswith(DIAGNOSTIC)})
    return frame({**MEASUREMENTS, **dict.fromkeys(diagnostics, "float64")}, rows)


def _measurement(trial: TrialRecord, taken: Measurement) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "method": trial.method,
        "seed": trial.seed,
        "index": taken.index,
        **{name: getattr(taken.ledger, name) for name in LEDGER},
        "train": taken.train_metric,
        "test": taken.test_metric,
        "train_loss": taken.train_loss,
        "test_loss": taken.test_loss,
        **{f"{DIAGNOSTIC}{name}": value for name, value in taken.diagnostics.items()},
    }


def comparisons(
    found: Sequence[ComparisonRecord], begun: Mapping[str, Sequence[tuple[str, int]]]
) -> pd.DataFrame:
    """Return a row for each comparison, run or tuning; `begun` are methods and seeds by id."""
    return frame(COMPARISONS, (_comparison(record, begun.get(record.id, ())) for record in found))


def _comparison(record: ComparisonRecord, begun: Sequence[tuple[str, int]]) -> dict[str, Any]:
    protocol, summary = record.protocol, record.summary
    if summary is not None:
        rows = summary["methods"]
        begun = [(row["method"], trial["seed"]) for row in rows for trial in row["trials"]]
    return {
        **{name: getattr(record, name) for name in ("id", "kind", "status", "created", "ended")},
        "problem": problem_text(protocol.problem, protocol.parameters),
        **{name: getattr(protocol, name) for name in ("preset", "data", "metric", "precision")},
        "budget": protocol.budget.text,
        "methods": list(dict.fromkeys(method for method, _ in begun)),
        "seeds": len({seed for _, seed in begun}),
        "verdicts": [claim(pair, summary) for pair in record.pairs] if summary else [],
        "command": record.command,
    }
