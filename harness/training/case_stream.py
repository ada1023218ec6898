"""Endless new cases of a problem, as a function of the position in the sequence."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from bench.harness.core.seeds import generator
from bench.models.problem import Draw

BLOCK = 1_000
"""Number of cases in a block. Each block has a random stream of its own, so the cases of a batch
depend only on its position and not on the sizes of earlier batches."""

Block = tuple[np.ndarray, np.ndarray]


class CaseStream:
    """An endless sequence of new cases; `position` is its whole state.

    A thread draws the next blocks while the present ones are used, as many as the last batch
    needed. A block is a function of seed, stream and number, so it does not matter when it is
    drawn.
    """

    # One thread for all sequences of a process: more would take time from the training.
    _background = ThreadPoolExecutor(1, "cases")

    def __init__(self, draw: Draw, seed: int, stream: str) -> None:
        self.position = 0
        self._draw, self._seed, self._stream = draw, seed, stream
        self._blocks: dict[int, Future[Block]] = {}

    def __del__(self) -> None:
        """Cancel blocks that are not drawn yet: they would delay other sequences and the exit."""
        for block in self._blocks.values():
            block.cancel()

    def take(self, size: int) -> Block:
        """Return inputs and targets of the next `size` cases."""
        first, last = self.position // BLOCK, (self.position + size - 1) // BLOCK
        wanted = range(first, 2 * last - first + 2)
        self._blocks = {number: self._block(number) for number in wanted}
        parts = []
        for number in range(first, last + 1):
            start = max(self.position - number * BLOCK, 0)
            end = self.position + size - number * BLOCK
            parts.append(tuple(each[start:end] for each in self._blocks[number].result()))
        self.position += size
        inputs, targets = (np.concatenate(each) for each in zip(*parts, strict=True))
        return inputs, targets

    def _block(self, number: int) -> Future[Block]:
        if number in self._blocks:
            return self._blocks[number]
        rng = generator(self._seed, "cases", self._stream, number)
        return self._background.submit(self._draw, rng, BLOCK)
