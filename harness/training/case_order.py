"""The order of a trial's training cases, as a function of the position in the sequence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from bench.harness.core.seeds import generator


class CaseOrder:
    """An endless sequence of case numbers; `position` is its whole state.

    The stream "gradient" has a new permutation for every epoch. The stream "curvature" repeats one
    permutation, so a size that divides the number of cases gives the same chunks in turn. A batch
    may begin in one epoch and end in the next.
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
            part = self._permutation_of(epoch)[start : start + size]
            parts.append(part)
            self.position += len(part)
            size -= len(part)
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _permutation_of(self, epoch: int) -> Int[np.ndarray, " N"]:
        name = epoch if self._stream == "gradient" else 0
        if name != self._epoch:
            rng = generator(self._seed, "order", self._stream, name)
            self._permutation, self._epoch = rng.permutation(self.cases), name
        return self._permutation
