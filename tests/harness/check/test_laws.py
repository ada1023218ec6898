"""Every law holds where it should, and catches what it is there for."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from bench.harness.check import minimum, observed_trial
from bench.harness.check.laws import LawViolation, check_close, unchanged_random_streams
from bench.harness.check.method_laws import QUICK, MethodLaws, quick_laws
from bench.harness.check.subject import check, kind_of
from bench.harness.core.errors import Infrastructure, Usage
from bench.models.recurrent_tasks import KINDS
from bench.optim import registry
from bench.optim.momentum.methods import SGD
from bench.optim.text import parse
from tests.harness.check import wrong
from tests.harness.small import PROBLEM

MODULE = "tests.harness.check.wrong"
PRESETS = "presets differ only as declared"
STREAMS = "same stream, same batches"
PLACES = "same batches on any device and ranks"
DIGEST = "digest changes with one value"
INITIAL = "initialisation depends on the seed alone"
ALONE = "outputs of a case depend on it alone"
METRIC = "metric of a perfect output is 0"
GRADIENT = "gradient matches the loss"
SQUARED = "squared gradient matches single cases"
CURVATURE = "curvature is the Gauss–Newton matrix"
DEFINITE = "curvature is symmetric, semi-definite"
ROWS = "K rows equal K single rows"
INPUTS = "inputs and settings stay unchanged"
MINIMUM = "reaches the minimum of a quadratic"
REPORTS = "reports the loss"
ANEW = "evaluates the loss at every new point"
ROUND_TRIP = "saved state is restored exactly"
INTERRUPTED = "a resumed run equals a straight run"
RANKS = "2 ranks equal 1 process"
FLEET = "a row of a fleet equals the trial alone"
PADDING = "padding stays 0"
MOVES = "moves the parameters it is given"
REPEATS = "same seed, same run"
OTHERS = "trials do not change each other"
EVALUATION = "evaluation does not change the run"
LONGER = "a longer run begins the same way"
AVERAGE = "an average that it keeps is evaluated"
CASES = "inputs and targets match"
VALUES = "one loss and one metric a case"
WRITES = "passes leave parameters and cases alone"
SPLIT = "a batch can be split over processes"


SPOILT = ("clipped", "bounded", "complex", "far", "averaged", "relative", "scribbled", "undefined")
"""Faults with which nothing that rests on the same part can be measured."""


def broken(text):
    """What each law that fails says."""
    return {f.law: f.figure for f in check(text, "quick", None).findings if f.state == "fails"}


@pytest.mark.parametrize(
    "text",
    [
        *("curves", *KINDS, PROBLEM, f"{MODULE}:make", f"{MODULE}:make[wrong=drawn]"),
        *("nag", "nag@torch", "sgd", "cm", "hf", "hfm", "torch.optim.AdamW", f"{MODULE}:Sound"),
    ],
)
def test_what_is_sound_keeps_every_law(text):
    checked = check(text, "quick", None)
    assert {f.law: f.figure for f in checked.findings if f.state == "fails"} == {}
    assert checked.broken == 0
    assert all(finding.figure for finding in checked.findings)


@pytest.mark.data
def test_a_problem_from_files(data_dir):
    assert check("mnist", "quick", str(data_dir)).broken == 0


@pytest.mark.parametrize(
    ("wrong", "laws", "told"),
    [
        ("gradient", {GRADIENT, SQUARED}, "slope along b1: expected "),
        ("NaN", {GRADIENT, SQUARED, ROWS, SPLIT}, "found nan, a relative difference of nan"),
        ("squared", {SQUARED}, "a relative difference of 1 where 1e-10 is allowed"),
        ("curvature", {CURVATURE}, "uᵀGv, v in W1: expected "),
        ("asymmetric", {CURVATURE, DEFINITE, "padding stays 0"}, "uᵀGv, v in W1: expected "),
        ("negative", {CURVATURE, DEFINITE}, "uᵀGv, v in W1: expected "),
        ("size", {SPLIT}, "curvature product of 7 cases over 2 processes: expected "),
        ("rows", {ROWS}, "gradient of row 0: expected "),
        ("groups", {ROWS}, "gradient of row 0: expected "),
        ("padding", {"padding stays 0"}, "expected 0 in the padding of gradient; found 1 values"),
        ("metric", {METRIC}, "expected 0 where outputs are the targets (to 1e-12); found 1e-06"),
        ("digest", {DIGEST}, "found 0000000000000000…, which belongs to no combination of them"),
        ("inputs", {DIGEST}, "found one without train_targets, test_targets"),
        ("drift", {STREAMS}, "expected digest "),
        (
            "hidden",
            {STREAMS, PLACES, SPLIT},
            "expected the same gradient batches again; found others",
        ),
        ("presets", {PRESETS}, "or 'initialization' in the problem's `varies`; found normal and u"),
        (
            "global",
            {INITIAL},
            "initialising: expected no draw from a global random stream; found NumPy's",
        ),
        ("counted", {INITIAL}, "expected the same parameters again under seed 0; found "),
        ("one", {INITIAL}, "expected other parameters under another seed; found the same"),
        ("company", {ALONE}, "outputs of single cases: expected "),
        ("holes", {"inputs and targets match"}, "expected finite values in test_targets; found 15"),
        ("count", {"inputs and targets match"}, "found 24 inputs and 23 targets"),
        ("signs", {CASES}, "targets of the logistic cross-entropy are probabilities, from 0 to 1"),
        ("complex", {CASES}, "test_inputs are complex numbers, of which the imaginary part"),
        ("far", {CASES}, "rounding to float32 moves values of feature "),
        ("averaged", {VALUES}, "the metric squared_error of cases of train is () for 2 rows and"),
        ("relative", {VALUES}, "is another number for a case alone than among other cases"),
        ("scribbled", {VALUES}, "its function writes into outputs or targets"),
        ("undefined", {VALUES}, "is NaN, infinite or complex at the initial parameters"),
        ("clipped", {WRITES}, "writes into its inputs"),
        ("bounded", {WRITES}, "writes into its parameters"),
    ],
)
def test_a_wrong_problem_is_caught(wrong, laws, told):
    found = broken(f"{MODULE}:make[wrong={wrong}]")
    assert laws <= found.keys()
    # What depends on the spoilt part may fail with it, and nothing else does.
    if wrong not in ("count", "company", "counted", *SPOILT):
        assert laws == found.keys()
    assert any(told in said for said in found.values()), found


def test_outputs_of_chance_are_caught():
    with torch.random.fork_rng(devices=[]):
        found = broken(f"{MODULE}:make[wrong=chance]")
    assert "computing outputs: expected no draw from a global random stream" in found[ALONE]


def test_where_there_is_no_perfect_output_the_law_does_not_apply():
    findings = check(f"{MODULE}:make[wrong=higher]", "quick", None).findings
    (metric,) = (finding for finding in findings if finding.law == METRIC)
    assert (metric.state, metric.figure) == ("not applicable", "for this metric, higher is better")


@pytest.mark.parametrize(
    ("name", "laws", "told"),
    [
        ("Outside", {"hyperparameters are declared"}, "lr=2.0 is out of range: at most 1."),
        ("Scribbling", {INPUTS, INTERRUPTED, RANKS}, "unchanged training cases"),
        ("Schooled", {INPUTS, INTERRUPTED}, "expected unchanged hyperparameters, {'lr': 0.05}"),
        ("Setting", {INPUTS}, "unchanged settings of torch; found number of threads 2"),
        ("Uphill", {MINIMUM}, "at most 0.001 of the initial excess left within 1,000 steps"),
        ("Biased", {MINIMUM}, "of the initial excess left after 1000 steps"),
        ("Passing", {MINIMUM}, "of the initial excess left after "),
        ("Stale", {MINIMUM, ANEW}, "a new point in step 2; found the point of the step before"),
        ("Silent", {REPORTS}, 'a tensor "loss" of shape (1,); found None'),
        ("Flattering", {REPORTS}, "expected a loss that the objective returned in step 1"),
        (
            "Cheap",
            {"ledger shows the declared cost"},
            "expected 4; found 8, a relative difference of 1",
        ),
        (
            "Felt",
            {"evaluation does not change the run", INTERRUPTED},
            "whether or not it is evaluated; found",
        ),
        ("Cooling", {LONGER}, "the same parameters after 10 updates under budgets of 10 and 40"),
        ("Later", {LONGER}, "the same parameters after 8 updates under budgets of 10 and 40"),
        ("Forgetful", {ROUND_TRIP, INTERRUPTED}, "found another v"),
        ("Shared", {ROUND_TRIP}, "expected a saved state that later steps"),
        ("Empty", {INTERRUPTED}, "bit for bit, after a stop at step 5; found "),
        ("Odd", {INTERRUPTED}, "of tensors and plain values; found collections.deque"),
        ("Peeking", {RANKS}, "the same parameters on 2 processes, bit for bit; found others"),
        ("CombinedComparison", {FLEET}, "row 0: expected "),
        ("Rated", {FLEET}, "row 1: expected "),
        (
            "Contagious",
            {FLEET},
            "row 0 unchanged, bit for bit, if row 1 is NaN; found a changed row 0",
        ),
        ("Padded", {PADDING}, "expected 0 in the padding of θ; found 38 values"),
    ],
)
def test_a_wrong_optimizer_is_caught(name, laws, told):
    found = broken(f"{MODULE}:{name}")
    # Nothing else fails with it.
    assert laws == found.keys(), found
    assert any(told in said for said in found.values()), found


def test_laws_are_checked_in_float32_where_an_optimizer_raises_in_float64():
    findings = {each.law: each for each in check(f"{MODULE}:Narrow", "quick", None).findings}
    said = findings["steps in float64"]
    assert said.state == "not applicable"
    assert "it raises there (RuntimeError: expected dtype float" in said.figure
    assert "so all laws are checked in float32" in said.figure
    assert not [each for each in findings.values() if each.state == "fails"]
    assert findings["same seed, same run"].figure == "10 steps, bit for bit, in float32"
    # A fault is found there too.
    assert INTERRUPTED in broken(f"{MODULE}:Wrong32")


@pytest.mark.parametrize(
    ("name", "state", "told"),
    [
        ("Sound", "holds", "10 updates, under budgets of 10 and 40"),
        ("Late", "holds", "6 updates, under budgets of 10 and 40"),
        ("Cooled", "not applicable", "every update depends on where the budget ends"),
    ],
)
def test_what_depends_on_the_end_of_the_budget_is_sound_if_it_says_so(name, state, told):
    checked = check(f"{MODULE}:{name}", "quick", None)
    assert checked.broken == 0
    (found,) = (finding for finding in checked.findings if finding.law == LONGER)
    assert found.state == state and told in found.figure


def test_noise_of_a_torch_optimizer_in_the_padding_breaks_no_law():
    assert broken(f"{MODULE}:Langevin") == {}


def test_draws_from_a_global_stream_are_held_by_the_seed():
    with torch.random.fork_rng(devices=[]):
        assert broken(f"{MODULE}:Noisy") == {}


@pytest.mark.parametrize(
    ("name", "laws"),
    [
        # Ranks draw each for itself, and one that is evaluated draws as often as another.
        ("Unseeded", {REPEATS, OTHERS, EVALUATION, INTERRUPTED, RANKS}),
        ("Early", {REPEATS, OTHERS, EVALUATION, INTERRUPTED, RANKS}),
        ("Single", set()),
        ("Counting", {REPEATS, OTHERS, EVALUATION, INTERRUPTED, RANKS}),
    ],
)
def test_chance_and_shared_state_are_caught(name, laws):
    with torch.random.fork_rng(devices=[]):
        found = broken(f"{MODULE}:{name}")
    assert laws <= found.keys()
    if laws:
        assert "parameters that differ by up to" in found[REPEATS]


@pytest.mark.parametrize(
    ("name", "laws", "told"),
    [
        ("Deaf", {"the step size takes effect"}, "expected another run with another lr; found the"),
        ("Still", {MOVES, MINIMUM}, "other parameters after 100 steps; found those of the"),
        ("Wide", {MOVES, RANKS}, "expected θ of float64 and shape (1, 96); found float32 and"),
        ("Averaging", {AVERAGE}, "found that state['mean'] is an average of its iterates"),
        ("Moving", {AVERAGE}, "found that state['mean'] is an average of its iterates"),
    ],
)
def test_a_result_that_is_not_the_methods_is_caught(name, laws, told):
    found = broken(f"{MODULE}:{name}")
    assert laws <= found.keys(), found
    assert any(told in said for said in found.values()), found


@pytest.mark.parametrize("name", ["Averaging", "Still", "Unseeded"])
def test_the_quick_laws_find_what_would_be_a_wrong_result(name):
    findings = quick_laws(getattr(wrong, name))
    assert [each.law for each in findings] == list(QUICK)
    assert any(each.state == "fails" for each in findings)
    assert all(each.state != "fails" for each in quick_laws(wrong.Sound))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Crashing", "raised ValueError: no step"),
        ("Leaving", "raised SystemExit: 3"),
        ("Endless", "expected the step to end; found 20 evaluations of the loss in it"),
    ],
)
def test_what_ends_no_step_is_a_line(name, told, monkeypatch):
    monkeypatch.setattr(observed_trial, "PATIENCE", 20)
    checked = check(f"{MODULE}:{name}", "quick", None)
    assert {f.figure for f in checked.findings if f.state == "fails"} == {told}
    assert checked.broken == len(checked.findings) - 3


def test_what_an_optimizer_prints_is_not_the_result(capsys):
    check(f"{MODULE}:Talking", "quick", None)
    out, err = capsys.readouterr()
    assert out == "" and "a step" in err


def descent(lr=1e-6, l2=0.5):
    return SGD("torch", lr=lr, l2=l2, batch=24)


def test_the_minimum_is_reached_without_decay_and_by_one_of_the_step_sizes():
    assert minimum.check(descent).endswith(", lr=1, l2=0")
    # By the step size that it comes with, where that one does.
    assert minimum.check(partial(descent, lr=0.9)).endswith(", lr=0.9, l2=0")


@pytest.mark.parametrize(
    "text",
    [
        "torch.optim.SGD[lr=0.9,lr.matrices=1e-6]",
        "torch.optim.SGD[lr=0.9,weight_decay.matrices=0.5]",
    ],
)
def test_values_for_a_part_of_a_network_do_not_move_the_minimum(text):
    written = parse(f"{text.rstrip(']')},batch=24]")

    def made(**given):
        values = {**written.values, **{name: (str(value),) for name, value in given.items()}}
        return registry.make(replace(written, values=values))[0]

    assert ".matrices=" in minimum.check(made)


def test_of_a_chaotic_method_ranks_are_held_to_the_steps_before_it_is_one():
    said = MethodLaws(wrong.Chaotic).ranks()
    assert said.startswith("the same bits on 2 processes; relative difference ")
    assert "after step 10" not in said


def test_near_takes_no_nan_for_near():
    one = torch.ones(2)
    assert check_close("x", one, one) == 0
    for other in (math.nan, math.inf, 1 + 1e-6):
        with pytest.raises(LawViolation, match="^x: expected 1; found "):
            check_close("x", torch.tensor([1.0, other]), one)
    with pytest.raises(LawViolation, match=r"expected \(2,\); found \(1,\)"):
        check_close("x", one[:1], one)


@pytest.mark.parametrize(
    ("draw", "whose"),
    [
        (random.random, "Python's"),
        (np.random.random, "NumPy's"),
        (lambda: torch.rand(1), "torch's"),
    ],
)
def test_every_global_stream_is_watched(draw, whose):
    with (
        torch.random.fork_rng(devices=[]),
        pytest.raises(LawViolation, match=f"found {whose} changed"),
    ):
        with unchanged_random_streams("this"):
            draw()


def test_problems_and_optimizers_are_told_apart(tmp_path, monkeypatch):
    installed = tmp_path / "mine-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: mine\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        f"[bench.problems]\nplanes = {PROBLEM}\n[bench.optimizers]\nplain = {MODULE}:Sound\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert kind_of("planes") == kind_of("curves") == kind_of(f"{MODULE}:make[wrong=x]") == "problem"
    assert kind_of("plain") == kind_of("hf[lam=1]") == kind_of("torch.optim.SGD") == "optimizer"
    assert check("plain", "quick", None).broken == check("planes", "quick", None).broken == 0


def test_what_cannot_be_checked(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    with pytest.raises(Usage, match="no such problem or optimizer; did you mean 'curves'"):
        check("curvse", "quick", None)
    with pytest.raises(Usage, match="--preset quik"):
        check("curves", "quik", None)
    with pytest.raises(Usage, match="--problem builtins:max"):
        check("builtins:max", "quick", None)
    own = tmp_path / "own.py"
    own.write_text("def make(preset):\n    return 3\n")
    with pytest.raises(Usage, match="gave a int, not a Problem"):
        check(f"{own}:make", "quick", None)
    with pytest.raises(Infrastructure, match="mnist"):
        check("mnist", "quick", str(tmp_path))
