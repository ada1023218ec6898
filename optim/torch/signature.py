"""The arguments of a class or factory of torch optimizers, as hyperparameters and back.

An argument whose default is a plain value is a hyperparameter, unless it says how torch computes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, get_type_hints

import torch
from torch import Tensor

from bench.optim.hyperparameters import Hyperparameter, UsageError
from bench.optim.momentum.methods import BATCH
from bench.optim.text import parse
from bench.optim.torch.annotations import choices_of, kind_of
from bench.optim.values import LARGEST, Value, is_number, tupled, value_text

HOW_TORCH_COMPUTES = ("capturable", "differentiable", "foreach", "fused")
"""Arguments that say nothing of the method."""

Makes = Callable[..., torch.optim.Optimizer]
"""(parameters, **hyperparameters) → a torch optimizer: its class, or a factory."""

COUNTS = ("budget", "num_iterations", "total_steps", "num_training_steps", "T_max")
"""Arguments without a default that get the number of updates."""
UPDATES = 1_000
"""That number for an optimizer that is only tried."""

MEANING = "see its manual"


def declared(optimizer: Makes, name: str, without: str | None = None) -> list[Hyperparameter]:
    """Return the hyperparameters of a class or factory; UsageError for what cannot be called.

    `without` is an argument that gets its value from elsewhere.
    """
    found = [BATCH]
    for parameter in arguments(optimizer, name)[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in (without, *counts(optimizer, name)):
            continue
        _check(parameter, optimizer, name)
        if parameter.name in HOW_TORCH_COMPUTES:
            continue
        h = _hyperparameter(parameter, annotation_of(parameter, optimizer))
        if h is not None and _reads_back(h):
            found.append(h)
    return found


def arguments(optimizer: Makes, name: str) -> list[inspect.Parameter]:
    """Return what a class or factory takes; UsageError where that does not begin with θ."""
    try:
        found = list(inspect.signature(optimizer).parameters.values())
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} cannot be made: its arguments are not known: {error}.") from error
    if not found:
        raise UsageError(
            f"{name} cannot be made: a function that makes a torch optimizer takes the parameters "
            "as its first argument."
        )
    return found


def counts(optimizer: Makes, name: str) -> list[str]:
    """Return the arguments that get the number of updates."""
    return [
        each.name
        for each in arguments(optimizer, name)[1:]
        if each.name in COUNTS and each.default is each.empty
    ]


def like(default: Any, value: Value) -> Any:
    """Return a value as the constructor takes it, to judge by its own default there.

    That is a list or a tuple, a tensor of one number in the default's shape and type, and an int
    where the default is one and the number is whole: a count, or a rate of 0.
    """
    if isinstance(default, Tensor) and isinstance(value, bool | int | float):
        exact = default.is_floating_point() or value == int(value)
        dtype = default.dtype if exact else torch.get_default_dtype()
        return torch.full_like(default, value, dtype=dtype)
    if isinstance(value, tuple):
        before = default if isinstance(default, list | tuple) and default else (None,)
        each = [like(before[min(i, len(before) - 1)], one) for i, one in enumerate(value)]
        return each if isinstance(default, list) else tuple(each)
    if type(default) is int and isinstance(value, float) and value == int(value):
        return int(value)
    return value


def _check(parameter: inspect.Parameter, optimizer: Makes, name: str) -> None:
    """Refuse an argument without which, or with which, no value can be given by name."""
    what = "its constructor" if isinstance(optimizer, type) else "the function"
    if parameter.default is parameter.empty:
        raise UsageError(
            f"{name} cannot be made: {what} wants {parameter.name!r}, which has no default value."
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise UsageError(f"{name} cannot be made: {parameter.name!r} cannot be given by its name.")
    if parameter.name == BATCH.name:
        raise UsageError(
            f"{name} cannot be made: {what} has an argument 'batch', and that is the number of "
            "cases in a minibatch for every torch optimizer. Give the argument another name."
        )


def annotation_of(parameter: inspect.Parameter, optimizer: Makes) -> Any:
    """Return the type that an annotation names, also where it is a text; empty if none is found."""
    is_class = isinstance(optimizer, type)
    made: Any = optimizer.func if isinstance(optimizer, partial) else optimizer
    made = made.__init__ if is_class else made
    names = getattr(inspect.unwrap(made), "__globals__", {})
    of = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return get_type_hints(of, names)[parameter.name]
    except Exception:  # A text may name what is there for type checkers only.
        return parameter.empty


def _hyperparameter(parameter: inspect.Parameter, annotation: Any) -> Hyperparameter | None:
    """Return an argument as a hyperparameter; None if its values are not plain."""
    default = parameter.default
    if isinstance(default, Tensor) and default.numel() == 1:
        default = default.item()
    kind = kind_of(default, annotation) if _is_plain(default) else None
    if kind is None:
        return None
    choices = choices_of(annotation)
    return Hyperparameter(parameter.name, kind, tupled(default), MEANING, choices=choices)


def _reads_back(h: Hyperparameter) -> bool:
    """Return whether the default can be written in brackets: some words cannot."""
    text = value_text(h.default)
    try:
        written = parse(f"optimizer[{h.name}={text}]").values
        return written == {h.name: (text,)} and h.cast(text, "") == h.default
    except UsageError:
        return False


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if is_number(value):
        return math.isfinite(value) and (isinstance(value, float) or abs(value) < LARGEST)
    return value is None or type(value) in (bool, str)
