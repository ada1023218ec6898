"""Where MLflow looks for files, after the folder that they are in has moved.

MLflow keeps the whole address of every run's files. Those that the mirror gave it lie in the
store's folder `artifacts/mlflow`, so that a former place of that folder can be told from all else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, MetaData, Table, bindparam, inspect, select, update

from bench.harness.core.errors import Usage
from bench.harness.store.postgresql import long_statements
from bench.harness.store.results import Store

_FOLDER = "/artifacts/mlflow"
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
"""Where MLflow's tables hold the address of a file or a folder."""
_TRACE_TAG = "mlflow.artifactLocation"
"""The one tag of a trace that is an address."""


@dataclass(frozen=True)
class RelocatedFolder:
    """A folder that was another, and how many addresses of each of MLflow's tables were in that."""

    old: str
    new: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class _Address:
    table: Table
    column: str
    key: Mapping[str, Any]
    """The primary key of its row."""
    value: str


def relocate(store: Store, old: str | None = None, new: str | None = None) -> list[RelocatedFolder]:
    """Have MLflow look for files where they are; return what was changed, in one transaction.

    `old` and `new` are folders or URIs; without them, former places of a SQLite store's folder
    are found, and its present place is the new one. What lies elsewhere is left alone. Usage
    where the new place is not there, or nothing says where it is.
    """
    if (old is None) != (new is None):
        raise Usage("--from and --to belong together: give both or neither.")
    with long_statements(), store._write() as connection:
        addresses = list(_addresses(connection))
        if old is not None and new is not None:
            places = _pair(_uri(old), _uri(new))
        else:
            places = dict.fromkeys(_former(addresses), _present(store))
        moved = [
            (address, place) for address in addresses if (place := _place_of(address.value, places))
        ]
        for place in {places[place] for _, place in moved}:
            _require_folder(place)
        _rewrite(
            connection,
            [(a, places[place] + a.value.removeprefix(place)) for a, place in moved],
        )
    counts: dict[str, Counter[str]] = {}
    for address, place in moved:
        counts.setdefault(place, Counter())[address.table.name] += 1
    return [RelocatedFolder(place, places[place], dict(count)) for place, count in counts.items()]


def _addresses(connection: Connection) -> Iterator[_Address]:
    there = set(inspect(connection).get_table_names())
    for name, column in _COLUMNS:
        if name not in there:
            continue
        table = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
        if column not in table.c:
            continue
        keys = [key.name for key in table.primary_key]
        query = select(table.c[column].label("value"), *table.primary_key)
        if name == "trace_tags":
            query = query.where(table.c.key == _TRACE_TAG)
        for row in connection.execute(query.where(table.c[column].is_not(None))):
            yield _Address(table, column, dict(zip(keys, row[1:], strict=True)), row.value)


def _former(addresses: Sequence[_Address]) -> set[str]:
    """Return the folders that the mirror gave to MLflow, by experiments and by runs."""
    found = set()
    for address in addresses:
        if address.table.name == "experiments":
            found.add(address.value)
        elif address.table.name == "runs":
            found.add(address.value.removesuffix(f"/{address.key['run_uuid']}/artifacts"))
    return {place for place in found if place.startswith("file:") and place.endswith(_FOLDER)}


def _present(store: Store) -> str:
    if not store.url.startswith("sqlite"):
        raise Usage(
            f"{store.redacted_url} does not say where its files are: name the old folder and the "
            "new one, as in --from /old/mlruns --to /new/mlruns."
        )
    return (store.artifacts / "mlflow").absolute().as_uri()


def _pair(old: str, new: str) -> dict[str, str]:
    """Return what becomes of the old place, which MLflow may have as URI or as path."""
    paths = _path(old), _path(new)
    plain = {} if paths[0] is None or paths[1] is None else {str(paths[0]): str(paths[1])}
    return {old: new, **plain}


def _place_of(address: str, places: Mapping[str, str]) -> str | None:
    """Return the innermost old place that an address is in, None where it is in its new one."""
    within = [place for place in places if _in(address, place) and not _in(address, places[place])]
    return max(within, key=len, default=None)


def _in(address: str, place: str) -> bool:
    return address == place or address.startswith(place + "/")


def _rewrite(connection: Connection, changes: Sequence[tuple[_Address, str]]) -> None:
    together: dict[tuple[str, str], list[tuple[_Address, str]]] = {}
    for address, to in changes:
        together.setdefault((address.table.name, address.column), []).append((address, to))
    for (_, column), group in together.items():
        table = group[0][0].table
        length = getattr(table.c[column].type, "length", None)
        longest = max((to for _, to in group), key=len)
        if length is not None and len(longest) > length:
            raise Usage(
                f"{longest} would have {len(longest)} characters, and MLflow keeps {length}: "
                "choose a place with a shorter name. Nothing was changed."
            )
        mine = [key == bindparam(f"key_{key.name}") for key in table.primary_key]
        connection.execute(
            update(table).where(*mine).values({column: bindparam("moved_to")}),
            [
                {"moved_to": to, **{f"key_{name}": value for name, value in address.key.items()}}
                for address, to in group
            ],
        )


def _require_folder(place: str) -> None:
    path = _path(place)
    if path is not None and not path.is_dir():
        raise Usage(
            f"There is no folder {path}, so nothing was changed. Move it there first, or name the "
            "place with --from OLD --to NEW."
        )


def _uri(text: str) -> str:
    """Return a folder's URI; a URI stays as it is."""
    if urlsplit(text).scheme:
        return text.rstrip("/")
    return Path(os.path.abspath(Path(text).expanduser())).as_uri()


def _path(place: str) -> Path | None:
    """Return where a place is on this machine, None where it is elsewhere."""
    split = urlsplit(place)
    return Path(unquote(split.path)) if split.scheme in ("", "file") else None
