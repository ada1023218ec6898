"""Names → methods: built in, entry points `bench.optimizers`, torch.optim, anybody's class."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from optim import plugins
from optim.hessian_free.hessian_free import HessianFree
from optim.hyperparameters import UsageError, nearest
from optim.momentum import CM, NAG, SGD
from optim.objective import Method
from optim.text import Written, parse
from optim.torch_adapter import TORCH_PREFIX, adapt

BUILT_IN: dict[str, Any] = {"sgd": SGD, "cm": CM, "nag": NAG, "hf": HessianFree}
GROUP = "bench.optimizers"


def names() -> list[str]:
    """Return the names of all methods that need no module or file to be named."""
    return [*BUILT_IN, *sorted(point.name for point in entry_points(group=GROUP))]


def find(name: str) -> Any:
    """Return the class of a method; UsageError names the nearest."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    if plugins.is_plugin(name):
        return plugins.load(name)
    if name.startswith(TORCH_PREFIX):
        return adapt(name)
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    raise UsageError(
        f"There is no optimizer {name!r}{nearest(name, names())} There are: {', '.join(names())}; "
        "torch.optim.NAME; and package.module:Class or ./file.py:Class for your own."
    )


def make(
    written: Written, defaults: Mapping[str, object] | None = None, device: str = "cpu"
) -> list[Method]:
    """Return the methods that a text means: one, or one a point of its grid.

    Values come from the text, else from `defaults`, else from the declaration.
    """
    cls = find(written.name)
    backend = written.backend or _default_backend(cls, device)
    if backend not in cls.backends:
        raise UsageError(
            f"{written.name} has no backend {backend!r}{nearest(backend, cls.backends)} "
            f"Allowed: {', '.join(cls.backends)}."
        )
    points = itertools.product(*written.values.values())
    return [
        cls(backend, **{**(defaults or {}), **dict(zip(written.values, point, strict=True))})
        for point in points
    ]


def resolve(text: str, device: str = "cpu") -> Method:
    """Return the one method that `text` means, by its declared defaults.

    >>> resolve("nag[lr=0.05]").hyperparameters["lr"]
    0.05
    """
    methods = make(parse(text), device=device)
    if len(methods) != 1:
        raise UsageError(f"{text!r} is a grid of {len(methods)} methods; write one value each.")
    return methods[0]


def _default_backend(cls: Any, device: str) -> str:
    chooses = getattr(cls, "default_backend", None)
    return str(chooses(device) if chooses else cls.backends[0])
