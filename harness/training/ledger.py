"""The account of a fleet: what it has spent, and whether the budget can pay for the next call."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from bench.harness.core.records import Ledger
from bench.harness.core.spec import Budget
from bench.optim.objective import BudgetSpent

# The sum of prices has rounding errors, so a last call may exceed the budget by this share.
ROUNDING = 1e-9


class Clock:
    """A clock of training time; it runs only between `start` and `stop`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._spent = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Start or continue counting."""
        self._wait()
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Wait for the device to finish, then stop counting."""
        self._wait()
        if self._since is not None:
            self._spent += time.perf_counter() - self._since
        self._since = None

    def restore(self, seconds: float) -> None:
        """Set the clock to so many seconds; it does not run."""
        self._spent, self._since = seconds, None

    @property
    def seconds(self) -> float:
        """Seconds counted so far; does not wait for the device."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._spent + running

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass
class Account:
    """The account of a fleet; every call of an objective is charged before it is computed."""

    budget: Budget
    clock: Clock
    updates: int = 0
    examples: int = 0
    gradients: float = 0.0
    products: int = 0
    cg_steps: int = 0
    refused: bool = False
    """Whether the budget could not pay for a call, whatever became of `BudgetSpent`."""
    rows: int = 1
    """Trials that share the clock: those with which the fleet began."""

    def __post_init__(self) -> None:
        """Start the measurement of the device's peak memory."""
        if self.clock.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.clock.device)

    def charge(self, gradients: float, *, examples: int = 0, products: int = 0) -> None:
        """Charge a call that costs so many gradient-equivalents and runs on so many cases.

        Raises BudgetSpent if the budget cannot pay for it; nothing is charged then.
        """
        limit = self.budget.amount * (1 + ROUNDING)
        if self.budget.currency == "gradients":
            self.refused |= self.gradients + gradients > limit
        elif self.budget.currency == "examples":
            self.refused |= self.examples + examples > limit
        if self.refused:
            raise BudgetSpent
        self.gradients += gradients
        self.examples += examples
        self.products += products

    @contextmanager
    def deferred_charges(self) -> Iterator[dict[str, Any]]:
        """Collect the charges of a block instead of booking them.

        After the block the dictionary has the arguments for `charge`. The block captures work that
        is computed later.
        """
        cost: dict[str, Any] = {"gradients": 0.0, "examples": 0, "products": 0}
        booked = {name: getattr(self, name) for name in cost}
        for name, zero in cost.items():
            setattr(self, name, zero)
        try:
            yield cost
        finally:
            for name in cost:
                cost[name] = getattr(self, name)
                setattr(self, name, booked[name])

    @property
    def spent(self) -> float:
        """The amount spent, in the currency of the budget."""
        if self.budget.currency == "seconds":
            return self.clock.seconds
        return float(getattr(self, self.budget.currency))

    def ledger(self) -> Ledger:
        """Return the present state, of each of the fleet's trials."""
        return Ledger(
            updates=self.updates,
            examples=self.examples,
            gradients=self.gradients,
            products=self.products,
            cg_steps=self.cg_steps,
            seconds=self.clock.seconds / self.rows,
            peak_memory=_peak_memory(self.clock.device),
            fleet_seconds=self.clock.seconds,
        )


def _peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of the GPU if one is used, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
