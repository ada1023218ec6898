"""Several torch optimizers as one, with their schedulers: all step at once, each on its own."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    LRScheduler,
    PolynomialLR,
    SequentialLR,
)

from bench.optim.hyperparameters import UsageError
from bench.optim.torch.probe import switches


class Together(torch.optim.Optimizer):
    """Optimizers that step one after the other, on one gradient, and then their schedulers."""

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence[LRScheduler] = (),
    ) -> None:
        # The base's own constructor would make groups of parameters: each optimizer has its own.
        self.optimizers, self.schedulers = list(optimizers), list(schedulers)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of all, which an optimizer makes anew where it reads a saved state."""
        # A wrapper may have no groups, and no state.
        own = [getattr(each, "param_groups", []) for each in self.optimizers]
        return [group for groups in own for group in groups]

    @property
    def state(self) -> dict[Any, Any]:  # type: ignore[override]
        """The state of every parameter."""
        states = [getattr(each, "state", {}) for each in self.optimizers]
        return {p: held for state in states for p, held in state.items()}

    def step(self) -> None:  # type: ignore[override]
        """Make one update; the gradient is there. UsageError where a scheduler has ended."""
        for each in self.optimizers:
            each.step()
        for scheduler in self.schedulers:
            try:
                scheduler.step()
            except ValueError as error:
                raise UsageError(
                    f"{type(scheduler).__name__} ends before the budget does: {error}. Let it last "
                    "for as many updates as the budget pays for."
                ) from error

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Take the gradients away."""
        for each in self.optimizers:
            each.zero_grad(set_to_none)

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
        return {
            "optimizers": [each.state_dict() for each in self.optimizers],
            "schedulers": [each.state_dict() for each in self.schedulers],
        }


def members(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """Return the optimizers that an optimizer consists of: itself, if it is a single one."""
    if not isinstance(optimizer, Together):
        return [optimizer]
    return [each for one in optimizer.optimizers for each in members(one)]


def check_lasts(optimizer: torch.optim.Optimizer, updates: int, name: str) -> None:
    """Raise UsageError for a scheduler that ends before so many updates are made."""
    for each in optimizer.schedulers if isinstance(optimizer, Together) else []:
        for part, last, then in _ends(each):
            if last < updates:
                raise UsageError(
                    f"{name}: {type(part).__name__} ends after {last:,} updates{then}, and the "
                    f"budget pays for {updates:,}. Give it the number of updates, which is the "
                    "argument `budget` of the function."
                )


def _ends(scheduler: LRScheduler, begin: int = 0) -> Iterator[tuple[LRScheduler, int, str]]:
    """Yield the parts of a scheduler that end, each with its last update and what follows it."""
    if isinstance(scheduler, SequentialLR):
        milestones = [0, *scheduler._milestones]
        # What another one takes over from does not end.
        yield from _ends(scheduler._schedulers[-1], begin + milestones[-1])
    elif isinstance(scheduler, ChainedScheduler):
        for each in scheduler._schedulers:
            yield from _ends(each, begin)
    elif isinstance(scheduler, CosineAnnealingLR):
        yield scheduler, begin + scheduler.T_max, " and rises again"
    elif isinstance(scheduler, PolynomialLR):
        yield scheduler, begin + scheduler.total_iters, " and is 0 from then on"
    elif (last := getattr(scheduler, "total_steps", None)) is not None:
        yield scheduler, begin + last, ""


def load(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Let an optimizer go on from what its `state_dict` has returned."""
    if isinstance(optimizer, Together):
        for each, own in zip(optimizer.optimizers, saved["optimizers"], strict=True):
            load(each, own)
        for scheduler, own in zip(optimizer.schedulers, saved["schedulers"], strict=True):
            scheduler.load_state_dict(copy.deepcopy(own))
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
