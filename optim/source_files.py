"""The files of the user's own that a module rests on: what it imports, and what that imports.

They are found from the sources, and nothing is imported for it. So the answer is the same whatever
else is loaded and in whatever order. What no reader of the source can find is named instead.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from bench.optim.hyperparameters import UsageError
from bench.optim.source_text import Facts, Import, facts_of

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
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "BENCH_DATA_DIR", "BENCH_STORE"),
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

    Raises UsageError where a file was changed after it was loaded.
    """
    found = SourceFiles()
    _Walk(found, module).run()
    check_as_loaded(module)
    for name, path in found.files.items():
        loaded = sys.modules.get(name)
        if loaded is not None and file_of(loaded) == path:
            check_as_loaded(loaded)
    return found


def name_of(module: ModuleType) -> str:
    """Return the name of a module in digests: of one that was loaded from a file, the file's."""
    name = module.__name__
    return Path(str(module.__file__)).name if name.startswith(FILE_MODULE) else name


def is_own(path: Path) -> bool:
    """Say whether a file is the user's own: neither Python's nor an installed package's."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _STDLIB)


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_neighbours(module: ModuleType) -> None:
    """Refuse a module that rests on a file by a name under which another module is loaded.

    Raises ImportError.
    """
    for name, path in source_files(module).files.items():
        if name not in sys.modules or file_of(sys.modules[name]) == path:
            continue
        loaded = getattr(sys.modules[name], "__file__", None) or "Python itself"
        beside = path.parent == Path(str(module.__file__)).parent
        raise ImportError(
            f"it imports {name}, which {'stands beside it' if beside else f'is {path}'}, but "
            f"another module of that name is loaded already, from {loaded}; rename one of them"
        )


def file_of(module: ModuleType) -> Path | None:
    """Return the file of a module; None where it has none."""
    name = getattr(module, "__file__", None)
    return Path(name).resolve() if name and Path(name).is_file() else None


class _Walk:
    """Adds what one module rests on."""

    def __init__(self, found: SourceFiles, root: ModuleType) -> None:
        self._found, self._root = found, root
        path = file_of(root)
        self._folder = [str(path.parent)] if path and root.__name__.startswith(FILE_MODULE) else []

    def run(self) -> None:
        """Add it."""
        root, path = self._root, file_of(self._root)
        if path is None or not is_own(path):
            self._enter(root.__name__, path)
            return
        spec = root.__spec__
        package = root.__name__ if spec is not None and spec.submodule_search_locations else ""
        # A package's own file runs before any module in it.
        parent = root.__name__.rpartition(".")[0]
        if parent:
            self._import(parent)
        self._enter(name_of(root), path, package or parent)

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
            each for each in facts.environment if each not in OF_THE_MACHINE
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


_seen: dict[int, tuple[ModuleSpec | None, str]] = {}
"""By the `id` of a module's spec, which an import makes anew: the spec, and its file's digest."""


def is_as_loaded(module: ModuleType) -> bool:
    """Say whether the file of a module is what it was when this was asked first."""
    path = file_of(module)
    if path is None or not is_own(path):
        return True
    spec, digest = module.__spec__, digest_of_file(path)
    return _seen.setdefault(id(spec), (spec, digest))[1] == digest


def check_as_loaded(module: ModuleType) -> None:
    """Refuse a module whose file was changed after it was loaded, with UsageError."""
    if not is_as_loaded(module):
        raise UsageError(
            f"{file_of(module)} was changed after it was imported, so what would run is not what "
            "stands there. Restart Python, or reload the module."
        )


_STDLIB = tuple(
    dict.fromkeys(Path(sysconfig.get_path(each)).resolve() for each in ("stdlib", "platstdlib"))
)
