"""The kind of an argument, from its default and its annotation.

The default says what the argument is, and the annotation what else is allowed, such as None.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from inspect import Parameter
from types import GenericAlias, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from bench.optim.values import Kind, Value

ANY_LENGTH = (list, Sequence, Iterable, Collection)
"""What an annotation calls a tuple with any number of elements."""
ANY = tuple[object, ...]
SAYS_NOTHING = (Parameter.empty, Any, object)


def kind_of(default: Any, annotation: Any) -> Kind | None:
    """Return the kind of an argument; None if the annotation allows only what is not plain.

    `default` is a plain value.
    """
    said = _said(annotation)
    if default is None and not said - {NoneType} and _besides_none(annotation):
        return None
    return _of(default, said)


def choices_of(annotation: Any) -> tuple[Value, ...]:
    """Return the only values that an annotation allows besides None, if it names them."""
    named = _besides_none(annotation)
    if not all(get_origin(each) is Literal for each in named):
        return ()
    return tuple(one for each in named for one in get_args(each) if one is not None)


def _of(default: Any, said: set[Kind]) -> Kind:
    """Return the kind that has a default and everything that an annotation allows."""
    if isinstance(default, list | tuple):
        shapes = {each for each in said if get_args(each)}
        return _merged(said - shapes | {_tuple(default, shapes)})
    if default is None or isinstance(default, bool | str):
        return _merged(said | {type(default)})
    # A rate is often written as 0, so that an int may be any number unless it is said to be whole.
    is_whole = isinstance(default, int) and int in said
    return _merged(said if is_whole else said | {float})


def _tuple(default: Sequence[Any], shapes: Set[Kind]) -> Kind:
    """Return the kind of a tuple: of each of its elements, or of any number of them."""
    open_ended = [get_args(each)[0] for each in shapes if ... in get_args(each)]
    if open_ended or (isinstance(default, list) and not shapes):
        said = _together(open_ended)
        kinds = [_said(_of(each, said)) for each in default]
        return GenericAlias(tuple, (_merged(said.union(*kinds)), ...))
    alike = [get_args(each) for each in shapes if len(get_args(each)) == len(default)]
    elements = [_of(each, _together(one[i] for one in alike)) for i, each in enumerate(default)]
    return GenericAlias(tuple, tuple(elements))


def _together(annotations: Iterable[Any]) -> set[Kind]:
    return set().union(*map(_said, annotations))


def _said(annotation: Any) -> set[Kind]:
    """Return the kinds of plain values that an annotation names, None among them."""
    found: set[Kind] = set()
    for each in alternatives(annotation):
        origin, inner = get_origin(each) or each, get_args(each)
        if origin in (bool, int, float, str, NoneType):
            found.add(origin)
        elif origin is Literal:
            found |= set(map(type, inner))
        elif origin is tuple:
            found.add(GenericAlias(tuple, tuple(map(_element, inner))) if inner else ANY)
        elif origin in ANY_LENGTH:
            found.add(GenericAlias(tuple, (_element(inner[0]), ...)) if inner else ANY)
    return found


def _element(annotation: Any) -> Any:
    """Return the kind of an element; dots, for any number of them, and None stay."""
    if annotation in (None, NoneType):
        return NoneType
    return annotation if annotation is ... else _merged(_said(annotation))


def _merged(kinds: Set[Kind]) -> Kind:
    """Return the kind that has the values of all of these; object if these say nothing."""
    plain = set(kinds) - {NoneType}
    if plain == {int, float}:
        return float if NoneType not in kinds else float | None
    kind = plain.pop() if len(plain) == 1 else object
    return kind | None if NoneType in kinds and kind is not object else kind


def alternatives(annotation: Any) -> list[Any]:
    """Return what an annotation allows, without what says nothing."""
    several = get_origin(annotation) in (UnionType, Union)
    every = get_args(annotation) if several else (annotation,)
    return [each for each in every if each not in SAYS_NOTHING]


def _besides_none(annotation: Any) -> list[Any]:
    return [each for each in alternatives(annotation) if each is not NoneType]
