"""Which source a method or a problem was run from."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.harness.core.contents import Lost, contents_digest
from bench.harness.core.errors import Usage
from bench.harness.core.spec import key_of
from bench.optim.plugins import current_objects

# Built-in methods and problems lean on what is beside them.
_BUILT_IN = ("bench.optim", "bench.models")


def source_digest(*objects: Any) -> str:
    """Return the SHA-256 of the source that classes, functions or modules come from.

    For built-in methods and problems, and for classes derived from them, that is
    every .py file of optim/ or models/; for anybody else's module its own file. What
    that file imports in turn is left out. For an object of a Python program it is all that
    `contents_digest` reads; where that cannot be told, the digest is equal within one call, and
    never again.
    """
    found: dict[str, str] = {}
    for thing in objects:
        found |= _sources(thing)
    return key_of(found)


def is_lost(thing: Any) -> bool:
    """Say whether an object of a Python program has a source that cannot be had."""
    objects = current_objects()
    return objects is not None and _contents(thing) == objects.token


def _sources(thing: Any) -> dict[str, str]:
    """Return a digest of each source of an object, by a name that is the same on every machine."""
    # An optimizer of torch's kind is a class that was made of somebody's class or function.
    made_from = getattr(thing, "made_from", None) or thing
    if not _is_of_program(made_from):
        if not isinstance(thing, type | ModuleType) and not inspect.isroutine(thing):
            thing = type(thing)
        made_from = getattr(thing, "made_from", None) or thing
    origins = thing.__mro__ if isinstance(thing, type) else (thing,)
    found: dict[str, str] = {}
    for origin in origins:
        module = _module(origin)
        package = ".".join(module.split(".")[:2])
        if origin is thing and _is_of_program(made_from):
            found[f"contents of {_called(made_from)}"] = _contents(made_from)
        elif package in _BUILT_IN:
            found |= {name: _sha(path) for name, path in _package(package)}
        elif origin is thing:
            path = _file(made_from)
            found[path.name] = _sha(path)
    return found


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


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _package(name: str) -> list[tuple[str, Path]]:
    return [
        (f"{name.rpartition('.')[2]}/{path.relative_to(folder).as_posix()}", path)
        for folder in importlib.import_module(name).__path__
        for path in Path(folder).rglob("*.py")
    ]


def _file(thing: Any) -> Path:
    try:
        name = inspect.getsourcefile(thing)
    except TypeError:  # A class whose module is not registered: ask one of its functions.
        codes = [getattr(value, "__code__", None) for value in vars(thing).values()]
        name = next((code.co_filename for code in codes if code is not None), None)
    if name is None or not Path(name).is_file():
        raise Usage(f"The source of {thing!r} cannot be found: define it in a .py file.")
    return Path(name)
