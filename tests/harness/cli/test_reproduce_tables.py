"""`bench reproduce table…` from the command line to the table and the JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.harness.comparison.session import Runs
from bench.harness.paper.tables import TABLES, PaperTable
from tests.harness.cli.conftest import Said
from tests.harness.small import PROBLEM

Bench = Callable[..., Said]
SMALL = PaperTable(1, {PROBLEM: {"0": 0.5, "SGD_C": 0.3}}, (0.01, 0.1), 20)
TABLE_1 = ("reproduce", "table1", "--budget", "updates=20", "--threads", 1, "--no-mlflow")

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Table 1 on a problem that takes moments."""
    monkeypatch.setitem(TABLES, 1, SMALL)


@pytest.mark.usefixtures("small")
def test_a_table_and_its_json(bench: Bench, workdir: Path) -> None:
    said = bench(*TABLE_1, "--json", "table.json")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == f"Table 1: {PROBLEM} / quick  data: planes (generated)"
    assert (
        lines[1] == "train squared error · 20 updates per trial · seeds: 2 reported, 1 for tuning"
    )
    (row,) = (line.split() for line in lines if line.startswith("0 "))
    assert (row[1], row[3], row[5]) == ("0.1*", "0.1*", "0.5")
    written = json.loads((workdir / "table.json").read_text())
    (task,) = written.pop("tasks")
    assert written == {
        "schema_version": 1, "table": 1, "preset": "quick", "seeds": 2, "tuning_seeds": 1,
    }  # fmt: skip
    assert task["protocol"]["budget"] == {"currency": "updates", "amount": 20}
    assert f"{task['columns'][0]['by_tuning_seeds']['mean']:#.3g}" == row[2]
    # JSON alone, from what is on record.
    again = bench(*TABLE_1, "--json", "-", "--task", PROBLEM)
    assert json.loads(again.out)["tasks"][0]["columns"][0]["published"] == 0.5
    assert "on record" in again.err


@pytest.mark.usefixtures("small")
def test_a_dry_run_says_how_many_trials_and_makes_nothing(bench: Bench, workdir: Path) -> None:
    said = bench(*TABLE_1, "--dry-run", "--seeds", 3, "--tune-seeds", 2)
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        f"Table 1, {PROBLEM} at preset quick: 10 trials at most, including those that are recorded "
        "already.\n"
    )
    assert list(workdir.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_an_interrupted_table_goes_on(
    bench: Bench, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Runs.execute

    def stopped(runs: Runs, *given: Any) -> list[int]:
        if len(runs.begun) == 2:
            runs.interrupted.name = "SIGTERM"
        return real(runs, *given)

    monkeypatch.setattr(Runs, "execute", stopped)
    said = bench(*TABLE_1)
    assert (said.code, said.out) == (130, "")
    monkeypatch.setattr(Runs, "execute", real)
    again = bench(*TABLE_1)
    assert again.code == 0
    assert "2 of 2 trials are on record" in again.err, "of the tuning"


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (["--task", "curve"], 2, "--task curve: table 1 has no such task; did you mean 'curves'?"),
        (["--preset", "quik"], 2, "--preset quik: there is no such preset; did you mean 'quick'?"),
        (["--seeds", "0"], 2, "--seeds 0: allowed are 1 to"),
        (["--tune-seeds", "0"], 2, "--tune-seeds 0: allowed are 1 to"),
        (["--budget", "updates"], 2, "--budget updates: give CURRENCY=AMOUNT"),
        (["--json", "not_there/t.json"], 4, "--json not_there/t.json cannot be written"),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_what_cannot_be_is_said_before_anything_is_run(
    bench: Bench, workdir: Path, given: list[str], code: int, told: str, dry: list[str]
) -> None:
    said = bench("reproduce", "table1", *given, *dry)
    assert (said.code, said.out) == (code, "")
    assert told in said.err
    assert list(workdir.iterdir()) == []
