"""Faces: rotated and scaled patches of the Olivetti pictures; the original file is not available.

The recipe replaces the data of Hinton & Salakhutdinov 2006 (165,600 patches of 25×25 pixels of
the same 400 pictures). Its only fitted number is the blur, chosen so that the test
error of PCA with 30 components comes near the published 135. Results on it are called
"faces (rebuilt)".
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from bench.models.data import olivetti
from bench.models.data.cache import cached, cached_states
from bench.models.data.files import FileState
from bench.models.problem import Data, DataError, DataSource, digest_of

NAME = "faces (rebuilt)"
RECIPE = 1
"""Increased when pictures give other patches, so that older cached files are not used."""

PATCHES = 414
"""Of every picture."""
TRAIN_PEOPLE = range(25)
TEST_PEOPLE = range(30, 40)
"""The five people between are for validation, which nothing here needs."""

SIDE = 25
CENTRE = (olivetti.SIDE - 1) / 2
PITCHES = (1.4, 1.8)
"""Distance of a patch's pixels, in pixels of the picture: 25·1.8·√2 = 63.6 of its 64."""
BLUR = 0.36
RESOLUTION = 2.0**16
"""Values are multiples of its inverse: processors differ in the last bits of exp, sin and cos."""


def faces(train: int, test: int, source: DataSource) -> Data:
    """Return `train` patches of 25 people and `test` of 10 others, inputs and targets alike.

    There are 103,500 and 41,400. Of fewer, n of the N, the i-th is patch ⌊i·N/n⌋, so that
    they are spread evenly over the people; they are normalised like the whole set and so are the
    very same patches. With a cache they are kept there with their digest, as curves are, each
    selection in a file of its own: a small one is then read without the large one. DataError
    where the pictures are absent or damaged, or where there are not so many patches.
    """
    rows = np.concatenate([_rows(train, TRAIN_PEOPLE), _rows(test, TEST_PEOPLE)])
    pictures = olivetti.olivetti(source)
    selection = Selection(train, test, digest_of(pictures)[:16])
    cases, digest = cached(
        source.cache / "faces" if source.cache else None,
        selection,
        lambda: normalised(patches(pictures, PATCHES), rows),
    )
    return Data.of_images(NAME, digest, cases[:train], cases[train:], (SIDE, SIDE))


