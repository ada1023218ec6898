"""Parameters of a network, chosen by a text: `hidden`, `matrices-last`, `norms+biases`, `blocks.*`.

Terms are joined from left to right: by + (these too) and by - (without these). A term is a word of
`WORDS`, the name of a parameter, or a pattern of names with * and ?.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from itertools import islice

from bench.optim.hyperparameters import UsageError, nearest
from bench.optim.objective import Layout

REST = "rest"
"""What no other part takes; it stands alone."""

SHOWN = 8
"""Names in a message, at most."""


def chosen(selector: str, layout: Layout, where: str) -> list[str]:
    """Return the names that a selector takes, in the order of the network.

    Raises UsageError, which begins with `where`, for a term that is unknown and for a selector that
    takes nothing.
    """
    taken: set[str] = set()
    for sign, term in _terms(selector, where):
        found = _of_term(term, layout, where)
        taken = taken - found if sign == "-" else taken | found
    if not taken:
        raise UsageError(
            f"{where} takes no parameter of this network. It has: {listed(layout.shapes)}. "
            f"Write a name or a pattern of names, or {_words()}."
        )
    return [name for name in layout.shapes if name in taken]


def listed(names: Mapping[str, object] | list[str]) -> str:
    """Return names for a message; of many, the first.

    >>> listed(["a", "b"])
    'a, b'
    """
    more = len(names) - SHOWN
    return ", ".join(islice(names, SHOWN)) + (f" and {more} more" if more > 0 else "")


def _terms(selector: str, where: str) -> list[tuple[str, str]]:
    """Return every term with its sign.

    >>> _terms("matrices-last+*.bias", "")
    [('+', 'matrices'), ('-', 'last'), ('+', '*.bias')]
    """
    first, *others = re.split(r"([+-])", selector)
    pairs = [("+", first), *zip(others[::2], others[1::2], strict=True)]
    terms = [(sign, term.strip()) for sign, term in pairs]
    if not all(term for _, term in terms):
        raise UsageError(
            f"{where}: a term is missing. Write terms with + or - between them, as in "
            "matrices-last. For a + or - in a name write ?."
        )
    if len(terms) > 1 and any(term == REST for _, term in terms):
        raise UsageError(
            f"{where}: {REST} is what no other part takes, so it stands alone. Leave out the "
            "other terms."
        )
    return terms


def _of_term(term: str, layout: Layout, where: str) -> set[str]:
    if term in layout.shapes:
        return {term}
    if term in WORDS:
        return WORDS[term](layout)
    if "*" in term or "?" in term:
        return {name for name in layout.shapes if fnmatchcase(name, term)}
    raise UsageError(
        f"{where}: there is no parameter or term {term!r}{nearest(term, [*WORDS, *layout.shapes])} "
        f"Write {_words()}, a name or a pattern such as *.bias. The names are: "
        f"{listed(layout.shapes)}."
    )


def _words() -> str:
    return f"{', '.join(WORDS)} or {REST}"


def _matrices(layout: Layout) -> set[str]:
    return _with_axes(layout) - _of_role("embedding")(layout)


def _with_axes(layout: Layout) -> set[str]:
    return {name for name, shape in layout.shapes.items() if len(shape) > 1}


def _vectors(layout: Layout) -> set[str]:
    return set(layout.shapes) - _with_axes(layout)


def _of_role(role: str) -> Callable[[Layout], set[str]]:
    return lambda layout: {name for name in layout.shapes if layout.role(name) == role}


def _of_layer(number: int) -> Callable[[Layout], set[str]]:
    """Return what takes a layer, counted among those with a parameter of two axes or more."""

    def of_layer(layout: Layout) -> set[str]:
        axes = _with_axes(layout)
        layers = list(dict.fromkeys(layout.layer(name) for name in layout.shapes if name in axes))
        if not layers:
            return set()
        return {name for name in layout.shapes if layout.layer(name) == layers[number]}

    return of_layer


FIRST, LAST = _of_layer(0), _of_layer(-1)

WORDS: dict[str, Callable[[Layout], set[str]]] = {
    "all": lambda layout: set(layout.shapes),
    "matrices": _matrices,
    "hidden": lambda layout: _matrices(layout) - FIRST(layout) - LAST(layout),
    "first": FIRST,
    "last": LAST,
    "kernels": _of_role("kernel"),
    "embeddings": _of_role("embedding"),
    "vectors": _vectors,
    "biases": _of_role("bias"),
    "norms": _of_role("norm"),
}
"""What each word takes of a network."""
