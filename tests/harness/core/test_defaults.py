import shlex

import pytest

from bench.harness.core import defaults
from bench.harness.core.defaults import (
    keeps_tuned_values,
    scaled_schedule,
    tuned_origin,
    tuned_values,
)
from bench.harness.core.spec import Budget
from bench.harness.planning.fleets import make_methods
from bench.harness.planning.problems import resolve
from bench.models.built_in import PROBLEMS
from bench.models.problem import PRESETS
from bench.optim.registry import find
from bench.optim.text import parse

ENTRIES = [
    (problem, preset, method)
    for problem, presets in defaults._defaults_file().items()
    if problem != "like"
    for preset, methods in presets.items()
    for method in methods
]


@pytest.mark.parametrize(("problem", "preset", "method"), ENTRIES)
def test_an_entry_can_be_used_and_says_where_it_is_from(problem, preset, method):
    assert resolve(problem, preset).preset == preset
    values = tuned_values(problem, preset, method)
    assert values
    cast = find(method)(find(method).backends[0], **values).hyperparameters
    assert {name: cast[name] for name in values} == values
    entry = defaults._defaults_file()[problem][preset][method]
    assert entry.keys() <= {"values", "command", "source"}
    assert tuned_origin(problem, preset, method)
    if "command" in entry:
        words = shlex.split(entry["command"])
        assert words[:2] == ["bench", "compare"]
        optimizers = words[words.index("--optimizers") + 1]
        assert "--tune" in words or "|" in optimizers
        assert method in optimizers


@pytest.mark.parametrize(("problem", "preset"), sorted({entry[:2] for entry in ENTRIES}))
def test_tuned_defaults_are_for_methods_tuned_together(problem, preset):
    entries = defaults._defaults_file()[problem][preset].values()
    commands = {e["command"] for e in entries if "command" in e}
    assert len(commands) <= 1, "equal effort is one command for all of them"


def test_a_problem_without_values_has_those_of_the_one_it_is_like():
    assert tuned_values("xor", "quick", "hf") == tuned_values("add", "quick", "hf") != {}
    assert tuned_origin("xor", "quick", "hf").startswith("as for add: Martens & Sutskever (2011)")
    # By way of xor, which has values for nag of its own.
    assert tuned_values("mem5", "quick", "hf") == tuned_values("add", "quick", "hf")
    assert tuned_values("mem5", "quick", "nag") == tuned_values("xor", "quick", "nag")
    assert tuned_values("xor", "quick", "nag") != tuned_values("add", "quick", "nag")
    assert tuned_values("curves", "quick", "hf") != tuned_values("mnist", "quick", "hf")


@pytest.mark.parametrize(("problem", "like"), defaults._defaults_file()["like"].items())
def test_what_a_problem_is_like_is_one_that_has_values(problem, like):
    assert {problem, like} <= PROBLEMS.keys()
    assert like in {entry[0] for entry in ENTRIES}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("preset", PRESETS)
def test_nag_and_hf_can_be_compared_on_every_problem_as_they_are(problem, preset):
    made = resolve(problem, preset)
    budget = Budget("gradients", made.budget)
    methods_ = [make_methods(parse(name), made, budget, "cpu")[0] for name in ("nag", "hf")]
    draws = problem not in ("curves", "mnist", "faces")
    for method in methods_:
        if draws:
            assert method.hyperparameters["batch"] > 0


def test_nothing_is_tuned_for_what_is_unknown():
    assert tuned_values("nothing", "quick", "nag") == {}
    assert tuned_values("curves", "quick", "torch.optim.AdamW") == {}
    assert tuned_origin("nothing", "quick", "nag") is None


def test_values_can_be_changed_by_who_asked():
    problem, preset, method = ENTRIES[0]
    tuned_values(problem, preset, method).clear()
    assert tuned_values(problem, preset, method)


SPACE = {"lr", "period", "final"}


@pytest.mark.parametrize(
    ("updates", "period", "final"),
    [(750_000, 250, 1_000), (7_500, 25, 100), (3_000, 16, 63), (1, 1, 1), (3_000_000, 500, 2_000)],
)
def test_schedule_goes_with_the_root_of_the_updates(updates, period, final):
    assert scaled_schedule("quick", SPACE, updates) == {"period": period, "final": final}


@pytest.mark.parametrize(
    ("preset", "space", "updates"),
    [("paper", SPACE, 3_000), ("quick", SPACE, None), ("quick", {"lr", "period"}, 3_000)],
)
def test_schedule_is_left_alone(preset, space, updates):
    assert scaled_schedule(preset, space, updates) == {}


def test_tuned_values_are_kept_without_a_recipe_alone() -> None:
    names = ("curves", "quick", "nag")
    values = tuned_values(*names)
    assert keeps_tuned_values(*names, {**values, "batch": 20})
    assert not keeps_tuned_values(*names, {**values, "lr": values["lr"] / 2})
    assert not keeps_tuned_values(*names, {**values, "lr_schedule": "cosine"})
    assert not keeps_tuned_values(*names, {**values, "ema": 0.9})
