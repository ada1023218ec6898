"""Each example is short, and does what its first lines say."""

import ast
import json
import shlex
from pathlib import Path

import pytest

from bench.harness.cli.main import main
from bench.harness.core.sources import source_digest
from bench.optim.registry import resolve
from tests.harness.small import PROBLEM, QUICK_HF

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
HEAVY_BALL = f"{ROOT}/examples/heavy_ball.py:HeavyBall"
TWO_MOONS = f"{ROOT}/examples/two_moons.py:make"
OWN_MODULE = "./examples/own_module.py:make"


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    """Run `bench` at the project's root with a store elsewhere; return its JSON."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BENCH_STORE", f"sqlite:///{tmp_path / 'bench.db'}")
    monkeypatch.setattr(
        "bench.harness.execution.leased_fleet.LeasedFleet._draw", lambda *given: None
    )
    monkeypatch.setattr("bench.harness.comparison.compare.write_files", lambda *given: None)

    def run(*arguments):
        running = ("--no-mlflow", "--threads", "1") if arguments[0] in ("compare", "run") else ()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *running])
        out, err = capsys.readouterr()
        assert ended.value.code == 0, err
        return json.loads(out) if out.startswith("{") else out

    return run


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_short(file):
    assert len(file.read_text().splitlines()) < 60


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_its_first_lines_name_a_command_that_works(bench, file):
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    (command,) = (line for line in docstring.splitlines() if line.startswith("bench "))
    bench(*shlex.split(command)[1:], "--dry-run")


def test_an_optimizer_of_ones_own(bench):
    adam = "torch.optim.AdamW[lr=1e-2,batch=20]"
    summary = bench(
        "compare", "--optimizers", f"nag[batch=20],{HEAVY_BALL}[batch=20],{adam}",
        "--problem", PROBLEM, "--seeds", "2", "--json", "-",
    )  # fmt: skip
    assert [row["method"] for row in summary["methods"]] == [
        "nag", "heavy-ball", "torch.optim.AdamW",
    ]  # fmt: skip
    for row in summary["methods"]:
        assert row["status"] == {"budget": 2}
        assert row["ledger"]["updates"] == 150
        # Images of the mean training image's error or better: all of them learn something.
        assert all(value < 1.0 for value in row["final"]["values"])


def test_a_problem_of_ones_own(bench):
    summary = bench(
        "compare", "--optimizers", f"nag[lr=0.1,batch=50],{QUICK_HF}",
        "--problem", f"{TWO_MOONS}[noise=0.2]", "--budget", "gradients=4e4",
        "--seeds", "2", "--json", "-",
    )  # fmt: skip
    assert summary["protocol"]["problem"] == "two-moons"
    assert summary["protocol"]["parameters"] == {"noise": 0.2}
    for row in summary["methods"]:
        assert row["status"] == {"budget": 2}
        # Guessing is log 2.
        assert all(value < 0.35 for value in row["final"]["values"])


@pytest.mark.parametrize("name", ["heavy_ball", "own_module"])
def test_one_of_ones_own_is_short(name):
    assert len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) < 40


def test_an_optimizer_of_ones_own_keeps_every_law(bench):
    checked = bench("check", HEAVY_BALL, "--json", "-")
    assert checked["holds"]
    assert [law["law"] for law in checked["laws"] if law["state"] != "holds"] == [
        "a row of a fleet equals the trial alone"
    ]


THEIRS = """
import torch

class Mine(torch.optim.Optimizer):
    def __init__(self, params, lr=0.05):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for each in group["params"]:
                each.sub_(each.grad, alpha=group["lr"])
"""


def test_names_of_every_kind_are_compared(bench, tmp_path):
    """A built-in method, one of torch, a torch optimizer in a file, and one of a package."""
    mine = tmp_path / "mine.py"
    mine.write_text(THEIRS)
    given = (
        f"nag[batch=20],torch.optim.AdamW[lr=1e-3,batch=20],{mine}:Mine[batch=20],"
        "schedulefree:SGDScheduleFree[lr=0.05,batch=20]"
    )
    command = ("compare", "--optimizers", given, "--problem", PROBLEM, "--seeds", "2")
    summary = bench(*command, "--budget", "updates=40", "--json", "-")
    labels = ["nag", "torch.optim.AdamW", f"{mine}:Mine", "schedulefree:SGDScheduleFree"]
    assert [row["method"] for row in summary["methods"]] == labels
    for row in summary["methods"]:
        assert (row["status"], row["ledger"]["updates"]) == ({"budget": 2}, 40)
        assert all(value is not None for value in row["final"]["values"])


def test_the_source_of_a_torch_optimizer_is_its_own_file(tmp_path):
    digests = set()
    for name, text in {"one": THEIRS, "same": THEIRS, "other": THEIRS + "\n# changed"}.items():
        file = tmp_path / name / "mine.py"
        file.parent.mkdir()
        file.write_text(text)
        digests.add(source_digest(type(resolve(f"{file}:Mine"))))
    assert len(digests) == 2


def test_a_module_of_ones_own(bench):
    summary = bench(
        "compare", "--optimizers", f"nag[lr=0.05,batch=50],{QUICK_HF}",
        "--problem", f"{OWN_MODULE}[width=12]", "--budget", "gradients=4e4",
        "--seeds", "2", "--json", "-",
    )  # fmt: skip
    assert summary["protocol"]["problem"] == "spirals"
    assert summary["protocol"]["parameters"] == {"width": 12}
    for row in summary["methods"]:
        assert row["status"] == {"budget": 2}
        # Guessing is log 3.
        assert all(value < 1.05 for value in row["final"]["values"])
    run = bench(
        "run", "--optimizer", "nag[batch=50]", "--problem", OWN_MODULE,
        "--budget", "updates=20", "--json", "-",
    )  # fmt: skip
    assert run["methods"][0]["ledger"]["updates"] == 20
    assert "spirals" in bench("show", summary["comparison"])
    assert "spirals[width=12]-quick" in bench("list", "comparisons")
    assert bench("list", "trials").count("budget") == 5
    checked = bench("check", f"{OWN_MODULE}[width=12]", "--json", "-")
    assert checked["holds"] and len(checked["laws"]) == 17
