"""The digest of a source covers all that the user's own files import, and nothing else."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bench.harness.core.sources import not_covered, source_digest
from bench.optim.hyperparameters import UsageError
from bench.optim.plugins import load

Tree = Mapping[str, str]

MINE = "from helper import RATE\nclass Mine:\n    rate = RATE\n"
HELPER = "RATE = 0.1\n"
OWN = (
    *("helper", "base", "one", "two", "pack", "late", "other", "mine", "installed_thing"),
    *("helper_a", "helper_b", "common_thing", "steps", "width"),
)
"""The modules of the files here; each is there in another folder in the next test."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    forget(path, modules)


def forget(path: list[str], modules: set[str]) -> None:
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        top = name.partition(".")[0]
        if top.startswith("bench_plugin_") or top in OWN:
            del sys.modules[name]


@pytest.fixture
def digest(tmp_path: Path) -> Callable[..., str]:
    """Return a function: files and a name in them → its digest, in a folder of its own."""
    numbers = itertools.count()

    def of(tree: Tree, name: str = "./mine.py:Mine", folder: str | None = None) -> str:
        root = tmp_path / (folder or f"folder {next(numbers)}")
        for file, text in tree.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text)
        path, modules = list(sys.path), set(sys.modules)
        here = os.getcwd()
        os.chdir(root)
        try:
            return source_digest(load(name))
        finally:
            os.chdir(here)
            forget(path, modules)

    return of


CASES: dict[str, tuple[Tree, str, str]] = {
    "imported helper": ({"mine.py": MINE, "helper.py": HELPER}, "helper.py", ""),
    "base class": (
        {
            "mine.py": "import base\nclass Mine(base.Base): pass\n",
            "base.py": "class Base: pass\n",
        },
        "base.py",
        "",
    ),
    "helper of a helper": (
        {
            "mine.py": "import one\nclass Mine: pass\n",
            "one.py": "import two\n",
            "two.py": "\n",
        },
        "two.py",
        "",
    ),
    "within a function": (
        {
            "mine.py": "class Mine:\n    def step(self):\n        import helper\n",
            "helper.py": HELPER,
        },
        "helper.py",
        "",
    ),
    "under a condition": (
        {
            "mine.py": "try:\n    import helper\nexcept ImportError:\n    pass\nclass Mine: pass\n",
            "helper.py": HELPER,
        },
        "helper.py",
        "",
    ),
    "import_module of a text": (
        {
            "mine.py": "import importlib\nclass Mine:\n    m = importlib.import_module('helper')\n",
            "helper.py": HELPER,
        },
        "helper.py",
        "",
    ),
    "import_module of a constant": (
        {
            "mine.py": "from importlib import import_module\nNAME = 'helper'\n"
            "class Mine:\n    m = import_module(NAME)\n",
            "helper.py": HELPER,
        },
        "helper.py",
        "",
    ),
    "a package's own file": (
        {
            "mine.py": "from pack import sub\nclass Mine: pass\n",
            "pack/__init__.py": "\n",
            "pack/sub.py": "\n",
        },
        "pack/__init__.py",
        "",
    ),
    "a module in a package": (
        {
            "mine.py": "from pack import sub\nclass Mine: pass\n",
            "pack/__init__.py": "\n",
            "pack/sub.py": "\n",
        },
        "pack/sub.py",
        "",
    ),
    "a star": (
        {
            "mine.py": "from pack import *\nclass Mine: pass\n",
            "pack/__init__.py": "__all__ = ['sub']\n",
            "pack/sub.py": "\n",
        },
        "pack/sub.py",
        "",
    ),
    "a folder that is no package": (
        {"mine.py": "from pack.sub import X\nclass Mine: pass\n", "pack/sub.py": "X = 1\n"},
        "pack/sub.py",
        "",
    ),
    "relative imports": (
        {
            "pack/__init__.py": "\n",
            "pack/mine.py": "from .deep import one\nclass Mine: pass\n",
            "pack/deep/__init__.py": "\n",
            "pack/deep/one.py": "from .. import two\nfrom ..three import X\n",
            "pack/two.py": "\n",
            "pack/three.py": "X = 1\n",
        },
        "pack/two.py",
        "pack.mine:Mine",
    ),
    "relative import_module": (
        {
            "pack/__init__.py": "\n",
            "pack/mine.py": "from importlib import import_module\n"
            "one = import_module('.one', __package__)\nclass Mine: pass\n",
            "pack/one.py": "\n",
        },
        "pack/one.py",
        "pack.mine:Mine",
    ),
    "the package of a module that is named": (
        {"pack/__init__.py": "X = 1\n", "pack/mine.py": "class Mine: pass\n"},
        "pack/__init__.py",
        "pack.mine:Mine",
    ),
    "what was put on the path": (
        {
            "mine.py": "import sys, pathlib\n"
            "sys.path.insert(0, str(pathlib.Path(__file__).parent / 'lib'))\n"
            "import helper\nclass Mine: pass\n",
            "lib/helper.py": HELPER,
        },
        "lib/helper.py",
        "",
    ),
    "a file of data": (
        {
            "mine.py": "from pathlib import Path\nHERE = Path(__file__).parent\n"
            "class Mine:\n    rate = (HERE / 'rate.json').read_text()\n",
            "rate.json": "1",
        },
        "rate.json",
        "",
    ),
    "a partial object of a helper's": (
        {
            "mine.py": "from functools import partial\nfrom helper import make\n"
            "Mine = partial(make, 1)\n",
            "helper.py": "def make(n, preset): pass\n",
        },
        "helper.py",
        "",
    ),
    "the file of a partial object": (
        {
            "mine.py": "from functools import partial\nfrom helper import make\n"
            "Mine = partial(make, 1)\n",
            "helper.py": "def make(n, preset): pass\n",
        },
        "mine.py",
        "",
    ),
    "the file of an instance": (
        {
            "mine.py": "from helper import Maker\nMine = Maker()\n",
            "helper.py": "class Maker:\n    def __call__(self, p): pass\n",
        },
        "mine.py",
        "",
    ),
    "the file of a closure": (
        {
            "mine.py": "from helper import maker\nMine = maker(1)\n",
            "helper.py": "def maker(n):\n    return lambda p: n\n",
        },
        "mine.py",
        "",
    ),
    "the file that names a class of another": (
        {
            "mine.py": "from helper import Mine\nMine.rate = 1\n",
            "helper.py": "class Mine: pass\n",
        },
        "mine.py",
        "",
    ),
}


