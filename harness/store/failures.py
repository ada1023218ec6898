"""What databases say when they fail, turned into sentences without passwords."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bench.harness.core.errors import Infrastructure
from bench.harness.core.secrets import secrets_of, without
from bench.harness.core.store_url import ELSEWHERE, shown

# What SQLite says, and what that means to a person.
_MEANING = (
    ("file is not a database", f"is not a SQLite database; {ELSEWHERE}."),
    ("malformed", f"is damaged; restore it from a copy or {ELSEWHERE}."),
    ("readonly database", f"cannot be written to; make it writable or {ELSEWHERE}."),
    ("disk is full", f"cannot grow: the disk is full. Free some space or {ELSEWHERE}."),
    ("unable to open", f"cannot be opened; make it readable and writable or {ELSEWHERE}."),
    ("is locked", "has been locked by another process for 30 seconds; try again later."),
)


@contextmanager
def sentences(url: URL) -> Iterator[None]:
    """Raise `Infrastructure`, naming the store, for whatever its database reports."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise Infrastructure(_sentence(url, error)) from error


def _sentence(url: URL, error: Exception) -> str:
    told = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    if url.get_backend_name() == "sqlite":
        for said, meaning in _MEANING:
            if said in told:
                return f"The store {url.database} {meaning}"
    reason = " ".join(told.split()) or type(error).__name__
    reason = without(reason, secrets_of(url.render_as_string(hide_password=False)))
    return f"The store {shown(url)} failed: {reason.rstrip('.?')}. Check it, or {ELSEWHERE}."
