"""Passwords in the URLs of stores and tracking servers, kept out of what is shown and recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from bench.harness.core.text import storable

HIDDEN = "***"

# The names of parameters of a URL, whatever stands before or behind, that are nobody's business.
_SECRET = re.compile(r"(?i)passw|pwd|secret|token|api_?key")
# What follows a ; or # belongs to the value: so databases read it.
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;#\s]+)=([^&\s'\"]+)")
_OF_A_URL = re.compile(r"(?<=[?&;])([^=&;#]+)=([^&]+)")
# The same, and also each that others would read within the value of another.
_EVERY = re.compile(r"(?<=[?&;])([^=&;#]+)=(?=([^&]+))")
# These names alone: a hyperparameter may well be called n_token.
_ASSIGNED = re.compile(r"(?i)(\b(?:ssl)?passw(?:or)?d=)[^\s&;'\"]+")


def is_secret(parameter: str) -> bool:
    """Say whether the value of a URL's parameter of this name is a secret."""
    return bool(_SECRET.search(parameter))


def hide_passwords(text: str) -> str:
    """Return `text`, such as a sentence, with the passwords of URLs replaced by ***.

    >>> hide_passwords("bench compare --store postgresql://me:secret@host/db")
    'bench compare --store postgresql://me:***@host/db'
    """
    # Greedy, since a password that is not escaped may have an @ of its own.
    text = re.sub(r"(\w://[^\s:/]*):\S*@", rf"\1:{HIDDEN}@", text)
    # What stands alone before the @ is the name of a database's user, but on the web a token.
    text = re.sub(r"(?i)(\bhttps?://)[^\s:/@]+@", rf"\1{HIDDEN}@", text)
    return _ASSIGNED.sub(rf"\1{HIDDEN}", _PARAMETER.sub(_parameter, text))


def hidden(words: Iterable[str]) -> list[str]:
    """Return the words of a command line as they are recorded, without the passwords of URLs.

    A word is one URL at most, so that a password may hold blanks and quotes, too.

    >>> hidden(["--store", "postgresql://me:my 'secret'@host/db"])
    ['--store', 'postgresql://me:***@host/db']
    """
    return [storable(hide_passwords(_of_a_word(word))) for word in words]


def secrets_of(text: str) -> set[str]:
    """Return the passwords in a URL, as they are written there and as they are meant."""
    found = {match[1] for match in re.finditer(r"(?s)\w://[^:/]*:(.*)@", text)}
    found |= {match[1] for match in re.finditer(r"(?i)\bhttps?://([^\s:/@]+)@", text)}
    found |= {value for key, value in _EVERY.findall(text) if _SECRET.search(unquote_plus(key))}
    every = {form for each in found for form in (each, unquote(each), unquote_plus(each))}
    every |= {form for each in every for form in (quote(each, safe=""), quote_plus(each))}
    # Shorter ones would be found in every other word.
    return {each for each in every if len(each) >= 4}


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the passwords of URLs, nor any of `secrets` wherever they stand."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return hide_passwords(text)


def _of_a_word(word: str) -> str:
    word = re.sub(r"(?s)(\w://[^:/]*):.*@", rf"\1:{HIDDEN}@", word)
    if "://" not in word:
        return word
    return _OF_A_URL.sub(_parameter, word)


def _parameter(match: re.Match[str]) -> str:
    name, value = match.groups()
    # Others read a ; as the end of a value, and what follows as the next.
    named = [name, *(part.partition("=")[0] for part in re.split("[;#]", value)[1:])]
    is_shown = not any(_SECRET.search(unquote_plus(each)) for each in named)
    return f"{name}={value if is_shown else HIDDEN}"
