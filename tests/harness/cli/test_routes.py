"""A route on the command line: tuned, recorded, and made again from the command that is said."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.harness.small import BUDGET, PROBLEM

pytestmark = pytest.mark.usefixtures("no_pictures")

ROUTE = "torch.optim.Muon[on=matrices-last,lr={}]+torch.optim.AdamW[on=rest,lr=0.01,batch=20]"
ASKED = ("--problem", PROBLEM, "--budget", BUDGET, "--seeds", "1", "--threads", "1", "--no-mlflow")


def compared(bench, *words):
    said = bench("compare", *words, "--json", "-")
    assert said.code == 0, said.err
    return json.loads(said.out), said.err


@pytest.mark.parametrize(
    ("lr", "tune"), [("0.02", ()), ("0.01|0.1", ()), ("0.001..0.1", ("--tune", "2"))]
)
def test_the_command_that_repeats_a_route(bench, lr, tune):
    summary, _ = compared(bench, "--optimizers", ROUTE.format(lr), *ASKED, *tune)
    words = shlex.split(summary["reproduce"])
    assert "torch.optim.Muon@torch[batch=20,on=matrices-last,lr=0." in words[3]
    assert "+torch.optim.AdamW@torch[on=rest,lr=0.01" in words[3]
    _, said = compared(bench, *words[2:], "--no-mlflow")
    assert "1 of 1 trials are on record" in said


def test_two_routes_are_told_apart_by_the_values_of_their_parts(bench):
    texts = f"{ROUTE.format(0.01)},{ROUTE.format(0.1)}"
    summary, _ = compared(bench, "--optimizers", texts, *ASKED)
    name = "torch.optim.Muon+torch.optim.AdamW"
    assert {each["method"] for each in summary["methods"]} == {
        f"{name}[1.lr=0.01]",
        f"{name}[1.lr=0.1]",
    }


def test_a_grid_of_a_part_is_extended(bench):
    done = bench("compare", "--optimizers", ROUTE.format("1|3|10"), *ASKED, "--extend")
    assert done.code == 0
    assert "torch.optim.Muon+torch.optim.AdamW 1.lr=" in done.err


def test_the_values_of_a_route_are_listed(bench):
    said = bench("list", "optimizers", ROUTE.format(0.1))
    assert said.code == 0
    assert all(name in said.out for name in ("1.lr", "1.momentum", "2.on", "2.betas"))
