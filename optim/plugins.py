"""Loads anybody's class or function by name: `package.module:Class` or `./file.py:Class`.

Only what the user has named is imported. A third form, `python:Name`, names an object of the
Python program that runs, such as a class in a notebook's cell. It is known while the call to which
it was given lasts (`objects`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.optim.hyperparameters import UsageError, nearest
from bench.optim.loaded_files import is_as_loaded
from bench.optim.source_files import FILE_MODULE, source_files

PROGRAM = "python:"
"""How the name of an object of the running Python program begins."""


@dataclass(frozen=True)
class Objects:
    """Objects that a Python program gave to one call, by the names that they have in it."""

    by_name: dict[str, Any] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Stands for a source that cannot be had: it is equal within the call, and never again."""

    digests: dict[int, tuple[Any, str]] = field(default_factory=dict)
    """Digest of each object's contents, by its `id`; the object is kept so that the id is its."""

    def add(self, thing: Any, name: str) -> str:
        """Return the name of an object, `python:Name`; a second object of a name gets a suffix."""
        first = f"{PROGRAM}{re.sub(r'[^0-9A-Za-z_.-]+', '_', name).strip('_') or 'object'}"
        number, unique = 1, first
        while self.by_name.setdefault(unique, thing) is not thing:
            number += 1
            unique = f"{first}-{number}"
        return unique


_current: ContextVar[Objects | None] = ContextVar("objects of a Python program", default=None)


@contextmanager
def objects() -> Iterator[Objects]:
    """Let a Python program give objects by name while the block runs, in this thread."""
    found = Objects()
    before = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(before)


def current_objects() -> Objects | None:
    """Return the objects that a Python program gave to the call that runs; None outside one."""
    return _current.get()


def is_of_program(name: str) -> bool:
    """Say whether `name` is the name of an object of a Python program, which no command reaches."""
    return name.startswith(PROGRAM)


def is_plugin(name: str) -> bool:
    """Say whether `name` is the name of a class in a module or file, or of a program's object."""
    return ":" in name


def load(name: str) -> Any:
    """Return the object that `module:object`, `./file.py:object` or `python:object` names."""
    if is_of_program(name):
        return _of_program(name)
    where, _, attribute = name.rpartition(":")
    module = _from_file(Path(where), name) if where.endswith(".py") else _from_module(where, name)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        raise UsageError(
            f"{name!r}: {where} has no {attribute!r}{nearest(attribute, vars(module))}"
        ) from None
    source_files(module)  # Refuses what was changed since it was loaded.
    _found_in[id(found)] = found, module
    return found


_found_in: dict[int, tuple[Any, ModuleType]] = {}
"""By the `id` of an object: the object, so that the id is its, and where it was found last."""


def found_in(thing: Any) -> ModuleType | None:
    """Return the module in which an object was found by the name that the user wrote."""
    known = _found_in.get(id(thing))
    return None if known is None else known[1]


def installed(group: str) -> dict[str, str]:
    """Return the entry points of a group by name, each with its package; none is loaded."""
    points = sorted(entry_points(group=group), key=lambda point: point.name)
    return {p.name: p.dist.name if p.dist else "an unknown package" for p in points}


def load_point(point: EntryPoint) -> Any:
    """Return the object that an installed package's entry point names."""
    try:
        found = point.load()
        _found_in[id(found)] = found, importlib.import_module(point.module)
        return found
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{point.name!r}: loading {point.value}, an entry point of {point.group}, failed: "
            f"{short(error)}"
        ) from error


def short(error: BaseException) -> str:
    """Return an error as the end of a sentence."""
    # torch's LinAlgError has a private name.
    return f"{type(error).__name__.lstrip('_')}: {str(error).strip() or 'no message'}"


def _of_program(name: str) -> Any:
    found = _current.get()
    if found is not None and name in found.by_name:
        return found.by_name[name]
    raise UsageError(
        f"{name!r} was an object of a Python program, so no command can reach it. Run that program "
        "again, or put the object into a file and write ./file.py:Name."
    )


def _from_module(where: str, name: str) -> ModuleType:
    try:
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError:
            if not _is_in_working_folder(where):
                raise
            # Last, as with the neighbours of a file: it must not stand in for a library.
            sys.path.append(str(Path.cwd()))
            importlib.invalidate_caches()
            return importlib.import_module(where)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name!r}: importing {where!r} failed: {short(error)}") from error


def _is_in_working_folder(where: str) -> bool:
    """Say whether a module could be found in the working folder, which Python has not searched."""
    top, folder = where.partition(".")[0], Path.cwd()
    here = (folder / f"{top}.py").is_file() or (folder / top).is_dir()
    return here and str(folder) not in sys.path and "" not in sys.path


def _from_file(path: Path, name: str) -> ModuleType:
    try:
        path = path.expanduser().resolve()
        found = path.is_file()
    except (OSError, RuntimeError) as error:  # It is too long, or names a user who is unknown.
        raise UsageError(f"{name!r}: there can be no such file: {short(error)}") from error
    if not found:
        raise UsageError(f"{name!r}: there is no file {path}.")
    # The name carries the path's hash, so that two files called mine.py do not meet.
    unique = f"{FILE_MODULE}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if unique in sys.modules and is_as_loaded(sys.modules[unique]):
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        with _neighbours(path.parent):
            spec.loader.exec_module(module)
        source_files(module)  # Refuses neighbours under whose name another module is loaded.
    except BaseException as error:
        del sys.modules[unique]
        if not isinstance(error, Exception | SystemExit):
            raise
        hint = ""
        if isinstance(error, ModuleNotFoundError) and _is_former(error.name):
            hint = f". Since version 0.2.0 write bench.{error.name}"
        raise UsageError(f"{name!r}: running {path} failed: {short(error)}{hint}") from error
    return module


def _is_former(module: str | None) -> bool:
    """Say whether a module is one of bench's by the name that it had before version 0.2.0."""
    return (module or "").partition(".")[0] in ("harness", "models", "optim")


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Let a file import what stands beside it, as if Python had been started with the file.

    Afterwards the folder is the last to be searched, for imports within functions: a file of
    the user's must not stand in for a library that is imported later.
    """
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