@pytest.mark.parametrize(("tree", "edited", "name"), CASES.values(), ids=CASES)
def test_a_change_is_another_source(digest, tree: Tree, edited: str, name: str) -> None:
    given = [name] if name else []
    first = digest(tree, *given)
    assert digest(tree, *given) == first  # In another folder.
    for file in tree:
        changed = digest({**tree, file: tree[file] + "\n"}, *given)
        assert changed != first or file != edited, file


@pytest.mark.parametrize("other", ["other.py", "helpers/helper.py", "mine.txt"])
def test_a_file_that_is_not_imported_is_no_matter(digest, other: str) -> None:
    tree = {"mine.py": MINE, "helper.py": HELPER}
    assert digest(tree) == digest({**tree, other: "X = 1\n"})


def test_what_else_is_loaded_and_in_which_order_is_no_matter(tmp_path: Path) -> None:
    for file, text in {
        "mine.py": "import helper\nclass Mine: pass\n",
        "helper.py": "import late\n",
        "late.py": "import json, rfc8785\n",
        "other.py": "import late, helper\nclass Other: pass\n",
    }.items():
        (tmp_path / file).write_text(text)
    show = (
        "import sys\nfrom bench.harness.core.sources import source_digest\n"
        "from bench.optim.plugins import load\n"
        "found = {name: source_digest(load(name)) for name in sys.argv[1:]}\n"
        "print(found['./mine.py:Mine'])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", show, *names],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for names in (
            ["./mine.py:Mine"],
            ["./other.py:Other", "./mine.py:Mine"],
            ["./mine.py:Mine", "./other.py:Other"],
        )
    }
    assert len(said) == 1


def test_two_objects_in_one_file_are_two_sources(digest) -> None:
    """They may have one name in reports, and be made by one function with other values."""
    tree = {
        "mine.py": "def maker(n):\n    return lambda p: n\nsmall = maker(1)\nlarge = maker(2)\n"
        "same = small\n"
    }
    small, large, same = (digest(tree, f"./mine.py:{name}") for name in ("small", "large", "same"))
    assert small == same != large


@pytest.mark.parametrize(
    "text",
    [
        "import os\nrate = os.environ.get('MY_RATE', '1')\n",
        "import os\nrate = os.environ.setdefault('MY_RATE', '1')\n",
        "from os import environ as e\nrate = e.get('MY_RATE')\n",
        "from os import getenv as get\nrate = get('MY_RATE')\n",
        "import os\ne = os.environ\nrate = e['MY_RATE'] if 'MY_RATE' in e else 1\n",
    ],
)
def test_a_variable_of_the_environment_that_is_read_by_name(digest, monkeypatch, text) -> None:
    tree = {"mine.py": f"{text}class Mine: pass\n"}
    monkeypatch.delenv("MY_RATE", raising=False)
    first = digest(tree)
    monkeypatch.setenv("MY_RATE", "2")
    assert digest(tree) != first
    monkeypatch.delenv("MY_RATE")
    monkeypatch.setenv("OTHER", "2")
    assert digest(tree) == first


