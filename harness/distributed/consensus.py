"""Common decisions of the ranks of one fleet, and checksums that show whether they still agree."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bench.harness.distributed.ranks import Ranks

CONSENSUS_SECONDS = 0.2
"""Approximate time between two decisions: a signal to one rank stops all ranks this soon."""


class Consensus:
    """Decides on all ranks at the same update whether to stop, and whether to save the state.

    A decision costs a reduction, so the ranks do not make one at every update. They count the
    updates to the next decision, because updates are equal on all ranks and seconds are not.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._next = 0
        self._last: tuple[int, float] | None = None

    def decide(self, updates: int, seconds: float, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether any rank wants to stop, and whether any wants to save the state.

        `updates` and `seconds` are those of this rank since the run began.
        """
        if self.ranks.size == 1:
            return stop, save
        self.ranks.report_alive(updates)
        if updates < self._next:
            return False, False
        # The duration of an update is unknown at first, so the second decision is one update later.
        update_seconds = CONSENSUS_SECONDS
        if self._last is not None:
            last_updates, last_seconds = self._last
            update_seconds = (seconds - last_seconds) / (updates - last_updates)
        interval = self.ranks.broadcast(int(CONSENSUS_SECONDS / max(update_seconds, 1e-6)))
        self._next = updates + max(1, interval)
        self._last = updates, seconds
        stop, save = self.ranks.any(stop, save)
        return stop, save


def checksums(theta: Float[Tensor, "K P"]) -> list[float]:
    """Return a checksum for each row; every bit of the row contributes to it."""
    # 32-bit words, because a sum of 64-bit words would lose the upper bits. The remainder is below
    # 2⁵³, so a double holds it exactly.
    words = theta.view(torch.int32)
    return [float(row) for row in (words.sum(1, dtype=torch.int64) % 2**52).tolist()]
