"""What the text of a Python file says of what it rests on."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

IMPORTS = ("import_module", "__import__")
COMPUTES = ("exec", "eval", "run_path", "run_module", "spec_from_file_location")
READS = (
    *("open", "read_text", "read_bytes", "load", "loadtxt", "genfromtxt", "fromfile", "memmap"),
    *("read_csv", "read_parquet", "read_json", "load_file", "safe_open", "imread", "loadmat"),
    *("read_excel", "read_pickle", "read_table", "get_data", "urlopen", "urlretrieve"),
    *("glob", "rglob", "iglob", "iterdir", "listdir", "scandir", "expandvars"),
)
ENVIRONMENT = ("environ", "environb", "getenv")
_WATCHED = frozenset((*IMPORTS, *COMPUTES, *READS, *ENVIRONMENT))
"""Names that are followed through other names for the same thing."""
LONGEST_NAME = 200


@dataclass(frozen=True)
class Import:
    """An import statement, or a call that imports a module by its name."""

    module: str
    level: int = 0
    """The number of dots before the name."""
    names: tuple[str, ...] = ()
    """What is imported from the module."""


@dataclass(frozen=True)
class Facts:
    """What the text of a file says."""

    digest: str
    """SHA-256 of the file."""
    imports: tuple[Import, ...]
    exports: tuple[str, ...]
    """What `__all__` names: `from … import *` imports it."""
    environment: frozenset[str]
    """Environment variables that are read by name."""
    texts: tuple[str, ...]
    """Texts that may be names of files."""
    computed: tuple[str, ...]
    """What depends on values that only a run knows, with its line."""
    reads: tuple[tuple[str, frozenset[str]], ...]
    """Calls that read files, each with its line and the texts in it."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """The numbers and texts that are assigned once, to a name at the top: name → `repr`."""

    def uncovered(self, named: set[str]) -> list[str]:
        """Return what the file may rest on besides, given the texts that name a known file."""
        return [*self.computed, *(what for what, texts in self.reads if not texts & named)]


def facts_of(path: Path) -> Facts:
    """Return what a file says; a file that did not change is read once."""
    return _facts(path, *mark_of(path))


def mark_of(path: Path) -> tuple[int, ...]:
    """Return numbers of which one changes whenever a file is written."""
    stat = path.stat()
    return stat.st_ctime_ns, stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=4096)
def _facts(path: Path, *_: int) -> Facts:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        said = ("what cannot be read as Python",)
        return Facts(digest, (), (), frozenset(), (), said, ())
    return _Reader(tree).facts(digest)


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self._tree, self._nodes = tree, list(ast.walk(tree))
        self._values = {
            target.id: node.value
            for node in self._nodes
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        """What is assigned to each name, the last time that it is."""
        self._follow_other_names()

    def _follow_other_names(self) -> None:
        """Let names for what is watched, `from os import environ as e`, be read as its own."""
        others = {
            alias.asname: alias.name
            for node in self._nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname and alias.name in _WATCHED
        }
        others |= {
            name: _called(value)
            for name, value in self._values.items()
            if _called(value) in _WATCHED
        }
        for node in self._nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                node.id = others.get(node.id, node.id)

    def facts(self, digest: str) -> Facts:
        imports: list[Import] = []
        environment: set[str] = set()
        computed: list[str] = []
        reads = []
        known = {id(part) for node in self._nodes for part in _known(node)}
        for node in self._nodes:
            is_all = _called(node) in ("environ", "environb") and id(node) not in known
            if is_all and isinstance(node, ast.expr):
                computed.append(f"all environment variables, which line {node.lineno} takes")
            match node:
                case ast.Import():
                    imports += [Import(alias.name) for alias in node.names]
                case ast.ImportFrom():
                    names = tuple(alias.name for alias in node.names)
                    imports.append(Import(node.module or "", node.level, names))
                case ast.Call() if _called(node.func) in IMPORTS:
                    if (found := self._imported(node)) is not None:
                        imports.append(found)
                    else:
                        computed.append(f"what line {node.lineno} imports by a computed name")
                case ast.Call() if _computes(node.func):
                    computed.append(f"the code that line {node.lineno} runs with a computed text")
                case ast.Call() if _reads(node) and not _writes(node):
                    called = _called(node.func)
                    what = f"what line {node.lineno} reads with {called}"
                    reads.append((what, frozenset(self._texts(node))))
            if (variable := _variable(node)) is not None:
                if (text := self._constant(variable)) is not None:
                    environment.add(text)
                else:
                    line = variable.lineno
                    computed.append(f"the environment variable that line {line} computes")
        every = (_text(node) for node in self._nodes)
        texts = dict.fromkeys(text for text in every if text and _may_be_file(text))
        return Facts(
            digest,
            tuple(dict.fromkeys(imports)),
            tuple(self._texts(self._values["__all__"])) if "__all__" in self._values else (),
            frozenset(environment),
            tuple(texts),
            tuple(dict.fromkeys(computed)),
            tuple(reads),
            self._constants(),
        )

    def _constants(self) -> dict[str, str]:
        stored = Counter(
            name
            for node in self._nodes
            for name in (
                node.names
                if isinstance(node, ast.Global)
                else [node.id]
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                else []
            )
        )
        found = {}
        for node in self._tree.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            try:
                value = repr(ast.literal_eval(node.value))
            except (ValueError, TypeError, MemoryError, RecursionError):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and stored[target.id] == 1:
                    found[target.id] = value
        return found

    def _imported(self, call: ast.Call) -> Import | None:
        """Return the import that a call makes; None where only a run knows its name."""
        name = self._constant(call.args[0]) if call.args else None
        if name is None:
            return None
        module = name.lstrip(".")
        return Import(module, len(name) - len(module))

    def _constant(self, value: ast.expr) -> str | None:
        if isinstance(value, ast.Name):
            value = self._values.get(value.id, value)
        return _text(value)

    def _texts(self, node: ast.AST, depth: int = 3) -> Iterator[str]:
        """Yield the texts in an expression, and in the values of the names in it."""
        for each in ast.walk(node):
            if (text := _text(each)) is not None:
                yield text
            elif isinstance(each, ast.Name) and each.id in self._values and depth:
                yield from self._texts(self._values[each.id], depth - 1)


def _called(function: ast.AST) -> str:
    """Return the last name of what is called or read: `load` of `np.load`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _reads(call: ast.Call) -> bool:
    """Say whether a call reads files: by its name, or as `parser.read(files)` does."""
    if _called(call.func) in READS:
        return True
    # `file.read(8)` reads a file that was opened elsewhere.
    of_file = not call.args or isinstance(getattr(call.args[0], "value", None), int)
    return isinstance(call.func, ast.Attribute) and call.func.attr == "read" and not of_file


