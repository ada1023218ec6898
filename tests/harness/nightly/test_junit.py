"""JUnit XML as CI servers read it: shape, counts, and which metric is what."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from bench.harness.nightly.junit import to_junit
from tests.harness.recorded_nights import digest, night, quality

WORSE = quality(method="hf", state="worse", value=1.0)
BETTER = quality(method="cm", state="better", value=-1.0)
CHANGED = digest("b", state="changed", reason="Another θ.")
NEW = digest(state="new", problem="add / quick", reason="The first one.")
BLIND = quality(method="sgd", state="not judged", reason="No noise.")


def read(*metrics: Any, **given: Any) -> ET.Element:
    written = to_junit(night(0, *metrics, **given))
    assert written.startswith("<?xml version='1.0' encoding='utf-8'?>\n")
    root = ET.fromstring(written.encode())
    see_shape(root)
    return root


def see_shape(root: ET.Element) -> None:
    """See what the XSD of JUnit's reports demands: names, order, counts that are true."""
    assert root.tag == "testsuites"
    whole = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in root:
        assert suite.tag == "testsuite"
        assert {"name", "timestamp", "hostname", *whole} == set(suite.keys())
        assert [child.tag for child in suite] == ["properties", *["testcase"] * (len(suite) - 1)]
        assert all(each.keys() == ["name", "value"] for each in suite[0])
        for case in suite[1:]:
            assert {"classname", "name"} == set(case.keys())
            assert [child.tag for child in case] in ([], ["failure"], ["error"], ["skipped"])
            assert all(child.get("message") for child in case)
        counts = {
            "tests": len(suite) - 1,
            "failures": len(suite.findall("testcase/failure")),
            "errors": len(suite.findall("testcase/error")),
            "skipped": len(suite.findall("testcase/skipped")),
        }
        assert {name: int(suite.get(name, "")) for name in counts} == counts
        whole = {name: whole[name] + counts[name] for name in whole}
    assert {name: int(root.get(name, "")) for name in whole} == whole


def test_a_suite_a_problem_and_a_case_a_metric() -> None:
    root = read(quality(), WORSE, NEW, BETTER, CHANGED, BLIND, status="changed")
    assert [suite.get("name") for suite in root] == ["curves / quick", "add / quick"]
    assert [case.get("name") for case in root.iter("testcase")] == [
        "nag: train_squared_error",
        "hf: train_squared_error",
        "cm: train_squared_error",
        "nag: theta after 20 updates",
        "sgd: train_squared_error",
        "nag: theta after 20 updates",
    ]
    assert {case.get("classname") for case in root[1].iter("testcase")} == {"nightly.add / quick"}
    assert root.get("time") == "480"
    assert root[0].get("timestamp") == "2026-03-01T02:00:00"
    assert root[0].get("hostname") == "here"


def test_findings_fail_in_either_direction_and_what_is_not_judged_is_skipped() -> None:
    root = read(quality(), WORSE, NEW, BETTER, CHANGED, BLIND, status="changed")
    failures = {each.get("type"): each.get("message", "") for each in root.iter("failure")}
    assert failures.keys() == {"worse", "better", "changed"}
    assert "of hf on curves / quick: worse; 2.72 instead of 1" in failures["worse"]
    assert failures["changed"].endswith("Another θ.")
    assert {each.get("message") for each in root.iter("skipped")} == {
        "not judged: No noise.",
        "new: The first one.",
    }
    assert not list(root.iter("error"))


def test_properties_say_of_which_night() -> None:
    (suite,) = read(quality())
    values = {each.get("name"): each.get("value") for each in suite[0]}
    assert values == {
        "night": "0" * 32,
        "suite": "nightly",
        "suite_digest": "s" * 64,
        "baseline": "main",
        "commit": "0" * 40,
        "status": "clean",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"status": "failed", "reason": "No such file."}, "No such file."),
        ({"status": "failed"}, "could be judged: 1 not judged of 1 metric."),
        ({"status": "changed", "reason": "One part failed."}, "One part failed."),
        ({"status": "running", "ended": None}, "The night has not ended."),
    ],
)
def test_a_night_that_failed_is_an_error(given: Any, said: str) -> None:
    root = read(BLIND, **given)
    (error,) = root.iter("error")
    assert said in error.get("message", "")
    assert root[-1].get("name") == "nightly"
    assert not list(read(quality()).iter("error"))


def test_nothing_was_measured() -> None:
    (suite,) = read(status="failed", reason="The store is full.")
    assert suite.get("tests") == "1"


def test_texts_of_anybody_are_texts() -> None:
    nasty = "a<b>&\"'\0\x1b[31m\n\ud800\ufffe]]>\u202e é"
    named = {"method": nasty, "problem": nasty, "metric": nasty, "reason": nasty}
    root = read(
        quality(**named, state="worse"), quality(**named, state="new"),
        suite=nasty, reason=nasty, commit=None, info={"host": nasty},
    )  # fmt: skip
    shown = "a<b>&\"'\\x00\\x1b[31m\\n\\ud800\ufffd]]>\\u202e é"
    assert root.get("name") == root[0].get("hostname") == shown
    assert root[0][1].get("name") == f"{shown}: {shown}"
    assert root[-1].find("testcase/error") is not None
