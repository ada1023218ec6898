"""A night in words: verdict and findings first, every figure on its scale, names as texts."""

from __future__ import annotations

import io
import json
import math
import re
from typing import Any

import pytest
from rich.console import Console

from bench.harness.core.records import NightRecord
from bench.harness.nightly.table import (
    accept_command,
    allowed,
    as_dict,
    change,
    describe,
    figure,
    findings,
    render,
    to_markdown,
    verdict,
)
from bench.harness.report.files import to_json
from tests.harness.recorded_nights import PROTOCOL, digest, night, quality

WORSE = quality(method="hf", state="worse", value=math.log(0.2), reference=math.log(0.16))
BETTER = quality(method="cm", state="better", value=math.log(0.1), reference=math.log(0.2))
CHANGED = digest("b", state="changed", reason="θ differs tonight, at commit abc.")
BLIND = quality(
    method="sgd", state="not judged", reference=None, threshold=None, sd=None, reason="Nothing yet."
)


def text(of: NightRecord) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(render(of))
    return out.getvalue()


@pytest.mark.parametrize(
    ("metrics", "status", "told"),
    [
        ([quality(), digest()], "clean", "Nothing has changed: 2 metrics."),
        ([quality(), digest(state="new")], "clean", "2 metrics, of which 1 new."),
        (
            [WORSE, BETTER, BETTER, CHANGED, quality()],
            "changed",
            "Something has changed: 1 worse, 2 better, 1 changed of 5 metrics.",
        ),
        ([BLIND, digest()], "failed", "could be judged: 1 not judged of 2 metrics."),
        ([], "failed", "Not everything could be judged: nothing was found of 0 metrics."),
        ([quality()], "running", "The night has not ended."),
        ([quality()], "clean", "Nothing has changed: 1 metric."),
    ],
)
def test_the_verdict(metrics: list[Any], status: str, told: str) -> None:
    assert told in verdict(night(0, *metrics, status=status))


def test_what_is_on_a_log_scale_is_shown_as_what_was_measured() -> None:
    assert (figure(WORSE, WORSE.value), figure(WORSE, WORSE.reference)) == ("0.200", "0.160")
    assert change(WORSE) == "+25 %"
    assert allowed(WORSE) == "-4.88 % to +5.13 %"
    assert change(quality(value=math.log(5.0))) == "×5.00"
    assert change(quality(value=-math.log(5.0))) == "×0.200"
    # No float is that large; the sentence has to be written all the same.
    assert figure(quality(), 1e6) == change(quality(value=1e6)).removeprefix("×")


def test_what_is_plain_is_shown_plain() -> None:
    metric = quality(scale="plain", value=0.75, reference=0.5, threshold=0.1)
    assert figure(metric, metric.value) == "0.750"
    assert (change(metric), allowed(metric)) == ("+0.25", "-0.1 to +0.1")


def test_figures_that_are_not_there() -> None:
    nothing = quality(value=None, reference=None, threshold=None)
    assert (figure(nothing, None), change(nothing), allowed(nothing)) == ("–", "–", "–")
    assert change(quality(reference=None)) == "–"


def test_a_sentence_has_all_figures_and_the_direction() -> None:
    assert describe(WORSE) == (
        "train squared error of hf on curves / quick: worse; 0.200 instead of 0.160, +25 %; "
        "allowed -4.88 % to +5.13 %; n=6; lower is better."
    )
    assert "higher is better." in describe(quality(direction="higher"))
    assert describe(CHANGED) == (
        "theta after 20 updates of nag on curves / quick: changed; must be equal. "
        "θ differs tonight, at commit abc."
    )


def test_findings_are_in_both_directions_the_worse_first() -> None:
    changed = night(0, quality(), BETTER, CHANGED, BLIND, WORSE, status="changed")
    assert findings(changed) == [WORSE, CHANGED, BETTER]


