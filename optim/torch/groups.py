"""Values for a part of a network: `torch.optim.AdamW[weight_decay=0.1,weight_decay.biases=0]`.

They become parameter groups of the torch optimizer. The key is a hyperparameter and a selector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from bench.optim.hyperparameters import Hyperparameter, UsageError
from bench.optim.objective import Layout
from bench.optim.plugins import short
from bench.optim.route_text import JOIN, ON
from bench.optim.selectors import REST, chosen, listed
from bench.optim.torch.adapter import TorchMethod
from bench.optim.torch.probe import effect_of
from bench.optim.torch.signature import like
from bench.optim.values import value_text

DOT = "."
"""What stands between a hyperparameter and a selector."""


class Grouped(TorchMethod):
    """A torch optimizer that has other values for some of the parameters."""

    keys: ClassVar[tuple[str, ...]]
    """Hyperparameters with a selector behind them."""

    def __init__(self, backend: str = "torch", /, **given: object) -> None:
        super().__init__(backend, **given)
        for key in self.keys:
            self._check_read(key)

    def assemble(
        self, named: Mapping[str, nn.Parameter], layout: Layout | None, updates: int | None
    ) -> torch.optim.Optimizer:
        """Make the optimizer with a group for all parameters that have the same values."""
        if layout is None:
            raise UsageError(f"{self.name} needs a network with named parameters.")
        self._check_covered(named, layout)
        values = self._values(named, layout)
        groups: dict[str, dict[str, Any]] = {}
        for name, each in named.items():
            group = groups.setdefault(str(values[name]), {"params": [], **values[name]})
            group["params"].append(each)
        return self._made(list(groups.values()), **self.told(updates))

    def _values(self, named: Mapping[str, Any], layout: Layout) -> dict[str, dict[str, Any]]:
        """Return what is given for every parameter; UsageError for what is given twice."""
        values: dict[str, dict[str, Any]] = {name: {} for name in named}
        key_of: dict[tuple[str, str], str] = {}
        for key in self.keys:
            own, _, selector = key.partition(DOT)
            taken = [n for n in chosen(selector, layout, f"{self.name}[{key}=…]") if n in named]
            if not taken:
                raise UsageError(
                    f"{self.name}[{key}=…] takes no parameter of this part of the network, which "
                    f"has: {listed(list(named))}. Leave it out."
                )
            for name in taken:
                if key_of.setdefault((own, name), key) != key:
                    raise UsageError(
                        f"{self.name}: {key_of[own, name]} and {key} both take {name}. Take it out "
                        f"of one of them, as in {key}-{name}."
                    )
                values[name][own] = self._value(key)
        return values

    def _check_covered(self, named: Mapping[str, Any], layout: Layout) -> None:
        """Raise UsageError for parameters that `on=` leaves out."""
        on = self.hyperparameters.get(ON, REST)
        if ON in self.defaults or on == REST:
            return
        where = f"{self.name}[{ON}={on}]"
        taken = chosen(str(on), layout, where)
        if left := [name for name in named if name not in taken]:
            raise UsageError(
                f"{where} leaves out {listed(left)}, so that a part of the network would not be "
                f"trained. Add an optimizer for them: {where}{JOIN}torch.optim.AdamW[{ON}={REST}]."
            )

    def _value(self, key: str) -> Any:
        return like(self.defaults[key.partition(DOT)[0]], self.hyperparameters[key])

    def _check_read(self, key: str) -> None:
        """Raise UsageError for a value that the optimizer does not read from its groups."""
        own, _, selector = key.partition(DOT)
        where = f"{self.name}: {key}={value_text(self.hyperparameters[key])}"
        if selector == REST:
            raise UsageError(f"{where}: what no selector takes has the value of {own}. Write that.")
        value = {own: self._value(key)}
        try:
            everywhere = effect_of(self._made, lambda p: self._made(p, **value))
        except Exception as error:
            raise UsageError(f"{where} is refused: {short(error).rstrip('.')}.") from error
        try:
            here = effect_of(self._made, lambda p: self._made(_with_first(p, value)))
        except Exception as error:
            raise UsageError(
                f"{where}: the optimizer takes no groups of parameters: "
                f"{short(error).rstrip('.')}. Give all parameters the same {own}."
            ) from error
        known = own in self._made([nn.Parameter(torch.zeros(2, 2))]).defaults
        if not here and (everywhere or not known):
            raise UsageError(
                f"{where} has no effect, because the optimizer does not read {own} from its groups "
                f"of parameters. Let its step() read group[{own!r}], or leave this out."
            )


def grouped(kind: type[TorchMethod], keys: Iterable[str]) -> type[TorchMethod]:
    """Return a method class that has these keys too, those that are no hyperparameter left out."""
    space = {h.name: h for h in kind.space}
    more = [
        replace(space[key.partition(DOT)[0]], name=key, tune=None, grid=())
        for key in keys
        if DOT in key and key.partition(DOT)[0] in space.keys() & kind.defaults.keys()
    ]
    found = tuple(h.name for h in more)
    if ON in keys and ON not in space:
        more.append(Hyperparameter(ON, str, REST, "the parameters that it trains"))
    if not more:
        return kind
    given = {"keys": found, "space": (*kind.space, *more), "__module__": kind.__module__}
    return type(kind.__name__, (Grouped, kind), given)


def _with_first(parameters: list[nn.Parameter], value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return groups in which the first parameter has a value of its own."""
    first, *others = parameters
    groups: list[dict[str, Any]] = [{"params": [first], **value}]
    return [*groups, {"params": others}] if others else groups
