"""Published files: find them, verify them by checksum, fetch them from mirrors."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shlex
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.problem import DataError, DataSource

TIMEOUT = 30.0
"""Seconds that a mirror may stay silent."""


@dataclass(frozen=True)
class PublishedFile:
    """A file as it was published, gzipped, with the MD5 of both its forms."""

    dataset: str
    name: str
    """As published, with `.gz`."""
    md5: str
    md5_uncompressed: str

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The names under which it is looked for, each with its MD5."""
        return (self.name, self.md5), (self.name.removesuffix(".gz"), self.md5_uncompressed)


@dataclass(frozen=True)
class FileState:
    """Where a file of a data set is, and whether it is what it should be."""

    dataset: str
    name: str
    path: Path | None
    state: Literal["verified", "damaged", "absent", "generated"]
    detail: str
    """A digest where it is verified, else a sentence."""


def find(file: PublishedFile, source: DataSource) -> Path:
    """Return the first of `<folder>/<dataset>/<file>` and `<folder>/<file>` that exists.

    The folders of `source` come first, then its cache; in each the file as published comes
    before its uncompressed form. DataError names the file, its checksum and the command.
    """
    folders = [*source.folders, *([source.cache] if source.cache else [])]
    for folder in folders:
        for place in (folder / file.dataset, folder):
            for name, _ in file.names:
                # Path.is_file raises where a folder may not be entered; this says no.
                if os.path.isfile(place / name):
                    return place / name
    searched = ", ".join(map(str, folders)) or "no folder at all"
    raise DataError(
        f"{file.dataset} needs the file {file.name} (MD5 {file.md5}), which is not in {searched}. "
        f"Run `bench data fetch {file.dataset}`, or name the folder that has it with --data-dir."
    )


def read(file: PublishedFile, path: Path, check: Callable[[bytes], str | None]) -> bytes:
    """Return the uncompressed contents of `file` at `path`, verified.

    `check` says in words what is wrong with the contents, or None; it is asked before the
    checksum, because it knows better what the file is instead. DataError says what was
    expected, what was found and how to replace the file.
    """
    remedy = f"Replace it with `{fetch_command(file.dataset, path.parent)}`."
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({_reason(error)}). {remedy}") from error
    try:
        contents = gzip.decompress(stored) if path.name.endswith(".gz") else stored
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is truncated or no gzip file ({error}); expected are the bytes with "
            f"MD5 {file.md5}, found are {len(stored):,} with MD5 {_md5(stored)}. {remedy}"
        ) from error
    if wrong := check(contents):
        raise DataError(f"{path} {wrong}. {remedy}")
    expected = dict(file.names)[path.name]
    if _md5(stored) != expected:
        raise DataError(
            f"{path} is not the published file: its MD5 should be {expected} and is "
            f"{_md5(stored)}. {remedy}"
        )
    return contents


def fetch_command(dataset: str, to: Path) -> str:
    """Return the command, quoted for the shell, that downloads a data set into a folder."""
    return f"bench data fetch {dataset} --to {shlex.quote(str(to))}"


def fetch(
    files: Sequence[PublishedFile], to: Path, mirrors: Sequence[str], timeout: float = TIMEOUT
) -> Iterator[tuple[Path, bool]]:
    """Download what is missing or damaged into the folder `to`; yield paths as they are there.

    With each path comes whether it was downloaded now. Nothing gets its name before its
    checksum is right. DataError tells what every mirror answered.
    """
    for file in files:
        path = to / file.name
        if _is_published(file, path):
            yield path, False
            continue
        contents = _download(file, mirrors, timeout)
        try:
            write_atomically(path, contents)
        except OSError as error:
            raise DataError(
                f"{path} cannot be written ({_reason(error)}). Free the space or name another "
                f"folder with `bench data fetch {file.dataset} --to FOLDER`."
            ) from error
        yield path, True


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Make `path` the parts one after the other, all at once, or leave it as it was (OSError)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are for their owner alone, and data folders are shared.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _download(file: PublishedFile, mirrors: Sequence[str], timeout: float) -> bytes:
    failures = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + file.name
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer:
                contents: bytes = answer.read()
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{url}: {_reason(error)}")
            continue
        if _md5(contents) == file.md5:
            return contents
        failures.append(f"{url}: {len(contents):,} bytes with the wrong MD5 {_md5(contents)}")
    raise DataError(
        f"{file.name} (MD5 {file.md5}) could not be downloaded: {'; '.join(failures)}. "
        f"Try again where there is internet, or put the file into a folder named {file.dataset} "
        "and name the folder above it with --data-dir."
    )


def _is_published(file: PublishedFile, path: Path) -> bool:
    try:
        return _md5(path.read_bytes()) == file.md5
    except OSError:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"status {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _md5(contents: bytes) -> str:
    return hashlib.md5(contents, usedforsecurity=False).hexdigest()
