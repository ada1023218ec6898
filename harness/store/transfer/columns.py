"""The columns of each table that an export contains, and the checks of imported rows.

The columns follow from the tables, so new ones are included automatically. Trials are identified
by uuid, and fleets by comparison and number, because ids are valid in one store only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, get_args

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Float,
    Integer,
    Select,
    String,
    Table,
    select,
)
from sqlalchemy.sql.selectable import FromClause

from bench.harness.core.bodies import BODIES
from bench.harness.core.errors import Usage
from bench.harness.core.records import FleetStatus, MetricKind, MetricState, NightStatus, Status
from bench.harness.core.schema import Mismatch, validated
from bench.harness.core.spec import MethodSpec, Protocol, key_of
from bench.harness.core.text import is_storable, storable
from bench.harness.store import tables as t

Kind = Literal["text", "integer", "float", "boolean", "time"]
Row = dict[str, Any]

LOCAL_COLUMNS = {
    "comparison": ("heartbeat", "mlflow_run_id", "mlflow_ended"),
    "trial": ("id", "heartbeat", "mlflow_run_id", "mlflow_synced", "mlflow_ended"),
    "fleet": ("id", "heartbeat"),
}
"""Columns that are valid in one store only."""
_IDENTITY = {"trial": ("created", "uuid"), "fleet": ("comparison_id", "number")}
"""The order of rows in tables whose primary key is valid in one store only."""
JSON_COLUMNS = (
    *("body", "hyperparameters", "info", "summary", "task"),
    *("nonfinite", "diagnostics", "seed_plan"),
)
"""Columns with JSON, in any table."""
_COMPARISON, _KEY, _UUID = "[0-9a-f]{8}", "[0-9a-f]{64}", "[0-9a-f]{32}"
_PATTERNS = {
    **dict.fromkeys(("id", "comparison_id"), _COMPARISON),
    **dict.fromkeys(("uuid", "trial", "night"), _UUID),
    **dict.fromkeys(
        ("key", "digest", "suite_digest", "protocol_key", "method_key", "context_digest"), _KEY
    ),
}
_WORDS = {
    ("comparison", "kind"): ("comparison", "run", "tuning"),
    ("comparison", "status"): ("planned", "interrupted", "failed", "done"),
    ("trial", "status"): tuple(s for s in get_args(Status) if s != "running"),
    ("trial", "purpose"): ("reported", "tuning"),
    ("trial", "seconds_are"): ("alone", "shared"),
    ("fleet", "status"): tuple(s for s in get_args(FleetStatus) if s != "running"),
    ("night", "status"): tuple(s for s in get_args(NightStatus) if s != "running"),
    ("night_metric", "kind"): get_args(MetricKind),
    ("night_metric", "state"): get_args(MetricState),
    ("night_metric", "direction"): ("lower", "higher", "equal"),
    ("night_metric", "scale"): ("log", "plain"),
}
"""The values that a column may have; an export has no running trials."""


_DIGESTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "protocol": lambda row: Protocol.from_dict(json.loads(row["body"])).key,
    "method": lambda row: (
        MethodSpec(row["name"], row["backend"], json.loads(row["hyperparameters"])).key
    ),
    "context": lambda row: key_of(json.loads(row["body"])),
}
"""Functions that compute the key of a row from its content, by table."""


@dataclass(frozen=True)
class Field:
    """One column of an export."""

    name: str
    column: Column[Any]
    refers: str | None = None
    """The table whose rows it refers to, alone or together with `comparison_id`."""

    @cached_property
    def kind(self) -> Kind:
        """The type of the values."""
        kinds: tuple[tuple[type, Kind], ...] = (
            (t.Utc, "time"),
            (Boolean, "boolean"),
            (Float, "float"),
            (Integer, "integer"),
        )
        return next((kind for of, kind in kinds if isinstance(self.column.type, of)), "text")

    @cached_property
    def bits(self) -> int:
        """The size of an integer."""
        return 64 if isinstance(self.column.type, BigInteger) else 32

    def portable(self, value: Any) -> Any:
        """Return a value in a form that every database can store."""
        if value is None:
            return None
        if self.kind == "text":
            return storable(value)
        # SQLite has no negative zero.
        return float(value) + 0.0 if self.kind == "float" else value

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with an imported value; None if it is valid."""
        if value is None:
            return None if self.column.nullable else "is missing"
        if not _is(self.kind, value):
            return f"is no {self.kind}"
        if self.kind == "integer" and not -(2 ** (self.bits - 1)) <= value < 2 ** (self.bits - 1):
            return f"does not fit into {self.bits} bits"
        return self._fault_of_text(value) if self.kind == "text" else None

    def _fault_of_text(self, value: str) -> str | None:
        length = getattr(self.column.type, "length", None)
        if length is not None and len(value) > length:
            return f"is longer than {length} characters"
        if not is_storable(value):
            return "has characters that no database keeps"
        table, name = self.column.table.name.removeprefix("bench_"), self.column.name
        pattern = _PATTERNS.get(name)
        if pattern and not re.fullmatch(pattern, value, re.ASCII):
            return "is not of the form that bench gives it"
        words = _WORDS.get((table, name), (value,))
        if value not in words:
            return f"is none of {', '.join(words)}"
        return _fault_of_json(table, name, value) if name in JSON_COLUMNS else None


