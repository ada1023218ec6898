"""What the ranks of one fleet decide together, and how they see that they have not parted."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bench.harness.distributed.ranks import Ranks

TALK_SECONDS = 0.2
"""Between two talks, about: a signal that reaches one rank stops all of them so soon."""


class Talks:
    """Asks all ranks at the same update whether to stop, and whether to keep the state.

    A talk costs a reduction, so it is not held at every update. When the next one is due is
    counted in updates, which are the same on all ranks; seconds are not.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._next = 0
        self._before: tuple[int, float] | None = None

    def agreed(self, updates: int, seconds: float, stop: bool, keep: bool) -> tuple[bool, bool]:
        """Return whether any rank is to stop, and whether any is to keep the state."""
        if self.ranks.size == 1:
            return stop, keep
        self.ranks.beat(updates)
        if updates < self._next:
            return False, False
        # Before the second talk nothing is known of the pace, so that is an update later.
        each = TALK_SECONDS
        if self._before is not None:
            made, began = self._before
            each = (seconds - began) / (updates - made)
        self._next = updates + max(1, self.ranks.first(int(TALK_SECONDS / max(each, 1e-6))))
        self._before = updates, seconds
        stop, keep = self.ranks.any(stop, keep)
        return stop, keep


def checksums(theta: Float[Tensor, "K P"]) -> list[float]:
    """Return a number for each row in which every bit of it counts."""
    # Halves of float64: of a sum of 64-bit words the upper bits would be lost. A double holds whole
    # numbers below 2⁵³ exactly.
    words = theta.view(torch.int32)
    return [float(row) for row in (words.sum(1, dtype=torch.int64) % 2**52).tolist()]
