"""`configure_optimizers(named_parameters, budget, …)`: a function that sees the network's names.

It returns an optimizer, or several, alone or with schedulers of the learning rate.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from bench.optim.hyperparameters import UsageError, cast_all
from bench.optim.objective import Layout, Method
from bench.optim.plugins import short
from bench.optim.selectors import listed
from bench.optim.torch.adapter import TorchMethod
from bench.optim.torch.parameters import taken
from bench.optim.torch.probe import Manner, manner_of
from bench.optim.torch.signature import UPDATES
from bench.optim.torch.together import Together

NAMED = "named_parameters"
"""The first argument of such a function."""
USUAL = 2
"""Numbers in the state for each of the parameters', until a network is known."""
SMALL = 8
"""The network is tried with axes of at most this length."""
ALLOWED = (
    "Return an optimizer, (optimizer, scheduler), a list of optimizers, or (list of optimizers, "
    "list of schedulers)."
)


class Configured(TorchMethod):
    """The optimizers and schedulers that a function makes of named parameters."""

    def __init__(self, backend: str = "torch", /, **given: object) -> None:
        self.backend = backend
        self.hyperparameters = cast_all(self.space, given, self.name)
        # The function may ask for names that only the network has. So it is tried there.
        self.manner = Manner(by_closure=False, once=True, held=USUAL)
        self.layout: Layout | None = None
        self.held = USUAL
        self._bound: tuple[Layout, Method] | None = None

    def check_set_rates(self) -> None:
        """Note that a schedule sets the rates; what the function makes is seen with a network."""
        self.is_scheduled = True

    def check_set_weight_decay(self) -> None:
        """Do nothing, likewise."""

    def for_layout(self, layout: Layout) -> Method:
        """Return the method for a network, after trying it there; UsageError with the reason."""
        if self._bound is None or self._bound[0] is not layout:
            again = self._try(layout).differentiates
            self.manner = replace(self.manner, differentiates=again)
            self._bound = layout, super().for_layout(layout)
        return self._bound[1]

    def assemble(
        self, named: Mapping[str, nn.Parameter], layout: Layout | None, updates: int | None
    ) -> torch.optim.Optimizer:
        """Call the function; UsageError for what it may not return."""
        given = self.arguments(updates)
        try:
            made = self.optimizer(list(named.items()), **given)
        except Exception as error:
            raise UsageError(
                f"{self.name} makes no optimizer for this network, which has "
                f"{listed(list(named))}: {short(error).rstrip('.')}."
            ) from error
        return together(made, named, self.name)

    def _try(self, layout: Layout) -> Manner:
        """Make a few steps on a network with the same names, and with shorter axes."""
        views = layout.parameters(torch.zeros(layout.size))
        small = tuple(tuple(min(n, SMALL) for n in view.shape) for view in views.values())
        return manner_of(
            lambda parameters: self.assemble(
                dict(zip(views, parameters, strict=True)), layout, UPDATES
            ),
            self.name,
            may_rest=self.hyperparameters.get("lr") == 0,
            tried=(small,),
        )


def takes_names(made: object) -> bool:
    """Return whether something is a function whose first argument is `named_parameters`."""
    if isinstance(made, type) or not callable(made):
        return False
    try:
        return next(iter(inspect.signature(made).parameters), None) == NAMED
    except (TypeError, ValueError):
        return False


def together(made: Any, named: Mapping[str, nn.Parameter], name: str) -> Together:
    """Return what a function has made as one optimizer; UsageError, with what is allowed."""
    optimizers, schedulers = made if _is_pair(made) else (made, [])
    optimizers = list(optimizers) if isinstance(optimizers, list | tuple) else [optimizers]
    schedulers = list(schedulers) if isinstance(schedulers, list | tuple) else [schedulers]
    for each in optimizers:
        if not isinstance(each, torch.optim.Optimizer):
            raise UsageError(f"{name} gave {_kind(each)} for an optimizer. {ALLOWED}")
    if not optimizers:
        raise UsageError(f"{name} gave no optimizer. {ALLOWED}")
    for each in schedulers:
        _check_scheduler(each, optimizers, name)
    found = Together(optimizers, schedulers)
    _check_once(found, named, name)
    return found


def _is_pair(made: Any) -> bool:
    return isinstance(made, tuple) and len(made) == 2


def _check_scheduler(scheduler: Any, optimizers: list[torch.optim.Optimizer], name: str) -> None:
    kind = _kind(scheduler)
    if isinstance(scheduler, ReduceLROnPlateau):
        raise UsageError(
            f"{name} gave {kind}, which needs a metric in each step, and an optimizer sees none. "
            "Use a scheduler that counts updates."
        )
    if not isinstance(scheduler, LRScheduler):
        raise UsageError(
            f"{name} gave {kind} for a scheduler; allowed are those of torch.optim.lr_scheduler. "
            f"{ALLOWED}"
        )
    of = getattr(scheduler, "optimizer", None)
    if not any(of is each for each in optimizers):
        raise UsageError(f"{name} gave {kind} of an optimizer that it did not give. {ALLOWED}")


def _check_once(made: Together, named: Mapping[str, nn.Parameter], name: str) -> None:
    # Also those of an optimizer that another one is made of.
    times = Counter(parameter for each in made.optimizers for parameter in taken(each))
    if twice := [n for n, each in named.items() if times[id(each)] > 1]:
        raise UsageError(
            f"{name} gives {listed(twice)} to more than one optimizer. Let one train each "
            "parameter."
        )


def _kind(thing: object) -> str:
    return type(thing).__name__
