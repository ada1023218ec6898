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

from bench.models.problem import DataError, DataSource

TIMEOUT = 30.0
"""Seconds that a mirror may stay silent."""


@dataclass(frozen=True)
class PublishedFile:
    """A file as it was published, gzipped, with the MD5 of both its forms."""

    dataset: str
    name: str
    """The published name, with `.gz`."""
    md5: str
    md5_uncompressed: str

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The names of the file's compressed and uncompressed form, each with its MD5."""
        return (self.name, self.md5), (self.name.removesuffix(".gz"), self.md5_uncompressed)


@dataclass(frozen=True)
class FileState:
    """The place and the state of a file of a data set."""

    dataset: str
    name: str
    path: Path | None
    state: Literal["verified", "damaged", "absent", "generated"]
    detail: str
    """A digest if the file is verified, else a sentence."""


def find(file: PublishedFile, source: DataSource) -> Path:
    """Return the first of `<folder>/<dataset>/<file>` and `<folder>/<file>` that exists.

    The folders of `source` come first, then its cache; in each the file as published comes
    before its uncompressed form. DataError names the file, its checksum and the command.
    """
    names = [name for name, _ in file.names]
    path = first_file(source, (file.dataset, "."), names)
    if path is None:
        raise absent(file.dataset, f"the file {file.name} (MD5 {file.md5})", source)
    return path


def first_file(source: DataSource, places: Sequence[str], names: Sequence[str]) -> Path | None:
    """Return the first `<folder>/<place>/<name>` that exists, or None.

    Names vary fastest, then places, then the folders of `source`, its cache last.
    """
    for folder in _folders(source):
        for place in places:
            for name in names:
                # Path.is_file raises where a folder may not be entered; this says no.
                if os.path.isfile(path := folder / place / name):
                    return path
    return None


def absent(dataset: str, needed: str, source: DataSource) -> DataError:
    """Return the error for a missing file: what is needed, where it was searched, what to do."""
    searched = ", ".join(map(str, _folders(source))) or "any folder, because none was given"
    return DataError(
        f"{dataset} needs {needed}, which is not in {searched}. "
        f"Run `bench data fetch {dataset}`, or give the folder that has it with --data-dir."
    )


def _folders(source: DataSource) -> list[Path]:
    return [*source.folders, *([source.cache] if source.cache else [])]


def read(file: PublishedFile, path: Path, check: Callable[[bytes], str | None]) -> bytes:
    """Return the uncompressed contents of `file` at `path`, verified.

    `check` returns the mistake in the contents as text, or None. It runs before the checksum,
    because it can tell better what is wrong. Raises DataError with what was expected, what was
    found and how to replace the file.
    """
    remedy = f"Replace it with `{fetch_command(file.dataset, path.parent)}`."
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}). {remedy}") from error
    try:
        contents = gzip.decompress(stored) if path.name.endswith(".gz") else stored
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is truncated or not a gzip file ({error}): the MD5 of its {len(stored):,} "
            f"bytes should be {file.md5} but is {_md5(stored)}. {remedy}"
        ) from error
    if wrong := check(contents):
        raise DataError(f"{path} {wrong}. {remedy}")
    expected = dict(file.names)[path.name]
    if _md5(stored) != expected:
        raise DataError(
            f"{path} is not the published file: its MD5 should be {expected} but is "
            f"{_md5(stored)}. {remedy}"
        )
    return contents


def fetch_command(dataset: str, to: Path) -> str:
    """Return the command, quoted for the shell, that downloads a data set into a folder."""
    return f"bench data fetch {dataset} --to {shlex.quote(str(to))}"


def fetch(
    files: Sequence[PublishedFile], to: Path, mirrors: Sequence[str], timeout: float = TIMEOUT
) -> Iterator[tuple[Path, bool]]:
    """Download missing or damaged files into the folder `to`; yield each path when it is there.

    Each path comes with whether it was downloaded now. A file gets its name only after its checksum
    is verified. Raises DataError with the answers of all mirrors.
    """
    for file in files:
        path = to / file.name
        if _is_published(file, path):
            yield path, False
            continue
        contents = _download(file, mirrors, timeout)
        put(file.dataset, path, contents)
        yield path, True


def put(dataset: str, path: Path, contents: bytes) -> None:
    """Write a downloaded file atomically; raise DataError if the folder is not writable."""
    try:
        write_atomically(path, contents)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({reason(error)}). Free the space or name another "
            f"folder with `bench data fetch {dataset} --to FOLDER`."
        ) from error


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Write the parts to `path` atomically; on OSError the old file is unchanged."""
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


def reason(error: Exception) -> str:
    """Return a short reason why a file or an address could not be read."""
    if isinstance(error, urllib.error.HTTPError):
        return f"status {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _download(file: PublishedFile, mirrors: Sequence[str], timeout: float) -> bytes:
    failures = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + file.name
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer:
                contents: bytes = answer.read()
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{url}: {reason(error)}")
            continue
        if _md5(contents) == file.md5:
            return contents
        failures.append(f"{url}: {len(contents):,} bytes with the wrong MD5 {_md5(contents)}")
    raise DataError(
        f"{file.name} (MD5 {file.md5}) could not be downloaded: {'; '.join(failures)}. "
        "Try again with internet access, or put the file into a folder named "
        f"{file.dataset} and give the folder above it with --data-dir."
    )


def _is_published(file: PublishedFile, path: Path) -> bool:
    try:
        return _md5(path.read_bytes()) == file.md5
    except OSError:
        return False


def _md5(contents: bytes) -> str:
    return hashlib.md5(contents, usedforsecurity=False).hexdigest()
