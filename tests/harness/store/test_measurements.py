"""Measurements are read back as they were recorded, however fast."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.harness.core.records import Ledger, Measurement
from bench.harness.store import tables
from bench.harness.store.measurements import Diagnostics, measurement_query
from bench.harness.store.results import Store

INTEGERS = st.integers(0, 2**53)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(0, 1e300, allow_nan=False)
# PostgreSQL stores neither NUL nor half a surrogate pair.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@st.composite
def taken(draw: st.DrawFn) -> Measurement:
    ledger = Ledger(
        *(draw(INTEGERS), draw(INTEGERS), draw(FINITE), draw(INTEGERS), draw(INTEGERS)),
        *(draw(FINITE), draw(INTEGERS)),
    )
    values = [draw(NUMBERS) for _ in range(4)]
    return Measurement(0, ledger, *values, draw(st.dictionaries(NAMES, NUMBERS, max_size=4)))


def exactly(value: Any) -> Any:
    """Return plain values that are equal only where every bit is.

    But for the bits of a NaN and for the sign of 0, which SQLite does not keep.
    """
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value + 0.0)
    if isinstance(value, dict):
        return {name: exactly(each) for name, each in value.items()}
    return value


def reference(row: dict[str, Any]) -> dict[str, Any]:
    """Read a row of bench_measurement the plain way."""
    strange = json.loads(row["nonfinite"] or "{}")
    diagnostics = json.loads(row["diagnostics"])
    for name in strange:
        if name.startswith("diagnostics."):
            diagnostics[name.removeprefix("diagnostics.")] = float(strange[name])
    values = ("train_metric", "test_metric", "train_loss", "test_loss")
    return {
        "index": row["idx"],
        "ledger": {field.name: row[field.name] for field in dataclasses.fields(Ledger)},
        **{name: float(strange[name]) if name in strange else row[name] for name in values},
        "diagnostics": diagnostics,
    }


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(taken(), max_size=6), split=st.integers(0, 6))
def test_every_number_comes_back_bit_for_bit(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    rows: list[Measurement],
    split: int,
) -> None:
    rows = [dataclasses.replace(row, index=index) for index, row in enumerate(rows)]
    one, other = begin(comparison), begin(comparison)
    entered = {one: rows[:split], other: rows[split:]}
    store.record([(id, row) for id, some in entered.items() for row in some])
    found = store.measurements(entered)
    plain = {id: [exactly(dataclasses.asdict(m)) for m in some] for id, some in found.items()}
    assert plain == {
        id: [exactly(dataclasses.asdict(m)) for m in some] for id, some in entered.items()
    }
    table = tables.measurement
    query = table.select().where(table.c.trial_id.in_(entered)).order_by(table.c.idx)
    with store._read() as connection:
        for row in connection.execute(query).mappings():
            read = next(m for m in found[row["trial_id"]] if m.index == row["idx"])
            assert exactly(dataclasses.asdict(read)) == exactly(reference(dict(row)))


@pytest.fixture
def read_back(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> Iterator[tuple[Measurement, Measurement]]:
    """A measurement as it was recorded, and as it is read back."""
    id, entered = begin(comparison), measured(3, 0.1, lam=45.0, rho=-0.5)
    store.record([(id, entered)])
    yield entered, store.measurements([id])[id][0]


def test_what_is_read_back_is_a_value_like_any_other(
    read_back: tuple[Measurement, Measurement],
) -> None:
    entered, found = read_back
    assert type(found) is Measurement and type(found.ledger) is Ledger
    assert found == entered and repr(found) == repr(entered)
    assert pickle.loads(pickle.dumps(found)) == entered
    assert dataclasses.replace(found, index=4) == dataclasses.replace(entered, index=4)
    # JSON takes it, as it does for whoever spools or tells it.
    assert json.loads(json.dumps(dataclasses.asdict(found))) == dataclasses.asdict(entered)
    for thing, name in ((found, "index"), (found.ledger, "updates")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 1)


def test_diagnostics_are_read_once_and_cannot_be_changed(
    read_back: tuple[Measurement, Measurement],
) -> None:
    _, found = read_back
    shown: Any = found.diagnostics
    assert isinstance(shown, Diagnostics)
    assert ("rho" in shown, "mu" in shown, len(shown)) == (True, False, 2)
    assert shown == {"lam": 45.0, "rho": -0.5} == dict(shown)
    assert shown["lam"] is shown["lam"]
    with pytest.raises(TypeError):
        shown["lam"] = 1.0


def test_the_query_has_every_column() -> None:
    assert {c.name for c in measurement_query().selected_columns} == set(
        tables.measurement.c.keys()
    )
