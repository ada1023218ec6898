"""Cases that a problem draws anew, without end: defined globally, by position."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from bench.harness.core.seeds import generator
from bench.models.problem import Draw

BLOCK = 1_000
"""Cases are drawn in blocks of so many, each from a stream of its own: which cases a batch holds
depends on its position alone, however many were taken at a time."""

Block = tuple[np.ndarray, np.ndarray]


class Fresh:
    """An endless sequence of new cases; where it stands is one integer.

    While the cases of a block are used, the next blocks, as many as the last batch began, are
    drawn in a thread. A block is a function of seed, stream and number, so who draws it when does
    not matter.
    """

    # One for all sequences of a process: what trains is not to wait, but not to be held up either.
    _background = ThreadPoolExecutor(1, "cases")

    def __init__(self, draw: Draw, seed: int, stream: str) -> None:
        self.position = 0
        self._draw, self._seed, self._stream = draw, seed, stream
        self._blocks: dict[int, Future[Block]] = {}

    def __del__(self) -> None:
        """Leave undrawn what nobody will take: it would hold up others and the program's end."""
        for block in self._blocks.values():
            block.cancel()

    def take(self, size: int) -> Block:
        """Return inputs and targets of the next `size` cases."""
        first, last = self.position // BLOCK, (self.position + size - 1) // BLOCK
        wanted = range(first, 2 * last - first + 2)
        self._blocks = {number: self._of(number) for number in wanted}
        parts = []
        for number in range(first, last + 1):
            start = max(self.position - number * BLOCK, 0)
            end = self.position + size - number * BLOCK
            parts.append(tuple(each[start:end] for each in self._blocks[number].result()))
        self.position += size
        inputs, targets = (np.concatenate(each) for each in zip(*parts, strict=True))
        return inputs, targets

    def _of(self, number: int) -> Future[Block]:
        if number in self._blocks:
            return self._blocks[number]
        rng = generator(self._seed, "cases", self._stream, number)
        return self._background.submit(self._draw, rng, BLOCK)
