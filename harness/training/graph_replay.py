"""The updates of a fleet as replays of one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.harness.training.cuda_graph import Pace, capture
from bench.harness.training.ledger import Account

STRETCH = 1.0
"""A stretch takes at most about so many seconds, so that the host is never far ahead."""


class CapturedUpdates:
    """Updates of which each is one launch: batch, gradient, the method's step, what is watched.

    What differs from update to update, cases and coefficients, is put on the device for a stretch
    of updates beforehand, and a counter there says what is next. The ledger is charged before each
    replay with what `update` charged when it was captured.
    """

    def __init__(
        self,
        update: Callable[[], object],
        foresee: Callable[[int], None],
        account: Account,
        device: torch.device,
    ) -> None:
        self._update, self._foresee, self._account = update, foresee, account
        self._pace = Pace(device)
        self._replay: Callable[[], None] | None = None
        self._price: dict[str, Any] = {}
        self._each = 0.0
        """Seconds that an update took in the stretch before."""

    def make(self, most: int, due: float) -> None:
        """Make up to `most` updates, ending with the one that spends `due` of the budget.

        At most `FORESEEN` of optim/objective.py, and at least one; BudgetSpent before the first
        that cannot be paid.
        """
        began = self._account.clock.seconds
        updates = self._until(most, due)
        self._foresee(updates)
        if self._replay is None:
            with self._account.priced() as self._price:
                self._replay = capture(self._update)
        for _ in range(updates):
            self._account.charge(**self._price)
            self._replay()
            self._account.updates += 1
        # A budget in seconds is spent when the device has done the work.
        self._pace.stretch_given(wait=self._account.budget.currency == "seconds")
        self._each = (self._account.clock.seconds - began) / updates

    def _until(self, most: int, due: float) -> int:
        """Return after how many updates the ledger will say that `due` is spent.

        Of a budget in seconds that can only be foreseen from the stretch before.
        """
        if self._replay is None:
            return 1
        currency = self._account.budget.currency
        each = {"updates": 1, "seconds": self._each, **self._price}[currency]
        if self._each:
            most = min(most, max(1, int(STRETCH / self._each)))
        spent, updates = self._account.spent, 0
        while updates < most and (updates == 0 or spent < due):
            # The ledger's own sums, so that rounding is the same.
            spent += each
            updates += 1
        return updates
