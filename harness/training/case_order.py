"""The order in which a trial sees its training cases: defined globally, by position."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from bench.harness.core.seeds import generator


class Order:
    """An endless sequence of case numbers; where it stands is one integer.

    The stream "gradient" is a new permutation every epoch. The stream "curvature" is
    one permutation over and over, so that a size that divides the number of cases gives
    the same chunks in turn. A batch that an epoch's end cuts goes on in the next epoch.
    """

    def __init__(self, cases: int, seed: int, stream: str) -> None:
        self.cases = cases
        self.position = 0
        self._seed, self._stream = seed, stream
        self._epoch = -1
        self._permutation: Int[np.ndarray, " N"] = np.empty(0, dtype=np.int64)

    def take(self, size: int) -> Int[np.ndarray, " size"]:
        """Return the next `size` case numbers."""
        parts = []
        while size > 0:
            epoch, start = divmod(self.position, self.cases)
            part = self._of_epoch(epoch)[start : start + size]
            parts.append(part)
            self.position += len(part)
            size -= len(part)
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _of_epoch(self, epoch: int) -> Int[np.ndarray, " N"]:
        name = epoch if self._stream == "gradient" else 0
        if name != self._epoch:
            rng = generator(self._seed, "order", self._stream, name)
            self._permutation, self._epoch = rng.permutation(self.cases), name
        return self._permutation
