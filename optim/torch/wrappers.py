"""A torch optimizer that is made of another one: `Lookahead(torch.optim.AdamW)[inner.lr=0.1]`.

The outer one takes either the inner optimizer, as Lookahead does, or its class and its
hyperparameters, as SAM does. Its signature says which.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, get_args, get_origin

import torch
from torch import nn

from bench.optim.hyperparameters import UsageError, cast_all
from bench.optim.objective import Layout
from bench.optim.torch.adapter import TorchMethod, adapt, refused
from bench.optim.torch.annotations import alternatives
from bench.optim.torch.configured import Configured
from bench.optim.torch.routes import Route
from bench.optim.torch.signature import UPDATES, Makes, annotation_of, arguments, declared
from bench.optim.wrapper_text import INNER, of_inner

NAMED = "optimizer"
"""What the name of an argument ends in that takes one, and has in it that takes a class, where no
annotation tells."""
SUGGESTED = "torch.optim.AdamW"


class Wrapper(TorchMethod):
    """A torch optimizer made of the one that another method makes."""

    inner: ClassVar[type[TorchMethod]]
    takes_class: ClassVar[str | None]
    """The argument that takes the inner optimizer's class; None: the first takes the optimizer."""
    passed: ClassVar[frozenset[str]]
    """Arguments that the outer one passes on with the class."""

    def __init__(self, backend: str = "torch", /, **given: object) -> None:
        values = of_inner(cast_all(self.space, given, self.name))
        self.member = self.inner(backend, **values)
        super().__init__(backend, **given)

    @classmethod
    def torch_parts(cls) -> tuple[type[TorchMethod], ...]:
        """Return the classes of the outer and the inner optimizer."""
        return (cls, *cls.inner.torch_parts())

    def anytime_updates(self, budget: int | None) -> float:
        """Return the less of both."""
        return min(super().anytime_updates(budget), self.member.anytime_updates(budget))

    def assemble(
        self, named: Mapping[str, nn.Parameter], layout: Layout | None, updates: int | None
    ) -> torch.optim.Optimizer:
        """Make the optimizer on a network's parameters, or on a part of them."""
        if self.takes_class:
            return self._around(list(named.values()), updates)
        return self._around(self.member.assemble(named, layout, updates), updates)

    def _made(self, parameters: Sequence[Any], **changed: object) -> torch.optim.Optimizer:
        first = parameters if self.takes_class else self.member._made(parameters)
        return self._around(first, UPDATES)

    def _around(self, first: Any, updates: int | None) -> torch.optim.Optimizer:
        given = self.arguments(updates)
        if self.takes_class:
            of_member = self.member.arguments(updates)
            given |= {name: of_member[name] for name in self.passed & of_member.keys()}
            given[self.takes_class] = self.inner.optimizer
        return self.checked(self.optimizer(first, **given))

    def refusal(self, error: Exception) -> str:
        """Say, after the name, why the constructor raised."""
        return refused(error)


def wrapper_of(made: Makes, inner: Any, name: str, inner_name: str) -> type[Wrapper]:
    """Return the method class of an optimizer around another one, `inner`.

    UsageError where `made` takes no optimizer, or where `inner` cannot be one.
    """
    takes_class, takes_optimizer = _takes_class(made, name), _takes_optimizer(made, name)
    if takes_class is None and not takes_optimizer:
        raise UsageError(
            f"{name}: {name.partition('(')[0]} is made of parameters, and none of its arguments "
            f"takes an optimizer. Leave out ({inner_name})."
        )
    if not (isinstance(inner, type) and issubclass(inner, TorchMethod)):
        raise UsageError(
            f"{name}: {inner_name} trains all parameters at once, as one vector, and the optimizer "
            f"in parentheses is one of torch's kind, such as {SUGGESTED}."
        )
    if issubclass(inner, Configured | Route) or (takes_class and issubclass(inner, Wrapper)):
        raise UsageError(
            f"{name}: {inner_name} is made of more than parameters, and {name.partition('(')[0]} "
            "takes an optimizer that is not. Write a function that returns the whole."
        )
    kind = adapt(made, name, Wrapper, without=takes_class)
    parameters = arguments(made, name)
    passes_on = any(each.kind is each.VAR_KEYWORD for each in parameters)
    hidden = {each.name for each in parameters}
    # Values for parts of a network are no arguments of a class.
    own = {h.name for h in inner.space[1:] if h.name in inner.defaults}
    passed = own.union(inner.counts) - hidden if passes_on else set()
    space = [
        replace(h, name=f"{INNER}{h.name}")
        for h in inner.space[1:]
        if not takes_class or h.name in passed
    ]
    given = {
        "inner": inner,
        "takes_class": takes_class,
        "passed": frozenset(passed),
        "space": (*kind.space, *space),
        "__module__": kind.__module__,
    }
    return type(kind.__name__, (kind,), given)


def check_whole(made: Makes, name: str) -> None:
    """Raise UsageError for a class or function that cannot be made without an inner optimizer."""
    takes_class = _takes_class(made, name)
    if takes_class or _takes_optimizer(made, name, alone=True):
        declared(made, name, takes_class)  # What else has no default is said first.
        raise UsageError(
            f"{name} is made of another optimizer. Write that in parentheses, and its values with "
            f"{INNER} before them: {name}({SUGGESTED})[{INNER}lr=0.001]."
        )


def _takes_class(made: Makes, name: str) -> str | None:
    """Return the argument behind the parameters that takes an optimizer's class."""
    for each in arguments(made, name)[1:]:
        if each.default is not each.empty or each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
            continue
        if each.annotation is each.empty:
            found = NAMED in each.name
        else:
            found = any(map(_is_class, alternatives(annotation_of(each, made))))
        if found:
            return each.name
    return None


def _takes_optimizer(made: Makes, name: str, alone: bool = False) -> bool:
    """Return whether the first argument takes an optimizer, or takes nothing else (`alone`)."""
    first = arguments(made, name)[0]
    if first.annotation is first.empty:
        return first.name.endswith(NAMED)
    allowed = alternatives(annotation_of(first, made))
    takes = [_is_optimizer(each) or _is_class(each) for each in allowed]
    return any(map(_is_optimizer, allowed)) and (all(takes) or not alone)


def _is_optimizer(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, torch.optim.Optimizer)


def _is_class(annotation: Any) -> bool:
    inside = get_args(annotation)
    return get_origin(annotation) is type and any(map(_is_optimizer, inside))
