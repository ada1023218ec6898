"""What presets differ in is printed; what they may not differ in has to be declared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.harness.check.laws import LawViolation
from bench.harness.check.presets import compare
from bench.harness.check.small_problems import Network
from bench.harness.core.errors import Usage
from bench.models.losses import HalfSquaredError
from bench.models.problem import PRESETS

METRIC = Network().metric

OTHERS = {
    "name": "nets",
    "loss": HalfSquaredError(),
    "metric": replace(METRIC, direction="higher"),
    "initialization": "uniform",
    "margin": 0.1,
    "log_scale": False,
}
FREE = {
    "budget": 2_000,
    "evaluations": 7,
    "targets": (2.0, 0.5),
    "parameters": {"T": 9},
    "notes": "as published",
}


def made(at, fact, value, varies=()):
    """Every preset of a problem that differs at one of them in one fact."""

    def make(preset):
        problem = Network()
        problem.varies = varies
        if preset == at:
            setattr(problem, fact, value)
        return problem

    return make


def test_presets_that_are_alike():
    assert compare(made("quick", "budget", 1_000)) == "quick | standard | paper: no difference"


@pytest.mark.parametrize("at", PRESETS)
@pytest.mark.parametrize("fact", OTHERS)
def test_what_is_fixed_differs_only_where_it_is_declared(at, fact):
    with pytest.raises(
        LawViolation, match=f"expected the same {fact} at the presets quick and .*'{fact}' in "
    ):
        compare(made(at, fact, OTHERS[fact]))
    with pytest.raises(LawViolation, match=f"expected the same {fact} "):
        compare(made(at, fact, OTHERS[fact], varies=("layout",)))
    said = compare(made(at, fact, OTHERS[fact], varies=(fact,)))
    assert said.startswith(f"quick | standard | paper: {fact} ")
    assert said.count(" | ") == 4


def test_another_metric_of_the_same_direction_is_another():
    with pytest.raises(
        LawViolation, match="found squared_error, lower is better and error, lower is"
    ):
        compare(made("paper", "metric", replace(METRIC, name="error")))


@pytest.mark.parametrize("fact", FREE)
def test_sizes_and_budget_are_free_and_printed(fact):
    said = compare(made("paper", fact, FREE[fact]))
    assert (
        said
        == {
            "budget": "quick | standard | paper: budget 1,000 | 1,000 | 2,000",
            "evaluations": "quick | standard | paper: evaluations 5 | 5 | 7",
            "targets": "quick | standard | paper: targets 1 | 1 | 2, 0.5",
            "parameters": "quick | standard | paper: T – | – | 9",
            "notes": "quick | standard | paper: no difference",
        }[fact]
    )


def test_a_preset_that_is_not_there_is_left_out():
    def make(preset):
        if preset != "standard":
            raise Usage(f"--preset {preset}: not yet.")
        return Network()

    assert compare(make) == (
        "standard: no difference; no quick (--preset quick: not yet); no paper (--preset paper: "
        "not yet)"
    )
