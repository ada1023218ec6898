"""Loading anybody's class by name: `package.module:Class` or `./file.py:Class`.

Nothing is imported that the user has not named.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from optim.hyperparameters import UsageError, nearest


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
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[unique]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise UsageError(f"{name!r}: running {path} failed: {short(error)}") from error
    return module
