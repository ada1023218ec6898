"""What an object of a running program is made of: its source, and the values that it has captured.

A function in a notebook's cell reads names that another cell has set, and a closure reads what is
around it. So the source alone does not say what such an object does.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import linecache
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch

from bench.harness.core.module_digests import import_digests, module_digests

Described = tuple[Any, ...]

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
WITHOUT_SOURCE = ("<string>", "<stdin>")
"""Where code comes from that was run from a text; several texts share each of these names."""
OF_PYTHON = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__parameters__"),
    *("__orig_bases__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__hash__"),
    "__type_params__",
}
"""What a class has that says nothing of what it does, or follows from the rest."""


class Lost(Exception):
    """The contents of an object cannot be told."""


def contents_digest(thing: Any) -> str:
    """Return the SHA-256 of all that decides what an object does.

    That is the source of its functions (their file's, or their cell's), and every value that they
    or it hold: numbers, texts, containers of these, arrays, and functions and classes in turn. Of
    what can be imported from a file, its name and its module's digests count
    (`module_digests`). Raises Lost for anything else.
    """
    return hashlib.sha256(repr(_Reader().of(thing)).encode("utf-8", "surrogatepass")).hexdigest()


def has_name(thing: Any) -> bool:
    """Say whether a class or function is found by its name in a module that has a file."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    name = getattr(thing, "__qualname__", "")
    has_file = Path(getattr(module, "__file__", None) or "").is_file()
    return has_file and getattr(module, name, None) is thing


class _Reader:
    """Describes one object; what it meets again is named by its number."""

    def __init__(self) -> None:
        self._met: dict[int, tuple[int, Any]] = {}
        self._modules: dict[int, ModuleType] = {}

    def of(self, value: Any) -> Described:
        """Return a description that is equal for what does the same."""
        if type(value) in PLAIN:
            return type(value).__name__, repr(value)
        if id(value) in self._met:
            return "met", self._met[id(value)][0]
        self._met[id(value)] = len(self._met), value
        return type(value).__name__, *self._parts(value)

    def _parts(self, value: Any) -> Iterator[Any]:
        if isinstance(value, ModuleType):
            yield from self._of_module(value)
        elif isinstance(value, type):
            yield from self._of_class(value)
        elif isinstance(value, FunctionType):
            yield from self._of_function(value)
        elif isinstance(value, BuiltinFunctionType):
            if not isinstance(value.__self__, ModuleType | type | None):
                raise Lost
            yield from (value.__module__, value.__qualname__)
        elif isinstance(value, MethodType):
            yield from map(self.of, (value.__self__, value.__func__))
        elif isinstance(value, functools.partial):
            yield from map(self.of, (value.func, value.args, value.keywords))
        elif isinstance(value, staticmethod | classmethod):
            yield self.of(value.__func__)
        elif isinstance(value, property):
            yield from map(self.of, (value.fget, value.fset, value.fdel))
        elif isinstance(value, functools.cached_property):
            yield self.of(value.func)
        elif isinstance(value, dict):
            yield from ((self.of(key), self.of(each)) for key, each in value.items())
        elif isinstance(value, set | frozenset):
            yield from sorted(map(repr, map(self.of, value)))
        elif type(value) in (list, tuple):
            yield from map(self.of, value)
        else:
            yield from self._of_instance(value)

    def _of_instance(self, value: Any) -> Iterator[Any]:
        if isinstance(value, torch.Tensor):
            if value.dtype is torch.bfloat16 or value.layout is not torch.strided:
                raise Lost
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray | np.generic):
            array = np.ascontiguousarray(value)
            if array.dtype.hasobject:
                raise Lost
            yield from (str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        elif isinstance(value, torch.dtype | torch.device | np.dtype | PurePath | range | Enum):
            yield str(value)
        elif isinstance(value, MemberDescriptorType | GetSetDescriptorType | np.ufunc):
            yield value.__name__
        elif dataclasses.is_dataclass(value) or _is_known(type(value)):
            yield self.of(type(value))
            yield self.of(_held(value))
        else:
            raise Lost

    def _of_module(self, value: ModuleType) -> Iterator[Any]:
        """Yield its name, and what it rests on; of each module once."""
        yield value.__name__
        if id(value) not in self._modules and value.__name__.partition(".")[0] != "bench":
            self._modules[id(value)] = value
            yield from sorted(module_digests(value).items())

    def _of_class(self, value: type) -> Iterator[Any]:
        yield from (value.__module__, value.__qualname__)
        if has_name(value) or value.__module__ == "builtins":
            yield from self._of_module(sys.modules[value.__module__])
            return
        yield from map(self.of, value.__bases__)
        generated = dataclasses.is_dataclass(value)
        for name, each in sorted(vars(value).items()):
            code = getattr(each, "__code__", None)
            if name not in OF_PYTHON and not (generated and _is_generated(code)):
                yield name, self.of(each)
        if generated:
            for field in dataclasses.fields(value):
                factory = field.default_factory
                made = None if factory is dataclasses.MISSING else factory
                yield field.name, self.of(made)

    def _of_function(self, value: FunctionType) -> Iterator[Any]:
        yield from (value.__module__, value.__qualname__)
        if has_name(value):
            yield from self._of_module(sys.modules[value.__module__])
            return
        yield _source(value.__code__)
        for name in sorted(_imports_of(value.__code__)):
            yield name, sorted(import_digests(name).items())
        yield from map(self.of, (value.__defaults__, value.__kwdefaults__))
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield name, self.of(cell.cell_contents)
            except ValueError:  # Nothing is in it yet.
                yield name, None
        for name in sorted(_globals_of(value.__code__)):
            if name in value.__globals__:
                yield name, self.of(value.__globals__[name])


def _held(value: Any) -> Any:
    """Return what an instance holds: what it says that it rests on, else all of its attributes."""
    if (found := getattr(value, "rests_on", None)) is not None:
        return found
    if (held := getattr(value, "__dict__", None)) is not None:
        return held
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise Lost


def _is_known(cls: type) -> bool:
    """Say whether what an instance does follows from its class and its attributes.

    So it is with what bench has, and with the classes of the program itself.
    """
    return cls.__module__.startswith("bench.") or not has_name(cls) and cls.__module__ != "builtins"


def _is_generated(code: CodeType | None) -> bool:
    return code is not None and code.co_filename == "<string>"


def _source(code: CodeType) -> str:
    """Return the SHA-256 of the file or the cell that code was compiled from."""
    name = code.co_filename
    if name in WITHOUT_SOURCE:
        raise Lost
    path = Path(name)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = linecache.getlines(name)
    if not lines:
        raise Lost
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _imports_of(code: CodeType) -> set[str]:
    """Return the modules that code imports when it runs, and what may be modules in them."""
    found: set[str] = set()
    module = ""
    for each in dis.get_instructions(code):
        if each.opname == "IMPORT_NAME":
            module = str(each.argval)
            found.add(module)
        elif each.opname == "IMPORT_FROM":
            found.add(f"{module}.{each.argval}")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _imports_of(constant)
    return found


def _globals_of(code: CodeType) -> set[str]:
    """Return the global names that code reads, and the functions and classes within it."""
    found = {
        str(each.argval)
        for each in dis.get_instructions(code)
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _globals_of(constant)
    return found
