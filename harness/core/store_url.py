"""The URL of a store: read, and shown without its password."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from bench.harness.core.errors import Usage
from bench.harness.core.secrets import HIDDEN, hidden, is_secret

ELSEWHERE = "choose another place with --store"
_DIALECTS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def read_url(given: str) -> URL:
    """Return the store's URL, a SQLite file's path made absolute; Usage where it is malformed."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise malformed(given) from None
    # An unescaped @ in a password ends up in host or database, and from there in messages.
    server = _DIALECTS.get(url.drivername, "sqlite") != "sqlite"
    misread = f"{url.host}{url.database if server else ''}"
    if url.drivername not in _DIALECTS or "@" in misread:
        raise malformed(given)
    url = url.set(drivername=_DIALECTS[url.drivername])
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise malformed(given)
        url = URL.create("sqlite", database=os.path.abspath(Path(url.database).expanduser()))
    return url


def shown(url: URL) -> str:
    """Return the URL with every password in it replaced by ***."""
    secret = {key: HIDDEN for key in url.query if is_secret(key)}
    return url.update_query_dict(secret).render_as_string(hide_password=True)


def malformed(text: str) -> Usage:
    """Return what to tell a person whose store URL cannot be read."""
    told = hidden([text])[0]
    if told == text and re.search("@|://[^/]*:", text):
        # Whatever it is, what stands behind the scheme may hold a password.
        told = re.sub("(?s)[:/].*", f":{HIDDEN}", text)
    return Usage(
        f"--store {told}: this is not the URL of a store. Write "
        "sqlite:///folder/bench.db or postgresql://user:password@host/database, with @ / : and % "
        "in a password written as %40 %2F %3A and %25."
    )
