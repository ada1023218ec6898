"""Modules that are loaded, and their files: what runs may not be what a file says by now.

A notebook may run for days, while its user edits the files that it has imported.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from bench.optim.hyperparameters import UsageError
from bench.optim.source_text import facts_of, mark_of


def file_of(module: ModuleType) -> Path | None:
    """Return the file of a module; None where it has none."""
    name = getattr(module, "__file__", None)
    return Path(name).resolve() if name and Path(name).is_file() else None


def load_of(module: ModuleType) -> object:
    """Return what is another object whenever a module is loaded again: its spec, if it has one."""
    return module if module.__spec__ is None else module.__spec__


def is_own(path: Path) -> bool:
    """Say whether a file is the user's own: neither Python's nor an installed package's."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _STDLIB)


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file; a file that did not change is read once."""
    return _digest(path, *mark_of(path))


@lru_cache(maxsize=4096)
def _digest(path: Path, *_: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


_seen: dict[int, tuple[object, str]] = {}
"""By the `id` of what `load_of` returns: that itself, and the digest of the module's file."""


def is_as_loaded(module: ModuleType) -> bool:
    """Say whether the file of a module is what it was when this was asked first.

    When it is asked first, every function of the module must be in the file.
    """
    path = file_of(module)
    # The version of bench is part of a trial's context; its digests are taken once.
    if path is None or not is_own(path) or module.__name__.partition(".")[0] == "bench":
        return True
    load, digest = load_of(module), digest_of_file(path)
    if id(load) not in _seen:
        # Whoever loads modules in another way may change them, as pytest does with its tests.
        plain = isinstance(load, ModuleSpec) and type(load.loader) is SourceFileLoader
        if plain and not _has_code_of(path, vars(module).values()):
            return False
        _seen[id(load)] = load, digest
    return _seen[id(load)][1] == digest


def check_as_loaded(module: ModuleType) -> None:
    """Refuse a module whose file was changed after it was loaded, with UsageError."""
    if not is_as_loaded(module):
        raise _changed(file_of(module))


def check_code(thing: type | FunctionType) -> None:
    """Refuse a class or function whose code is not in its module's file, with UsageError."""
    path = file_of(sys.modules[thing.__module__])
    if path is not None and not _has_code_of(path, [thing]):
        raise _changed(path)


def changed_values(module: ModuleType) -> dict[str, str]:
    """Return the constants of a module that have another value than its file gives them."""
    path = file_of(module)
    if path is None or path.suffix != ".py":
        return {}
    return {
        name: repr(vars(module)[name])
        for name, value in facts_of(path).constants.items()
        if name in vars(module) and repr(vars(module)[name]) != value
    }


def _changed(path: Path | None) -> UsageError:
    return UsageError(
        f"{path} was changed after it was imported, so what would run is not what stands "
        "there. Restart Python, or reload the module."
    )


def _has_code_of(path: Path, things: Any) -> bool:
    """Say whether a file has the code of the classes and functions that come from it."""
    try:
        known = set(_within(compile(path.read_bytes(), str(path), "exec", dont_inherit=True)))
    except (SyntaxError, ValueError):
        return False
    return all(code in known for thing in things for code in _codes(thing, path))


def _codes(thing: Any, path: Path) -> Iterator[CodeType]:
    """Yield the code of a function, or of a class's functions, if it comes from a file."""
    own = vars(thing).values() if isinstance(thing, type) else [thing]
    for each in own:
        function = getattr(each, "__func__", each)
        if isinstance(function, FunctionType) and Path(function.__code__.co_filename) == path:
            yield function.__code__


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _within(constant)


_STDLIB = tuple(
    dict.fromkeys(Path(sysconfig.get_path(each)).resolve() for each in ("stdlib", "platstdlib"))
)
