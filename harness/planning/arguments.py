"""The arguments that decide what somebody's function makes: those given, and its defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

PLAIN = (bool, int, float, str)
NUMBERS = {"bool": bool, "int": int, "float": float}


def arguments_of(make: Callable[..., Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a call make(preset, **given), where all that is given is text.

    Arguments that are not given have the function's defaults, so that a default that is written
    out changes nothing, and a changed default does. None, and what is no number, text or truth
    value, is left out. A text is a number where the default or the annotation is one, or where
    the number is written in no other way: "5" is 5, and "05" is 5 only if the default is a number.
    """
    try:
        known = list(inspect.signature(make).parameters.values())[1:]
    except (TypeError, ValueError):  # Some callables do not say what they take.
        known = []
    named = {p.name: p for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    found = {name: _read(text, named.get(name)) for name, text in given.items()}
    for name, parameter in named.items():
        default = parameter.default
        if name not in given and default is not parameter.empty and type(default) in PLAIN:
            found[name] = _read(default, None) if isinstance(default, str) else default
    return dict(sorted(found.items()))


def _read(text: str, parameter: inspect.Parameter | None) -> bool | int | float | str:
    kinds: list[object] = []
    if parameter is not None:
        kinds = [type(parameter.default), _annotated(parameter)]
    if text in ("true", "false") and bool in kinds:
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # JSON has no other numbers.
        if abs(number) < 2**53 and (int in kinds or float in kinds or repr(number) == text):
            return number
    return text


def _annotated(parameter: inspect.Parameter) -> object:
    """Return the type that an annotation names, also where it is a text."""
    said = parameter.annotation
    return NUMBERS.get(said) if isinstance(said, str) else said
