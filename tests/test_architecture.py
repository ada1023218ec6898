"""Imports run downwards only, from room to room, and nowhere in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("harness", "models", "optim")

DOWN = {
    "core": set(),
    "distributed": {"core"},
    "training": {"distributed", "core"},
    "analysis": {"core"},
    "planning": {"training", "analysis", "core"},
    "store": {"core"},
    "store/migrations": {"store", "core"},
    "store/mlflow": {"store", "core"},
    "store/transfer": {"store", "core"},
    "report": {"analysis", "core"},
    "report/page": {"report", "analysis", "core"},
}
DOWN["execution"] = {"planning", "training", "distributed", "store", "report", "core"}
DOWN["check"] = {"planning", "training", "distributed", "core"}
DOWN["comparison"] = DOWN["execution"] | {
    "check",
    "execution",
    "store/mlflow",
    "report/page",
    "analysis",
}
DOWN["nightly"] = DOWN["comparison"] | {"comparison"}
DOWN["paper"] = DOWN["comparison"] | {"comparison"}
DOWN["cli"] = DOWN["nightly"] | {"nightly", "paper", "check", "store/transfer"}
"""Room of harness/ → the rooms of harness/ that it may import."""

WITHOUT_MODELS = {"analysis", "distributed", "report", "report/page"} | {
    room for room in DOWN if room.startswith("store")
}
"""Rooms that know neither methods nor problems."""
WORDS = ("bench.optim.hyperparameters", "bench.optim.values")
"""What they import of optim: the words of errors, and the text of values; neither needs torch."""


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


def offenders(folder: str, forbidden: set[str], but: tuple[str, ...] = ()) -> list[str]:
    """Files of a folder that import a forbidden module or something inside one."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, f"{folder} is empty"
    return [
        f"{path} imports {module}"
        for file in files
        if not (path := file.relative_to(ROOT).as_posix()).startswith(but)
        for module in sorted(imports(file))
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    ]


@cache
def modules() -> dict[str, Path]:
    """Every module of the three folders by its import name."""
    return {
        ".".join(["bench", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): file
        for top in TOP
        for file in (ROOT / top).rglob("*.py")
    }


def room_of(module: str) -> str | None:
    """The room of a module of harness/; None for anything else, and for harness/ itself."""
    parts = module.split(".")
    if parts[:2] != ["bench", "harness"]:
        return None
    inner = "/".join(parts[2:4])
    return inner if inner in DOWN else parts[2] if len(parts) > 2 else None


HARNESS_ONLY = {"click", "sqlalchemy", "alembic", "rich", "mlflow"}


@pytest.mark.parametrize(
    ("folder", "forbidden", "but"),
    [
        ("optim", {"bench.models", "bench.harness"} | HARNESS_ONLY, ()),
        ("models", {"bench.optim", "bench.harness"} | HARNESS_ONLY, ()),
        ("harness", {"mlflow"}, ("harness/store/mlflow/mirror.py",)),
        ("harness/analysis", {"torch"}, ()),
        # pyplot keeps global state and may open windows.
        ("harness", {"matplotlib.pyplot", "pylab"}, ()),
        ("optim", {"matplotlib"}, ()),
        ("models", {"matplotlib"}, ()),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_folder_does_not_import(folder: str, forbidden: set[str], but: tuple[str, ...]) -> None:
    assert offenders(folder, forbidden, but) == []


@pytest.mark.parametrize("room", DOWN)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    up = []
    for module, file in modules().items():
        if room_of(module) != room:
            continue
        for name in sorted(imports(file)):
            other = room_of(name)
            if other not in (None, room) and other not in DOWN[room]:
                up.append(f"{module} imports {name}")
            if room in WITHOUT_MODELS and name.startswith(("bench.models", "bench.optim")):
                if not name.startswith(WORDS):
                    up.append(f"{module} imports {name}")
    assert up == []


def test_the_order_of_the_rooms_has_no_circle() -> None:
    order = list(TopologicalSorter(DOWN).static_order())
    assert order[0] == "core" and order[-1] == "cli"


def test_no_imports_run_in_a_circle() -> None:
    known = modules()
    graph = {
        module: {
            name
            for name in imports(file)
            # `from a import b` names a too, of which nothing is needed where b is a module.
            if name in known and name != module and not module.startswith(f"{name}.")
        }
        for module, file in known.items()
    }
    packages = {module for module, file in known.items() if file.name == "__init__.py"}
    for module, names in graph.items():
        graph[module] = {
            name
            for name in names
            if name not in packages or not any(n.startswith(f"{name}.") for n in names)
        }
    TopologicalSorter(graph).prepare()


def test_every_file_of_the_harness_is_in_a_room() -> None:
    loose = [file.name for file in (ROOT / "harness").iterdir() if file.is_file()]
    assert sorted(loose) == ["__init__.py", "py.typed"]
    assert {room for module in modules() if (room := room_of(module))} == set(DOWN)
    for room in DOWN:
        door = ast.get_docstring(ast.parse((ROOT / "harness" / room / "__init__.py").read_text()))
        assert door, f"{room} has no sentence on its door"


def test_the_links_lead_to_the_folders() -> None:
    for top in TOP:
        link = ROOT / "bench" / top
        assert link.is_symlink() and link.resolve() == ROOT / top


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


HEAVY = {
    *("torch", "mlflow", "sqlalchemy", "numpy", "scipy", "numba", "matplotlib", "pandas"),
    "pydantic",
}


def test_help_loads_nothing_heavy() -> None:
    code = "from bench.harness.cli.main import main; sys.argv = ['bench', '--help']; main()"
    assert loaded_by(code, HEAVY) == set()


def test_importing_bench_loads_nothing_heavy() -> None:
    assert loaded_by("import bench; dir(bench)", HEAVY | {"click", "rich"}) == set()


def test_analysis_loads_no_torch() -> None:
    names = sorted(module for module in modules() if module.startswith("bench.harness.analysis."))
    assert names
    assert loaded_by(f"import {', '.join(names)}", {"torch", "mlflow"}) == set()
