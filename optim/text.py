"""The notation for methods and problems: name[@backend][key=value|value,…].

A value is a word, or a tuple in parentheses. A route joins several entries with +, each with
on=SELECTOR (`route_text`). A name may be Outer(Inner) (`wrapper_text`).

>>> parse("nag@numba[lr=0.01|0.05,mu_max=0.99]")
ParsedEntry(name='nag', backend='numba', values={'lr': ('0.01', '0.05'), 'mu_max': ('0.99',)})
>>> parse("torch.optim.Adam[betas=(0.9, 0.99)|(0.5, 0.9)]").values
{'betas': ('(0.9, 0.99)', '(0.5, 0.9)')}
>>> split("nag[lr=1,mu_max=0.9],hf")
['nag[lr=1,mu_max=0.9]', 'hf']
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.optim.hyperparameters import UsageError
from bench.optim.route_text import JOIN, apart, joined, names_of, split_route
from bench.optim.values import NoValue, split_outside
from bench.optim.wrapper_text import FORM, names_in


@dataclass(frozen=True)
class ParsedEntry:
    """A name with its optional backend and its values in brackets; several values are a grid."""

    name: str
    backend: str | None = None
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def parts(self) -> list[ParsedEntry]:
        """The entries that a route joins; the entry itself, if it is none."""
        pairs = apart(self.name, self.values)
        return [ParsedEntry(name, self.backend, values) for name, values in pairs]

    @property
    def names(self) -> list[str]:
        """The name of every optimizer in it."""
        return [each for part in names_of(self.name, self.values) for each in names_in(part)]

    @property
    def text(self) -> str:
        """The entry as it is written."""
        return JOIN.join(map(_text, self.parts))


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
        hint = " A tuple has parentheses, as in betas=(0.9,0.99)." if depth > 1 else ""
        raise UsageError(
            f"{text!r}: the brackets do not match. Write name[key=value,key=value], in quotes "
            f"for the shell.{hint}"
        )
    parts.append(text[start:])
    if any(not part.strip() for part in parts):
        raise UsageError(f"{text!r}: there is an empty entry between commas.")
    return [part.strip() for part in parts]


def parse(text: str) -> ParsedEntry:
    """Read one entry; raise UsageError with the mistake and the correct form."""
    if len(split(text)) != 1:
        raise UsageError(f"{text!r} has several entries, but only one is allowed here.")
    parts = [_parse_one(part) for part in split_route(text.strip())]
    if len(parts) == 1:
        return parts[0]
    backends = {part.backend for part in parts} - {None}
    if len(backends) > 1:
        raise UsageError(
            f"{text!r}: the parts of a route have one backend. Write one, or leave it out."
        )
    name, values = joined([(part.name, part.values) for part in parts], text)
    return ParsedEntry(name, next(iter(backends), None), values)


def _parse_one(text: str) -> ParsedEntry:
    head, bracket, inside = text.partition("[")
    if bracket and inside.index("]") != len(inside) - 1:
        hint = f" All values of {FORM.partition('[')[0]} stand behind it: {FORM}."
        raise UsageError(
            f"{text!r}: nothing may follow the closing bracket.{hint if '(' in text else ''}"
        )
    name, at, backend = (part.strip() for part in head.partition("@"))
    if not name or (at and not backend):
        raise UsageError(f"{text!r}: write name[key=value] or name@backend[key=value].")
    try:
        return ParsedEntry(name, backend or None, _values(inside[:-1].strip()))
    except NoValue as error:
        raise UsageError(f"{text!r}{error}") from None


def _values(inside: str) -> dict[str, tuple[str, ...]]:
    """Read what is in the brackets; NoValue for a mistake."""
    values: dict[str, tuple[str, ...]] = {}
    for item in split_outside(inside, ",") if inside else []:
        key, equals, value = (part.strip() for part in item.partition("="))
        choices = tuple(choice.strip() for choice in split_outside(value, "|"))
        if not (key and equals and all(choices)):
            hint = _tuple_hint(values, key) if key and not equals else ""
            raise NoValue(f": {item.strip()!r} is not of the form key=value.{hint}")
        if key in values:
            raise NoValue(f": {key!r} is given twice.")
        values[key] = choices
    return values


def _text(part: ParsedEntry) -> str:
    backend = f"@{part.backend}" if part.backend else ""
    inside = ",".join(f"{key}={'|'.join(choices)}" for key, choices in part.values.items())
    return f"{part.name}{backend}[{inside}]" if inside else f"{part.name}{backend}"


def _tuple_hint(before: dict[str, tuple[str, ...]], text: str) -> str:
    """Return what to write if the text belongs to the value in front of it."""
    if not before:
        return ""
    key, value = list(before)[-1], list(before.values())[-1][-1]
    return (
        f" If it belongs to {key}, write a tuple as {key}=({value},{text}), and a grid as "
        f"{key}={value}|{text}."
    )
