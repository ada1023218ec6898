"""The notation for methods and problems: name[@backend][key=value|value,…].

>>> parse("nag@numba[lr=0.01|0.05,mu_max=0.99]")
ParsedEntry(name='nag', backend='numba', values={'lr': ('0.01', '0.05'), 'mu_max': ('0.99',)})
>>> split("nag[lr=1,mu_max=0.9],hf")
['nag[lr=1,mu_max=0.9]', 'hf']
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.optim.hyperparameters import UsageError


@dataclass(frozen=True)
class ParsedEntry:
    """A name with its optional backend and its values in brackets; several values are a grid."""

    name: str
    backend: str | None = None
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)


def split(text: str) -> list[str]:
    """Split a list at the commas outside brackets; raise UsageError if brackets do not match."""
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
            f"{text!r}: the brackets do not match. Write name[key=value,key=value], in quotes "
            "for the shell."
        )
    parts.append(text[start:])
    if any(not part.strip() for part in parts):
        raise UsageError(f"{text!r}: there is an empty entry between commas.")
    return [part.strip() for part in parts]


def parse(text: str) -> ParsedEntry:
    """Read one entry; raise UsageError with the mistake and the correct form."""
    if len(split(text)) != 1:
        raise UsageError(f"{text!r} has several entries, but only one is allowed here.")
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
    return ParsedEntry(name, backend or None, values)
