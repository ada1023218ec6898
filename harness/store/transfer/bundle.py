"""An exported folder: a manifest, a file for each table, and files with reports and pictures.

    manifest.json     the content of the folder, each file with its SHA-256
    trial.parquet     or trial.jsonl; the same for every table, without "bench_"
    files/            artifacts/bench of the store: <comparison>/… and trial-<uuid>/…

A folder may come from anywhere, so nothing in it is trusted before `Bundle.check`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory

from bench.harness.core.bodies import Manifest
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.schema import Mismatch, validated
from bench.harness.store.transfer.columns import TRANSFER_TABLES, Row, TransferTable
from bench.harness.store.transfer.tables import Format, read_rows

VERSION = 1
"""Version of the folder's layout."""
MANIFEST = "manifest.json"
FILES = "files"
_SHA256 = re.compile("[0-9a-f]{64}", re.ASCII)


def revisions() -> list[str]:
    """Return the revisions of the tables that this version of bench knows, the newest first."""
    scripts = ScriptDirectory(str(Path(__file__).parents[1] / "migrations"))
    return [script.revision for script in scripts.walk_revisions()]


def bench_version() -> str:
    """Return the version of this bench."""
    return importlib.metadata.version("bench-harness")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Bundle:
    """An exported folder, with the content of its manifest."""

    folder: Path
    format: Format
    revision: str
    tables: Mapping[str, int]
    """Part → its number of rows."""
    digests: Mapping[str, str]
    """File → its SHA-256; names are relative to the folder, with slashes."""

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Read the manifest of a folder.

        Raises Usage if bench did not export the folder, and Infrastructure if a newer version did
        or if the manifest is damaged.
        """
        plain = _read_manifest(folder)
        _check_version(folder, plain)
        try:
            said = validated(Manifest, plain, others=True)
        except Mismatch as fault:
            raise damage_error(
                folder, f"its {MANIFEST} is not as bench writes it: {fault}"
            ) from None
        tables = {name: each.rows for name, each in said.tables.items()}
        of_tables = {each.file: each.sha256 for each in said.tables.values()}
        bundle = cls(folder, said.format, said.revision, tables, {**of_tables, **said.files})
        bundle._check_layout(list(of_tables), said.files)
        return bundle

    @property
    def files(self) -> dict[str, str]:
        """Pictures and reports below `files/` → SHA-256, by name without that."""
        inside = f"{FILES}/"
        return {
            name.removeprefix(inside): digest
            for name, digest in self.digests.items()
            if name.startswith(inside)
        }

    def rows(self, part: TransferTable) -> Iterator[list[Row]]:
        """Return a part's rows in stretches; Infrastructure where they cannot be read."""
        if part.name in self.tables:
            path = self.folder / f"{part.name}.{self.format}"
            yield from read_rows(path, part, self.format, self._is_older)

    def check(self) -> None:
        """Raise Infrastructure unless the folder is complete, unchanged, and as bench writes it."""
        for name, digest in self.digests.items():
            self._check_file(name, digest)
        known: dict[str, set[Any]] = {}
        for part in TRANSFER_TABLES.values():
            known[part.name] = self._check_part(part, known)
        owners = known["comparison"] | {f"trial-{uuid}" for uuid in known["trial"]}
        for name in self.files:
            if name.split("/")[0] not in owners:
                raise damage_error(self.folder, f"{FILES}/{name} is of nothing that is in it")

    @property
    def _is_older(self) -> bool:
        return self.revision != revisions()[0]

    def _check_layout(self, files_of_tables: list[str], files: Mapping[str, str]) -> None:
        """Raise Infrastructure unless the manifest has the tables and files of an export."""
        named = files_of_tables == [f"{name}.{self.format}" for name in self.tables]
        whole = set(self.tables) == set(TRANSFER_TABLES)
        if not named or not (whole or (self._is_older and set(self.tables) < set(TRANSFER_TABLES))):
            raise damage_error(self.folder, f"its {MANIFEST} does not name the tables of an export")
        if not all(_is_inside(name) for name in files):
            raise damage_error(self.folder, "names of files in its manifest lead out of it")

    def _check_file(self, name: str, digest: str) -> None:
        path = self.folder
        try:
            # A link could lead out of the folder.
            for step in name.split("/"):
                path = path / step
                if stat.S_ISLNK(path.lstat().st_mode):
                    raise damage_error(self.folder, f"{name!r} is or goes through a link")
            if not path.is_file() or not _SHA256.fullmatch(digest):
                raise damage_error(self.folder, f"{name!r} is no file with a SHA-256")
            found = sha256(path)
        except (OSError, UnicodeError) as error:
            raise damage_error(self.folder, f"{name!r} cannot be read: {error}") from error
        if found != digest:
            raise damage_error(self.folder, f"{name!r} is not the file that was exported")

    def _check_part(self, part: TransferTable, known: Mapping[str, set[Any]]) -> set[Any]:
        """Check the rows of a table; return the names by which other rows refer to them."""
        names: set[Any] = set()
        last: tuple[Any, ...] | None = None
        count = 0
        for rows in self.rows(part):
            for row in rows:
                count += 1
                identity = tuple(row[name] for name in part.identity)
                fault = part.fault(row) or _fault_of_references(part, row, known)
                if fault is None and last is not None and identity <= last:
                    fault = "it is twice there, or not in its place"
                if fault is None and part.name == "trial" and row["uuid"] in names:
                    fault = "uuid is twice there"
                if fault:
                    raise damage_error(self.folder, f"row {count} of {part.name}: {fault}")
                last = identity
                names.add(_name(part, identity))
        if count != self.tables.get(part.name, 0):
            raise damage_error(
                self.folder, f"{part.name} has {count} rows, not those that it should"
            )
        return names


