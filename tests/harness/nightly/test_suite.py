"""Suites as they are written down."""

from __future__ import annotations

import tomllib

import pytest

from bench.harness.core.errors import Usage
from bench.harness.nightly.suite import NoisePlan, Part, StorageOptions, Suite, part_name
from tests.harness.small import PROBLEM

WHOLE = """
name = "nightly"
baseline = "gpu"
seeds = 8
threads = 2
[digest]
updates = 30
[time]
blocks = 5
updates = 10
[noise]
seeds = 12
times = 15
[[compare]]
problem = "curves"
preset = "standard"
budget = "updates=300"
optimizers = "nag,hf"
[[compare]]
problem = "add[T=80]"
optimizers = "nag"
"""
LEAST = '[[compare]]\nproblem = "curves"\noptimizers = "nag"\n'


def read(text):
    return Suite.from_dict(tomllib.loads(text))


def test_all_that_can_be_said(tmp_path):
    path = tmp_path / "nightly.toml"
    path.write_text(WHOLE)
    suite = Suite.read(path)
    assert suite.parts == (
        Part("curves", "nag,hf", "standard", "updates=300"),
        Part("add[T=80]", "nag", "quick", ""),
    )
    assert (suite.name, suite.baseline, suite.seeds, suite.device) == ("nightly", "gpu", 8, "cpu")
    assert (suite.digest.updates, suite.time.blocks, suite.time.updates) == (30, 5, 10)
    assert suite.noise == NoisePlan(12, 15)


def test_a_request_is_run_anew_under_the_suites_settings():
    suite = read(WHOLE)
    first, second = (
        suite.request(part, StorageOptions("sqlite:///x.db", "data")) for part in suite.parts
    )
    assert (first.optimizers, first.problem, first.preset) == ("nag,hf", "curves", "standard")
    assert (first.seeds, first.threads, first.device, first.budget) == (8, 2, "cpu", "updates=300")
    assert first.fresh and not first.timed and first.tune == "none"
    assert (second.budget, second.data_dir, second.store) == (None, "data", "sqlite:///x.db")
    assert suite.request(suite.parts[0], StorageOptions("sqlite:///x.db"), seeds=3).seeds == 3


def test_the_key_says_what_is_asked_for():
    same = read('name = "a"\n' + LEAST)
    assert same.key == read('name = "a"\nseeds = 6\n' + LEAST).key
    others = ['name = "b"\n' + LEAST, 'name = "a"\nseeds = 7\n' + LEAST]
    others.append('name = "a"\n' + LEAST.replace("nag", "cm"))
    assert len({same.key, *(read(text).key for text in others)}) == 4


@pytest.mark.parametrize(
    ("text", "told"),
    {
        'name = "n"': "at least one table [[compare]]",
        'name = "n"\ncompare = 3': "at least one table [[compare]]",
        LEAST: "name is missing",
        "name = 3\n" + LEAST: "name = 3: a text is allowed",
        'name = "n"\nseeds = true\n' + LEAST: "seeds = true: a whole number is allowed",
        'name = "n"\nseeds = 0\n' + LEAST: "seeds = 0: at least 1 is allowed",
        'name = "n"\nsedds = 3\n' + LEAST: "there is no 'sedds'; did you mean 'seeds'",
        'name = "n"\ndevice = "gpu"\n' + LEAST: "device = \"gpu\": 'cpu' or 'cuda' is allowed",
        'name = "n"\ntime = 2\n' + LEAST: "time = 2: a table is allowed",
        'name = "n"\n[time]\nblock = 2\n' + LEAST: "time has no 'block'; did you mean 'blocks'",
        'name = "n"\n[noise]\nseeds = 2\n' + LEAST: "noise.seeds = 2: at least 3 is allowed",
        'name = " "\n' + LEAST: 'name = " ": give a name',
        'name = "n"\nbaseline = "a\\u001b"\n' + LEAST: "baseline = ",
        'name = "n"\n[[compare]]\nproblem = "curves"': "compare[1].optimizers is missing",
        'name = "n"\nseeds = 3.7\n' + LEAST: "seeds = 3.7: a whole number is allowed",
        'name = "n"\nseeds = 2027-01-01\n' + LEAST: "a whole number is allowed",
        'name = "n"\nseeds = inf\n' + LEAST: "a whole number is allowed",
        'name = "n"\nseeds = 99999999999999999999\n' + LEAST: "seeds = 99999999999999999999",
        'name = "n"\n[[compare]]\nproblem = 3\noptimizers = ["nag"]': "compare[1].",
        'name = "n"\ncompare = [3]': "compare[1] = 3: a table is allowed",
        'name = "n"\n' + LEAST + "parts = 3": "compare[1] has no 'parts'",
    }.items(),
)
def test_what_is_wrong_is_said(text, told):
    with pytest.raises(Usage) as caught:
        read(text)
    assert told in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "nightly.toml"
    with pytest.raises(Usage, match="nightly.toml cannot be read: No such file"):
        Suite.read(path)
    path.write_bytes(b"name = \xff")
    with pytest.raises(Usage, match="nightly.toml cannot be read"):
        Suite.read(path)
    path.write_text("seeds = 3\n" + LEAST)
    with pytest.raises(Usage, match="nightly.toml: name is missing"):
        Suite.read(path)


@pytest.mark.parametrize(
    ("budgets", "told"),
    [
        (
            ("gradients=3000", ""),
            "small / quick, gradients=3000 appears twice with the same protocol",
        ),
        (("seconds=1",), "gives other results on every machine"),
    ],
)
def test_what_no_baseline_could_hold_is_refused(budgets, told, store_url):
    parts = tuple(Part(PROBLEM, "nag[batch=20]", budget=budget) for budget in budgets)
    with pytest.raises(Usage) as caught:
        Suite("small", parts).prepare_parts(StorageOptions(store_url))
    assert told in str(caught.value)


def test_parts_are_told_apart_by_their_budgets(store_url):
    parts = tuple(Part(PROBLEM, "nag[batch=20]", budget=f"updates={n}") for n in (5, 6))
    found = Suite("small", parts).prepare_parts(StorageOptions(store_url))
    assert [part_name(part) for part in found] == [
        "small / quick, updates=5",
        "small / quick, updates=6",
    ]
