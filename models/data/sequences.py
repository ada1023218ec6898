"""Sequences with long dependencies (Hochreiter & Schmidhuber 1997), drawn on the fly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from models.problem import Data, digest_of

RESOLUTION = 2**16
"""Values are multiples of its inverse, so that sequences are the same on every processor."""
RECIPE = 1
"""Rises when the same stream gives other sequences."""
EVALUATION_SEED = 0


@dataclass(frozen=True)
class Adding:
    """Two of many numbers are marked; the target is half their sum, asked for at the end.

    A sequence has T' steps, T' uniform in [T, 1.1 T], each with a value from U[0, 1) and a marker.
    Marked are one of its first T'//10 steps and one of those from there to T'//2. Inputs are
    centred: less ½, and less 2 over the mean length.
    """

    length: int
    """T."""

    @property
    def longest(self) -> int:
        """Steps of the longest sequence, ⌊1.1 T⌋."""
        return self.length + self.length // 10

    def draw(
        self, rng: np.random.Generator, cases: int
    ) -> tuple[Float32[np.ndarray, "B S 3"], Float32[np.ndarray, "B 1"]]:
        """Return inputs and targets of `cases` sequences, all of S = ⌊1.1 T⌋ steps.

        The last of the three input channels is 1 at the last step of the sequence and 0
        elsewhere; after it there is nothing but zeros.
        """
        lengths = rng.integers(self.length, self.longest, cases, endpoint=True)
        values = rng.integers(0, RESOLUTION, (cases, self.longest)) / RESOLUTION
        first = rng.integers(0, lengths // 10)
        second = rng.integers(lengths // 10, lengths // 2)
        each = np.arange(cases)
        inputs = np.zeros((cases, self.longest, 3))
        inputs[..., 0] = values - 0.5
        inputs[each, first, 1] = inputs[each, second, 1] = 1
        mean = 4 / (self.length + self.longest)
        inputs[..., 1] -= math.floor(mean * RESOLUTION) / RESOLUTION
        inputs[np.arange(self.longest) >= lengths[:, None]] = 0
        inputs[each, lengths - 1, 2] = 1
        targets = (values[each, first] + values[each, second])[:, None] / 2
        return inputs.astype(np.float32), targets.astype(np.float32)


def data(name: str, task: Adding, cases: int) -> Data:
    """Return sequences drawn without end, and `cases` + `cases` that trials are evaluated on."""
    rng = np.random.Generator(np.random.PCG64([EVALUATION_SEED, RECIPE]))
    train, test = task.draw(rng, cases), task.draw(rng, cases)
    return Data(
        name=name,
        digest=digest_of(*train, *test),
        train_inputs=train[0],
        test_inputs=test[0],
        train_targets=train[1],
        test_targets=test[1],
        draw=task.draw,
    )
