"""Names → methods: built in, entry points `bench.optimizers`, torch.optim, anybody's class.

A function that makes a torch optimizer from parameters counts as a class (`optim.torch.adapter`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from typing import Any

import torch

from bench.optim import plugins, wrapper_text
from bench.optim.hessian_free import HessianFree, MomentumHessianFree
from bench.optim.hyperparameters import UsageError, nearest
from bench.optim.momentum.methods import CM, NAG, SGD
from bench.optim.objective import Method
from bench.optim.recipe.hyperparameters import OF_EVERY_METHOD
from bench.optim.recipe.method import plain, with_recipe
from bench.optim.route_text import FORM, JOIN, ON, SHARED
from bench.optim.text import ParsedEntry, parse
from bench.optim.torch.adapter import (
    TORCH_PREFIX,
    TorchMethod,
    adapt,
    is_factory,
    is_optimizer,
    of_torch,
)
from bench.optim.torch.configured import Configured, takes_names
from bench.optim.torch.groups import grouped
from bench.optim.torch.routes import route_of
from bench.optim.torch.wrappers import check_whole, wrapper_of

BUILT_IN: dict[str, Any] = {
    cls.name: cls for cls in (SGD, CM, NAG, HessianFree, MomentumHessianFree)
}
GROUP = "bench.optimizers"

OF_THE_CLASS = (
    *("name", "reference", "space", "backends"),
    *("init", "step", "iterate", "state_dict", "load_state_dict"),
)
FILLED_IN = OF_THE_CLASS[4:]
OF_AN_INSTANCE = ("backend", "hyperparameters", "cost_of_a_step", "fleet_key")
"""What a `Method` has to have; `join` is needed only where `fleet_key` is not None."""


def names() -> list[str]:
    """Return the names of all methods that need no module or file to be named."""
    return [*BUILT_IN, *installed()]


def installed() -> dict[str, str]:
    """Return the names that installed packages add, each with its package; none is loaded."""
    return {n: of for n, of in plugins.installed(GROUP).items() if n not in BUILT_IN}


def is_built_in(name: str) -> bool:
    """Say whether `name` is bench's own or torch's, so that finding it runs nobody else's code."""
    return name in BUILT_IN or (name.startswith(TORCH_PREFIX) and not plugins.is_plugin(name))


def class_of(written: ParsedEntry) -> Any:
    """Return the class of the method that an entry means; UsageError where there is none."""
    if len(parts := written.parts) > 1:
        kinds = [_with_groups(part.name, part.values.keys() - {ON, *SHARED}) for part in parts]
        return with_recipe(route_of(kinds, written.name), written.values)
    if all(map(_is_known, pieces := written.name.split(JOIN))) and len(pieces) > 1:
        raise UsageError(
            f"{written.name}: every part of a route says in brackets which parameters it trains, "
            f"as in {FORM}."
        )
    return with_recipe(_with_groups(written.name, written.values), written.values)


def _with_groups(name: str, keys: Collection[str]) -> Any:
    """Return the class of a name; that of a torch optimizer has values for parts of a network."""
    if (both := wrapper_text.apart(name)) is not None:
        outer, inner = both
        kind = _with_groups(inner, wrapper_text.of_inner(dict.fromkeys(keys)))
        return wrapper_of(_loaded(outer), kind, name, inner)
    kind = find(name)
    is_torch = isinstance(kind, type) and issubclass(kind, TorchMethod)
    return grouped(kind, keys) if is_torch and not issubclass(kind, Configured) else kind


def _is_known(name: str) -> bool:
    return plugins.is_plugin(name) or name.startswith(TORCH_PREFIX) or name in names()


def draws_nothing(method: Method) -> bool:
    """Say whether a method is bench's own or torch's, none of which draws random numbers."""
    method = plain(method)
    if isinstance(method, TorchMethod):
        return all(part.made_from is None for part in method.torch_parts())
    return type(method).__module__.startswith(f"{__package__}.")


def find(name: str) -> Any:
    """Return the class of a method; UsageError names the nearest."""
    if wrapper_text.apart(name) is not None:
        return _with_groups(name, ())
    if name.startswith(TORCH_PREFIX) and not plugins.is_plugin(name):
        return of_torch(name)
    found = _loaded(name)
    return found if name in BUILT_IN else _entered(found, name)


def _loaded(name: str) -> Any:
    """Return what a name means, as it was written; UsageError names the nearest."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    wrapper_text.check_closed(name)
    if plugins.is_plugin(name):
        return plugins.load(name)
    if name.startswith(TORCH_PREFIX):
        return of_torch(name).optimizer
    for point in entry_points(group=GROUP, name=name):
        return plugins.load_point(point)
    if name.endswith(".py"):
        raise UsageError(f"{name}: name the class in this file too, as in {name}:MyOptimizer.")
    hint = nearest(name, names())
    if f"{TORCH_PREFIX}{name}" in _torchs_own():
        hint = f"; did you mean '{TORCH_PREFIX}{name}'?"
    raise UsageError(
        f"There is no optimizer {name!r}{hint} There are: {', '.join(names())}; "
        "torch.optim.NAME; and package.module:Class or ./file.py:Class for your own."
    )


def _torchs_own() -> set[str]:
    """Return the names that torch's optimizers have here."""
    return {
        f"{TORCH_PREFIX}{name}" for name, each in vars(torch.optim).items() if is_optimizer(each)
    }