def patches(pictures: UInt8[np.ndarray, "n 64 64"], each: int) -> Float32[np.ndarray, "n*each 625"]:
    """Return `each` patches of every picture in grey levels, a row a patch, row by row.

    Patch k has the angle (2·u − 1)·90° and the pitch 1.4 + 0.4·v, u and v being numbers 2k
    and 2k + 1 of one named stream. Grey levels are rounded to multiples of 2⁻¹⁶, which
    float32 holds exactly.
    """
    stream = hashlib.sha256(f"faces/{RECIPE}".encode()).digest()
    uniforms = np.random.Generator(np.random.PCG64(int.from_bytes(stream, "big"))).random(
        (len(pictures) * each, 2)
    )
    angles = (2 * uniforms[:, 0] - 1) * (math.pi / 2)
    pitches = PITCHES[0] + (PITCHES[1] - PITCHES[0]) * uniforms[:, 1]
    cases = np.empty((len(uniforms), SIDE * SIDE), np.float32)
    for k, (angle, pitch) in enumerate(zip(angles.tolist(), pitches.tolist(), strict=True)):
        cut = patch(pictures[k // each].astype(np.float64), angle, pitch)
        cases[k] = (np.rint(cut * RESOLUTION) / RESOLUTION).ravel()
    return cases


def patch(
    picture: Float64[np.ndarray, "64 64"], angle: float, pitch: float
) -> Float64[np.ndarray, "25 25"]:
    """Return the middle of a picture on a grid that is turned by `angle`, in radians.

    Pixel (i, j) of it is at x = 31.5 + s·((j − 12)·cos α − (i − 12)·sin α) and
    y = 31.5 + s·((j − 12)·sin α + (i − 12)·cos α) of the picture, s being the pitch: its
    value there, between four pixels bilinear, after a Gaussian blur of standard deviation
    0.36·√(s² − 1) pixels.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    blurred = gaussian_filter(
        picture, BLUR * math.sqrt(pitch * pitch - 1), mode="nearest", truncate=4.0
    )
    steps = pitch * (np.arange(SIDE) - (SIDE - 1) / 2)
    across, along = math.cos(angle) * steps, math.sin(angle) * steps
    x = CENTRE + (across[None, :] - along[:, None])
    y = CENTRE + (along[None, :] + across[:, None])
    # The grid never leaves the picture; the mode is there for the function's sake.
    cut: Float64[np.ndarray, "25 25"] = map_coordinates(blurred, [y, x], order=1, mode="nearest")
    return cut


def normalised(
    whole: Float32[np.ndarray, "N D"], rows: Int64[np.ndarray, " n"]
) -> Float32[np.ndarray, "n D"]:
    """Return some rows of the whole set, minus its mean and over its one standard deviation.

    Every pixel's mean is taken off; the deviation is the root of the pixels' average
    variance. Both are those of the whole set of multiples of 2⁻¹⁶ below 256: their sums are
    of whole numbers, hence exact, and the same in any order. DataError if all rows are alike.
    """
    count, width = whole.shape
    sums = np.zeros(width, np.int64)
    squares = 0
    # So few rows at a time that their squares, below 2⁴⁸, add up to less than 2⁶³.
    for start in range(0, count, PATCHES):
        units = (whole[start : start + PATCHES] * np.float32(RESOLUTION)).astype(np.int64)
        sums += units.sum(0)
        squares += sum((units * units).sum(0).tolist())
    spread = count * squares - sum(total * total for total in sums.tolist())
    if spread == 0:
        raise DataError("All patches of the faces are alike; are the pictures blank?")
    deviation = math.sqrt(spread / (count * count * width)) / RESOLUTION
    mean = sums / (count * RESOLUTION)
    cases: Float32[np.ndarray, "n D"] = whole[rows]
    for start in range(0, len(cases), PATCHES):
        part = cases[start : start + PATCHES]
        values = (part.astype(np.float64) - mean) / deviation
        part[:] = np.rint(values * RESOLUTION) / RESOLUTION
    return cases


def download(to: Path) -> Iterator[tuple[Path, bool]]:
    """Fetch the pictures into the folder `to`, as `olivetti.download` does."""
    return olivetti.download(to)


def states(source: DataSource) -> Iterator[FileState]:
    """Find and read the pictures, then check the cached patches; there need not be any."""
    yield olivetti.state(source)
    yield from cached_states("faces", source, Selection.of)


@dataclass(frozen=True)
class Selection:
    """Which patches of which pictures a cached file holds, as its name says."""

    train: int
    test: int
    pictures: str
    """The beginning of the pictures' digest."""

    @property
    def file_name(self) -> str:
        """The name of the file that holds these patches."""
        return f"faces-{RECIPE}-pictures{self.pictures}-{self.train}+{self.test}.npy"

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the array in it: patches, pixels."""
        return self.train + self.test, SIDE * SIDE

    @classmethod
    def of(cls, path: Path) -> Selection | None:
        """Read back what `file_name` wrote; None for any other file."""
        pattern = rf"faces-{RECIPE}-pictures([0-9a-f]{{16}})-(\d+)\+(\d+)\.npy"
        match = re.fullmatch(pattern, path.name)
        return cls(int(match[2]), int(match[3]), match[1]) if match else None


def _rows(count: int, people: range) -> Int64[np.ndarray, " count"]:
    """Return which patches of the whole set are the `count` of these people."""
    each = olivetti.PICTURES * PATCHES
    there = len(people) * each
    if not 0 < count <= there:
        raise DataError(
            f"{count:,} patches of {len(people)} people were asked for; faces has {there:,}."
        )
    return people.start * each + np.arange(count) * there // count