def damage_error(folder: Path, what: str) -> Infrastructure:
    """Return the error for a folder that was changed after its export."""
    return Infrastructure(
        f"{folder} cannot be imported, because {what}. Nothing was changed; copy the folder again, "
        "or repeat the export."
    )


def _name(part: TransferTable, identity: tuple[Any, ...]) -> Any:
    if part.name == "trial":
        return identity[1]
    return identity if part.name == "fleet" else identity[0] if len(identity) == 1 else None


def _fault_of_references(
    part: TransferTable, row: Mapping[str, Any], known: Mapping[str, set[Any]]
) -> str | None:
    for field in part.fields:
        if field.refers is not None:
            name = row[field.name]
            sought = (row["comparison_id"], name) if field.refers == "fleet" else name
            if sought not in known[field.refers]:
                return f"{field.name} names a {field.refers} that is not in the export"
    return None


def _is_inside(name: str) -> bool:
    """Return whether a name is a relative path of a folder and a file below `files/`."""
    steps = name.split("/")
    plain = all(step not in ("", ".", "..") for step in steps)
    return plain and "\0" not in name and steps[0] == FILES and len(steps) > 2


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not os.path.isdir(folder):
        raise Usage(f"{folder} is no folder; name one that `bench db export` has written.")
    if os.path.exists(folder / MANIFEST) and not os.path.isfile(folder / MANIFEST):
        # Reading a pipe would wait for somebody to write to it.
        raise damage_error(folder, f"its {MANIFEST} is no file")
    try:
        plain = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        plain = None
    except OSError as error:
        raise damage_error(folder, f"its {MANIFEST} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise damage_error(folder, f"its {MANIFEST} is no JSON") from None
    if not isinstance(plain, dict) or type(plain.get("bench_export")) is not int:
        raise Usage(
            f"{folder} was not written by `bench db export`: it has no {MANIFEST} of bench's. Name "
            "a folder that was."
        )
    return plain


def _check_version(folder: Path, plain: Mapping[str, Any]) -> None:
    version, revision = plain["bench_export"], plain.get("revision")
    if version <= VERSION and revision in revisions():
        return
    if version <= VERSION and not isinstance(revision, str):
        raise damage_error(folder, f"its {MANIFEST} does not say of which revision it is")
    raise Infrastructure(
        f"{folder} was exported by bench {plain.get('bench')}, layout {version} with tables at "
        f"revision {revision}, which bench {bench_version()} does not know: it knows layout "
        f"{VERSION} and revisions up to {revisions()[0]}. Import it with bench "
        f"{plain.get('needs')} or later; nothing was changed."
    )
