"""Statements in words and figures: units, ends that are infinite, and what is not known."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from bench.harness.paper.claims import other_column
from bench.harness.paper.claims_table import in_unit, interval, render_claims, threshold

STATEMENT = {
    "says": "a over b",
    "value": "train_metric",
    "scale": "log",
    "side": "above",
    "threshold": 2.0,
    "published": None,
    "n": 6,
    "estimate": 3.0,
    "low": 2.5,
    "high": 3.5,
    "decision": "holds",
    "reason": "",
}
RESULT = {
    "claim": 1,
    "version": 2,
    "rule_digest": "d" * 64,
    "preset": "quick",
    "title": "More is more",
    "decision": "cannot tell",
    "at_the_edge": [],
    "comparisons": {"one": {"comparison": "c0ffee00", "data": "curves (generated)"}},
}


@pytest.mark.parametrize(
    ("scale", "low", "high", "written"),
    [
        ("log", 2.5, 3.5, "2.5× to 3.5×"),
        ("log", None, 3.5, "0× to 3.5×"),
        ("log", 2.5, None, "2.5× to ∞"),
        ("plain", None, 0.5, "−∞ to 0.500"),
        ("plain", -0.25, None, "-0.250 to ∞"),
        ("plain", None, None, "–"),
    ],
)
def test_intervals(scale: str, low: float | None, high: float | None, written: str) -> None:
    assert interval({**STATEMENT, "scale": scale, "low": low, "high": high}) == written


def test_thresholds_have_side_and_unit() -> None:
    assert threshold(STATEMENT) == "> 2×"
    assert threshold({**STATEMENT, "scale": "plain", "side": "below"}) == "< 2"
    assert in_unit(STATEMENT, None) == "–"


def test_which_hessian_free_the_paper_column_has() -> None:
    beside = other_column(1)
    assert beside is not None
    for words in ("HF* of Table 1", "1.28× on curves, 1.16× on mnist, 1.03× on faces", "2 of 3"):
        assert words in beside
    assert [other_column(number) for number in range(2, 7)] == [None] * 5


def test_what_nothing_can_be_told_of_says_why() -> None:
    nothing: dict[str, Any] = dict.fromkeys(["estimate", "low", "high"])
    gone = {**STATEMENT, **nothing, "decision": "cannot tell", "reason": "A trial diverged."}
    out = io.StringIO()
    page = render_claims([{**RESULT, "statements": [STATEMENT, gone], "at_the_edge": ["a lr=1"]}])
    Console(file=out, width=110).print(page)
    text = out.getvalue()
    assert "1. More is more: cannot tell" in text
    assert "rule version 2 (SHA-256 dddddddddddd…), data: curves (generated)" in text
    assert "a over b: A trial diverged." in text
    assert "values beyond it may be better: a lr=1." in text
    assert "one c0ffee00" in text
