"""Cases kept in a file together with their digest, so that they are made only once.

The file is a NumPy file of all cases, those for training first, followed by the digest of
both parts. NumPy reads over what follows the array, so the file opens anywhere, and both are
replaced in one atomic step.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from bench.models.data.files import FileState, write_atomically
from bench.models.problem import DataSource, digest_of


class Selection(Protocol):
    """The cases in a cached file, as given by its name."""

    @property
    def file_name(self) -> str:
        """The name of the file, which is unique to these cases."""

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the array in it: cases, values."""

    @property
    def train(self) -> int:
        """How many of the cases, the first, are for training."""


def cached(
    folder: Path | None, selection: Selection, make: Callable[[], Float32[np.ndarray, "N D"]]
) -> tuple[Float32[np.ndarray, "N D"], str]:
    """Return the selected cases from their file, or made and then kept there, and their digest.

    A file that does not match its digest is made again, and a folder that cannot be written
    to only means that the cases are made every time, as without a folder.
    """
    path = folder / selection.file_name if folder else None
    if path and (found := _load(path, selection)):
        return found
    cases = make()
    digest = _digest(cases, selection)
    if path:
        _save(path, cases, digest)
    return cases, digest


def cached_states(
    dataset: str, source: DataSource, read_name: Callable[[Path], Selection | None]
) -> Iterator[FileState]:
    """Check the cached files of a data set one by one; there need not be any.

    `read_name` gives the selection that a file has by its name, None for any other file.
    """
    folder = source.cache / dataset if source.cache else None
    paths = sorted(folder.glob("*.npy")) if folder else []
    known = [(path, selection) for path in paths if (selection := read_name(path))]
    if not known:
        yield FileState(dataset, "-", None, "generated", "Generated at first use; no file yet.")
    for path, selection in known:
        if found := _load(path, selection):
            yield FileState(dataset, path.name, path, "verified", f"SHA-256 {found[1]}")
        else:
            yield FileState(
                dataset, path.name, path, "damaged",
                f"{path} does not match the digest at its end; "
                "it is generated again when it is next used, or delete it.",
            )  # fmt: skip


def _digest(cases: Float32[np.ndarray, "N D"], selection: Selection) -> str:
    return digest_of(cases[: selection.train], cases[selection.train :])


def _header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _load(path: Path, selection: Selection) -> tuple[Float32[np.ndarray, "N D"], str] | None:
    shape = selection.shape
    header = _header(shape)
    try:
        with path.open("rb") as stream:
            if stream.read(len(header)) != header:
                return None
            content = np.fromfile(stream, "<f4", count=shape[0] * shape[1])
            written = stream.read()
    except OSError:
        return None
    if content.size != shape[0] * shape[1]:
        return None
    cases = content.reshape(shape).astype(np.float32, copy=False)
    digest = _digest(cases, selection)
    return (cases, digest) if written == digest.encode() else None


def _save(path: Path, cases: Float32[np.ndarray, "N D"], digest: str) -> None:
    content = np.ascontiguousarray(cases, "<f4").data
    try:
        write_atomically(path, _header(cases.shape), content, digest.encode())
    except OSError:
        # Without a cache everything works; it is only slower.
        return
