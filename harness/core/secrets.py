"""Redaction: removes the passwords in URLs from everything that is printed or recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from bench.harness.core.text import storable

REDACTED = "***"

# A URL's parameter is secret if its name contains one of these words.
_SECRET = re.compile(r"(?i)passw|pwd|secret|token|api_?key")
# A value may contain ; and #: databases read it so.
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;#\s]+)=([^&\s'\"]+)")
_URL_PARAMETER = re.compile(r"(?<=[?&;])([^=&;#]+)=([^&]+)")
# Also finds a parameter inside the value of another one, because some programs read it there.
_NESTED_PARAMETER = re.compile(r"(?<=[?&;])([^=&;#]+)=(?=([^&]+))")
# Only these names: a hyperparameter may be called n_token.
_PASSWORD_ASSIGNMENT = re.compile(r"(?i)(\b(?:ssl)?passw(?:or)?d=)[^\s&;'\"]+")


def is_secret(parameter: str) -> bool:
    """Return whether the value of a URL's parameter of this name is a secret."""
    return bool(_SECRET.search(parameter))


def redacted_urls(text: str) -> str:
    """Return a text, such as a sentence, in which *** replaces the passwords of URLs.

    >>> redacted_urls("bench compare --store postgresql://me:secret@host/db")
    'bench compare --store postgresql://me:***@host/db'
    """
    # Greedy, because a password that is not escaped may contain an @.
    text = re.sub(r"(\w://[^\s:/]*):\S*@", rf"\1:{REDACTED}@", text)
    # A single word before the @ is a user name in a database's URL, but a token in a web address.
    text = re.sub(r"(?i)(\bhttps?://)[^\s:/@]+@", rf"\1{REDACTED}@", text)
    return _PASSWORD_ASSIGNMENT.sub(rf"\1{REDACTED}", _PARAMETER.sub(_redacted_parameter, text))


def redacted_words(words: Iterable[str]) -> list[str]:
    """Return the words of a command line with *** in place of the passwords of URLs.

    Each word is at most one URL, so a password may also contain blanks and quotes.

    >>> redacted_words(["--store", "postgresql://me:my 'secret'@host/db"])
    ['--store', 'postgresql://me:***@host/db']
    """
    return [storable(redacted_urls(_redacted_word(word))) for word in words]


def secrets_in(text: str) -> set[str]:
    """Return the passwords in a URL, both escaped and unescaped."""
    found = {match[1] for match in re.finditer(r"(?s)\w://[^:/]*:(.*)@", text)}
    found |= {match[1] for match in re.finditer(r"(?i)\bhttps?://([^\s:/@]+)@", text)}
    found |= {
        value for key, value in _NESTED_PARAMETER.findall(text) if _SECRET.search(unquote_plus(key))
    }
    every = {form for each in found for form in (each, unquote(each), unquote_plus(each))}
    every |= {form for each in every for form in (quote(each, safe=""), quote_plus(each))}
    # A shorter one would match parts of ordinary words.
    return {each for each in every if len(each) >= 4}


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text in which *** replaces the passwords of URLs and each of `secrets`."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return redacted_urls(text)


def _redacted_word(word: str) -> str:
    word = re.sub(r"(?s)(\w://[^:/]*):.*@", rf"\1:{REDACTED}@", word)
    if "://" not in word:
        return word
    return _URL_PARAMETER.sub(_redacted_parameter, word)


def _redacted_parameter(match: re.Match[str]) -> str:
    name, value = match.groups()
    # Some programs end a value at a ; and read the rest as the next parameter.
    named = [name, *(part.partition("=")[0] for part in re.split("[;#]", value)[1:])]
    is_shown = not any(_SECRET.search(unquote_plus(each)) for each in named)
    return f"{name}={value if is_shown else REDACTED}"
