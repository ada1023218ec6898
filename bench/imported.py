"""Files that were changed after this program has imported them: what runs is not what they say.

Trials are recorded with the digest of their file. A notebook may run for days, while its user
edits the files that it has imported.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from bench.harness.core.errors import Usage

_seen: dict[str, tuple[ModuleSpec | None, str]] = {}
"""By module: its spec, which an import makes anew, and the digest of its file."""


def check_unchanged(thing: Any) -> None:
    """Raise Usage where the file of a class or function was changed after it was imported."""
    module = sys.modules[thing.__module__]
    path = Path(str(module.__file__))
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    spec, then = _seen.get(module.__name__, (None, digest))
    if spec is not module.__spec__:  # It was not asked for before, or was imported anew since.
        _seen[module.__name__] = module.__spec__, digest
        then = digest
    if then != digest or not _is_there(thing, content, path):
        raise Usage(
            f"{path} was changed after it was imported, so what would run is not what stands "
            "there. Restart Python, or reload the module."
        )


def _is_there(thing: Any, content: bytes, path: Path) -> bool:
    """Say whether a file has the code of a class or function as it was imported."""
    try:
        known = set(_within(compile(content, str(path), "exec", dont_inherit=True)))
    except (SyntaxError, ValueError):
        return False
    own = [thing] if isinstance(thing, FunctionType) else vars(thing).values()
    functions = (getattr(each, "__func__", each) for each in own)
    codes = [each.__code__ for each in functions if isinstance(each, FunctionType)]
    return all(code in known for code in codes if Path(code.co_filename) == path)


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _within(constant)
