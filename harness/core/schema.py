"""Content from outside, checked against a declared schema before anything uses it.

A schema is a dataclass or another type with annotations. pydantic does the check and is loaded when
the first content is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from bench.harness.core.text import shortened, visible
from bench.optim.hyperparameters import nearest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_ALLOWED = {
    "string_type": "a text is allowed",
    "int_type": "a whole number is allowed",
    "int_from_float": "a whole number is allowed",
    "int_parsing_size": "a smaller whole number is allowed",
    "float_type": "a number is allowed",
    "finite_number": "a finite number is allowed",
    "bool_type": "true or false is allowed",
    "list_type": "a list is allowed",
    "tuple_type": "a list is allowed",
    "dict_type": "a table is allowed",
    "dataclass_type": "a table is allowed",
    "dataclass_exact_type": "a table is allowed",
    "model_type": "a table is allowed",
    "model_attributes_type": "a table is allowed",
    "none_required": "nothing is allowed",
    "literal_error": "{expected} is allowed",
    "greater_than_equal": "at least {ge} is allowed",
    "greater_than": "more than {gt} is allowed",
    "less_than_equal": "at most {le} is allowed",
    "less_than": "less than {lt} is allowed",
    "too_short": "at least {min_length} are needed",
    "string_too_short": "at least {min_length} characters are needed",
    "string_too_long": "at most {max_length} characters are allowed",
}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")


class Mismatch(ValueError):
    """Content is not as its schema says. The message names field, value and what is allowed."""


def validated(schema: type[T], plain: Any, *, others: bool = False) -> T:
    """Return plain values, as JSON or TOML give them, as an object of `schema`.

    A field that is missing or whose value is of another type raises Mismatch: nothing is converted.
    So does a field that the schema does not have, unless `others` are allowed.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     x: int
    >>> validated(Point, {"x": 3})
    Point(x=3)
    >>> validated(Point, {"x": 3.7})
    Traceback (most recent call last):
    bench.harness.core.schema.Mismatch: x = 3.7: a whole number is allowed
    """
    from pydantic import ValidationError

    declared: Any = schema
    try:
        text = json.dumps(plain, default=_as_table)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        raise Mismatch("it holds what JSON cannot hold") from None
    try:
        found: T = _adapter(declared).validate_json(
            text, strict=True, extra="ignore" if others else "forbid"
        )
    except ValidationError as error:
        faults = error.errors(include_url=False)
        first = _sentence(declared, _worst(faults))
        more = len({fault["loc"] for fault in faults}) - 1
        raise Mismatch(first + (f" ({more} more such faults)" if more > 1 else "")) from None
    return found


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(schema)


def _as_table(value: Any) -> dict[str, str]:
    # TOML has dates; no schema of bench has one.
    return {type(value).__name__: str(value)}


def _worst(faults: Sequence[Any]) -> Any:
    """Return the fault to name: a key that is unknown explains one that is missing."""
    return next((fault for fault in faults if fault["type"] in _UNKNOWN), faults[0])


def _sentence(schema: Any, fault: Mapping[str, Any]) -> str:
    place, kind = fault["loc"], fault["type"]
    name = _path(place)
    if kind in _UNKNOWN:
        known = _names(schema, place[:-1])
        within = f"{_path(place[:-1])} has" if place[:-1] else "there is"
        allowed = f" Allowed: {', '.join(known)}." if known else ""
        unknown = f"{within} no {visible(str(place[-1]))!r}"
        return f"{unknown}{nearest(str(place[-1]), known)}{allowed}".rstrip(".")
    if kind in _MISSING:
        return f"{name} is missing"
    what = f"{name} = {_shown(fault['input'])}" if name else _shown(fault["input"])
    if kind in _ALLOWED:
        return f"{what}: {_ALLOWED[kind].format(**fault.get('ctx', {}))}"
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{what}: {visible(message[:1].lower() + message[1:])}"


def _path(place: Sequence[str | int]) -> str:
    """Return the place of a value in words.

    >>> _path(("plan", "seeds"))
    'plan.seeds'
    >>> _path(("compare", 0, "problem"))
    'compare[1].problem'
    """
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step + 1}]"
        elif _is_name(step):
            text += f".{step}" if text else step
    return visible(shortened(text, 80))


def _is_name(step: str) -> bool:
    """Say whether a step is a key; pydantic also names the alternatives of a union."""
    return not step.startswith(("function-", "is-instance", "lax-or-strict", "constrained-"))


def _names(schema: Any, place: Sequence[str | int]) -> list[str]:
    """Return the keys that the schema has at a place."""
    whole = _adapter(schema).json_schema()
    here = _resolved(whole, whole)
    for step in place:
        inner = here.get("properties", {}).get(step) if isinstance(step, str) else None
        here = _resolved(whole, inner or here.get("items") or {})
    return list(here.get("properties", {}))


def _resolved(whole: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    for option in part.get("anyOf", ()):
        if "$ref" in option or "properties" in option or "items" in option:
            part = option
            break
    if "$ref" in part:
        found: Mapping[str, Any] = whole["$defs"][part["$ref"].rpartition("/")[2]]
        return found
    return part


def _shown(value: Any) -> str:
    return shortened(visible(json.dumps(value, ensure_ascii=False, default=str)), 60)
