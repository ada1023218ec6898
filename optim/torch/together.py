"""Several torch optimizers as one: each has parameters of its own, and all step at once."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.optim.torch.probe import switches


class Together(torch.optim.Optimizer):
    """Optimizers that step one after the other, on one gradient."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        # The base's own constructor would make groups of parameters: each optimizer has its own.
        self.optimizers = list(optimizers)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of all, which an optimizer makes anew where it reads a saved state."""
        return [group for each in self.optimizers for group in each.param_groups]

    @property
    def state(self) -> dict[Any, Any]:  # type: ignore[override]
        """The state of every parameter."""
        return {p: held for each in self.optimizers for p, held in each.state.items()}

    def step(self) -> None:  # type: ignore[override]
        """Make one update; the gradient is there."""
        for each in self.optimizers:
            each.step()

    def train(self) -> None:
        """Put those that switch into training mode."""
        for each in filter(switches, self.optimizers):
            each.train()  # type: ignore[attr-defined]

    def eval(self) -> None:
        """Put those that switch where they are evaluated."""
        for each in filter(switches, self.optimizers):
            each.eval()  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each."""
        return {"optimizers": [each.state_dict() for each in self.optimizers]}


def members(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """Return the optimizers that an optimizer consists of: itself, if it is a single one."""
    if not isinstance(optimizer, Together):
        return [optimizer]
    return [each for one in optimizer.optimizers for each in members(one)]


def load(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Let an optimizer go on from what its `state_dict` has returned."""
    if isinstance(optimizer, Together):
        for each, own in zip(optimizer.optimizers, saved["optimizers"], strict=True):
            load(each, own)
        return
    optimizer.load_state_dict(copy.deepcopy(dict(saved)))
    # torch has cast everything to θ's type, also NAdam's product, which is float32 always.
    _uncast(optimizer.state_dict(), saved)


def _uncast(loaded: Any, saved: Any) -> Any:
    """Return a loaded state with every tensor in the type that it was saved in."""
    if isinstance(saved, Tensor) and isinstance(loaded, Tensor):
        if loaded.dtype != saved.dtype:
            # It stays the tensor that the optimizer holds, or one that it wraps.
            loaded.data = saved.detach().clone().to(loaded.device)
    elif isinstance(saved, dict) and isinstance(loaded, dict):
        for key in loaded.keys() & saved.keys():
            loaded[key] = _uncast(loaded[key], saved[key])
    elif type(saved) in (list, tuple, deque) and len(loaded) == len(saved):
        made = [_uncast(*pair) for pair in zip(loaded, saved, strict=True)]
        return deque(made, saved.maxlen) if isinstance(saved, deque) else type(saved)(made)
    return loaded
