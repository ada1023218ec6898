"""Specifications of protocol, method and trial, each with a key that is equal on all machines."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import rfc8785

from bench.harness.core.errors import Usage
from bench.harness.core.text import is_storable, shortened, visible
from bench.optim.route_text import JOIN, apart, names_of
from bench.optim.values import value_text
from bench.optim.wrapper_text import renamed

PROTOCOL_VERSION = 2
"""Since 2 the price of every pass is counted from the network, and a budget in examples pays for
the cases of every pass. Before, a loss was 1/3 of a gradient, and examples those of gradients."""

Currency = Literal["gradients", "updates", "examples", "seconds"]
CURRENCIES: tuple[str, ...] = ("gradients", "updates", "examples", "seconds")
Precision = Literal["fp32", "tf32", "fp64"]


def canonical_json(value: Any) -> str:
    """Return the canonical JSON (RFC 8785) of plain values: 1.0 equals 1, and 1e-2 equals 0.01.

    Raises Usage for a number that JSON cannot represent exactly (2⁵³ or more, or not finite), and
    for a text that some databases cannot store.
    """
    if (text := _unstorable_text(value)) is not None:
        raise Usage(
            f"{visible(shortened(text, 60))}: names and values of a trial may contain neither NUL "
            "nor half of a surrogate pair, because databases cannot store them. Choose another "
            "name or value."
        )
    try:
        return rfc8785.dumps(value).decode()
    except (rfc8785.IntegerDomainError, rfc8785.FloatDomainError) as error:
        raise Usage(
            f"{error}: the numbers of a trial must be finite, and whole numbers must be below "
            "2^53. Choose another number."
        ) from error


def key_of(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class Budget:
    """How much a trial may spend, in one currency."""

    currency: Currency
    amount: float

    @property
    def text(self) -> str:
        """The budget as the command line writes it, with every digit.

        >>> Budget("gradients", 600000.0).text
        'gradients=600000'
        """
        return f"{self.currency}={exact_text(self.amount)}"


def exact_text(amount: float) -> str:
    """Return the shortest text that reads back as exactly this number."""
    return str(int(amount)) if amount == int(amount) else repr(float(amount))


def name_text(value: Any) -> str:
    """Return a value as names have it, where numbers and truth values are as they always were.

    Recorded trials are found by their names, so that a name may not change.

    >>> name_text(True), name_text((0.9, 0.99))
    ('True', '(0.9,0.99)')
    """
    return value_text(value) if value is None or isinstance(value, tuple) else str(value)


def problem_text(problem: str, parameters: Mapping[str, Any]) -> str:
    """Return a problem's name with its parameters in brackets.

    >>> problem_text("add", {"T": 30, "centred_outputs": False})
    'add[T=30,centred_outputs=false]'
    """
    inside = ",".join(f"{key}={value_text(value)}" for key, value in parameters.items())
    return f"{problem}[{inside}]" if inside else problem


@dataclass(frozen=True)
class Protocol:
    """What must be equal for two trials to be compared."""

    problem: str
    parameters: Mapping[str, Any]
    preset: str
    data: str
    data_digest: str
    initialization: str
    objective: str
    metric: str
    direction: Literal["lower", "higher"]
    budget: Budget
    precision: Precision
    evaluations: int
    version: int = PROTOCOL_VERSION

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON."""
        return key_of(self.as_dict())

    def differences(self, other: Protocol) -> list[str]:
        """Name the fields in which two protocols differ."""
        mine, theirs = self.as_dict(), other.as_dict()
        return [name for name in mine if canonical_json(mine[name]) != canonical_json(theirs[name])]

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Protocol:
        """Read back what `as_dict` wrote."""
        return cls(**{**plain, "budget": Budget(**plain["budget"])})


@dataclass(frozen=True)
class MethodSpec:
    """An optimizer with its backend and all hyperparameters, each of its declared type."""

    name: str
    backend: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON."""
        return key_of(self.as_dict())

    @property
    def text(self) -> str:
        """The text that resolves to this method again."""
        return JOIN.join(
            _method_text(name, self.backend, values)
            for name, values in apart(self.name, self.hyperparameters)
        )


def brief_name(name: str, hyperparameters: Mapping[str, Any]) -> str:
    """Return a method's name without where it was found; of a route, that of every part.

    >>> brief_name("torch.optim.Muon+./mine.py:Mine", {"1.on": "hidden", "2.on": "rest"})
    'Muon+Mine'
    >>> brief_name("pytorch_optimizer:Lookahead(torch.optim.AdamW)", {})
    'Lookahead(AdamW)'
    """

    def last(name: str) -> str:
        return re.split(r"[/.:]", name)[-1] or name

    return JOIN.join(renamed(part, last) for part in names_of(name, hyperparameters))


@dataclass(frozen=True)
class TrialSpec:
    """One trial: a protocol, a method and a seed."""

    protocol: Protocol
    method: MethodSpec
    seed: int

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of all three."""
        return key_of(
            {
                "protocol": self.protocol.as_dict(),
                "method": self.method.as_dict(),
                "seed": self.seed,
            }
        )


def _unstorable_text(value: Any) -> str | None:
    """Return the first text among plain values that some databases cannot store, if any."""
    if isinstance(value, str):
        return None if is_storable(value) else value
    if isinstance(value, Mapping):
        value = (each for pair in value.items() for each in pair)
    elif not isinstance(value, list | tuple):
        return None
    return next((found for each in value if (found := _unstorable_text(each)) is not None), None)


def _method_text(name: str, backend: str, values: Mapping[str, Any]) -> str:
    inside = ",".join(f"{key}={value_text(value)}" for key, value in values.items())
    return f"{name}@{backend}[{inside}]" if inside else f"{name}@{backend}"
