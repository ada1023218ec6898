"""The digests of everything that a loaded module rests on."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import ModuleType

from bench.harness.core.spec import key_of
from bench.harness.core.text import storable
from bench.optim.loaded_files import changed_values, digest_of_file, file_of
from bench.optim.plugins import current_objects
from bench.optim.source_files import OF_BENCH, SourceFiles, imported_files, source_files


def module_digests(module: ModuleType) -> dict[str, str]:
    """Return the digests of what a module rests on; of Python's own and of torch's nothing."""
    package = ".".join(module.__name__.split(".")[:2])
    if package in OF_BENCH:
        return dict(_package_digests(package))
    rests, path = source_files(module), file_of(module)
    found = _digests(rests)
    if path is not None and module.__name__.partition(".")[0] in rests.installed:
        found[path.name] = digest_of_file(path)
    return found


def import_digests(name: str) -> dict[str, str]:
    """Return the digests of what an import of a module would rest on, without importing it."""
    return _digests(imported_files(name))


def _digests(rests: SourceFiles) -> dict[str, str]:
    found = {name: digest_of_file(each) for name, each in rests.files.items()}
    found |= {f"data {name}": digest_of_file(each) for name, each in rests.data.items()}
    for package in rests.of_bench:
        found |= _package_digests(package)
    for name in rests.installed:
        found[f"package {name}"] = _versions(name)
    for name in rests.files:
        if (values := _values(sys.modules.get(name))) is not None:
            found[f"values in {name}"] = values
    for name in rests.environment:
        given = os.environ.get(name)
        found[f"variable {name}"] = "not set" if given is None else key_of(storable(given))
    return found


def _values(module: ModuleType | None) -> str | None:
    """Return a digest of the constants that a running program has changed in a module, if any.

    What a command imports it does not change. While a call lasts they count as they were when it
    was first asked.
    """
    objects = current_objects()
    if module is None or objects is None:
        return None
    if id(module) not in objects.digests:
        changed = changed_values(module)
        objects.digests[id(module)] = module, key_of(changed) if changed else ""
    return objects.digests[id(module)][1] or None


@cache
def _package_digests(name: str) -> dict[str, str]:
    """Return the digests of a package of bench, as it was when it was first asked for."""
    return {file: digest_of_file(path) for file, path in _package(name)}


def _versions(top: str) -> str:
    """Return the installed packages, with versions, that offer an import name."""
    try:
        return f"{top} {version(top)}"
    except PackageNotFoundError:  # It has another name than what is imported.
        names = sorted(set(_distributions().get(top, [top])))
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name}, of no known version")
    return ", ".join(found)


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _package(name: str) -> list[tuple[str, Path]]:
    return [
        (f"{name.rpartition('.')[2]}/{path.relative_to(folder).as_posix()}", path)
        for folder in importlib.import_module(name).__path__
        for path in Path(folder).rglob("*.py")
    ]
