"""Which source a method or a problem was run from."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.harness.core.contents import Lost, contents_digest
from bench.harness.core.errors import Usage
from bench.harness.core.module_digests import module_digests
from bench.harness.core.spec import key_of
from bench.optim.hyperparameters import UsageError
from bench.optim.loaded_files import digest_of_file
from bench.optim.plugins import current_objects, found_in
from bench.optim.recipe.method import plain_class
from bench.optim.source_files import name_of, source_files
from bench.optim.torch.adapter import TorchMethod


def source_digest(*objects: Any) -> str:
    """Return the SHA-256 of the source that classes, functions or modules come from.

    For built-in methods and problems, and for classes derived from them, that is every .py file
    of optim/ or models/. For anybody else's it is every file of the user's own that theirs imports
    (`bench.optim.source_files`), and the versions of the installed packages that those import.
    For an object of a Python program it is all that `contents_digest` reads; where that cannot be
    told, the digest is equal within one call, and never again.
    """
    parts = {key_of(found): found for found in map(_sources, _apart(objects))}
    return key_of([found for _, found in sorted(parts.items())])


def not_covered(*objects: Any) -> list[str]:
    """Return what the digest does not cover and the objects may rest on, each in words.

    A file that was changed by now is refused where digests are taken, and not here: this is asked
    at the end of a comparison, too.
    """
    found: dict[str, None] = {}
    for thing in _apart(objects):
        for module in _modules(thing):
            with suppress(UsageError):
                found |= source_files(module).uncovered
    return list(found)


def is_lost(thing: Any) -> bool:
    """Say whether an object of a Python program has a source that cannot be had."""
    objects = current_objects()
    return objects is not None and _contents(thing) == objects.token


def _apart(objects: Iterable[Any]) -> Iterator[Any]:
    """Yield objects, methods without their recipe, and instead of a route those of its parts."""
    for thing in map(plain_class, objects):
        is_torch = isinstance(thing, type) and issubclass(thing, TorchMethod)
        yield from thing.torch_parts() if is_torch else (thing,)


def _sources(thing: Any) -> dict[str, str]:
    """Return a digest of each source of an object, by a name that is the same on every machine."""
    made_from = getattr(thing, "made_from", None) or thing
    found: dict[str, str] = {}
    if _is_of_program(made_from):
        found[f"contents of {_called(made_from)}"] = _contents(made_from)
    modules = _modules(thing)
    for module in modules:
        found |= module_digests(module)
    # Several objects in one file have one digest of files, and may have one name in reports.
    for module in modules[:1]:
        names = sorted(name for name, each in vars(module).items() if each is made_from)
        if names and not _is_of_bench(module):
            found["object"] = f"{name_of(module)}: {', '.join(names)}"
    definition = made_from if _is_definition(made_from) else type(made_from)
    if _module(definition) not in sys.modules:  # Its file was run without an import.
        path = _file(definition)
        found[path.name] = digest_of_file(path)
    return found


def _modules(thing: Any) -> list[ModuleType]:
    """Return the modules that an object comes from: first that in which the user named it."""
    made_from = getattr(thing, "made_from", None) or thing
    of_program = _is_of_program(made_from)
    parts = [thing, made_from]
    while isinstance(parts[-1], partial):
        parts.append(parts[-1].func)
    origins: list[Any] = []
    for part in parts:
        if isinstance(part, type):
            origins += part.__mro__
        elif _is_definition(part):
            origins.append(part)
        else:
            origins += type(part).__mro__
    found: dict[str, ModuleType] = {}
    named = None if of_program else found_in(made_from)
    for module in [named, *(sys.modules.get(_module(origin)) for origin in origins)]:
        # What a running program has defined is read from the objects themselves.
        if module is not None and not (of_program and not _is_of_bench(module)):
            found.setdefault(module.__name__, module)
    return list(found.values())


def _is_definition(thing: Any) -> bool:
    """Say whether an object has a source of its own, rather than its class."""
    return isinstance(thing, type | ModuleType) or inspect.isroutine(thing)


def _is_of_bench(module: ModuleType) -> bool:
    return module.__name__.partition(".")[0] == "bench"


def _is_of_program(thing: Any) -> bool:
    """Say whether a running program has to be asked what this is: no file alone can tell."""
    objects = current_objects()
    if objects is None or isinstance(thing, ModuleType):
        return False
    if any(thing is each for each in objects.by_name.values()):
        return True
    module = sys.modules.get(_module(thing))
    no_file = getattr(module, "__file__", None) is None or module is sys.modules["__main__"]
    return no_file and (isinstance(thing, type) or inspect.isroutine(thing))


def _contents(thing: Any) -> str:
    objects = current_objects()
    assert objects is not None
    if id(thing) not in objects.digests:
        try:
            digest = contents_digest(thing)
        except Lost:
            digest = objects.token
        objects.digests[id(thing)] = thing, digest
    return objects.digests[id(thing)][1]


def _module(thing: Any) -> str:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    return str(name)


def _called(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", type(thing).__qualname__))


def _file(thing: Any) -> Path:
    try:
        name = inspect.getsourcefile(thing)
    except TypeError:  # A class whose module is not registered: ask one of its functions.
        codes = [getattr(value, "__code__", None) for value in vars(thing).values()]
        name = next((code.co_filename for code in codes if code is not None), None)
    if name is None or not Path(name).is_file():
        raise Usage(f"The source of {thing!r} cannot be found: define it in a .py file.")
    return Path(name)
