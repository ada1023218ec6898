"""`bench noise`: a table of what scatters, JSON, and a real run."""

from __future__ import annotations

import json
import math
import re

import pytest

from bench.harness.analysis.noise import Noise, smallest_detectable, threshold
from tests.harness.small import PROBLEM

SUITE = f"""
name = "tiny"
seeds = 2
[time]
blocks = 2
updates = 2
[noise]
seeds = 4
times = 4
[[compare]]
problem = "{PROBLEM}"
optimizers = "sgd[batch=20],nag[batch=20]"
budget = "updates=4"
"""


def metric(kind="time", method="nag", scale="log", sd=0.01, reason="") -> dict:
    df = 0 if sd is None else 19
    of = ("k", "curves / quick", method, "update / kernel 1", "c", scale)
    return Noise(kind, *of, sd, df, 20, 1, 0.04, reason).as_dict()


@pytest.fixture
def measured(monkeypatch) -> dict:
    """What a run would have measured."""
    body = {
        "suite": "d" * 64,
        "family": 4,
        "metrics": [
            metric(),
            metric("quality", "sgd", "plain", 0.5),
            metric("quality", "hf", sd=None, reason="2 of 20 trials have no final value."),
            metric(method="\x1b[31mred"),
        ],
        "false_alarm_rate": {"at": 0.05, "quality": None, "time": 0.04},
        "comparisons": ["c" * 8],
        "seconds": 90.0,
    }
    monkeypatch.setattr("bench.harness.nightly.noise.measure_noise", lambda suite, place: body)
    return body


@pytest.fixture
def suite(workdir) -> str:
    (workdir / "tiny.toml").write_text(SUITE)
    return "tiny.toml"


def test_a_line_a_metric(bench, suite, measured):
    said = bench("noise", suite)
    assert said.code == 0, said.err
    cells = [re.split("  +", line.rstrip()) for line in said.out.splitlines() if "/ quick" in line]
    lines = {each[1]: each[3:] for each in cells if len(each) == 8}
    # A difference of logarithms is shown as a change in per cent.
    limits = (0.01, threshold(0.01, 19, 4), smallest_detectable(0.01, 19, 4))
    shown = [f"{100 * math.expm1(limit):.2f} %" for limit in limits]
    assert lines["nag"] == ["20", *shown, "4 %"]
    limits = (0.5, threshold(0.5, 19, 4), smallest_detectable(0.5, 19, 4))
    assert lines["sgd"] == ["20", "0.500", *(f"{limit:.2f}" for limit in limits[1:]), "4 %"]
    assert lines["hf"] == ["20", "–", "–", "–", "4 %"]
    assert "hf, update / kernel 1: 2 of 20 trials have no final value." in said.out
    assert "The measurement took 1.5 minutes." in " ".join(said.out.split())
    assert "\x1b" not in said.out


def test_json_has_thresholds_too(bench, suite, measured, workdir):
    said = bench("noise", suite, "--json", "-")
    found = json.loads(said.out)
    assert (found["schema_version"], found["family"]) == (1, 4)
    first, _, none, _ = found["metrics"]
    assert first["threshold"] == threshold(0.01, 19, 4)
    assert first["smallest_detectable"] == smallest_detectable(0.01, 19, 4)
    assert none["threshold"] is None
    assert bench("noise", suite, "--json", "noise.json").code == 0
    assert json.loads((workdir / "noise.json").read_text()) == found


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (("nowhere.toml",), 2, "nowhere.toml"),
        (("tiny.toml", "--json", "nowhere/noise.json"), 4, "--json nowhere/noise.json cannot be"),
        ((), 2, "SUITE.toml"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_run(bench, suite, monkeypatch, given, code, told):
    monkeypatch.setattr(
        "bench.harness.nightly.noise.measure_noise", lambda suite, place: pytest.fail("ran")
    )
    said = bench("noise", *given)
    assert (said.code, said.out) == (code, "")
    assert told in said.err


def test_ctrl_c_ends_it(bench, suite, monkeypatch):
    def interrupted(requests, plan):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "bench.harness.nightly.timing_process.subprocess.run", lambda *_, **__: interrupted(0, 0)
    )
    said = bench("noise", suite, "--no-mlflow")
    assert said.code == 130
    assert said.err.endswith("bench: interrupted.\n")
