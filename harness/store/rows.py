"""Between records and rows: ledgers, values that are not finite, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Row

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import (
    Certificate,
    ComparisonRecord,
    FleetRecord,
    Ledger,
    Measurement,
    TrialRecord,
)
from bench.harness.core.secrets import redacted_urls
from bench.harness.core.spec import Protocol
from bench.harness.core.text import storable
from bench.optim.values import tupled

CERTIFICATE = ("theta_digest", "method_source", "problem_source", "seed_plan", "command")
VALUES = ("train_metric", "test_metric", "train_loss", "test_loss")
LEDGER = tuple(field.name for field in fields(Ledger))
_COUNTS = ("updates", "examples", "products", "cg_steps", "peak_memory")
_LEDGER = tuple((name, int if name in _COUNTS else float) for name in LEDGER)
DIAGNOSTIC = "diagnostics."
# Made once: json.dumps would make one for every text.
_encode = json.JSONEncoder(allow_nan=False, sort_keys=True, ensure_ascii=False).encode


def to_json(value: Any) -> str:
    """Return JSON that every reader accepts: numbers that are not finite become null.

    In texts U+FFFD stands for what not every database can store.
    """
    return _encode(_finite(value))


class NotFinite(Infrastructure, ValueError):
    """A number that must be finite is not, so it cannot be recorded."""


def check_finite(name: str, value: float) -> float:
    """Return a number; raise NotFinite where it is NaN or infinite."""
    if not math.isfinite(value):
        raise NotFinite(f"{name} is {value}, so it cannot be recorded: it must be finite.")
    return value


def ledger_columns(ledger: Ledger) -> dict[str, int | float]:
    """Return a ledger as columns; NotFinite for what databases keep in different ways."""
    columns = {name: number(getattr(ledger, name)) for name, number in _LEDGER}
    for name in ("gradients", "seconds"):
        check_finite(name, columns[name])
    return columns


def value_columns(measurement: Measurement | None) -> dict[str, Any]:
    """Return the four values as columns, NULL and a note in `nonfinite` where not finite."""
    if measurement is None:
        return {**dict.fromkeys(VALUES), "nonfinite": None}
    values = _values(measurement)
    return _split(values, _nonfinite(values))


def measurement_row(trial_id: int, measurement: Measurement) -> dict[str, Any]:
    """Return one row of bench_measurement."""
    diagnostics = {k: float(v) for k, v in measurement.diagnostics.items()}
    values = _values(measurement)
    strange = _nonfinite(values) | _nonfinite(diagnostics, DIAGNOSTIC)
    return {
        "trial_id": trial_id,
        "idx": measurement.index,
        **ledger_columns(measurement.ledger),
        **_split(values, strange),
        "diagnostics": to_json(diagnostics),
    }


def ledger_of(plain: Mapping[str, Any]) -> Ledger:
    """Return the ledger among a row's columns."""
    return Ledger(**{name: plain[name] for name in LEDGER})


def trial_of(row: Row[Any]) -> TrialRecord:
    """Return the record of a row of bench_trial joined with bench_method."""
    plain = row._asdict()
    return TrialRecord(
        id=plain["id"],
        uuid=plain["uuid"],
        key=plain["key"],
        attempt=plain["attempt"],
        protocol_key=plain["protocol_key"],
        method=plain["label"],
        method_name=plain["name"],
        backend=plain["backend"],
        hyperparameters=tupled(json.loads(plain["hyperparameters"])),
        method_key=plain["method_key"],
        seed=plain["seed"],
        purpose=plain["purpose"],
        status=plain["status"],
        reason=plain["reason"],
        ledger=ledger_of(plain),
        seconds_are=plain["seconds_are"],
        train_metric=plain["train_metric"],
        test_metric=plain["test_metric"],
        source_digest=plain["source_digest"],
        context_digest=plain["context_digest"],
        fleet_rows=plain["fleet_rows"],
        started=plain["started"],
        ended=plain["ended"],
        mlflow_run_id=plain["mlflow_run_id"],
        certificate=_certificate_of(plain),
        anytime_updates=plain["anytime_updates"],
    )


def certificate_columns(certificate: Certificate | None) -> dict[str, str | None]:
    """Return a certificate as columns."""
    if certificate is None:
        return dict.fromkeys(CERTIFICATE)
    of = certificate
    command = redacted_urls(of.command)
    values = (of.theta, of.method_source, of.problem_source, to_json(of.seeds), command)
    return dict(zip(CERTIFICATE, values, strict=True))


def _certificate_of(plain: Mapping[str, Any]) -> Certificate | None:
    if plain["theta_digest"] is None:
        return None
    theta, method, problem, seeds, command = (plain[name] for name in CERTIFICATE)
    return Certificate(theta, method, problem, json.loads(seeds), command)


def comparison_of(
    row: Row[Any], pairs: list[Mapping[str, Any]], reused: list[int]
) -> ComparisonRecord:
    """Return the record of a row of bench_comparison with its protocol's body."""
    plain = row._asdict()
    return ComparisonRecord(
        id=plain["id"],
        kind=plain["kind"],
        protocol=Protocol.from_dict(json.loads(plain["body"])),
        command=plain["command"],
        status=plain["status"],
        created=plain["created"],
        ended=plain["ended"],
        summary=None if plain["summary"] is None else json.loads(plain["summary"]),
        pairs=tuple(pairs),
        reused=frozenset(reused),
        mlflow_run_id=plain["mlflow_run_id"],
        owner=plain["lease_owner"],
    )


def fleet_of(row: Row[Any], trials: Sequence[int]) -> FleetRecord:
    """Return the record of a row of bench_fleet with the ids of its trials."""
    plain = row._asdict()
    return FleetRecord(
        id=plain["id"],
        comparison_id=plain["comparison_id"],
        number=plain["number"],
        cost=plain["cost"],
        task=json.loads(plain["task"]),
        status=plain["status"],
        owner=plain["lease_owner"],
        trials=tuple(trials),
    )


def _values(measurement: Measurement) -> dict[str, float]:
    return {name: float(getattr(measurement, name)) for name in VALUES}


def _nonfinite(values: Mapping[str, float], prefix: str = "") -> dict[str, str]:
    """Return which values are not finite, and what they are."""
    return {prefix + k: _name(v) for k, v in values.items() if not math.isfinite(v)}


def _split(values: Mapping[str, float], strange: Mapping[str, str]) -> dict[str, Any]:
    """Return finite values as they are, others as None, and `nonfinite` naming what is strange."""
    if not strange:
        return {**values, "nonfinite": None}
    finite = {k: None if k in strange else v for k, v in values.items()}
    return {**finite, "nonfinite": to_json(strange)}


def _name(value: float) -> str:
    return "nan" if math.isnan(value) else "+inf" if value > 0 else "-inf"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(k)): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
