"""The trials on small networks by which a method is held to its laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch

from bench.harness.check.laws import EXACT
from bench.harness.check.observed_trial import ObservedTrial
from bench.harness.check.small_problems import network_for
from bench.models.problem import Problem
from bench.optim.objective import Method

FEW = 5
"""Steps of a short trial."""
ROWS = 1e-10
"""Allowed relative difference between a row of a fleet and the trial alone, after STEPS."""


class MethodTrials:
    """Trials of one method; `make` creates it each time, with other values if given."""

    def __init__(self, make: Callable[..., Method]) -> None:
        self.make = make

    @cached_property
    def dtype(self) -> torch.dtype:
        """The type in which laws are checked: float64, or float32 for a method that raises there.

        Some optimizers of others mix types, and train only in float32.
        """
        trial = ObservedTrial(self.make(), self.network())
        try:
            trial.step(FEW)
        except Exception:
            # One that turns θ into float32 is told by a law.
            if trial.theta.dtype == torch.float64:
                with suppress(Exception):
                    ObservedTrial(self.make(), self.network(), dtype=torch.float32).step(FEW)
                    return torch.float32
        return torch.float64

    @property
    def exact(self) -> float:
        """The relative difference that rounding in this type explains."""
        return EXACT * torch.finfo(self.dtype).eps / torch.finfo(torch.float64).eps

    def network(self) -> Problem:
        """Return a new small network that the method can train."""
        return network_for(self.make())

    def trial(self, seed: int = 0, dtype: torch.dtype | None = None) -> ObservedTrial:
        """Return a new trial on the small network."""
        return self.observed(self.make(), [seed], dtype=dtype or self.dtype)

    def observed(self, method: Method, seeds: Sequence[int] = (0,), **given: Any) -> ObservedTrial:
        """Return a new trial of this method; `given` is for `ObservedTrial`."""
        return ObservedTrial(method, self.network(), seeds, **{"dtype": self.dtype, **given})


def in_words(kind: tuple[Any, ...]) -> str:
    """Say a type, and a shape if there is one.

    >>> in_words((torch.float32, torch.Size([1, 2])))
    'float32 and shape (1, 2)'
    """
    dtype, *shape = kind
    return " and shape ".join([str(dtype).removeprefix("torch."), *(str(tuple(s)) for s in shape)])
