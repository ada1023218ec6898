"""The account of a fleet: what it has spent, and whether its budget can pay for more."""

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

# A budget is a sum of floating-point prices; a last call that is over by rounding is paid.
ROUNDING = 1e-9


class Clock:
    """Training time: it runs only between `start` and `stop`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._spent = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Go on counting."""
        self._wait()
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop counting, once the device has done what it was given."""
        self._wait()
        if self._since is not None:
            self._spent += time.perf_counter() - self._since
        self._since = None

    def restore(self, seconds: float) -> None:
        """Go on from so many seconds; the clock stands still."""
        self._spent, self._since = seconds, None

    @property
    def seconds(self) -> float:
        """Seconds counted so far; while it runs, without waiting for the device."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._spent + running

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass
class Account:
    """Every call of an objective is charged here, before it is computed."""

    budget: Budget
    clock: Clock
    updates: int = 0
    examples: int = 0
    gradients: float = 0.0
    products: int = 0
    cg_steps: int = 0

    def __post_init__(self) -> None:
        """Count a device's peak memory from here on."""
        if self.clock.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.clock.device)

    def charge(self, gradients: float, *, examples: int = 0, products: int = 0) -> None:
        """Enter a call that costs so many gradient-equivalents; BudgetSpent if it is too dear."""
        limit = self.budget.amount * (1 + ROUNDING)
        if self.budget.currency == "gradients" and self.gradients + gradients > limit:
            raise BudgetSpent
        if self.budget.currency == "examples" and self.examples + examples > limit:
            raise BudgetSpent
        self.gradients += gradients
        self.examples += examples
        self.products += products

    @contextmanager
    def priced(self) -> Iterator[dict[str, Any]]:
        """Enter nothing of what is charged inside; the dictionary has it afterwards, for `charge`.

        For work that is written down inside and computed later.
        """
        price: dict[str, Any] = {"gradients": 0.0, "examples": 0, "products": 0}
        before = {name: getattr(self, name) for name in price}
        for name, nothing in price.items():
            setattr(self, name, nothing)
        try:
            yield price
        finally:
            for name in price:
                price[name] = getattr(self, name)
                setattr(self, name, before[name])

    @property
    def spent(self) -> float:
        """What is spent of the budget, in its currency."""
        if self.budget.currency == "seconds":
            return self.clock.seconds
        return float(getattr(self, self.budget.currency))

    def ledger(self) -> Ledger:
        """Return the present state."""
        return Ledger(
            updates=self.updates,
            examples=self.examples,
            gradients=self.gradients,
            products=self.products,
            cg_steps=self.cg_steps,
            seconds=self.clock.seconds,
            peak_memory=_peak_memory(self.clock.device),
        )


def _peak_memory(device: torch.device) -> int:
    """Return bytes: of the device where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
