"""Errors of databases, turned into sentences without passwords."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bench.harness.core.errors import Infrastructure
from bench.harness.core.secrets import redacted, secrets_in
from bench.harness.core.store_url import STORE_HINT, redacted_url

# Messages of SQLite, and their explanations.
_EXPLANATIONS = (
    ("file is not a database", f"is not a SQLite database; {STORE_HINT}."),
    ("malformed", f"is damaged; restore it from a copy or {STORE_HINT}."),
    ("readonly database", f"cannot be written to; make it writable or {STORE_HINT}."),
    ("disk is full", f"cannot grow: the disk is full. Free some space or {STORE_HINT}."),
    ("unable to open", f"cannot be opened; make it readable and writable or {STORE_HINT}."),
    ("is locked", "has been locked by another process for 30 seconds; try again later."),
)


@contextmanager
def database_errors(url: URL) -> Iterator[None]:
    """Turn every error of the database into `Infrastructure`, with the name of the store."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise Infrastructure(_message(url, error)) from error


def _message(url: URL, error: Exception) -> str:
    told = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    if url.get_backend_name() == "sqlite":
        for said, meaning in _EXPLANATIONS:
            if said in told:
                return f"The store {url.database} {meaning}"
    reason = " ".join(told.split()) or type(error).__name__
    if "connection timeout expired" in reason:
        reason = "the server does not answer"
    reason = redacted(reason, secrets_in(url.render_as_string(hide_password=False)))
    return (
        f"The store {redacted_url(url)} failed: {reason.rstrip('.?')}. Check it, or {STORE_HINT}."
    )
