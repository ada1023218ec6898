"""Loading anybody's class by name: `package.module:Class` or `./file.py:Class`.

Nothing is imported that the user has not named.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.optim.hyperparameters import UsageError, nearest


def is_plugin(name: str) -> bool:
    """Say whether `name` is the name of a class in a module or file."""
    return ":" in name


def load(name: str) -> Any:
    """Return the object that `module:object` or `./file.py:object` names."""
    where, _, attribute = name.rpartition(":")
    module = _from_file(Path(where), name) if where.endswith(".py") else _from_module(where, name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UsageError(
            f"{name!r}: {where} has no {attribute!r}{nearest(attribute, vars(module))}"
        ) from None


def installed(group: str) -> dict[str, str]:
    """Return the entry points of a group by name, each with its package; none is loaded."""
    points = sorted(entry_points(group=group), key=lambda point: point.name)
    return {p.name: p.dist.name if p.dist else "an unknown package" for p in points}


def load_point(point: EntryPoint) -> Any:
    """Return the object that an installed package's entry point names."""
    try:
        return point.load()
    except Exception as error:
        raise UsageError(
            f"{point.name!r}: loading {point.value}, an entry point of {point.group}, failed: "
            f"{short(error)}"
        ) from error


def short(error: BaseException) -> str:
    """Return an error as the end of a sentence."""
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}"


def _from_module(where: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(where)
    except Exception as error:
        raise UsageError(f"{name!r}: importing {where!r} failed: {short(error)}") from error


def _from_file(path: Path, name: str) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"{name!r}: there is no file {path}.")
    # The name carries the path's hash, so that two files called mine.py do not meet.
    unique = f"bench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        with _neighbours(path.parent):
            spec.loader.exec_module(module)
        _check_neighbours(path)
    except BaseException as error:
        del sys.modules[unique]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise UsageError(f"{name!r}: running {path} failed: {short(error)}") from error
    return module


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


def _check_neighbours(path: Path) -> None:
    """Refuse a file that imports a neighbour by a name under which another module is loaded."""
    for name in _imports(path):
        beside = (path.parent / name, path.parent / f"{name}.py")
        module = sys.modules.get(name)
        if module is None or not any(map(Path.exists, beside)):
            continue
        places = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
        if not any(Path(place).resolve() in beside for place in places if place):
            raise ImportError(
                f"it imports {name}, which stands beside it, but another module of that name "
                f"is loaded already, from {places[0] or 'Python itself'}; rename one of them"
            )


def _imports(path: Path) -> set[str]:
    """Return the top-level names that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
