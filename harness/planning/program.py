"""Objects of a Python program in a request: what is refused, and the notes beside the result.

Only the process that was given them has them. No other process can train or resume them, and no
command can repeat the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from bench.harness.core.errors import Usage
from bench.harness.core.sources import is_lost
from bench.harness.planning.request import Request
from bench.optim.plugins import is_of_program, load
from bench.optim.text import parse, split


def names_of(request: Request) -> list[str]:
    """Return the names of the objects of a Python program that a request has."""
    written = [*split(request.optimizers), *chain(*request.added), request.problem]
    return names_in(written)


def names_in(texts: Iterable[str]) -> list[str]:
    """Return the names in texts of methods or problems that are of such objects, each once."""
    names = dict.fromkeys(name for text in texts for name in parse(text).names)
    return [name for name in names if is_of_program(name)]


def check_reachable(request: Request) -> None:
    """Refuse ranks and workers for what they cannot reach."""
    names = names_of(request)
    if names and (request.nproc_per_node is not None or request.plan is not None):
        option = "--plan" if request.plan is not None else "--nproc-per-node"
        raise Usage(
            f"{option}: {in_words(names)}, so no other process can train "
            f"{'it' if len(names) == 1 else 'them'}. Define {'it' if len(names) == 1 else 'them'} "
            f"in a file that can be imported, or leave out {option}."
        )


def no_command(names: Sequence[str]) -> str:
    """Say that no command repeats what was made from these objects."""
    return f"No command repeats this, because {in_words(names, 'was', 'were')}."


def notes(request: Request) -> list[str]:
    """Return the notes beside a result of such objects, a sentence each."""
    names = names_of(request)
    found = [no_command(names)] if names else []
    found += [
        f"The source of {name} cannot be had, so its trials are never reused."
        for name in names
        if is_lost(load(name))
    ]
    return found


def in_words(names: Sequence[str], one: str = "is", several: str = "are") -> str:
    """Say what these names are of.

    >>> in_words(["python:Mine"])
    'python:Mine is an object of a Python program'
    """
    if len(names) == 1:
        return f"{names[0]} {one} an object of a Python program"
    return f"{', '.join(names[:-1])} and {names[-1]} {several} objects of a Python program"
