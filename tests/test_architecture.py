"""Imports run downwards only: harness → optim, models; cli → the rest of harness."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imports(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it; `from a import b` gives a and a.b."""
    package = file.relative_to(ROOT).parent.parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def offenders(room: str, forbidden: set[str], but: tuple[str, ...] = ()) -> list[str]:
    """Files of a room that import a forbidden module or something inside one."""
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"{room} is empty"
    return [
        f"{path} imports {module}"
        for file in files
        if not (path := file.relative_to(ROOT).as_posix()).startswith(but)
        for module in sorted(imports(file))
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    ]


HARNESS_ONLY = {"click", "sqlalchemy", "alembic", "rich", "mlflow"}


@pytest.mark.parametrize(
    ("room", "forbidden", "but"),
    [
        ("optim", {"models", "harness"} | HARNESS_ONLY, ()),
        ("models", {"optim", "harness"} | HARNESS_ONLY, ()),
        ("harness", {"harness.cli"}, ("harness/cli/",)),
        ("harness", {"mlflow"}, ("harness/store/mlflow_mirror.py",)),
        ("harness/analysis", {"torch"}, ()),
        # pyplot keeps global state and may open windows.
        ("harness", {"matplotlib.pyplot", "pylab"}, ()),
        ("optim", {"matplotlib"}, ()),
        ("models", {"matplotlib"}, ()),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_room_does_not_import(room: str, forbidden: set[str], but: tuple[str, ...]) -> None:
    assert offenders(room, forbidden, but) == []


def test_imports_are_found_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "a" / "b" / "c.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import torch.nn as nn\n"
        "from harness import cli\n"
        "def f():\n    from ..d import e\n    from . import g\n"
    )
    assert imports(file) == {"torch.nn", "harness", "harness.cli", "a.d", "a.d.e", "a.b", "a.b.g"}
    assert offenders("a", {"harness.cli"}) == ["a/b/c.py imports harness.cli"]


def loaded_by(code: str, heavy: set[str]) -> set[str]:
    """Which of the heavy modules a fresh interpreter has loaded after running some code."""
    script = f"import sys\ntry:\n    {code}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return heavy & set(done.stderr.split())


def test_help_loads_nothing_heavy() -> None:
    code = "from harness.cli.main import main; sys.argv = ['bench', '--help']; main()"
    heavy = {"torch", "mlflow", "sqlalchemy", "numpy", "scipy", "numba", "matplotlib"}
    assert loaded_by(code, heavy) == set()


def test_analysis_loads_no_torch() -> None:
    modules = sorted(
        f"harness.analysis.{file.stem}"
        for file in (ROOT / "harness" / "analysis").glob("*.py")
        if file.stem != "__init__"
    )
    assert modules
    assert loaded_by(f"import {', '.join(modules)}", {"torch", "mlflow"}) == set()
