"""Texts from outside (names, reasons, command lines): made safe for databases and terminals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REPLACEMENT = "\ufffd"
# PostgreSQL cannot store NUL, and no encoding can store half of a surrogate pair.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Control characters move a terminal's cursor, begin its commands or end a line. Direction marks
# and separators make a terminal show something other than the text.
_CONTROL_CHARACTERS = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def storable(text: str) -> str:
    r"""Return a text that every database can store: U+FFFD replaces NUL and lone surrogates.

    >>> storable("a\0b") == "a\N{REPLACEMENT CHARACTER}b"
    True
    """
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub(REPLACEMENT, text)


def is_storable(text: str) -> bool:
    """Return whether every database can store a text unchanged."""
    return not _UNSTORABLE.search(text)


def visible(text: str, but: str = "") -> str:
    r"""Return a text with escapes in place of control characters, except those in `but`.

    >>> print(visible("\x1b[31mred\x1b[0m\n"))
    \x1b[31mred\x1b[0m\n
    """
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL_CHARACTERS.sub(
        lambda found: found[0] if found[0] in but else _escape(found[0]), text
    )


def all_visible(value: Any) -> Any:
    """Return plain values, such as those of JSON, with `visible` applied to every text in them."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {all_visible(key): all_visible(each) for key, each in value.items()}
    return [all_visible(each) for each in value] if isinstance(value, list | tuple) else value


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters; a longer one is cut and ends in an ellipsis.

    >>> shortened("momentum", 5)
    'mome…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
