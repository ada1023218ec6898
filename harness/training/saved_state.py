"""The schema of a saved fleet, which is checked before a fleet continues from it.

A checkpoint has a digest, but whoever can write the file can also sign it anew. Tensors are checked
by shape and type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Lt, MinLen
from torch import Tensor

from bench.harness.core.records import Amount, Count, Ledger, Measurement, Status
from bench.harness.core.schema import Mismatch, validated

Place = Annotated[int, Ge(0), Lt(2**31)]


@dataclass(frozen=True)
class _SavedTensor:
    shape: list[Count]
    dtype: str


@dataclass(frozen=True)
class _SavedOutcome:
    status: Status
    reason: str | None
    ledger: Ledger
    theta: _SavedTensor


@dataclass(frozen=True)
class _SavedAccount:
    updates: Count
    examples: Count
    gradients: Amount
    products: Count
    cg_steps: Count


@dataclass(frozen=True)
class _SavedFleet:
    theta: _SavedTensor
    method: dict[str, Any]
    streams: dict[str, list[Count]]
    account: _SavedAccount
    seconds: Amount
    measured: Place
    measured_at: tuple[Count, Amount] | None
    going: Annotated[list[Place], MinLen(1)]
    ended: dict[str, _SavedOutcome]
    made: _SavedTensor
    bad_at: _SavedTensor
    report: dict[str, _SavedTensor | float | str]


@dataclass(frozen=True)
class _SavedState:
    fleet: _SavedFleet
    measurements: list[tuple[Place, Measurement]]


def check_saved(state: Mapping[str, Any], rows: int) -> None:
    """Raise Mismatch unless a saved state has all fields, each of its type, for so many `rows`."""
    saved = validated(_SavedState, _described(state)).fleet
    places = [*saved.going, *map(int, filter(str.isdecimal, saved.ended))]
    if sorted(places) != list(range(rows)) or len(saved.ended) != rows - len(saved.going):
        raise Mismatch(f"fleet.going and fleet.ended do not name {rows} rows once each")
    for row, _ in state["measurements"]:
        if row >= rows:
            raise Mismatch(f"measurements name row {row} of {rows}")


def check_fits(there: Any, here: Any, name: str) -> None:
    """Raise Mismatch unless what is saved has all parts, of the same shapes, that are here."""
    if isinstance(here, Mapping):
        if not isinstance(there, Mapping):
            raise Mismatch(f"{name} is no table")
        for key, part in here.items():
            if key not in there:
                raise Mismatch(f"{name}.{key} is missing")
            check_fits(there[key], part, f"{name}.{key}")
    elif isinstance(here, Tensor):
        if not isinstance(there, Tensor):
            raise Mismatch(f"{name} is no tensor")
        if there.shape != here.shape or there.dtype != here.dtype:
            of = [f"{t.dtype} of shape {tuple(t.shape)}" for t in (there, here)]
            raise Mismatch(f"{name} is {of[0]}, and here it is {of[1]}")
    elif isinstance(here, int | float) and not isinstance(there, int | float | Tensor):
        raise Mismatch(f"{name} is no number")


def _described(value: Any) -> Any:
    """Return plain values, with shape and type in place of each tensor."""
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, Mapping):
        # A method's own state is of the method: `check_fits` compares it.
        return {
            str(key): {} if key == "method" and isinstance(part, Mapping) else _described(part)
            for key, part in value.items()
        }
    return [_described(part) for part in value] if isinstance(value, list | tuple) else value