@dataclass(frozen=True)
class TransferTable:
    """One table of an export."""

    name: str
    """The name without `bench_`."""
    table: Table
    source: FromClause
    fields: tuple[Field, ...]
    identity: tuple[str, ...]
    """The fields that identify a row; rows are sorted by them."""

    def query(self, dialect: Dialect) -> Select[Any]:
        """Return the query for all rows in their order, which is the same in every database."""
        by_name = {field.name: field.column for field in self.fields}
        order: list[ColumnElement[Any]] = [by_name[name] for name in self.identity]
        if dialect.name == "postgresql":
            order = [c.collate("C") if isinstance(c.type, String | t.Text) else c for c in order]
        columns = [field.column.label(field.name) for field in self.fields]
        return select(*columns).select_from(self.source).order_by(*order)

    def portable(self, row: Mapping[str, Any]) -> Row:
        """Return a row in a form that every database can store."""
        return {f.name: f.portable(row[f.name]) for f in self.fields}

    def fault(self, row: Mapping[str, Any]) -> str | None:
        """Return what is wrong with an imported row that has all fields; None if it is valid."""
        for field in self.fields:
            if fault := field.fault(row[field.name]):
                return f"{field.name} {fault}"
        named = _DIGESTS.get(self.name)
        if named is None:
            return None
        try:
            name = named(row)
        except (Usage, KeyError, TypeError, AttributeError, RecursionError):
            return "it was written by another version of bench"
        return None if name == row[self.identity[0]] else f"{self.identity[0]} is not its SHA-256"


def _is(kind: Kind, value: Any) -> bool:
    if kind == "float":
        return isinstance(value, float) and math.isfinite(value)
    if kind == "time":
        return isinstance(value, datetime) and value.tzinfo is not None
    types = {"text": str, "integer": int, "boolean": bool}
    # A truth value is an integer in Python.
    return type(value) is types[kind]


def _fault_of_json(table: str, name: str, value: str) -> str | None:
    try:
        plain = json.loads(value, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "is no JSON"
    if not isinstance(plain, dict):
        return "is no JSON object"
    if schema := BODIES.get((table, name)):
        try:
            validated(schema, plain, others=True)
        except Mismatch as fault:
            return f"is not as bench writes it: {fault}"
    if name == "nonfinite" and not set(map(str, plain.values())) <= {"nan", "+inf", "-inf"}:
        return "names values other than nan, +inf and -inf"
    if name == "diagnostics" and not all(
        each is None or _is("float", each) or type(each) is int for each in plain.values()
    ):
        return "holds other values than numbers"
    return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def time_text(moment: datetime) -> str:
    """Return a time as ISO 8601 in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _part(table: Table) -> TransferTable:
    name = table.name.removeprefix("bench_")
    source: FromClause = table
    fields: list[Field] = []
    renamed: dict[str, tuple[str, ...]] = {}
    for column in table.columns:
        if column.name in LOCAL_COLUMNS.get(name, ()):
            continue
        target = next((key.column for key in column.foreign_keys), None)
        if target is t.trial.c.id:
            source = source.join(t.trial, column == target)
            fields.append(Field("trial", t.trial.c.uuid, "trial"))
        elif target is t.fleet.c.id:
            source = source.join(t.fleet, column == target)
            fields.append(Field("comparison_id", t.fleet.c.comparison_id, "comparison"))
            fields.append(Field("fleet", t.fleet.c.number, "fleet"))
            renamed[column.name] = ("comparison_id", "fleet")
        else:
            refers = None if target is None else target.table.name.removeprefix("bench_")
            fields.append(Field(column.name, column, refers))
        if target is t.trial.c.id:
            renamed[column.name] = ("trial",)
    key: Iterable[str] = (
        each for c in table.primary_key for each in renamed.get(c.name, (c.name,))
    )
    return TransferTable(name, table, source, tuple(fields), _IDENTITY.get(name) or tuple(key))


TRANSFER_TABLES = {
    part.name: part for part in map(_part, t.metadata.sorted_tables) if part.table is not t.store
}
"""All exported tables by name; a table comes after those that its rows refer to."""
