"""Problem texts → problems: built in, entry points `bench.problems`, anybody's class.

An object of a Python program is found here too, by the name that it has there (`optim.plugins`).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import torch

from bench.harness.core.errors import Usage
from bench.harness.planning.arguments import arguments_of
from bench.models.built_in import PROBLEMS
from bench.models.errors import ProblemError
from bench.models.problem import PRESETS, Problem
from bench.models.problem_checks import check_declared
from bench.optim import plugins
from bench.optim.hyperparameters import UsageError, nearest
from bench.optim.text import parse

GROUP = "bench.problems"


def names() -> list[str]:
    """Return the names of all problems that need no module or file to be named."""
    return [*PROBLEMS, *installed()]


def installed() -> dict[str, str]:
    """Return the names that installed packages add, each with its package; none is loaded."""
    return {n: of for n, of in plugins.installed(GROUP).items() if n not in PROBLEMS}


def is_built_in(name: str) -> bool:
    """Say whether `name` is bench's own, so that finding it runs nobody else's code."""
    return name in PROBLEMS


def resolve(text: str, preset: str) -> Problem:
    """Return the problem that `text` means, at a preset.

    A problem of one's own is a callable that takes the preset and, by keyword, what the
    brackets set: a subclass of `bench.models.problem.Problem`, or a function that returns one.
    """
    if preset not in PRESETS:
        raise Usage(
            f"--preset {preset}: there is no such preset{nearest(preset, PRESETS)} "
            f"Allowed: {', '.join(PRESETS)}."
        )
    written = parse(text)
    if written.backend:
        raise Usage(f"--problem {text}: a problem has no backend.")
    if any(len(values) > 1 for values in written.values.values()):
        raise Usage(f"--problem {text}: a comparison is on one problem; write one value each.")
    make = _find(written.name)
    given = {key: values[0] for key, values in written.values.items()}
    try:
        problem = make(preset, **given)
    except Exception as error:  # Somebody's own code, or a value that it does not take.
        reason = str(error).rstrip(".") or "no message"
        # Ours refuse in sentences; what somebody's own code raises has a name to look up.
        is_sentence = isinstance(error, ProblemError)
        is_sentence |= written.name in PROBLEMS and isinstance(error, ValueError)
        kind = "" if is_sentence else f"{type(error).__name__}: "
        raise Usage(f"--problem {text}, preset {preset}: {kind}{reason}.") from error
    if not isinstance(problem, Problem):
        hint = ""
        if isinstance(problem, torch.nn.Module):
            hint = (
                " A module alone has no data and no loss: make a problem of it with bench.problem "
                "in Python, or with ModuleProblem of bench.models.from_module in a file."
            )
        raise Usage(f"--problem {text} gave a {type(problem).__name__}, not a Problem.{hint}")
    try:
        check_declared(problem)
    except ProblemError as error:
        raise Usage(f"--problem {text}: {error}.") from error
    if problem.name in PROBLEMS and not is_built_in(written.name):
        raise Usage(
            f"--problem {text}: it calls itself {problem.name}, as a built-in problem does, so its "
            "results would be taken for those. Give it another name."
        )
    if problem.preset != preset:
        raise Usage(
            f"--problem {text}, preset {preset}: the problem says that its preset is "
            f"{problem.preset}, so results at several presets would be one. Pass the preset on to "
            "the problem, or refuse the presets that it does not have."
        )
    if problem.made_by is None:
        problem.made_by = make
    problem.entry = make
    if not is_built_in(written.name):  # Those cast and record their brackets themselves.
        problem.arguments = arguments_of(make, given)
    return problem


def _find(name: str) -> Callable[..., Problem]:
    if name in PROBLEMS:
        return PROBLEMS[name]
    if plugins.is_plugin(name):
        try:
            loaded: Callable[..., Problem] = plugins.load(name)
        except UsageError as error:
            raise Usage(f"--problem {error}") from error
        return loaded
    for point in entry_points(group=GROUP, name=name):
        found: Callable[..., Problem] = plugins.load_point(point)
        return found
    if name.endswith(".py"):
        raise Usage(f"--problem {name}: name the problem in this file too: {name}:MyProblem.")
    raise Usage(
        f"--problem {name}: there is no such problem{nearest(name, names())} There are: "
        f"{', '.join(names())}; and package.module:Problem or ./file.py:Problem for your own."
    )
