"""`bench check`: a line a law, JSON, and exit codes."""

import json

import pytest

from tests.harness.small import PROBLEM

WRONG = "tests.harness.check.wrong"
BATCH_NORM = """
from torch import nn
from examples.own_module import spirals
from bench.models.from_module import ModuleProblem
from bench.models.losses import SoftmaxCrossEntropy
from bench.models.problem import Metric

def make(preset):
    loss = SoftmaxCrossEntropy()
    return ModuleProblem(
        "own", preset, lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), loss,
        Metric("cross_entropy", "lower", loss.per_case), spirals, budget=10_000, targets=(0.1,),
    )
"""


def test_a_line_a_law(bench):
    said = bench("check", PROBLEM)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert len(lines) == 17
    assert all(line.startswith(("holds ", "not applicable ")) for line in lines)
    assert any("gradient matches the loss" in line and "relative error" in line for line in lines)


def test_a_law_that_does_not_hold(bench):
    said = bench("check", f"{WRONG}:make[wrong=gradient]", "--json", "-")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("bench: 2 of 17 laws do not hold for ")
    found = json.loads(said.out)
    assert (found["schema_version"], found["kind"], found["holds"]) == (1, "problem", False)
    states = {law["law"]: law["state"] for law in found["laws"]}
    assert states["gradient matches the loss"] == "fails"
    assert states["padding stays 0"] == "holds"


def test_an_optimizer_and_a_file(bench, workdir):
    said = bench("check", f"{WRONG}:Forgetful", "--json", "found.json")
    assert said.code == 1
    assert "fails  " in said.out and "a resumed run equals a straight run" in said.out
    found = json.loads((workdir / "found.json").read_text())
    assert (found["kind"], found["preset"]) == ("optimizer", None)
    said = bench("check", "sgd", "--json", "nowhere/found.json")
    assert said.code == 4
    assert "--json nowhere/found.json cannot be written" in said.err


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (("curvse",), 2, "did you mean 'curves'?"),
        (("nag[lr=-1]",), 2, "lr=-1"),
        (("curves", "--preset", "quik"), 2, "did you mean 'quick'?"),
        (("mnist", "--data-dir", "."), 4, "mnist"),
        ((), 2, "Missing argument"),
    ],
)
def test_bad_input(bench, monkeypatch, given, code, told):
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    said = bench("check", *given)
    assert said.code == code
    assert told in said.err


@pytest.mark.parametrize(
    "command", [("check",), ("compare", "--optimizers", "nag,hf", "--problem")]
)
def test_a_module_that_is_none_is_refused_in_words(bench, workdir, command):
    (workdir / "own.py").write_text(BATCH_NORM)
    said = bench(*command, "./own.py:make")
    assert said.code == 2
    assert "Sequential changes its buffer 1.running_mean in forward" in said.err


RAISES = """
import torch


def make(parameters, lr=0.1):
    return torch.optim.SGD(parameters, lr=lr, momentumm=0.9)
"""


def test_a_function_of_parameters_that_raises_is_an_optimizer(bench, workdir):
    (workdir / "own.py").write_text(RAISES)
    said = bench("check", "./own.py:make")
    assert said.code == 2
    assert "./own.py:make refuses its hyperparameters: SGD.__init__() got an unex" in said.err
