"""The files of the user's own that a module rests on: what it imports, and what that imports.

They are found from the sources, and nothing is imported for it. So the answer is the same whatever
else is loaded and in whatever order. What no reader of the source can find is named instead.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from bench.optim.hyperparameters import UsageError
from bench.optim.loaded_files import check_as_loaded, file_of, is_own, load_of
from bench.optim.source_text import Facts, Import, facts_of, mark_of

FILE_MODULE = "bench_plugin_"
"""How the name of a module begins that was loaded from a file."""
OF_THE_CONTEXT = ("torch", "numpy", "numba", "bench")
"""Packages whose versions are part of a trial's context, wherever they are installed."""
OF_BENCH = ("bench.optim", "bench.models")
LARGEST_DATA = 64 * 2**20
"""Bytes; a larger file that a source names is not read for its digest, and that is said."""
OF_THE_MACHINE = (
    *("HOME", "USER", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "PYTHONPATH", "HOSTNAME"),
    *("CUDA_VISIBLE_DEVICES", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
)
"""Environment variables that say where and how a process runs, and differ between machines."""


@dataclass
class SourceFiles:
    """What some modules rest on."""

    files: dict[str, Path] = field(default_factory=dict)
    """Files of the user's own, by names that do not say where they lie: "mine.py", "pkg.helper"."""
    installed: set[str] = field(default_factory=set)
    """Installed packages that these import, by the name of the import."""
    of_bench: set[str] = field(default_factory=set)
    """The packages of bench that these import, of `OF_BENCH`."""
    environment: set[str] = field(default_factory=set)
    """Environment variables that these read by name."""
    data: dict[str, Path] = field(default_factory=dict)
    """Files that these name in a text, beside them or in the working folder."""
    uncovered: dict[str, None] = field(default_factory=dict)
    """What they may rest on besides, a part of a sentence each."""


def source_files(module: ModuleType) -> SourceFiles:
    """Return what a loaded module rests on.

    Raises UsageError where a file was changed after it was loaded, or another module is loaded
    under its name.
    """
    path, load = file_of(module), load_of(module)
    folder = path.parent if path and module.__name__.startswith(FILE_MODULE) else None
    _, then, found = _walked.get(id(load), (load, None, SourceFiles()))
    if then is None or then != _marks(found):
        found = _Walk(folder).module(module)
        _walked[id(load)] = load, _marks(found), found
    check_as_loaded(module)
    _check_loaded(found, folder)
    return found


_walked: dict[int, tuple[object, object, SourceFiles]] = {}
"""By the `id` of what `load_of` returns: that itself, what imports depended on, what was found."""


def _marks(found: SourceFiles) -> object:
    """Return what changes whenever the imports of these files may lead elsewhere."""
    paths = (*found.files.values(), *found.data.values())
    marks = [mark_of(path) if path.is_file() else None for path in paths]
    return Path.cwd(), tuple(sys.path), marks


def imported_files(name: str) -> SourceFiles:
    """Return what an import of a module rests on, from its absolute name; nothing is imported.

    Raises UsageError where a file was changed after it was loaded, or another module is loaded
    under its name.
    """
    found = _Walk(None).imported(name)
    _check_loaded(found)
    return found


def _check_loaded(found: SourceFiles, folder: Path | None = None) -> None:
    """Refuse files that are not those of the loaded modules of their names, with UsageError."""
    for name, path in found.files.items():
        if name not in sys.modules:
            continue
        module = sys.modules[name]
        if file_of(module) != path:
            loaded = getattr(module, "__file__", None) or "Python itself"
            where = "stands beside it" if path.parent == folder else f"is {path}"
            raise UsageError(
                f"it imports {name}, which {where}, but another module of that name is loaded "
                f"already, from {loaded}; rename one of them"
            )
        check_as_loaded(module)


def name_of(module: ModuleType) -> str:
    """Return the name of a module in digests: of one that was loaded from a file, the file's."""
    name = module.__name__
    return Path(str(module.__file__)).name if name.startswith(FILE_MODULE) else name


class _Walk:
    """Follows imports; those of a file first to what stands beside it, in `folder`."""

    def __init__(self, folder: Path | None) -> None:
        self._found = SourceFiles()
        self._folder = [] if folder is None else [str(folder)]

    def module(self, root: ModuleType) -> SourceFiles:
        """Return what a loaded module rests on."""
        path = file_of(root)
        if path is None or not is_own(path):
            self._enter(root.__name__, path)
            return self._found
        spec = root.__spec__
        package = root.__name__ if spec is not None and spec.submodule_search_locations else ""
        # A package's own file runs before any module in it.
        parent = root.__name__.rpartition(".")[0]
        if parent:
            self._import(parent)
        self._enter(name_of(root), path, package or parent)
        return self._found

    def imported(self, name: str) -> SourceFiles:
        """Return what an import rests on."""
        self._import(name)
        return self._found

    def _enter(self, name: str, path: Path | None, package: str = "") -> None:
        """Enter a module, and what it imports."""
        top = name.partition(".")[0]
        if top == "bench":
            self._found.of_bench |= {each for each in OF_BENCH if f"{name}.".startswith(f"{each}.")}
            return
        if path is None or top in OF_THE_CONTEXT:
            return
        if not is_own(path):
            if {"site-packages", "dist-packages"} & set(path.parts):
                self._found.installed.add(top)
            return
        if self._found.files.get(name) == path:
            return
        self._found.files[name] = path
        if path.suffix != ".py":
            return
        facts = facts_of(path)
        for each in facts.imports:
            self._import_all(each, package)
        self._found.environment |= {
            each
            for each in facts.environment
            # bench's own settings are recorded where they decide something.
            if each not in OF_THE_MACHINE and not each.startswith("BENCH_")
        }
        named = self._data(name, path, facts)
        for what in facts.uncovered(named):
            self._found.uncovered[f"{what} in {path.name}"] = None

    def _import_all(self, found: Import, package: str) -> None:
        """Enter the modules that an import may load."""
        base = found.module
        if found.level:
            parts = package.split(".")
            if not package or found.level > len(parts):
                return
            base = ".".join([*parts[: len(parts) - found.level + 1], *([base] if base else [])])
        names = list(found.names)
        specs = self._import(base)
        if "*" in names and len(specs) == base.count(".") + 1 and (path := _path(specs[-1])):
            names = list(facts_of(path).exports) if is_own(path) and path.suffix == ".py" else []
        for name in names:  # What is imported from a package may be a module in it.
            self._import(f"{base}.{name}")

    def _import(self, name: str) -> list[ModuleSpec]:
        """Enter a module by its absolute name, and the packages that it is in; return the specs."""
        specs = _specs(name, self._folder)
        for spec in specs:
            path = _path(spec)
            is_package = spec.submodule_search_locations is not None
            self._enter(spec.name, path, spec.name if is_package else spec.parent or "")
        return specs

    def _data(self, name: str, path: Path, facts: Facts) -> set[str]:
        """Enter the files that a source names; return the texts that name them."""
        named = set()
        for text in facts.texts:
            for where, folder in (("", path.parent), (" in the working folder", Path.cwd())):
                beside = folder / text
                if not _is_file(beside):
                    continue
                if beside.stat().st_size > LARGEST_DATA:
                    self._found.uncovered[f"the file {text}, which is large, in {path.name}"] = None
                elif beside.resolve() not in self._found.data.values():
                    self._found.data[f"{name}: {text}{where}"] = beside.resolve()
                named.add(text)
        return named


def _specs(name: str, folder: list[str]) -> list[ModuleSpec]:
    """Return the specs of the packages that a module is in, and its own, as far as there are."""
    found: list[ModuleSpec] = []
    parts, locations = name.split("."), None
    for number in range(len(parts)):
        full = ".".join(parts[: number + 1])
        spec = _top(full, folder) if locations is None else _find(full, locations)
        if spec is None:
            # What put it onto the path may have taken it off again.
            spec = getattr(sys.modules.get(full), "__spec__", None)
        if not isinstance(spec, ModuleSpec):
            break
        found.append(spec)
        path, top = _path(spec), parts[0]
        others = path is not None and not is_own(path)
        if spec.submodule_search_locations is None or (others and top != "bench"):
            break
        locations = list(spec.submodule_search_locations)
    return found


def _top(name: str, folder: list[str]) -> ModuleSpec | None:
    # A folder without __init__.py gives way to any package.
    beside = PathFinder.find_spec(name, folder) if folder else None
    if beside is not None and beside.origin is not None:
        return beside
    if name in sys.stdlib_module_names:
        return None
    return _find(name, None)


def _find(name: str, locations: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = find(name, locations) if find is not None else None
        except Exception:  # A finder of somebody else's.
            spec = None
        if spec is not None:
            return spec if isinstance(spec, ModuleSpec) else None
    return None


def _path(spec: ModuleSpec) -> Path | None:
    if not spec.has_location or spec.origin is None:
        return None
    path = Path(spec.origin)
    known = path.suffix == ".py" or spec.origin.endswith(tuple(EXTENSION_SUFFIXES))
    return path.resolve() if known and path.is_file() else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # It is too long for a name, or has a NUL.
        return False
