"""The section on the claims says what the store says, and where and from what it was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bench.harness.core import context
from bench.harness.paper.claim_runs import decide_claims
from bench.harness.paper.claims import rules
from benchmarks import render
from benchmarks.paper.claims import main
from tests.harness.rules import RULE
from tests.harness.small import request


def test_the_newest_decision_with_the_commit_that_its_trials_were_run_from(
    registered: Callable[[str], str],
    store_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A comparison sets torch's threads for its process.
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    digest = registered(RULE)
    monkeypatch.setattr(context, "_commit", lambda: "0123456789abcdef")
    (first,) = decide_claims(rules("quick", [1]), request(store_url, budget=None))
    # Later, from another commit, the decision is made again; its trials are on record.
    monkeypatch.setattr(context, "_commit", lambda: "fedcba9876543210")
    (second,) = decide_claims(rules("quick", [1]), request(store_url, budget=None))
    assert first.id != second.id
    done = CliRunner().invoke(main, ["--store", store_url, "--json", str(tmp_path / "claims.json")])
    assert done.exit_code == 0, done.output
    (claim,) = json.loads((tmp_path / "claims.json").read_text())["claims"]
    assert claim["made"]["commits"] == ["0123456"]
    assert {each["comparison"] for each in claim["comparisons"].values()} == {
        summary["comparison"] for summary in second.summaries.values()
    }
    page = render.page(tmp_path)
    assert "### 1. More updates do more: **holds**" in page
    assert f"`{digest[:12]}…`" in page
    assert "commit 0123456, " in page
    assert "| > 1.1× | 6 | " in page
    assert "* Chosen at the edge of what was tried: two.fast lr=0.1." in page
