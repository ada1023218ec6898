"""An optimizer that is made of another one, on the command line: tuned, recorded, repeated."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.harness.small import BUDGET, PROBLEM

pytestmark = pytest.mark.usefixtures("no_pictures")

NAME = "pytorch_optimizer:Lookahead(torch.optim.SGD)"
TEXT = f"{NAME}[k=2,inner.lr={{}},batch=20]"
ASKED = ("--problem", PROBLEM, "--budget", BUDGET, "--seeds", "1", "--threads", "1", "--no-mlflow")


def compared(bench, *words):
    said = bench("compare", *words, "--json", "-")
    assert said.code == 0, said.err
    return json.loads(said.out), said.err


@pytest.mark.parametrize(
    ("lr", "tune"), [("0.02", ()), ("0.01|0.1", ()), ("0.001..0.1", ("--tune", "2"))]
)
def test_the_command_that_repeats_it(bench, lr, tune):
    summary, _ = compared(bench, "--optimizers", TEXT.format(lr), *ASKED, *tune)
    words = shlex.split(summary["reproduce"])
    assert f"{NAME}@torch[batch=20,k=2,alpha=0.5" in words[3]
    assert ",inner.lr=0.0" in words[3] or ",inner.lr=0.1" in words[3]
    _, said = compared(bench, *words[2:], "--no-mlflow")
    assert "1 of 1 trials are on record" in said


def test_two_are_told_apart_by_the_values_of_the_inner_one(bench):
    texts = f"{TEXT.format(0.01)},{TEXT.format(0.1)}"
    summary, _ = compared(bench, "--optimizers", texts, *ASKED)
    found = {each["method"] for each in summary["methods"]}
    assert found == {f"{NAME}[inner.lr=0.01]", f"{NAME}[inner.lr=0.1]"}


def test_another_inner_one_is_another_method(bench):
    texts = f"{NAME}[batch=20],pytorch_optimizer:Lookahead(torch.optim.Adam)[batch=20]"
    summary, _ = compared(bench, "--optimizers", texts, *ASKED)
    assert len({each["method"] for each in summary["methods"]}) == 2


def test_its_values_are_listed_and_it_is_checked(bench):
    said = bench("list", "optimizers", NAME)
    assert said.code == 0
    assert all(name in said.out for name in ("alpha", "inner.lr", "inner.momentum"))
    said = bench("check", f"{NAME}[batch=10]")
    assert said.code == 0, said.out
    assert "reaches the minimum of a quadratic" in said.out


OUTER = """
import torch


class Around(torch.optim.Optimizer):
    def __init__(self, optimizer: torch.optim.Optimizer):
        self.inner = optimizer
        self.param_groups = optimizer.param_groups

    def step(self, closure=None):
        self.inner.step()

    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad(set_to_none)

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, saved):
        self.inner.load_state_dict(saved)
"""
INNER = """
import torch


class Plain(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
"""


@pytest.mark.parametrize("edited", ["outer", "inner"])
def test_the_sources_of_both_count(bench, edited):
    files = {"outer": OUTER, "inner": INNER}
    for name, text in files.items():
        Path(f"{name}.py").write_text(text)
    words = ("--optimizers", "./outer.py:Around(./inner.py:Plain)[batch=20]", *ASKED)
    compared(bench, *words)
    assert "1 of 1 trials are on record" in compared(bench, *words)[1]
    Path(f"{edited}.py").write_text(files[edited] + "\n\nCHANGED = True\n")
    assert "on record" not in compared(bench, *words)[1]
