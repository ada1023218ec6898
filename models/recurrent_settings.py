"""The parameters in the brackets of a recurrent problem: reading and checking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.models import brackets
from bench.models.data.sequences import LONGEST
from bench.models.initialization import INITIALIZATIONS, RADIUS, EchoState, Initialization
from bench.models.recurrent_tasks import Kind

LARGEST_ALPHABET = 1_000
ESN = "esn"
"""The published start; what it is made of, `radius` and `input_scale`, no other start takes."""


@dataclass(frozen=True)
class Settings:
    """A recurrent problem's parameters."""

    length: int
    alphabet: int
    """The size of the alphabet; 0 for tasks without one."""
    start: EchoState | Initialization
    """How hidden weights start; all weights, where it is no echo state network's."""
    input_scale: float
    """Of an echo state network's input weights."""
    centred_inputs: bool
    centred_outputs: bool
    parameters: Mapping[str, object]
    """T, and of the others those that are not the published ones: two ways of writing a problem
    are one protocol."""

    @classmethod
    def read(cls, name: str, preset: str, kind: Kind, given: Mapping[str, object]) -> Settings:
        """Read texts or values; raise ValueError with what is allowed."""
        usual: dict[str, object] = {
            "T": kind.presets[preset].length,
            "radius": RADIUS,
            "input_scale": kind.input_scale,
            "centred_inputs": True,
            "centred_outputs": True,
            "init": ESN,
        }
        if kind.alphabet:
            usual["alphabet"] = kind.alphabet
        of_start = {key: given.get(key) for key in ("scale", "fan_in")}
        brackets.known(name, given, [*usual, *of_start])
        values = {**usual, **{k: v for k, v in given.items() if v is not None}}
        read: dict[str, int | float | bool | str] = {
            "T": brackets.whole("T", values["T"], kind.shortest, LONGEST),
            "init": brackets.choice("init", values["init"], (ESN, *INITIALIZATIONS)),
            "radius": brackets.positive("radius", values["radius"]),
            "input_scale": brackets.positive("input_scale", values["input_scale"]),
            "centred_inputs": brackets.switch("centred_inputs", values["centred_inputs"]),
            "centred_outputs": brackets.switch("centred_outputs", values["centred_outputs"]),
        }
        if kind.alphabet:
            low = kind.smallest_alphabet
            read["alphabet"] = brackets.whole("alphabet", values["alphabet"], low, LARGEST_ALPHABET)
        others = {k: v for k, v in read.items() if k == "T" or v != usual[k]}
        start, changed = _start(str(read["init"]), float(read["radius"]), given, of_start)
        return cls(
            length=int(read["T"]),
            alphabet=int(read.get("alphabet", 0)),
            start=start,
            input_scale=float(read["input_scale"]),
            centred_inputs=bool(read["centred_inputs"]),
            centred_outputs=bool(read["centred_outputs"]),
            parameters={**others, **changed},
        )


def _start(
    init: str, radius: float, given: Mapping[str, object], of_start: Mapping[str, object]
) -> tuple[EchoState | Initialization, Mapping[str, float]]:
    if init != ESN:
        for key in ("radius", "input_scale"):
            if given.get(key) is not None:
                raise ValueError(f"{key}={given[key]}: only init={ESN} takes it, not init={init}")
        return brackets.initialization(init, of_start)
    for key, value in of_start.items():
        if value is not None:
            raise ValueError(f"{key}={value}: init={ESN} takes radius and input_scale")
    return EchoState(radius), {}
