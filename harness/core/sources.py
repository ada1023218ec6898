"""Which source a method or a problem was run from."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.harness.core.errors import Usage
from bench.harness.core.spec import key_of

# Built-in methods and problems lean on what is beside them.
_BUILT_IN = ("bench.optim", "bench.models")


def source_digest(*objects: Any) -> str:
    """Return the SHA-256 of the source that classes, functions or modules come from.

    For built-in methods and problems, and for classes derived from them, that is
    every .py file of optim/ or models/; for anybody else's module its own file. What
    that file imports in turn is left out.
    """
    files: dict[str, str] = {}
    for thing in objects:
        for name, path in _sources(thing):
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return key_of(files)


def _sources(thing: Any) -> list[tuple[str, Path]]:
    """Return the files of an object, each with a name that is the same on every machine."""
    if not isinstance(thing, type | ModuleType) and not inspect.isroutine(thing):
        thing = type(thing)
    origins = thing.__mro__ if isinstance(thing, type) else (thing,)
    found: list[tuple[str, Path]] = []
    for origin in origins:
        module = origin.__name__ if isinstance(origin, ModuleType) else origin.__module__
        package = ".".join(module.split(".")[:2])
        if package in _BUILT_IN:
            found += _package(package)
        elif origin is thing:
            path = _file(origin)
            found.append((path.name, path))
    return found


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
