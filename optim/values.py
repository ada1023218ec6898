"""Plain values, and their text: numbers, true and false, words, none, and tuples of these.

>>> value_text((0.9, None, True))
'(0.9,none,true)'
>>> read("(0.9, 0.999)", tuple[float, float])
(0.9, 0.999)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, TypeAlias, TypeGuard, Union, get_args, get_origin

Value: TypeAlias = "int | float | str | bool | tuple[Value, ...] | None"
Kind: TypeAlias = Any
"""bool, int, float, str, a tuple of kinds, one of these | None, or object: any plain value."""

LARGEST = 2**53
"""Whole numbers below it are exact as floats, and in JSON."""
ANY_ELEMENTS = (object, ...)
"""What a tuple has whose kind says no more."""
NESTED = 2
"""Levels of tuples that a text of any kind may have."""


class NoValue(ValueError):
    """A text is no value of a kind; the message ends a sentence that begins with the text."""


def value_text(value: object) -> str:
    """Return the text of a value, with every digit; `read` gives the value back."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"({','.join(map(value_text, value))})"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def read(given: object, kind: Kind) -> Value:
    """Return a text, or a value that a program gives, as a value of a kind; else raise NoValue."""
    if kind in (object, NoneType):
        return _any(given, NESTED)
    if (inner := without_none(kind)) is not kind:
        if given is None or _is_word(given, "none"):
            return None
        try:
            return read(given, inner)
        except NoValue as error:
            raise NoValue(f"{error} Also allowed is none.") from None
    if tuple in (kind, _origin(kind)):
        return _tuple(given, kind)
    text = str(given).strip()
    if kind is bool:
        return _truth(text)
    return _word(text) if kind is str else _number(text, kind)


def kind_text(kind: Kind) -> str:
    """Return a kind in words.

    >>> kind_text(tuple[float, int | None])
    '(float,int or none)'
    >>> kind_text(tuple[int, ...])
    '(int,…)'
    """
    if (inner := without_none(kind)) is not kind:
        return f"{kind_text(inner)} or none"
    if tuple in (kind, _origin(kind)):
        each = ("…" if one is ... else kind_text(one) for one in get_args(kind) or ANY_ELEMENTS)
        return f"({','.join(each)})"
    return "any" if kind is object else str(kind.__name__)


def without_none(kind: Kind) -> Kind:
    """Return the kind itself, or the one beside None.

    >>> without_none(float | None)
    <class 'float'>
    """
    if _origin(kind) not in (UnionType, Union):
        return kind
    others = [each for each in get_args(kind) if each is not NoneType]
    return others[0] if len(others) == 1 else object


def takes_words(kind: Kind) -> bool:
    """Return whether a value of a kind may be a word, or have one in it."""
    return without_none(kind) in (str, object) or any(map(takes_words, get_args(kind)))


def leaves(value: Value) -> Iterator[Any]:
    """Yield what is no tuple: a value itself, or what is in it, in order.

    >>> list(leaves((1, (2, 3))))
    [1, 2, 3]
    """
    if isinstance(value, tuple):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def tupled(value: Any) -> Any:
    """Return plain values with tuples in place of lists, as they were before they were JSON."""
    if isinstance(value, dict):
        return {key: tupled(each) for key, each in value.items()}
    return tuple(map(tupled, value)) if isinstance(value, list | tuple) else value


def split_outside(text: str, separator: str) -> list[str]:
    """Split a text where a separator is in no parentheses; NoValue if these do not match.

    >>> split_outside("a=(1,2),b=3", ",")
    ['a=(1,2)', 'b=3']
    """
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth < 0:
            break
        if char == separator and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    if depth != 0:
        raise NoValue(": the parentheses do not match. Write a tuple as (0.9,0.99).")
    return [*parts, text[start:]]


def _origin(kind: Kind) -> Any:
    return get_origin(kind)


def _tuple(given: object, kind: Kind) -> Value:
    parts = _elements(given)
    kinds = [*(get_args(kind) or ANY_ELEMENTS)]
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(parts)
    if len(parts) != len(kinds):
        raise NoValue(f" has {_count(len(parts))}, and allowed are {len(kinds)}.")
    return tuple(_element(*each) for each in zip(parts, kinds, strict=True))


def _element(given: object, kind: Kind) -> Value:
    try:
        return read(given, kind)
    except NoValue as error:
        raise NoValue(f": {given}{error}") from None


def _elements(given: object) -> list[Any]:
    """Return what is in a tuple, or in its text."""
    if isinstance(given, list | tuple):
        return list(given)
    text = str(given).strip()
    if not (text.startswith("(") and text.endswith(")")):
        raise NoValue(" is not a tuple. A tuple has parentheses, as in (0.9,0.99).")
    parts = [part.strip() for part in split_outside(text[1:-1], ",")]
    # Python ends a tuple of one element with a comma.
    if not parts[-1]:
        parts.pop()
    if not all(parts):
        raise NoValue(" has an empty element between commas.")
    return parts


def _any(given: object, nested: int) -> Value:
    """Return what a text says by itself: a number, true or false, none, a tuple, else a word."""
    if isinstance(given, list | tuple) or str(given).strip().startswith("("):
        if not nested:
            raise NoValue(" is nested too deep. A tuple may have tuples in it, but no more.")
        return tuple(_any(each, nested - 1) for each in _elements(given))
    text = str(given).strip()
    for word, value in (("none", None), ("true", True), ("false", False)):
        if _is_word(text, word):
            return value
    try:
        return _whole_if_exact(float(text))
    except ValueError:
        return _word(text)


def _truth(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise NoValue(": allowed are true and false.")


def _word(text: str) -> str:
    if text[:1] in ("'", '"') or "(" in text or ")" in text:
        raise NoValue(" is not a word. Write one without quotes and without parentheses.")
    return text


def _number(text: str, kind: Kind) -> int | float:
    try:
        number = float(text)
    except ValueError:
        raise NoValue(_no_number(text)) from None
    if kind is float:
        return number
    if not math.isfinite(number) or number != int(number):
        raise NoValue(" is not a whole number.")
    return int(number)


def _no_number(text: str) -> str:
    if ".." in text:
        return (
            " is a range, from which only `bench compare --tune N` draws values. Write one number "
            "here."
        )
    if "|" in text:
        return " is a grid within a tuple. Write a grid of tuples, as in (0.9,0.99)|(0.9,0.999)."
    if text.startswith("("):
        return " is a tuple. Write one number, or a grid of numbers, a|b|c."
    return " is not a number."


def _is_word(given: object, word: str) -> bool:
    return isinstance(given, str) and given.strip().lower() == word


def _whole_if_exact(number: float) -> int | float:
    # JSON knows no difference between 5.0 and 5, so that a record gives back 5.
    return int(number) if abs(number) < LARGEST and number == int(number) else number


def _count(number: int) -> str:
    return f"{number} element" + ("" if number == 1 else "s")
