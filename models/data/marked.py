"""Two of many values are marked, and something is asked of them at the end."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64

from bench.models.data.sequences import RESOLUTION, VaryingTask, exact, marked_ends


@dataclass(frozen=True)
class Marked(VaryingTask):
    """Steps have a value and a marker; two are marked, and their values make the target.

    Marked are one of a sequence's first T'//10 steps and one of those from there to T'//2.
    Centring takes the values' mean from them, and from markers 2 over the mean length.

    Reference: Hochreiter & Schmidhuber (1997), experiments 4 and 5; the lengths and windows are
    Martens & Sutskever's (2011).
    """

    shortest: ClassVar[int] = 20
    values: ClassVar[int] = RESOLUTION
    """Values are 0, 1, …, values − 1, times `unit`."""
    unit: ClassVar[float] = 1 / RESOLUTION

    @property
    def features(self) -> int:
        """A value and a marker."""
        return 2

    @abstractmethod
    def target(
        self, first: Float64[np.ndarray, " B"], second: Float64[np.ndarray, " B"]
    ) -> Float64[np.ndarray, " B"]:
        """Return what is asked of the two marked values."""

    def draw(
        self, rng: np.random.Generator, cases: int
    ) -> tuple[Float32[np.ndarray, "B S 3"], Float32[np.ndarray, "B 1"]]:
        """Return inputs, (value, marker, end) at each step, and targets."""
        lengths = self.lengths(rng, cases)
        values = rng.integers(0, self.values, (cases, self.steps)) * self.unit
        first = rng.integers(0, lengths // 10)
        second = rng.integers(lengths // 10, lengths // 2)
        each = np.arange(cases)
        inputs = np.stack([values, np.zeros_like(values)], -1)
        inputs[each, first, 1] = inputs[each, second, 1] = 1
        if self.centred:
            inputs -= exact(np.array([0.5, 2 / self.mean_length]))
        targets = self.target(values[each, first], values[each, second])[:, None]
        return marked_ends(inputs, lengths), targets.astype(np.float32)


class Adding(Marked):
    """Values are uniform in [0, 1); the target is (u_I + u_J)/2, half the sum of the marked two."""

    mean_target = np.array([0.5])

    def target(self, first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, " B"]:
        """Return (u_I + u_J)/2."""
        half: np.ndarray = (first + second) / 2
        return half


class Multiplying(Marked):
    """Values are uniform in [0, 1); the target is u_I u_J, the product of the marked two."""

    mean_target = np.array([0.25])

    def target(self, first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, " B"]:
        """Return u_I u_J, rounded to a multiple of 2⁻¹⁶."""
        return exact(first * second + 0.5 / RESOLUTION)


class Xor(Marked):
    """Values are bits; the target is 1 where the marked two differ, and 0 where they are equal."""

    values = 2
    unit = 1.0
    mean_target = np.array([0.5])

    def target(self, first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, " B"]:
        """Return u_I xor u_J."""
        differ: np.ndarray = first != second
        return differ.astype(np.float64)
