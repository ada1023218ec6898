"""Measurements read back: a comparison asks for tens of thousands at once."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, make_dataclass, replace
from typing import Any

from sqlalchemy import Select, select

from bench.harness.core.records import Ledger, Measurement
from bench.harness.store import tables as t
from bench.harness.store.rows import DIAGNOSTIC, LEDGER, VALUES

_COLUMNS = ("trial_id", "idx", *LEDGER, *VALUES, "nonfinite", "diagnostics")


class Diagnostics(Mapping[str, float]):
    """What a method reports of itself, read from its JSON when it is first looked at.

    Most measurements are read for their other values. Copied or pickled it is a plain dict.
    """

    __slots__ = ("_content",)

    def __init__(self, content: str | dict[str, float]) -> None:
        self._content = content

    def _read(self) -> dict[str, float]:
        if isinstance(self._content, str):
            self._content = json.loads(self._content)
        return self._content  # type: ignore[return-value]

    def __getitem__(self, name: str) -> float:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())

    def __reduce__(self) -> tuple[type, tuple[dict[str, float]]]:
        return dict, (self._read(),)


def measurement_query() -> Select[Any]:
    """Return the query for measurements in the order of their trials and indices."""
    table = t.measurement.c
    query = select(*(table[name] for name in _COLUMNS)).order_by(table.trial_id, table.idx)
    # Some rows at a time: memory that was just used is faster than new memory.
    return query.execution_options(yield_per=1_000)


def add_measurements(rows: Iterable[Sequence[Any]], found: Mapping[int, list[Measurement]]) -> None:
    """Add the measurements of rows of that query to the lists of their trials, NaN and all."""
    with _paused_garbage_collection():
        for trial_id, index, a, b, c, d, e, f, g, h, *values, nonfinite, diagnostics in rows:
            ledger = _Ledger(a, b, c, d, e, f, g, h)
            ledger.__class__ = Ledger
            measurement = _Measurement(index, ledger, *values, Diagnostics(diagnostics))
            measurement.__class__ = Measurement
            if nonfinite is not None:
                measurement = _completed(measurement, json.loads(nonfinite))
            found[trial_id].append(measurement)


def _completed(measurement: Measurement, nonfinite: Mapping[str, str]) -> Measurement:
    """Return a measurement with NaN and infinities in their places, which are NULL in its row."""
    strange = {name: float(value) for name, value in nonfinite.items()}
    values: dict[str, Any] = {name: strange.pop(name) for name in VALUES if name in strange}
    missing = {name.removeprefix(DIAGNOSTIC): value for name, value in strange.items()}
    diagnostics = {**measurement.diagnostics, **missing}
    return replace(measurement, **values, diagnostics=diagnostics)


def _mutable_twin(frozen: type) -> Any:
    """Return a class whose instances can become those of a frozen dataclass with slots.

    Its `__init__` takes half the time: it need not pass by what forbids to set an attribute.
    """
    named = [(field.name, Any) for field in fields(frozen)]
    return make_dataclass(frozen.__name__, named, slots=True)


_Ledger, _Measurement = _mutable_twin(Ledger), _mutable_twin(Measurement)


@contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Put off the search for garbage: it would look for it among all that is being read."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