def test_a_page_begins_with_the_verdict_and_has_every_metric() -> None:
    every = (quality(), BETTER, digest(state="new", reason="The first one."), BLIND, WORSE)
    changed = night(4, *every, quality(problem="add / quick"), status="changed", reason="No data.")
    page = text(changed)
    lines = page.splitlines()
    assert lines[0] == ("Something has changed: 1 worse, 1 better of 6 metrics.")
    assert "nightly against main · 2026-03-05 02:00–02:08 UTC · commit 000000000000" in lines[1]
    assert lines[2] == "A part of the night failed: No data."
    assert lines[3].startswith(
        "• train squared error of hf on curves / quick: worse; 0.200 instead of"
    )
    assert "• not judged: train squared error of sgd on curves / quick: Nothing yet." in page
    assert "• new: theta after 20 updates of nag on curves / quick: The first one." in page
    rows = [line.split() for line in lines if re.search(r"\b(lower|equal)  ", line)]
    assert [row[:2] for row in rows] == [
        ["same", "nag"], ["better", "cm"], ["new", "nag"], ["not", "judged"], ["worse", "hf"],
        ["same", "nag"],
    ]  # fmt: skip
    assert page.count("curves / quick\n") == page.count("add / quick\n") == 1
    assert "aaaaaaaa " in page


def test_methods_that_lack_the_same_share_a_line() -> None:
    others = [quality(method=name, state="not judged", reason="No noise.") for name in "ab"]
    page = text(night(0, *others, status="failed"))
    assert "• not judged: train squared error of a, b on curves / quick: No noise." in page


def test_what_may_be_accepted_are_the_comparisons_in_question() -> None:
    ran = {"comparison_id": "c0ffee00"}
    other = quality(protocol_key="q" * 64, comparison_id="77aa0011")
    is_as_it_was = night(0, quality(**ran), other)
    assert accept_command(is_as_it_was) is None
    # A digest is of the protocol of its comparison, and accepted with it.
    changed = night(0, quality(**ran), other, CHANGED, status="changed")
    assert accept_command(changed) == "bench baseline accept c0ffee00 --name main"
    assert accept_command(changed) in text(changed)
    assert f"    {accept_command(changed)}\n" in to_markdown(changed)
    first = quality(**ran, state="not judged", reference=None)
    assert accept_command(night(0, first, other, baseline="my own", status="failed")) == (
        "bench baseline accept c0ffee00 --name 'my own'"
    )
    # With a reference it is the noise that lacks.
    assert accept_command(night(0, quality(**ran, state="not judged"), status="failed")) is None
    assert PROTOCOL != other.protocol_key


def test_markdown_folds_what_is_no_finding() -> None:
    page = to_markdown(night(0, quality(), WORSE, CHANGED, BLIND, status="changed"))
    seen, folded = page.split("<details>", 1)
    assert seen.startswith("## Something has changed\\: 1 worse\\, 1 changed of 4 metrics\\.\n")
    assert seen.index("of hf on") < seen.index("of nag on") < seen.index("of sgd on")
    assert folded.startswith("<summary>curves / quick: 4 metrics</summary>\n\n|  | method |")
    rows = [line for line in folded.splitlines() if line.startswith("|")]
    assert len(rows) == 6 and len({row.count("|") for row in rows}) == 1
    assert folded.endswith("\n</details>\n")


def test_names_open_nothing_in_markdown_or_on_a_terminal() -> None:
    nasty = "<b>|[x](javascript:alert(1)) **b** `c` \n# \x1b[31m _d_ &lt;"
    named = {"method": nasty, "problem": nasty, "metric": nasty, "reason": nasty, "state": "worse"}
    bad = night(0, quality(**named), suite=nasty, baseline=nasty, reason=nasty, status="changed")
    page = to_markdown(bad)
    assert "\x1b" not in page and "\x1b" not in text(bad)
    command = accept_command(bad)
    assert command is None
    body = page.replace("<details>", "").replace("</details>", "")
    body = (
        body.replace("<summary>", "")
        .replace("</summary>", "")
        .replace("**A part of the night failed:**", "")
    )
    body = "\n".join(line for line in body.splitlines() if "&lt;b&gt;" not in line)
    assert not re.search(r"(?<!\\)[<`\[\]]|(?<!\\)\*\*[^\\ ]", body)
    summary = next(line for line in page.splitlines() if "<summary>" in line)
    assert "&lt;b&gt;|[x]" in summary and "&amp;lt;" in summary
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_plain_values_are_valid_json() -> None:
    plain = json.loads(to_json(as_dict(night(0, WORSE, CHANGED, status="changed"))))
    assert plain["schema_version"] == 1
    assert plain["created"] == "2026-03-01T02:00:00+00:00"
    assert plain["ended"] == "2026-03-01T02:08:00+00:00"
    assert plain["metrics"][0]["value"] == WORSE.value
    assert [metric["state"] for metric in plain["metrics"]] == ["worse", "changed"]
    assert as_dict(night(0, ended=None))["ended"] is None