def make(
    written: ParsedEntry, defaults: Mapping[str, object] | None = None, device: str = "cpu"
) -> list[Method]:
    """Return the methods that a text means: one, or one a point of its grid.

    Values come from the text, else from `defaults`, else from the declaration. Raises
    UsageError or Unavailable where the backend cannot run on `device`, "cpu" or "cuda".
    """
    cls = class_of(written)
    backend = written.backend or _default_backend(cls, device)
    if backend not in cls.backends:
        raise UsageError(
            f"{written.name} has no backend {backend!r}{nearest(backend, cls.backends)} "
            f"Allowed: {', '.join(cls.backends)}."
        )
    if require := getattr(cls, "require_backend", None):
        require(backend, device)
    _hint_at_recipe(cls, written)
    points = [
        dict(zip(written.values, point, strict=True))
        for point in itertools.product(*written.values.values())
    ]
    made = [_made(cls, written.name, backend, {**(defaults or {}), **point}) for point in points]
    # After all are made: one that keeps its values in its class shares them with the others.
    for method, point in zip(made, points, strict=True):
        _check_recorded(method, written.name, point)
    return made


def resolve(text: str, device: str = "cpu") -> Method:
    """Return the one method that `text` means, by its declared defaults.

    >>> resolve("nag[lr=0.05]").hyperparameters["lr"]
    0.05
    """
    methods = make(parse(text), device=device)
    if len(methods) != 1:
        raise UsageError(f"{text!r} is a grid of {len(methods)} methods; write one value each.")
    return methods[0]


def _hint_at_recipe(cls: Any, written: ParsedEntry) -> None:
    """Raise UsageError for an unknown key that is meant for a recipe, by its looks."""
    own = [h.name for h in cls.space]
    for key in written.values:
        hint = nearest(key, OF_EVERY_METHOD)
        if "." not in key and key not in own and nearest(key, own) == "." != hint:
            raise UsageError(
                f"{written.name} has no hyperparameter {key!r}{hint} Every method has a recipe: "
                f"{', '.join(OF_EVERY_METHOD)}."
            )


def _entered(cls: Any, name: str) -> Any:
    """Return somebody's class, if it has what a method needs or makes a torch optimizer."""
    if is_optimizer(cls) or is_factory(cls):
        check_whole(cls, name)
        return adapt(cls, name, Configured if takes_names(cls) else None)
    if not isinstance(cls, type):
        raise UsageError(
            f"{name!r} is of type {type(cls).__name__}. Give a class of torch optimizers, a class "
            "of methods, or a function that makes a torch optimizer from parameters."
        )
    _require(cls, OF_THE_CLASS, name)
    return cls


def _made(cls: Any, name: str, backend: str, given: Mapping[str, object]) -> Method:
    try:
        method: Method = cls(backend, **given)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{name!r} cannot be made with a backend and its hyperparameters: "
            f"{plugins.short(error)}"
        ) from error
    _require(method, OF_AN_INSTANCE, name)
    cost = method.cost_of_a_step
    if cost is not None and not 0 < cost < math.inf:
        raise UsageError(
            f"{name!r} says that a step costs {cost:g} gradient-equivalents; allowed are finite "
            "numbers above 0, and None where steps cost what they cost."
        )
    return method


def _check_recorded(method: Method, name: str, given: Mapping[str, str]) -> None:
    """Refuse a method that was given a value and does not show it among its hyperparameters.

    Results are recorded under the hyperparameters: other values would be found in their place.
    """
    declared = {h.name: h for h in method.space}
    for key, text in given.items():
        expected = declared[key].cast(text, name) if key in declared else text
        shown = method.hyperparameters.get(key)
        if shown != expected and str(shown) != str(expected):
            found = "does not show it" if shown is None else f"shows {key}={shown}"
            raise UsageError(
                f"{name!r} was given {key}={text}, but {found} in its hyperparameters, under "
                "which results are recorded. Let it set self.hyperparameters = "
                "cast_all(self.space, given, self.name)."
            )


def _require(having: Any, members: tuple[str, ...], name: str) -> None:
    # A class that derives from `Method` has all of them; what it does not fill in does nothing.
    if missing := [
        member
        for member in members
        if not hasattr(having, member)
        or (member in FILLED_IN and getattr(having, member) is getattr(Method, member))
    ]:
        raise UsageError(
            f"{name!r} is not a torch optimizer: it does not derive from torch.optim.Optimizer. As "
            f"a method of bench it lacks {', '.join(missing)}; the file optim/objective.py says "
            "what a Method needs."
        )


def _default_backend(cls: Any, device: str) -> str:
    chooses = getattr(cls, "default_backend", None)
    return str(chooses(device) if chooses else cls.backends[0])
