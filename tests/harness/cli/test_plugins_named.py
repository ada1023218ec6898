"""Somebody's file or module is imported only where the person has named it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.harness.comparison.resume import unapproved_plugins
from bench.harness.store.results import Store
from tests.harness.cli.conftest import Said
from tests.harness.small import BUDGET, request

Bench = Callable[..., Said]
FILE = """
from pathlib import Path
from tests.harness.plugins import Watcher

Path("imported").write_text("")

class Mine(Watcher):
    name = "mine"

def harm(*given, **more):
    Path("called").write_text("")
    raise RuntimeError
"""
NAG = "nag[batch=20]"
COMPARE = ("compare", "--budget", BUDGET, "--threads", "1", "--no-mlflow", "--seeds", "2")

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def mine(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that leaves a trace where it is imported."""
    monkeypatch.setattr(sys, "argv", ["bench"])
    path = workdir / "mine.py"
    path.write_text(FILE)
    return path


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("bench_plugin_mine")]:
        del sys.modules[name]


@pytest.fixture
def recorded(bench: Bench, mine: Path) -> str:
    """A planned comparison whose rows name the file."""
    problem = ("--problem", "tests.harness.small:make")
    optimizers = ("--optimizers", f"./mine.py:Mine,{NAG}")
    said = bench(*COMPARE, *problem, *optimizers, "--plan", "plan.json")
    assert said.code == 0, said.err
    Path("imported").unlink()
    forget()
    with Store.open("sqlite:///mlruns/bench.db") as store:
        return store.comparisons()[0].id


def test_looking_at_what_is_recorded_imports_nothing(bench: Bench, recorded: str) -> None:
    assert bench("resume", recorded, "--no-mlflow").code == 0
    assert Path("imported").exists()
    Path("imported").unlink()
    forget()
    for words in (
        ("show", recorded), ("show", "1"), ("show", "1", "2"), ("list", "comparisons"),
        ("list", "trials"), ("list", "problems"), ("list", "optimizers"), ("db", "upgrade"),
    ):  # fmt: skip
        said = bench(*words)
        assert said.code == 0, said.err
    assert not Path("imported").exists()


def test_a_worker_loads_what_its_user_has_named(bench: Bench, recorded: str) -> None:
    said = bench("worker", "--exit-when-empty")
    assert said.code == 4
    sentence = (
        f"Comparison {recorded} cannot be trained here, so it is skipped: it uses ./mine.py:Mine "
        "and tests.harness.small:make, which a worker loads only if you start it with "
        "--plugin ./mine.py:Mine --plugin tests.harness.small:make.\n"
    )
    assert said.err.count(sentence) == 1
    # Half of it is not enough.
    said = bench("worker", "--exit-when-empty", "--plugin", "tests.harness.small:make")
    assert said.code == 4 and said.err.count("--plugin ./mine.py:Mine.\n") == 1
    assert not Path("imported").exists()
    with Store.open("sqlite:///mlruns/bench.db") as store:
        assert {fleet.status for fleet in store.fleets(recorded)} == {"planned"}
    both = ("--plugin", "./mine.py:Mine", "--plugin", "tests.harness.small:make")
    assert bench("worker", "--exit-when-empty", *both).code == 0
    assert Path("imported").exists()


def test_the_newest_comparison_may_be_anybodys(bench: Bench, recorded: str) -> None:
    said = bench("resume", "--no-mlflow")
    assert said.code == 2
    assert f"Comparison {recorded}, the newest unfinished one, uses ./mine.py:Mine" in said.err
    assert f"bench resume {recorded}" in said.err
    assert not Path("imported").exists()
    both = ("--plugin", "./mine.py:Mine", "--plugin", "tests.harness.small:make")
    assert bench("resume", "--no-mlflow", *both).code == 0


@pytest.mark.parametrize(
    ("optimizers", "problem", "own"),
    [
        ("nag,hf[lam=1],torch.optim.AdamW[lr=1]", "curves", []),
        ("nag,./mine.py:harm[a=1|2]", "curves", ["./mine.py:harm"]),
        ("nag@numba,os:system", "./mine.py:harm[x=1]", ["os:system", "./mine.py:harm"]),
        ("installed,torch.optim.x:y", "add[T=30]", ["installed", "torch.optim.x:y"]),
        ("torch.optim.SGD[on=a]+x:Y[on=rest]+installed[on=b]", "curves", ["x:Y", "installed"]),
        (
            "a:B(torch.optim.SGD),torch.optim.SGD(./c.py:D(e:F))[k=1]",
            "curves",
            ["a:B", "./c.py:D", "e:F"],
        ),
        ("a:B(c:D)[on=x]+e:F(nag)[on=rest]", "curves", ["a:B", "c:D", "e:F"]),
        ("torch.optim../mine.py:Mine", "mine.so", ["torch.optim../mine.py:Mine", "mine.so"]),
    ],
)
def test_names_that_are_not_built_in(optimizers: str, problem: str, own: list[str]) -> None:
    asked = replace(request("sqlite:///b.db", optimizers), problem=problem)
    assert unapproved_plugins(asked, ()) == own
    assert unapproved_plugins(asked, own) == []


def test_names_in_points_that_a_plan_has_added_are_no_more_built_in() -> None:
    asked = replace(request("sqlite:///b.db"), problem="curves", added=[["nag[lr=1]"], ["a:b"]])
    assert unapproved_plugins(asked, ()) == ["a:b"]


@pytest.mark.parametrize("what", ["optimizers", "problems"])
def test_entry_points_are_listed_unseen(
    bench: Bench,
    mine: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    installed = mine.parent / "theirs-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: theirs\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        f"[bench.{what}]\nnag = mine:Mine\ncurves = mine:Mine\nadded = mine:Mine\n"
    )
    monkeypatch.syspath_prepend(str(mine.parent))
    said = bench("list", what)
    assert said.code == 0, said.err
    (line,) = (line for line in said.out.splitlines() if line.startswith("added"))
    assert "from the package theirs; loaded when you use it" in line
    # One that takes a built-in name is never loaded, and not shown.
    own = {"optimizers": "nag", "problems": "curves"}[what]
    assert not any(line.startswith(own) and "theirs" in line for line in said.out.splitlines())
    assert not Path("imported").exists()
    if what == "optimizers":
        bench("check", "added")
        assert Path("imported").exists()
