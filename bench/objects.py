"""Optimizers and problems of a Python program as the texts of the command line.

What can be imported from a file is written as `module:Name`, so that other processes, workers and
commands find it. Anything else is known by a name such as `python:Mine` while the call lasts.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.harness.core.contents import has_name
from bench.harness.core.errors import Usage
from bench.harness.core.text import shortened, visible
from bench.models.built_in import PROBLEMS
from bench.models.problem import Problem
from bench.optim.hyperparameters import UsageError
from bench.optim.loaded_files import check_code
from bench.optim.plugins import Objects
from bench.optim.registry import BUILT_IN
from bench.optim.source_files import FILE_MODULE, source_files
from bench.optim.text import parse, split
from bench.optim.torch.adapter import TORCH_PREFIX
from bench.optim.values import value_text

HOW = (
    "a text such as 'nag[lr=0.1]', a class of methods or torch optimizers, or a function that "
    "makes a torch optimizer from parameters"
)


@dataclass(frozen=True, eq=False)
class Optimizer:
    """An optimizer with values for its hyperparameters, as `bench.optimizer` makes it."""

    made: Any
    values: Mapping[str, Any]


def optimizer(made: Any, /, **values: Any) -> Optimizer:
    """Return an optimizer with values for some of its hyperparameters, for `bench.compare`.

    Args:
        made: a text as on the command line, a class, or a function that makes a torch optimizer
            from parameters.
        **values: a value for each hyperparameter: a number, true or false, None, a word, or a
            tuple of these; a list of values is a grid, which the comparison tries out first.

    Returns:
        What `bench.compare` takes in its list of optimizers.

    Example:
        >>> import bench
        >>> bench.optimizer("nag", lr=[0.01, 0.1]).values
        {'lr': [0.01, 0.1]}
    """
    return Optimizer(made, values)


def text_of_optimizers(given: Any, objects: Objects) -> str:
    """Return what stands behind --optimizers; Usage for what is no optimizer."""
    if isinstance(given, str | Mapping | type) or not isinstance(given, Iterable):
        given = [given]
    texts = [_text_of_optimizer(each, objects) for each in given]
    if not texts:
        raise Usage("optimizers: the list is empty. Give at least one, as in ['nag', 'hf'].")
    return ",".join(texts)


def text_of_problem(given: Any, objects: Objects) -> str:
    """Return what stands behind --problem; Usage for what is no problem."""
    if isinstance(given, str):
        return given
    if isinstance(given, Problem):
        return objects.add(Given(given), given.name)
    if isinstance(given, torch.nn.Module) or (
        isinstance(given, type) and issubclass(given, torch.nn.Module)
    ):
        raise Usage(
            "problem: this is a module. bench.problem(make_module, train=(x, y), test=(x, y)) "
            "makes a problem of a module with data."
        )
    if not callable(given):
        raise Usage(
            f"problem: {_shown(given)} is of type {type(given).__name__}. Give a text such as "
            "'curves', a problem, or a class or function that makes one from a preset."
        )
    return _name_of(given, objects, {each: name for name, each in PROBLEMS.items()})


class Given:
    """A problem that exists already, in the form of a function that makes it."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.rests_on = problem if problem.made_by is None else problem.made_by
        """What decides its results, besides its class."""

    def __call__(self, preset: str) -> Problem:
        """Return the problem, whose preset cannot be another any more."""
        if preset != self._problem.preset:
            raise ValueError(f"this problem was made at preset {self._problem.preset}")
        found = copy.copy(self._problem)
        found.made_by = self
        return found


def _text_of_optimizer(given: Any, objects: Objects) -> str:
    if isinstance(given, Optimizer):
        text = _text_of_optimizer(given.made, objects)
        if len(split(text)) != 1:
            raise Usage(
                f"bench.optimizer({text!r}, …) has several entries, but only one is allowed here."
            )
        return _with_values(text, given.values)
    if isinstance(given, str):
        return given
    if not callable(given) or isinstance(given, torch.optim.Optimizer) or _is_method(given):
        raise Usage(
            f"optimizers: {_shown(given)} is of type {type(given).__name__}. Give {HOW}; values go "
            "with bench.optimizer(…, lr=0.1)."
        )
    torchs_own = getattr(torch.optim, getattr(given, "__name__", ""), None) is given
    if torchs_own:
        return f"{TORCH_PREFIX}{given.__name__}"
    return _name_of(given, objects, {each: name for name, each in BUILT_IN.items()})


def _is_method(given: Any) -> bool:
    return not isinstance(given, type) and callable(getattr(given, "step", None))


def _name_of(given: Any, objects: Objects, built_in: Mapping[Any, str]) -> str:
    """Return the text by which an object is found again."""
    for each, name in built_in.items():
        if each is given:
            return name
    called = getattr(given, "__name__", None) or getattr(
        getattr(given, "func", None), "__name__", type(given).__name__
    )
    if has_name(given):
        module = given.__module__
        try:
            check_code(given)
            source_files(sys.modules[module])  # Refuses what was changed since it was imported.
        except UsageError as error:
            raise Usage(str(error)) from error
        where = module
        if module.startswith(FILE_MODULE):
            where = str(sys.modules[module].__file__)
        text = f"{where}:{called}"
        # A folder's name may have what means something else in a text.
        if not re.search(r"[\[\],@=|]|^\s|\s$", text):
            return text
    return objects.add(given, "lambda" if called == "<lambda>" else str(called))


def _with_values(text: str, values: Mapping[str, Any]) -> str:
    written = parse(text)
    if twice := [name for name in values if name in written.values]:
        raise Usage(f"bench.optimizer({text!r}, {twice[0]}=…): {twice[0]!r} is given twice.")
    given = {name: (_values(name, value),) for name, value in values.items()}
    return replace(written, values={**written.values, **given}).text


def _values(name: str, value: Any) -> str:
    several = value if isinstance(value, list) else [value]
    if not several:
        raise Usage(f"bench.optimizer(…, {name}=[]): give at least one value.")
    return "|".join(_value(name, each) for each in several)


def _value(name: str, value: Any) -> str:
    """Write one value so that it reads back as the same."""
    item = getattr(value, "item", None)
    if callable(item):  # A number of NumPy's or torch's.
        value = item()
    if isinstance(value, list | tuple):
        return f"({','.join(_value(name, each) for each in value)})"
    if isinstance(value, int | float | None):
        return value_text(value)
    if isinstance(value, str) and value.strip() and not re.search(r"[\[\](),|=]", value):
        return value
    raise Usage(
        f"bench.optimizer(…, {name}={_shown(value)}): a value is a number, true or false, None, a "
        "word, or a tuple of these; a list of them is a grid."
    )


def _shown(value: Any) -> str:
    return shortened(visible(repr(value)), 60)
