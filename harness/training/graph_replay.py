"""Updates of a fleet as replays of one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.harness.training.cuda_graph import LaunchLimiter, capture
from bench.harness.training.ledger import Account

STRETCH_SECONDS = 1.0
"""Approximate length of a stretch of updates, which limits how far the host is ahead."""


class CapturedUpdates:
    """Updates that are one launch each: batch, gradient, the method's step, the check of the loss.

    `prefetch(updates)` copies to the device what differs from update to update, the cases and the
    coefficients, and a counter there selects the next. Each replay is charged to the ledger before
    it starts, with the cost that `update` had when it was captured.
    """

    def __init__(
        self,
        update: Callable[[], object],
        prefetch: Callable[[int], None],
        account: Account,
        device: torch.device,
    ) -> None:
        self._update, self._prefetch, self._account = update, prefetch, account
        self._limiter = LaunchLimiter(device)
        self._replay: Callable[[], None] | None = None
        self._cost: dict[str, Any] = {}
        self._update_seconds = 0.0
        """Mean seconds of an update in the last stretch."""

    def run(self, limit: int, due: float) -> None:
        """Make at most `limit` updates, and stop after the one that spends `due` of the budget.

        It makes at least one update; `limit` is at most `FORESEEN` of optim/objective.py. Raises
        BudgetSpent before the first update that the budget cannot pay.
        """
        start = self._account.clock.seconds
        updates = self._updates_until(limit, due)
        self._prefetch(updates)
        if self._replay is None:
            with self._account.deferred_charges() as self._cost:
                self._replay = capture(self._update)
        for _ in range(updates):
            self._account.charge(**self._cost)
            self._replay()
            self._account.updates += 1
        # A budget in seconds is spent only when the device has finished the work.
        self._limiter.end_stretch(wait=self._account.budget.currency == "seconds")
        self._update_seconds = (self._account.clock.seconds - start) / updates

    def _updates_until(self, limit: int, due: float) -> int:
        """Return after how many updates, at most `limit`, the ledger will have spent `due`.

        For a budget in seconds this is an estimate from the last stretch.
        """
        if self._replay is None:
            return 1
        currency = self._account.budget.currency
        each = {"updates": 1, "seconds": self._update_seconds, **self._cost}[currency]
        if self._update_seconds:
            limit = min(limit, max(1, int(STRETCH_SECONDS / self._update_seconds)))
        spent, updates = self._account.spent, 0
        while updates < limit and (updates == 0 or spent < due):
            # Summed one by one as in the ledger, so that rounding is the same.
            spent += each
            updates += 1
        return updates
