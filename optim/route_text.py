"""The notation for a route, several optimizers that each train a part: A[on=x,lr=1]+B[on=rest].

A route is one method with the name A+B. Its values have the number of their part before them:
1.on=x, 1.lr=1, 2.on=rest. What all parts share has none: batch.

>>> split_route("A[on=x+y,batch=2]+B[on=rest]")
['A[on=x+y,batch=2]', 'B[on=rest]']
>>> name, values = joined([("A", {"on": ("x",), "batch": ("2",)}), ("B", {"on": ("rest",)})], "")
>>> name, values
('A+B', {'batch': ('2',), '1.on': ('x',), '2.on': ('rest',)})
>>> apart(name, values)
[('A', {'batch': ('2',), 'on': ('x',)}), ('B', {'on': ('rest',)})]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from bench.optim.hyperparameters import UsageError
from bench.optim.recipe.hyperparameters import OF_EVERY_METHOD

JOIN, ON = "+", "on"
SHARED = ("batch", *OF_EVERY_METHOD)
"""Values of the route, whichever part they stand in: the batch and the recipe."""
FORM = "torch.optim.Muon[on=hidden]+torch.optim.AdamW[on=rest]"

V = TypeVar("V")


def split_route(text: str) -> list[str]:
    """Return the parts of an entry: they are joined by + after a closing bracket."""
    return re.split(r"(?<=\])\s*\+\s*", text)


def joined(parts: Sequence[tuple[str, Mapping[str, V]]], text: str) -> tuple[str, dict[str, V]]:
    """Return a route's name and values; UsageError, with `text`, where they make none."""
    shared: dict[str, V] = {}
    own: dict[str, V] = {}
    for number, (name, values) in enumerate(parts, 1):
        if ON not in values:
            raise UsageError(
                f"{text!r}: {name} does not say which parameters it trains. Write on=… in every "
                f"part, as in {FORM}."
            )
        if JOIN in name:
            raise UsageError(
                f"{text!r}: + joins the parts of a route, so {name!r} may have none in its name. "
                "Rename it, or name its module instead of its file."
            )
        for key, value in values.items():
            if key not in SHARED:
                own[f"{number}.{key}"] = value
            elif shared.setdefault(key, value) != value:
                raise UsageError(
                    f"{text!r}: the parts have different values of {key}, which is one for the "
                    "whole route. Write it in one part, or the same in all."
                )
    return JOIN.join(name for name, _ in parts), {**shared, **own}


def apart(name: str, values: Mapping[str, V]) -> list[tuple[str, dict[str, V]]]:
    """Return the name and values of every part; those of all parts stand in the first.

    UsageError for a value of no part.
    """
    names = names_of(name, values)
    if len(names) == 1:
        return [(name, dict(values))]
    parts: list[dict[str, V]] = [{} for _ in names]
    for key, value in values.items():
        number, _, own = key.partition(".")
        if key in SHARED:
            parts[0][key] = value
        elif number in map(str, range(1, len(parts) + 1)):
            parts[int(number) - 1][own] = value
        else:
            raise UsageError(
                f"{name} has no part to which {key!r} belongs. Write every value in the brackets "
                f"of its part: {FORM}."
            )
    return list(zip(names, parts, strict=True))


def names_of(name: str, values: Mapping[str, object]) -> list[str]:
    """Return the names of a route's parts, or the one name of another method."""
    return name.split(JOIN) if f"1.{ON}" in values else [name]
