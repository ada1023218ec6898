"""A route: several torch optimizers, each for a part of the network, as one method.

`torch.optim.Muon[on=matrices-last,lr=0.02]+torch.optim.AdamW[on=rest]`: all parts step on the same
gradient, which is computed once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from bench.optim.hyperparameters import Hyperparameter, UsageError, cast_all
from bench.optim.momentum.methods import BATCH
from bench.optim.objective import Layout
from bench.optim.plugins import short
from bench.optim.route_text import FORM, JOIN, ON, SHARED
from bench.optim.selectors import REST, chosen, listed
from bench.optim.torch.adapter import TorchMethod
from bench.optim.torch.configured import Configured
from bench.optim.torch.probe import Manner
from bench.optim.torch.together import Together


class Route(TorchMethod):
    """Torch optimizers that each train the parameters that a selector takes."""

    parts: ClassVar[tuple[type[TorchMethod], ...]]

    def __init__(self, backend: str = "torch", /, **given: object) -> None:
        self.backend = backend
        self.hyperparameters = cast_all(self.space, given, self.name)
        self.members = [
            part(backend, **self._values_of(number, part))
            for number, part in enumerate(self.parts, 1)
        ]
        for each in self.members:
            if not each.manner.once:
                raise UsageError(
                    f"{each.name} evaluates the closure more than once in a step, at points of its "
                    "own, and the parts of a route step on one gradient. Use it alone, without "
                    f"{JOIN}."
                )
        self.layout: Layout | None = None
        self.held = max(each.held for each in self.members)
        again = any(each.manner.differentiates for each in self.members)
        self.manner = Manner(False, once=True, held=self.held, differentiates=again)

    def check_set_rates(self) -> None:
        """Raise UsageError where a part does not read its lr anew in each step."""
        for each in self.members:
            each.check_set_rates()

    def check_set_weight_decay(self) -> None:
        """Raise UsageError where a part with a weight decay does not read it anew in each step."""
        for each in self.members:
            each.check_set_weight_decay()

    @classmethod
    def torch_parts(cls) -> tuple[type[TorchMethod], ...]:
        """Return the classes of the parts."""
        return tuple(each for part in cls.parts for each in part.torch_parts())

    def anytime_updates(self, budget: int | None) -> float:
        """Return the least of the parts."""
        return min(each.anytime_updates(budget) for each in self.members)

    def assemble(
        self, named: Mapping[str, nn.Parameter], layout: Layout | None, updates: int | None
    ) -> torch.optim.Optimizer:
        """Make every part's optimizer; UsageError for parameters that none or two of them take."""
        if layout is None:
            raise UsageError(f"{self.name} needs a network with named parameters.")
        made = []
        for each, where, names in zip(self.members, self._texts, self._shares(layout), strict=True):
            own = {name: named[name] for name in names}
            try:
                made.append(each.assemble(own, layout, updates))
            except UsageError:
                raise
            except Exception as error:
                raise UsageError(
                    f"{where} cannot train {listed(names)}: {short(error).rstrip('.')}. Let "
                    "another part take what it is not made for."
                ) from error
        return Together(made)

    def _shares(self, layout: Layout) -> list[list[str]]:
        """Return the names that every part takes."""
        shares = [
            [] if selector == REST else chosen(selector, layout, where)
            for selector, where in zip(self._selectors, self._texts, strict=True)
        ]
        times = Counter(name for share in shares for name in share)
        if twice := [name for name in layout.shapes if times[name] > 1]:
            both = [w for w, share in zip(self._texts, shares, strict=True) if twice[0] in share]
            raise UsageError(
                f"{' and '.join(both)} both take {listed(twice)}, and one optimizer trains a "
                "parameter. Take it out of one of them, as in on=matrices-last."
            )
        left = [name for name in layout.shapes if not times[name]]
        return self._with_rest(shares, left)

    def _with_rest(self, shares: list[list[str]], left: list[str]) -> list[list[str]]:
        count = self._selectors.count(REST)
        if count > 1:
            raise UsageError(f"{self.name}: {count} parts have on={REST}, and one alone can.")
        if left and not count:
            raise UsageError(
                f"No part of {JOIN.join(self._texts)} trains {listed(left)}. Add one for them: "
                f"{JOIN}torch.optim.AdamW[on={REST}]."
            )
        if count and not left:
            where = self._texts[self._selectors.index(REST)]
            raise UsageError(
                f"{where} takes no parameter of this network: the other parts take all of them. "
                "Leave it out."
            )
        return [share or left for share in shares]

    @property
    def _selectors(self) -> list[str]:
        return [str(self.hyperparameters[f"{n}.{ON}"]) for n in range(1, len(self.parts) + 1)]

    @property
    def _texts(self) -> list[str]:
        """Every part as a person writes it, to name it in a message."""
        return [
            f"{part.name}[{ON}={selector}]"
            for part, selector in zip(self.parts, self._selectors, strict=True)
        ]

    def _values_of(self, number: int, part: type[TorchMethod]) -> dict[str, Any]:
        return {
            h.name: self.hyperparameters[f"{number}.{h.name}"] for h in part.space if h is not BATCH
        }


def route_of(parts: Sequence[Any], name: str) -> type[Route]:
    """Return the method class of a route; UsageError for a part that is no torch optimizer."""
    for part in parts:
        if not (isinstance(part, type) and issubclass(part, TorchMethod)):
            raise UsageError(
                f"{part.name} cannot be a part of {name}: it trains all parameters at once, as one "
                f"vector. The parts are torch optimizers, as in {FORM}."
            )
        if issubclass(part, Configured):
            raise UsageError(
                f"{part.name} cannot be a part of {name}: it is given all parameters by name. Let "
                "it return a list of optimizers, and use it alone."
            )
        if taken := [h.name for h in part.space if h is not BATCH and h.name in (ON, *SHARED)]:
            raise UsageError(
                f"{part.name} cannot be a part of {name}: it has hyperparameters of its own with "
                f"names that a route uses: {', '.join(taken)}. Write a function that gives them "
                "other names."
            )
    space = [BATCH]
    for number, part in enumerate(parts, 1):
        space.append(Hyperparameter(f"{number}.{ON}", str, REST, "the parameters that it trains"))
        space += [replace(h, name=f"{number}.{h.name}") for h in part.space if h is not BATCH]
    given = {"name": name, "parts": tuple(parts), "space": tuple(space), "__module__": __name__}
    return type(Route.__name__, (Route,), given)
