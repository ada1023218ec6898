"""Random numbers that do not depend on how many are drawn at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class SameDraws(TorchDispatchMode):
    """Within it, every number of a drawn tensor has one value, a new one in each step.

    So noise for each number is the same however the numbers are cut into tensors. Numbers that are
    drawn are counted: one that draws for each tensor draws more often where there are more tensors.
    Draws of whole numbers without repetition, as by `torch.randperm`, stay what they are.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.step = 0
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation of torch."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        (kwargs.get("generator") or torch.default_generator).manual_seed(self.step)
        found = func(*args, **kwargs)
        for drawn in found if isinstance(found, list | tuple) else [found]:
            if isinstance(drawn, Tensor) and drawn.numel():
                self.numbers += drawn.numel()
                self._level(func.__name__, drawn, args)
        return found

    def _level(self, operation: str, drawn: Tensor, args: Sequence[Any]) -> None:
        if "randperm" in operation or "multinomial" in operation:
            return
        if operation.startswith("bernoulli"):
            # `bernoulli` of probabilities takes them first; the others have them second, or 0.5.
            given = [args[0]] if operation == "bernoulli.default" else [*args[1:2], 0.5]
            drawn.copy_(torch.as_tensor(given[0], dtype=torch.float64) > LEVEL)
            return
        drawn.copy_(drawn.reshape(-1)[0].expand_as(drawn).clone())


LEVEL = 0.4
"""A coin of a higher probability than this shows 1."""
