"""What the brackets of a recurrent problem set, read and refused in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from models.data.sequences import LONGEST
from models.initialization import RADIUS
from models.recurrent_tasks import Kind

LARGEST_ALPHABET = 1_000


@dataclass(frozen=True)
class Settings:
    """A recurrent problem's parameters."""

    length: int
    alphabet: int
    """0 for tasks without one."""
    radius: float
    input_scale: float
    centred_inputs: bool
    centred_outputs: bool
    parameters: Mapping[str, object]
    """T, and of the others those that are not the published ones: two ways of writing a problem
    are one protocol."""

    @classmethod
    def read(cls, name: str, preset: str, kind: Kind, given: Mapping[str, object]) -> Settings:
        """Read texts or values; ValueError says what is wrong and what is allowed."""
        usual: dict[str, object] = {
            "T": kind.presets[preset].length,
            "radius": RADIUS,
            "input_scale": kind.input_scale,
            "centred_inputs": True,
            "centred_outputs": True,
        }
        if kind.alphabet:
            usual["alphabet"] = kind.alphabet
        for key in given:
            if key not in usual:
                raise ValueError(f"{name} has no parameter {key}; it has {', '.join(usual)}")
        values = {**usual, **{k: v for k, v in given.items() if v is not None}}
        read: dict[str, int | float | bool] = {
            "T": _whole("T", values["T"], kind.shortest, LONGEST),
            "radius": _positive("radius", values["radius"]),
            "input_scale": _positive("input_scale", values["input_scale"]),
            "centred_inputs": _switch("centred_inputs", values["centred_inputs"]),
            "centred_outputs": _switch("centred_outputs", values["centred_outputs"]),
        }
        if kind.alphabet:
            low = kind.smallest_alphabet
            read["alphabet"] = _whole("alphabet", values["alphabet"], low, LARGEST_ALPHABET)
        return cls(
            length=int(read["T"]),
            alphabet=int(read.get("alphabet", 0)),
            radius=float(read["radius"]),
            input_scale=float(read["input_scale"]),
            centred_inputs=bool(read["centred_inputs"]),
            centred_outputs=bool(read["centred_outputs"]),
            parameters={k: v for k, v in read.items() if k == "T" or v != usual[k]},
        )


def _whole(name: str, given: object, low: int, high: int) -> int:
    try:
        value = int(str(given))
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ValueError(f"{name}={given}: a whole number from {low} to {high:,} is allowed")
    return value


def _positive(name: str, given: object) -> float:
    try:
        value = float(str(given))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={given}: a number greater than 0 is allowed")
    return value


def _switch(name: str, given: object) -> bool:
    text = str(given).lower()
    if text not in ("true", "false"):
        raise ValueError(f"{name}={given}: true or false is allowed")
    return text == "true"
