"""Cases that a problem draws anew, without end: defined globally, by position."""

from __future__ import annotations

import numpy as np

from harness.seeds import generator
from models.problem import Draw

BLOCK = 1_000
"""Cases are drawn in blocks of so many, each from a stream of its own: which cases a batch holds
depends on its position alone, however many were taken at a time."""


class Fresh:
    """An endless sequence of new cases; where it stands is one integer."""

    def __init__(self, draw: Draw, seed: int, stream: str) -> None:
        self.position = 0
        self._draw, self._seed, self._stream = draw, seed, stream
        self._block = -1
        self._drawn: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))

    def take(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets of the next `size` cases."""
        parts = []
        while size > 0:
            block, start = divmod(self.position, BLOCK)
            part = tuple(each[start : start + size] for each in self._of(block))
            parts.append(part)
            self.position += len(part[0])
            size -= len(part[0])
        inputs, targets = (np.concatenate(each) for each in zip(*parts, strict=True))
        return inputs, targets

    def _of(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        if block != self._block:
            rng = generator(self._seed, "cases", self._stream, block)
            self._drawn, self._block = self._draw(rng, BLOCK), block
        return self._drawn
