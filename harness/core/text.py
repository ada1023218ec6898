"""Texts that anybody may have written: names, reasons, command lines; never markup or commands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REPLACED = "\ufffd"
# PostgreSQL's texts hold no NUL, and no encoding half of a surrogate pair.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Control characters move a terminal's cursor, begin its commands, end a line; marks of direction
# and separators show something else than what is there.
_UNSHOWN = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def storable(text: str) -> str:
    r"""Return what every database can store: U+FFFD stands for NUL and for lone surrogates.

    >>> storable("a\0b") == "a\N{REPLACEMENT CHARACTER}b"
    True
    """
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub(REPLACED, text)


def is_storable(text: str) -> bool:
    """Say whether every database can store a text as it is."""
    return not _UNSTORABLE.search(text)


def visible(text: str, but: str = "") -> str:
    r"""Return a text with escapes in place of what a terminal would act on, except for `but`.

    >>> print(visible("\x1b[31mred\x1b[0m\n"))
    \x1b[31mred\x1b[0m\n
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSHOWN.sub(lambda found: found[0] if found[0] in but else _escape(found[0]), text)


def all_visible(value: Any) -> Any:
    """Return plain values, such as those of JSON, with all texts in them visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {all_visible(key): all_visible(each) for key, each in value.items()}
    return [all_visible(each) for each in value] if isinstance(value, list | tuple) else value


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters; one that was cut ends in an ellipsis.

    >>> shortened("momentum", 5)
    'mome…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
