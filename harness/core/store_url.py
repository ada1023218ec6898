"""The URL of a store: parsing, and the text without its password."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from bench.harness.core.errors import Usage
from bench.harness.core.secrets import REDACTED, is_secret, redacted_words
from bench.harness.core.text import visible

STORE_HINT = "choose another place with --store"
_DIALECTS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def parse_store_url(given: str) -> URL:
    """Return a store's URL with an absolute path of a SQLite file; raises Usage if malformed."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise malformed_url(given) from None
    # An unescaped @ puts a part of the password into host or database, and so into messages.
    server = _DIALECTS.get(url.drivername, "sqlite") != "sqlite"
    misread = f"{url.host}{url.database if server else ''}"
    if url.drivername not in _DIALECTS or "@" in misread:
        raise malformed_url(given)
    url = url.set(drivername=_DIALECTS[url.drivername])
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise malformed_url(given)
        if "?" in given:
            raise Usage(
                f"--store {given}: in a URL, ? ends the path. Write %3F for a ? in the name of a "
                "folder or file; the URL of a SQLite file takes no parameters."
            )
        url = URL.create("sqlite", database=os.path.abspath(Path(url.database).expanduser()))
    return url


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters are in its path.

    >>> sqlite_url(Path("/runs 100%/which?/bench.db"))
    'sqlite:////runs 100%25/which%3F/bench.db'
    """
    url = URL.create("sqlite", database=str(path.absolute()))
    try:
        return url.render_as_string(hide_password=False)
    except UnicodeEncodeError:
        raise Usage(
            f"The path {visible(str(path))} is not UTF-8, so no store can be there; "
            f"rename its folder, or {STORE_HINT}."
        ) from None


def check_escapes(given: str) -> None:
    """Raise Usage where a URL has an unescaped % of a folder that exists, and means another one."""
    url = parse_store_url(given)
    literal = Path(given.partition("///")[2])
    if url.get_backend_name() != "sqlite" or "%" not in str(literal.parent):
        return
    if literal.parent.is_dir() and not Path(url.database or "").parent.exists():
        raise Usage(
            f"--store {given}: in a URL, % and two digits stand for another character, so this is "
            f"the file {url.database}. For the folder {literal.parent} write "
            f"{sqlite_url(literal)}"
        )


def redacted_url(url: URL) -> str:
    """Return the URL with every password in it replaced by ***."""
    secret = {key: REDACTED for key in url.query if is_secret(key)}
    return url.update_query_dict(secret).render_as_string(hide_password=True)


def malformed_url(text: str) -> Usage:
    """Return the error for a text that is not the URL of a store."""
    safe_text = redacted_words([text])[0]
    if safe_text == text and re.search("@|://[^/]*:", text):
        # Anything after the scheme may contain a password.
        safe_text = re.sub("(?s)[:/].*", f":{REDACTED}", text)
    return Usage(
        f"--store {safe_text}: this is not the URL of a store. Write "
        "sqlite:///folder/bench.db or postgresql://user:password@host/database, with @ / : and % "
        "in a password written as %40 %2F %3A and %25."
    )
