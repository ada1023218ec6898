"""Every law holds where it should, and catches what it is there for."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from harness.check.laws import Broken, near, undisturbed
from harness.check.subject import check, kind_of
from harness.errors import Infrastructure, Usage
from models.recurrent_tasks import KINDS
from tests.harness.small import PROBLEM

MODULE = "tests.harness.check.wrong"
PRESETS = "presets differ as they say"
STREAMS = "same stream, same batches"
PLACES = "same batches on any device and ranks"
DIGEST = "digest changes with one value"
INITIAL = "initialisation depends on the seed alone"
ALONE = "a case's outputs depend on it alone"
METRIC = "metric of a perfect output is 0"
GRADIENT = "gradient is the loss's"
SQUARED = "squared gradient is that of single cases"
CURVATURE = "curvature is Gauss and Newton's"
DEFINITE = "curvature is symmetric, semi-definite"
ROWS = "K rows are K single rows"
SPLIT = "a batch may be split over processes"


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
        ("NaN", {GRADIENT, SQUARED, ROWS, SPLIT}, "found nan, off by nan"),
        ("squared", {SQUARED}, "off by 1 where 1e-10 is allowed"),
        ("curvature", {CURVATURE}, "uᵀGv, v in W1: expected "),
        ("asymmetric", {CURVATURE, DEFINITE, "padding stays 0"}, "uᵀGv, v in W1: expected "),
        ("negative", {CURVATURE, DEFINITE}, "uᵀGv, v in W1: expected "),
        ("size", {SPLIT}, "curvature product of 7 cases over 2 processes: expected "),
        ("rows", {ROWS}, "gradient of row 0: expected "),
        ("groups", {ROWS}, "gradient of row 0: expected "),
        ("padding", {"padding stays 0"}, "expected 0 in the padding of gradient; found 1 values"),
        ("metric", {METRIC}, "expected 0 where outputs are the targets (to 1e-12); found 1e-06"),
        ("digest", {DIGEST}, "found 0000000000000000…, which is that of none of them"),
        ("inputs", {DIGEST}, "found one without train_targets, test_targets"),
        ("drift", {STREAMS}, "expected digest "),
        (
            "hidden",
            {STREAMS, PLACES, SPLIT},
            "expected the same gradient batches again; found others",
        ),
        ("presets", {PRESETS}, "or 'initialization' in the problem's `varies`; found normal and u"),
        ("global", {INITIAL}, "initialising: expected no draw from a global stream; found NumPy's"),
        ("counted", {INITIAL}, "expected the same parameters again under seed 0; found "),
        ("one", {INITIAL}, "expected other parameters under another seed; found the same"),
        ("company", {ALONE}, "outputs of single cases: expected "),
        ("holes", {"cases belong together"}, "expected finite values in test_targets; found 15"),
        ("count", {"cases belong together"}, "found 24 inputs and 23 targets"),
    ],
)
def test_a_wrong_problem_is_caught(wrong, laws, told):
    found = broken(f"{MODULE}:make[wrong={wrong}]")
    assert laws <= found.keys()
    # What depends on the spoilt part may fail with it, and nothing else does.
    if wrong not in ("count", "company", "counted"):
        assert laws == found.keys()
    assert any(told in said for said in found.values()), found


def test_outputs_of_chance_are_caught():
    with torch.random.fork_rng(devices=[]):
        found = broken(f"{MODULE}:make[wrong=chance]")
    assert "computing outputs: expected no draw from a global stream" in found[ALONE]


def test_where_there_is_no_perfect_output_the_law_does_not_apply():
    findings = check(f"{MODULE}:make[wrong=higher]", "quick", None).findings
    (metric,) = (finding for finding in findings if finding.law == METRIC)
    assert (metric.state, metric.figure) == ("not applicable", "a higher value is better")


@pytest.mark.parametrize(
    ("name", "laws", "told"),
    [
        ("Forgetful", {"state round trip is exact", "interrupted is straight"}, "found another v"),
        ("Empty", {"interrupted is straight"}, "bit for bit, after a stop at step 5; found "),
        ("Shared", {"state round trip is exact"}, "expected a copy that later steps"),
        ("Uphill", {"lowers a convex quadratic"}, "expected less than "),
        ("Cheap", {"ledger shows the declared cost"}, "expected 4; found 8, off by 1"),
        ("Silent", {"reports the loss"}, 'a tensor "loss" of shape (1,); found None'),
        ("Flattering", {"reports the loss"}, "expected what the objective told in step 1"),
        ("Noisy", {"one seed, one run"}, "expected no draw from a global stream; found torch's"),
        ("Padded", {"padding stays 0"}, "expected 0 in the padding of θ; found 38 values"),
        ("Joined", {"a row of a fleet is the trial alone"}, "row 0: expected "),
    ],
)
def test_a_wrong_optimizer_is_caught(name, laws, told):
    with torch.random.fork_rng(devices=[]):
        found = broken(f"{MODULE}:{name}")
    assert laws <= found.keys()
    if name != "Noisy":
        assert laws == found.keys()
    assert any(told in said for said in found.values()), found


def test_near_takes_no_nan_for_near():
    one = torch.ones(2)
    assert near("x", one, one) == 0
    for other in (math.nan, math.inf, 1 + 1e-6):
        with pytest.raises(Broken, match="^x: expected 1; found "):
            near("x", torch.tensor([1.0, other]), one)
    with pytest.raises(Broken, match=r"expected \(2,\); found \(1,\)"):
        near("x", one[:1], one)


@pytest.mark.parametrize(
    ("draw", "whose"),
    [
        (random.random, "Python's"),
        (np.random.random, "NumPy's"),
        (lambda: torch.rand(1), "torch's"),
    ],
)
def test_every_global_stream_is_watched(draw, whose):
    with torch.random.fork_rng(devices=[]), pytest.raises(Broken, match=f"found {whose} moved"):
        with undisturbed("this"):
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
    own = tmp_path / "own.py"
    own.write_text("def make(preset):\n    return 3\n")
    with pytest.raises(Usage, match="gave a int, not a Problem"):
        check(f"{own}:make", "quick", None)
    with pytest.raises(Infrastructure, match="mnist"):
        check("mnist", "quick", str(tmp_path))