def _computes(function: ast.expr) -> bool:
    """Say whether a call runs code from a text; `module.eval()` is another thing."""
    builtin = isinstance(function, ast.Name) or _called(function) not in ("exec", "eval")
    return builtin and _called(function) in COMPUTES


def _variable(node: ast.AST) -> ast.expr | None:
    """Return the name in an expression that reads an environment variable; else None."""
    match node:
        case ast.Subscript(ctx=ast.Load()) if _called(node.value) == "environ":
            return node.slice
        case ast.Compare(left=name, comparators=[of]) if _called(of) == "environ":
            return name
        case ast.Call(func=ast.Attribute(value=of, attr=method), args=[name, *_]) if _called(
            of
        ) == "environ" and method in ("get", "pop", "setdefault"):
            return name
        case ast.Call(args=[name, *_]) if _called(node.func) == "getenv":
            return name
    return None


def _known(node: ast.AST) -> list[ast.AST]:
    """Return what in an expression is the environment, if it reads or writes names of it.

    Another name for all of it reads nothing yet.
    """
    match node:
        case ast.Subscript(value=of):
            return [of]
        case ast.Compare(comparators=[of]):
            return [of]
        case ast.Call(func=ast.Attribute(value=of, attr=method)) if method in (
            *("get", "pop", "setdefault", "update"),
        ):
            return [of]
        case ast.Assign(targets=[ast.Name()], value=of):
            return [of]
    return []


def _text(node: ast.AST) -> str | None:
    constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if constant else None  # type: ignore[attr-defined]


def _may_be_file(text: str) -> bool:
    return len(text) <= LONGEST_NAME and text.strip(". /") != "" and text.isprintable()


def _writes(call: ast.Call) -> bool:
    """Say whether a call of `open` writes, whose mode is its second argument or has its name."""
    modes = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")]
    texts = [_text(mode) or "" for mode in modes]
    # The second argument of another function may be a name, such as "x.txt".
    return any(set(text) & set("wax") and set(text) <= set("rwxabt+") for text in texts)
