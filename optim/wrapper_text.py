"""The name of an optimizer that is made of another one: Outer(Inner).

All values stand in its brackets, and those of the inner optimizer have `inner.` before them:
Outer(Inner)[k=5,inner.lr=0.1]. The inner one may be made of another one itself.

>>> apart("Lookahead(torch.optim.AdamW)")
('Lookahead', 'torch.optim.AdamW')
>>> names_in("A(B(C))")
['A', 'B', 'C']
>>> of_inner({"k": 5, "inner.lr": 0.1})
{'lr': 0.1}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from bench.optim.hyperparameters import UsageError

INNER = "inner."
FORM = "pytorch_optimizer:Lookahead(torch.optim.AdamW)[k=5,inner.lr=0.001]"

MOST = 16
"""Optimizers within one another."""

V = TypeVar("V")


def apart(name: str) -> tuple[str, str] | None:
    """Return the names of the outer and the inner optimizer; None for the name of a single one.

    UsageError where parentheses do not match, where one name is missing or too many, or where
    more than MOST optimizers stand within one another.
    """
    if not name.endswith(")"):
        return None
    if (within := name.count("(")) > MOST:
        raise UsageError(
            f"{name[:40]}… has {within} optimizers within one another, and {MOST} are allowed: "
            f"{FORM}."
        )
    at = _opening(name)
    outer, inner = name[:at].strip(), name[at + 1 : -1].strip()
    if not outer or not inner:
        raise UsageError(
            f"{name!r}: an optimizer that is made of another one is written with both names: {FORM}"
            "."
        )
    if outer.endswith(")"):
        raise UsageError(f"{name!r} has two inner optimizers, and one is allowed: {FORM}.")
    return outer, inner


def names_in(name: str) -> list[str]:
    """Return the name of every optimizer in a name, from the outermost to the innermost."""
    both = apart(name)
    return [name] if both is None else [both[0], *names_in(both[1])]


def of_inner(values: Mapping[str, V]) -> dict[str, V]:
    """Return the values of the inner optimizer, under its own names."""
    return {k.removeprefix(INNER): value for k, value in values.items() if k.startswith(INNER)}


def renamed(name: str, new: Callable[[str], str]) -> str:
    """Return a name in which every optimizer has another name.

    >>> renamed("a.B(c:D)", lambda name: name[2:])
    'B(D)'
    """
    both = apart(name)
    return new(name) if both is None else f"{new(both[0])}({renamed(both[1], new)})"


def check_closed(name: str) -> None:
    """Raise UsageError for a name that opens parentheses and does not close them."""
    last = name.rpartition(":")[2]
    if last.count("(") > last.count(")"):
        raise UsageError(
            f"{name!r}: the parentheses do not match. An optimizer is made of one other, and all "
            f"values stand in the brackets behind: {FORM}."
        )


def _opening(name: str) -> int:
    """Return where the parentheses open that end a name; UsageError if they do not match."""
    depth = 0
    for i in range(len(name) - 1, -1, -1):
        depth += (name[i] == ")") - (name[i] == "(")
        if depth == 0:
            return i
    raise UsageError(f"{name!r}: the parentheses do not match. Write {FORM}.")
