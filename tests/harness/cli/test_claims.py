"""`bench reproduce claims` and `bench list claims`, on a rule that takes moments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.harness.paper import claims
from tests.harness.cli.conftest import Said
from tests.harness.rules import RULE

pytestmark = pytest.mark.usefixtures("no_pictures")
Bench = Callable[..., Said]


@pytest.fixture
def only(registered: Callable[[str], str]) -> str:
    """The digest of the one claim that there is."""
    return registered(RULE)


def test_the_rules_are_printed_before_anything_is_run(bench: Bench, workdir: Path) -> None:
    said = bench("reproduce", "claims", "--dry-run")
    assert said.code == 0
    assert "chosen on 1 tuning seed\n" in said.out
    assert "chosen on 2 tuning seeds\n" in said.out
    for rule in claims.rules("quick"):
        assert f"{rule.claim}. {rule.title}" in said.out
        assert rule.digest in said.out
        for measured in rule.statements:
            assert measured.statement.says in said.out
    assert list(workdir.iterdir()) == []


def test_a_claim_that_holds(bench: Bench, workdir: Path, only: str) -> None:
    given = ("--claims", 1, "--threads", 1, "--no-mlflow", "--json", "claims.json")
    said = bench("reproduce", "claims", *given)
    assert said.code == 0, said.err
    assert "1. More updates do more: holds" in said.out
    assert "> 1.1×" in said.out
    assert "fast lr=0.1" in said.out
    written = json.loads((workdir / "claims.json").read_text())
    assert written["schema_version"] == 1
    (result,) = written["claims"]
    assert (result["rule_digest"], result["decision"]) == (only, "holds")
    (statement,) = result["statements"]
    assert statement["n"] == 6
    listed = bench("list", "claims")
    assert listed.code == 0
    assert only[:12] in listed.out
    assert result["id"] in listed.out
    assert "holds" in listed.out
    again = bench("show", result["id"][:6])
    assert (again.code, again.out) == (0, said.out)
    assert bench("show", result["id"], result["id"]).code == 2
    shown = bench("show", result["comparisons"]["two"]["comparison"])
    assert shown.code == 0
    assert only in shown.out.replace("\n", "").replace(" ", "")


def test_one_that_does_not_ends_with_1(
    bench: Bench, workdir: Path, registered: Callable[[str], str]
) -> None:
    registered(RULE.replace("above = 1.1", "below = 0.9"))
    said = bench("reproduce", "claims", "--claims", 1, "--threads", 1, "--no-mlflow")
    assert said.code == 1
    assert "does not hold" in said.out
    assert said.err.endswith("Not every claim holds: claim 1 (quick): does not hold.\n")


def test_a_rule_that_was_changed_is_an_error(
    bench: Bench, workdir: Path, tmp_path: Path, only: str
) -> None:
    with (tmp_path / "claim_1.toml").open("a") as file:
        file.write("# one more line\n")
    said = bench("reproduce", "claims", "--claims", 1)
    assert said.code == 4
    assert "not registered as version 1 of claim 1" in said.err
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (["--claims", "7"], 2, "--claims 7: give numbers from 1 to 6"),
        (["--claims", "3-2"], 2, "--claims 3-2: the first number of a range must be the smaller"),
        (["--claims", "one"], 2, "--claims one: give numbers from 1 to 6"),
        (["--claims", ""], 2, "--claims : give numbers from 1 to 6"),
        (["--preset", "standard"], 2, "Allowed: quick, paper."),
        (["--preset", "papr"], 2, "did you mean 'paper'"),
        (["--json", "nowhere/claims.json"], 4, "its folder does not exist"),
        (["--claims", "4"], 4, "mnist needs the file"),
        (["--claims", "6", "--threads", "0"], 2, "--threads 0: allowed are 1 to"),
        (["--claims", "6", "--store", "nonsense"], 2, "nonsense"),
    ],
)
def test_bad_input(
    bench: Bench,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    said = bench("reproduce", "claims", *given)
    assert (said.code, said.out) == (code, "")
    assert told in said.err
    assert not (workdir / "mlruns").exists()


def test_nothing_decided_yet(bench: Bench, filled: object) -> None:
    said = bench("list", "claims")
    assert (said.code, said.out) == (0, "")
    assert "There is no decision on a claim in" in said.err
