"""Curves: generated images of smooth strokes, because the original file is not available.

The recipe replaces the data of Hinton & Salakhutdinov 2006 (20,000 + 10,000 images of 28×28).
Its three constants were fitted to published values of the original data: the squared
error (16.90) and cross-entropy (124.8) of the mean image, the entropy of the pixels (54.1),
and the test error of PCA with 18 components (5.90). Results on it are called
"curves (generated)".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from bench.models.data.cache import cached, cached_states
from bench.models.data.files import FileState
from bench.models.problem import Data, DataSource

NAME = "curves (generated)"
RECIPE = 1
"""Increased when a seed gives other images, so that older cached files are not used."""

EXTENT = 27.0
"""Pixels from the first to the last centre of a calibrated image; other sides scale it."""
MARGIN = 4.18
INK = 0.808
WIDTH = 0.955
SEGMENTS = 32
RESOLUTION = 2.0**16
"""Intensities are multiples of its inverse: processors differ in the last bits of exp."""

SLICE = 128
"""Images rendered together: few enough for their distances to stay in a core's cache."""


def curves(train: int, test: int, side: int, seed: int, cache: Path | None) -> Data:
    """Return `train` + `test` images of side × side pixels in [0, 1], inputs and targets alike.

    Image i is a function of (seed, side, i) alone, and the curve that it shows of (seed, i):
    the first `train` are for training, the next `test` for testing. With a `cache` they are
    kept there with their digest; a file that does not match its digest is made again, and a
    folder that cannot be written to only means that the images are generated every time.
    """
    selection = Selection(train, test, side, seed)
    cases, digest = cached(
        cache / "curves" if cache else None, selection, lambda: images(train + test, side, seed)
    )
    return Data.of_images(NAME, digest, cases[:train], cases[train:], (side, side))


def images(count: int, side: int, seed: int) -> Float32[np.ndarray, "count side*side"]:
    """Return the first `count` images of a seed, a row an image, its pixels row by row.

    Three points lie at margin + (27 − 2·margin)·(x, y), x three sorted uniforms, y three
    uniforms. The parabola through them at t = 0, ½, 1 is sampled 33 times and joined by
    straight segments; at distance d from it a pixel's intensity is
    0.808·exp(−d² / (2·0.955²)). All arithmetic but exp is exactly rounded, hence equal on
    every processor; exp's last bits go in the rounding to multiples of 2⁻¹⁶.
    """
    polylines = _polylines(count, seed)
    centres = np.arange(side) * (EXTENT / (side - 1))
    cases = np.empty((count, side * side), np.float32)
    for start in range(0, count, SLICE):
        stop = min(start + SLICE, count)
        squared = _squared_distances(polylines[..., start:stop], centres)
        ink = INK * np.exp(squared / (-2 * WIDTH**2))
        cases[start:stop] = (np.rint(ink * RESOLUTION) / RESOLUTION).reshape(side * side, -1).T
    return cases


def _polylines(count: int, seed: int) -> Float64[np.ndarray, "33 2 count"]:
    stream = hashlib.sha256(f"curves/{RECIPE}/seed={seed}".encode()).digest()
    uniforms = np.random.Generator(np.random.PCG64(int.from_bytes(stream, "big"))).random(
        (count, 6)
    )
    points = np.stack([np.sort(uniforms[:, :3], axis=1), uniforms[:, 3:]]).transpose(2, 0, 1)
    points = MARGIN + (EXTENT - 2 * MARGIN) * points
    t = (np.arange(SEGMENTS + 1) / SEGMENTS)[:, None, None]
    polylines: Float64[np.ndarray, "33 2 count"] = (
        points[0] * ((2 * t - 1) * (t - 1))
        + points[1] * (4 * t * (1 - t))
        + points[2] * (t * (2 * t - 1))
    )
    return polylines


def _squared_distances(
    polylines: Float64[np.ndarray, "33 2 n"], centres: Float64[np.ndarray, " side"]
) -> Float64[np.ndarray, "side side n"]:
    """Return every pixel's squared distance to the nearest of an image's segments.

    With s and w the components of (pixel − middle of the segment) along and across a segment
    of length L, it is max(|s| − L/2, 0)² + w². Images run along the last axis, so that
    every operation goes over contiguous memory; rows are the first axis.
    """
    step = polylines[1:] - polylines[:-1]
    middle = polylines[:-1] + step / 2
    length = np.sqrt(step[:, 0] * step[:, 0] + step[:, 1] * step[:, 1])
    is_point = length == 0
    scale = np.where(is_point, 1.0, length)
    across_y = np.where(is_point, 1.0, step[:, 0] / scale)
    across_x = step[:, 1] / scale

    shape = (len(centres), len(centres), polylines.shape[-1])
    nearest = np.full(shape, np.inf)
    excess, across = np.empty(shape), np.empty(shape)
    for j in range(SEGMENTS):
        x = centres[:, None] - middle[j, 0]
        y = centres[:, None] - middle[j, 1]
        np.add((across_x[j] * y)[:, None], (across_y[j] * x)[None], out=excess)
        np.abs(excess, out=excess)
        np.subtract(excess, length[j] / 2, out=excess)
        np.maximum(excess, 0, out=excess)
        np.multiply(excess, excess, out=excess)
        np.subtract((across_y[j] * y)[:, None], (across_x[j] * x)[None], out=across)
        np.multiply(across, across, out=across)
        np.add(excess, across, out=excess)
        np.minimum(nearest, excess, out=nearest)
    return nearest


@dataclass(frozen=True)
class Selection:
    """Which images a cached file holds, as its name says."""

    train: int
    test: int
    side: int
    seed: int

    @property
    def file_name(self) -> str:
        """The name of the file that holds these images."""
        return f"curves-{RECIPE}-side{self.side}-seed{self.seed}-{self.train}+{self.test}.npy"

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the array in it: images, pixels."""
        return self.train + self.test, self.side**2

    @classmethod
    def of(cls, path: Path) -> Selection | None:
        """Read back what `file_name` wrote; None for any other file."""
        pattern = rf"curves-{RECIPE}-side(\d+)-seed(-?\d+)-(\d+)\+(\d+)\.npy"
        match = re.fullmatch(pattern, path.name)
        if match is None:
            return None
        side, seed, train, test = map(int, match.groups())
        return cls(train, test, side, seed)


def states(source: DataSource) -> Iterator[FileState]:
    """Check the cached files one by one; there need not be any."""
    return cached_states("curves", source, Selection.of)
