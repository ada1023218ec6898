"""The text in which methods and problems are written: name[@backend][key=value|value,…].

>>> parse("nag@numba[lr=0.01|0.05,mu_max=0.99]")
Written(name='nag', backend='numba', values={'lr': ('0.01', '0.05'), 'mu_max': ('0.99',)})
>>> split("nag[lr=1,mu_max=0.9],hf")
['nag[lr=1,mu_max=0.9]', 'hf']
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.optim.hyperparameters import UsageError


@dataclass(frozen=True)
class Written:
    """A name with its optional backend and bracketed values; several values are a grid."""

    name: str
    backend: str | None = None
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)


def split(text: str) -> list[str]:
    """Split a list at the commas outside brackets; UsageError where brackets do not match."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if depth < 0 or depth > 1:
            break
        if char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    if depth != 0:
        raise UsageError(
            f"{text!r}: the brackets do not match. Write name[key=value,key=value], "
            "quoted for the shell."
        )
    parts.append(text[start:])
    if any(not part.strip() for part in parts):
        raise UsageError(f"{text!r}: there is an empty entry between commas.")
    return [part.strip() for part in parts]


def parse(text: str) -> Written:
    """Read one entry; UsageError says what is malformed and how to write it."""
    if len(split(text)) != 1:
        raise UsageError(f"{text!r} names more than one; write one.")
    text = text.strip()
    head, bracket, inside = text.partition("[")
    if bracket and inside.index("]") != len(inside) - 1:
        raise UsageError(f"{text!r}: nothing may follow the closing bracket.")
    name, at, backend = (part.strip() for part in head.partition("@"))
    if not name or (at and not backend):
        raise UsageError(f"{text!r}: write name[key=value] or name@backend[key=value].")
    values: dict[str, tuple[str, ...]] = {}
    for item in inside[:-1].split(",") if bracket and inside != "]" else []:
        key, equals, value = (part.strip() for part in item.partition("="))
        choices = tuple(choice.strip() for choice in value.split("|"))
        if not (key and equals and all(choices)):
            raise UsageError(f"{text!r}: {item.strip()!r} is not of the form key=value.")
        if key in values:
            raise UsageError(f"{text!r}: {key!r} is given twice.")
        values[key] = choices
    return Written(name, backend or None, values)
