"""Mnist: the four IDX files of LeCun, Cortes & Burges, pixels / 255.

Mirrors hold them byte for byte as published; the checksums are those of the gzip files and
of what is in them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from bench.models.data.files import FileState, PublishedFile, fetch, find, read
from bench.models.problem import Data, DataError, DataSource, digest_of

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SIDE = 28
SIDES = (28, 14)

UNSIGNED_BYTE = 0x08
CONTENTS = {1: "labels", 3: "images"}
"""What an IDX file of Mnist holds, by its number of dimensions."""


@dataclass(frozen=True)
class IdxFile(PublishedFile):
    """A published IDX file of unsigned bytes with its dimensions."""

    shape: tuple[int, ...]

    def check(self, contents: bytes) -> str | None:
        """Say what is wrong with `contents` as this file, or None.

        IDX: two zero bytes, a type code, the number of dimensions, these as big-endian
        32-bit integers, then the values.
        """
        expected = CONTENTS[len(self.shape)]
        magic = bytes([0, 0, UNSIGNED_BYTE, len(self.shape)])
        start = 4 + 4 * len(self.shape)
        if len(contents) < 4:
            return f"is truncated: it has {len(contents)} bytes"
        if contents[:4] == magic[::-1]:
            return "is little-endian; IDX files are big-endian"
        if contents[:2] != b"\0\0":
            return (
                f"is no IDX file: it begins with the bytes {contents[:4].hex(' ')}, "
                f"{expected} with {magic.hex(' ')}"
            )
        if contents[2] != UNSIGNED_BYTE:
            return (
                f"has values of type code 0x{contents[2]:02x}; expected are unsigned bytes, "
                f"0x{UNSIGNED_BYTE:02x}"
            )
        if contents[3] != len(self.shape):
            found = CONTENTS.get(contents[3], "something else")
            return (
                f"holds {found} where {expected} belong: the number of dimensions is "
                f"{contents[3]} and should be {len(self.shape)}"
            )
        if len(contents) < start:
            return f"is truncated: its header has {len(contents)} bytes of {start}"
        shape = struct.unpack(f">{len(self.shape)}I", contents[4:start])
        if shape != self.shape:
            return f"holds {_by(shape)} values; expected are {_by(self.shape)}"
        if len(contents) != start + prod(shape):
            longer = len(contents) > start + prod(shape)
            return (
                f"is {'too long' if longer else 'truncated'}: it has {len(contents):,} bytes "
                f"uncompressed, expected are {start + prod(shape):,}"
            )
        return None

    def load(self, path: Path) -> UInt8[np.ndarray, "*shape"]:
        """Return the verified values of this file at `path`; DataError says what is wrong."""
        contents = read(self, path, self.check)
        return np.frombuffer(contents, np.uint8, offset=4 + 4 * len(self.shape)).reshape(self.shape)


TRAIN_IMAGES = IdxFile(
    "mnist",
    "train-images-idx3-ubyte.gz",
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "6bbc9ace898e44ae57da46a324031adb",
    (60_000, 28, 28),
)
TRAIN_LABELS = IdxFile(
    "mnist",
    "train-labels-idx1-ubyte.gz",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "a25bea736e30d166cdddb491f175f624",
    (60_000,),
)
TEST_IMAGES = IdxFile(
    "mnist",
    "t10k-images-idx3-ubyte.gz",
    "9fb629c4189551a2d022fa330f9573f3",
    "2646ac647ad5339dbf082846283269ea",
    (10_000, 28, 28),
)
TEST_LABELS = IdxFile(
    "mnist",
    "t10k-labels-idx1-ubyte.gz",
    "ec29112dd5afa0611ce80d1b7f02629c",
    "27ae3e4e09519cfbb04c329615203637",
    (10_000,),
)
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


def mnist(train: int | None, test: int | None, source: DataSource, side: int = SIDE) -> Data:
    """Return the first `train` and `test` images (None: all), inputs and targets alike.

    Pixels are divided by 255. With side 14 every pixel is the mean of 2×2, and the name of
    the data says so. DataError where a file is absent or damaged, or where more images are
    asked for than there are.
    """
    if side not in SIDES:
        raise DataError(f"mnist has no side {side}; it has {' and '.join(map(str, SIDES))}.")
    train_inputs = _pixels(TRAIN_IMAGES, train, source, side)
    test_inputs = _pixels(TEST_IMAGES, test, source, side)
    name = "mnist" if side == SIDE else f"mnist ({side}x{side})"
    digest = digest_of(train_inputs, test_inputs)
    return Data.of_images(name, digest, train_inputs, test_inputs, (side, side))


def download(to: Path, mirrors: Sequence[str] = MIRRORS) -> Iterator[tuple[Path, bool]]:
    """Fetch all four files into the folder `to`, as `files.fetch` does."""
    return fetch(FILES, to, mirrors)


def states(source: DataSource) -> Iterator[FileState]:
    """Find and verify the four files one by one."""
    for file in FILES:
        try:
            path = find(file, source)
        except DataError as error:
            yield FileState("mnist", file.name, None, "absent", str(error))
            continue
        try:
            file.load(path)
        except DataError as error:
            yield FileState("mnist", path.name, path, "damaged", str(error))
        else:
            yield FileState(
                "mnist", path.name, path, "verified", f"MD5 {dict(file.names)[path.name]}"
            )


def _pixels(
    file: IdxFile, count: int | None, source: DataSource, side: int
) -> Float32[np.ndarray, "count side*side"]:
    count = file.shape[0] if count is None else count
    if not 0 < count <= file.shape[0]:
        raise DataError(
            f"{count:,} images of {file.name} were asked for; it has {file.shape[0]:,}."
        )
    values = file.load(find(file, source))[:count]
    pooled = SIDE // side
    if pooled == 1:
        pixels = values.astype(np.float32) / np.float32(255)
    else:
        blocks = values.reshape(count, side, pooled, side, pooled)
        sums = blocks.sum(axis=(2, 4), dtype=np.uint32)
        pixels = (sums / (255 * pooled**2)).astype(np.float32)
    return pixels.reshape(count, side * side)


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{length:,}" for length in shape)
