"""The learning rates and weight decays in a torch optimizer's groups, which a recipe schedules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.optim.hyperparameters import UsageError
from bench.optim.torch.probe import FEW, Make, effect_of
from bench.optim.torch.together import Together

LR, DECAY = "lr", "weight_decay"
TRIED = 0.1
"""The factor with which it is tried whether a value is read."""


class GroupValues:
    """What the groups of an optimizer began with under one name, and what they now have."""

    def __init__(self, optimizer: torch.optim.Optimizer, name: str) -> None:
        self.optimizer, self.name = optimizer, name
        values = [group.get(name) for group in self._groups]
        # A tensor may be changed in place.
        self._first = [v.detach().clone() if isinstance(v, Tensor) else v for v in values]
        self._last = self._now()

    def multiply(self, factor: float) -> None:
        """Set every group's value to its first one times a factor.

        Raises UsageError where somebody else has set it since: there would be two schedules.
        """
        if self._now() != self._last:
            raise UsageError(
                f"{type(self.optimizer).__name__} changes {self.name} in its groups by itself, so "
                f"a schedule of {self.name} would be a second one. Leave one of them out."
            )
        for group, first in zip(self._groups, self._first, strict=True):
            if first is not None:
                group[self.name] = first * factor
        self._last = self._now()

    def read(self) -> None:
        """Take the values of a saved state for those that were set last."""
        self._last = self._now()

    def _now(self) -> list[Any]:
        values = [group.get(self.name) for group in self._groups]
        return [each.tolist() if isinstance(each, Tensor) else each for each in values]

    @property
    def _groups(self) -> list[dict[str, Any]]:
        # A wrapper may have no groups of its own.
        return getattr(self.optimizer, "param_groups", [])


def check_reads(make: Make, name: str, owner: str) -> None:
    """Raise UsageError where a change of a group's value between two steps has no effect."""

    def changed(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        made = make(parameters)
        own, made_steps = made.step, 0

        def step(closure: Any = None) -> Any:
            nonlocal made_steps
            result = own() if closure is None else own(closure=closure)
            made_steps += 1
            if made_steps == FEW:
                for group in getattr(made, "param_groups", []):
                    if group.get(name) is not None:
                        group[name] = group[name] * TRIED
            return result

        made.step = step  # type: ignore[method-assign]
        return made

    if not effect_of(make, changed):
        raise UsageError(
            f"{owner} does not read {name} from its groups of parameters anew in each step, so "
            f"that a schedule of {name} would have no effect. Leave the schedule out."
        )


def check_one_schedule(optimizer: torch.optim.Optimizer, owner: str) -> None:
    """Raise UsageError where an optimizer has a scheduler of its own."""
    if isinstance(optimizer, Together) and optimizer.schedulers:
        kinds = ", ".join(type(each).__name__ for each in optimizer.schedulers)
        raise UsageError(
            f"{owner} brings a scheduler ({kinds}), and lr_schedule would be a second one. Leave "
            "one of them out."
        )