def test_an_installed_package_counts_by_its_version(digest, tmp_path, monkeypatch) -> None:
    site = tmp_path / "lib" / "site-packages"
    tree = {"mine.py": "import installed_thing\nclass Mine: pass\n"}

    def with_version(version: str, text: str) -> str:
        (site / "installed_thing").mkdir(parents=True, exist_ok=True)
        (site / "installed_thing" / "__init__.py").write_text(text)
        about = site / "installed_thing-1.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text(f"Name: installed-thing\nVersion: {version}\n")
        (about / "top_level.txt").write_text("installed_thing\n")
        return digest(tree)

    monkeypatch.syspath_prepend(str(site))
    first = with_version("1", "X = 1\n")
    assert with_version("1", "X = 2\n") == first
    assert with_version("2", "X = 2\n") != first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import importlib\nm = importlib.import_module('a' + 'st')\n", "line 2 imports"),
        ("import numpy as np\nx = lambda n: np.load(n)\n", "line 2 reads with load"),
        ("import os\nx = [os.environ.get(n) for n in 'ab']\n", "environment variable that line 2"),
        ("x = eval('1')\n", "the code that line 1 runs"),
        ("import os\nx = dict(os.environ)\n", "all environment variables, which line 2 takes"),
        ("import os.path\nx = os.path.expandvars('$X')\n", "line 2 reads with expandvars"),
        ("from pathlib import Path\nx = list(Path('.').glob('*.x'))\n", "line 2 reads with glob"),
        ("x = lambda parser, n: parser.read(n)\n", "line 1 reads with read"),
        ("x = lambda z: z.get_data('pack', 'x.txt')\n", "line 1 reads with get_data"),
        ("from numpy import load as take\nx = lambda n: take(n)\n", "line 2 reads with load"),
    ],
)
def test_what_is_not_covered_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(f"{text}class Mine: pass\n")
    (found,) = not_covered(load(f"{tmp_path}/mine.py:Mine"))
    assert said in found
    assert "mine.py" in found


def test_a_model_that_is_evaluated_or_a_file_that_is_written_is_no_matter(tmp_path: Path) -> None:
    text = (
        "import os\nos.environ['MY_RATE'] = '1'\nos.environ.update(MY_RATE='2')\n"
        "x = lambda m: m.eval()\ny = lambda n: open(n, 'w')\nz = lambda f: f.read(8) + f.read()\n"
        "class Mine: pass\n"
    )
    (tmp_path / "mine.py").write_text(text)
    assert not_covered(load(f"{tmp_path}/mine.py:Mine")) == []


def test_a_helper_that_changed_since_it_was_loaded_is_refused(tmp_path: Path) -> None:
    """The old helper would run, and be recorded as the new one."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "helper.py").write_text(HELPER)
    mine = load(f"{tmp_path}/mine.py:Mine")
    first = source_digest(mine)
    (tmp_path / "helper.py").write_text("RATE = 0.2\n")
    with pytest.raises(UsageError, match=r"helper.py was changed after it was imported"):
        source_digest(mine)
    assert not_covered(mine) == []  # Asked when all is trained, by digests taken before.
    with pytest.raises(UsageError, match="Restart Python"):
        load(f"{tmp_path}/mine.py:Mine")
    (tmp_path / "helper.py").write_text(HELPER)
    assert source_digest(load(f"{tmp_path}/mine.py:Mine")) == first


def test_a_file_that_changed_is_loaded_anew(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n    rate = 1\n")
    first = load(f"{tmp_path}/mine.py:Mine")
    (tmp_path / "mine.py").write_text("class Mine:\n    rate = 2\n")
    assert load(f"{tmp_path}/mine.py:Mine").rate == 2
    with pytest.raises(UsageError, match="was changed after it was imported"):
        source_digest(first)


def test_a_neighbour_of_a_neighbour_does_not_mix(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"import helper_{folder}\nclass Mine: pass\n")
        (tmp_path / folder / f"helper_{folder}.py").write_text("import common_thing\n")
        (tmp_path / folder / "common_thing.py").write_text(f"X = {folder!r}\n")
    load(f"{tmp_path}/a/mine.py:Mine")
    with pytest.raises(UsageError, match="it imports common_thing, which stands beside it"):
        load(f"{tmp_path}/b/mine.py:Mine")


def test_an_edit_of_bench_itself_is_no_matter_while_it_runs(monkeypatch) -> None:
    from bench.models.deep_autoencoders import curves

    first = source_digest(curves)
    monkeypatch.setattr("bench.optim.loaded_files.mark_of", lambda path: (0,))
    monkeypatch.setattr("bench.optim.loaded_files._digest", lambda path, *_: "edited")
    assert source_digest(curves) == first
    assert not_covered(curves) == []
