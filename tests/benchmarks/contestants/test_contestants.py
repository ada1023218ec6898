"""The contestants: their entries, the comparison of a problem, its section and its picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import bench
from bench.harness.planning.tuning import tuned_names, tuning_points
from bench.optim.text import parse
from benchmarks import render
from benchmarks.contestants import picture, result, run
from benchmarks.contestants.entries import PROBLEMS, Contestant, contestants
from benchmarks.contestants.parts import part
from benchmarks.contestants.section import section

SMALL = [Contestant("sgd", "sgd[lr=0.001..1]"), Contestant("nag", "nag[lr=0.001..1,mu_max=0.9]")]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_contestant_has_sixteen_points_of_one_to_three_numbers(problem: str) -> None:
    for each in contestants(problem):
        written = parse(each.entry)
        points = tuning_points(written, str(run.POINTS))
        assert len({point.text for point in points}) == run.POINTS, each.name
        assert 1 <= len(tuned_names(written, str(run.POINTS))) <= 3, each.name


def test_all_pairs_of_all_contestants_can_be_decided() -> None:
    k = len(contestants("curves"))
    assert k * (k - 1) / 2 * 2.0 ** (1 - run.SEEDS) <= 0.05


def test_an_unknown_problem_is_told() -> None:
    with pytest.raises(bench.Usage, match="xor: the table has curves, mnist, add, faces"):
        contestants("xor")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results and a page of the test's own, and a comparison of a few updates."""
    compare: Callable[..., bench.Result] = bench.compare

    def briefly(*given: Any, **named: Any) -> bench.Result:
        return compare(*given, **{**named, "budget": "updates=3", "progress": False})

    monkeypatch.setattr(bench, "compare", briefly)
    monkeypatch.setattr(render, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(render, "PAGE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(run, "POINTS", 2)
    monkeypatch.setattr(run, "SEEDS", 2)
    for module in (run, result):
        monkeypatch.setattr(module, "contestants", lambda problem: SMALL)
    return tmp_path


def test_a_run_writes_its_result_and_repeated_trains_nothing(results: Path) -> None:
    folder = str(results / "store")
    for _ in range(2):
        done = CliRunner().invoke(run.main, ["--folder", folder], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    with_store = f"sqlite:///{results / 'store' / 'contestants.db'}"
    ran = [*bench.comparisons(with_store)["id"]]
    trials = {key for id in ran for key in bench.load(id, with_store).trials["uuid"]}
    assert len(trials) == 2 * (2 + 2)
    found = json.loads((results / "results" / "contestants.json").read_text())["curves"]
    assert [row["name"] for row in found["methods"]] == ["sgd", "nag"]
    assert [len(row["points"]) for row in found["methods"]] == [2, 2]
    assert [set(row["chosen"]) for row in found["methods"]] == [{"lr"}, {"lr"}]
    assert len(found["pairs"]) == 1 and found["pairs"][0]["verdict"] == "too few seeds"
    assert "### curves / quick" in (results / "RESULTS.md").read_text()


def trained(results: Path, *words: str, store: str = "store") -> Any:
    """Run the command in the test's folder."""
    return CliRunner().invoke(run.main, ["--folder", str(results / store), *words])


def test_contestants_that_are_trained_later_are_judged_with_the_others(results: Path) -> None:
    assert trained(results).exit_code == 0
    together = json.loads((results / "results" / "contestants.json").read_text())["curves"]
    (results / "results" / "contestants.json").unlink()
    alone = trained(results, "--only", "sgd")
    assert alone.exit_code == 2 and "fewer than two contestants" in alone.output
    write_part(results, "sgd")
    assert trained(results, "--only", "nag").exit_code == 0
    found = json.loads((results / "results" / "contestants.json").read_text())["curves"]
    assert [list(part["entries"]) for part in found["parts"]] == [["sgd"], ["nag"]]
    assert len({part["comparison"] for part in found["parts"]} | {found["comparison"]}) == 3
    for of in (found, together):
        for each in of["methods"]:
            del each["seconds"]
    for name in ("methods", "pairs", "protocol", "missing"):
        assert found[name] == together[name]
    assert "2 comparisons, whose methods are judged together" in section({"curves": found})
    # A part is chosen whole or not at all.
    assert trained(results).exit_code == 0
    whole = json.loads((results / "results" / "contestants.json").read_text())["curves"]
    assert [list(part["entries"]) for part in whole["parts"]] == [["sgd", "nag"]]
    half = trained(results, "--only", "sgd")
    assert half.exit_code == 2 and "has sgd, and also nag. Choose all" in half.output
    write_part(results, "sgd", comparison="0000")
    lacking = trained(results, "--only", "nag")
    assert lacking.exit_code == 2 and "lacks comparison 0000" in lacking.output


def write_part(results: Path, name: str, comparison: str | None = None) -> None:
    """Leave a result of which one contestant is a part, as another machine would."""
    [contestant] = [each for each in SMALL if each.name == name]
    store = f"sqlite:///{results / 'store' / 'contestants.db'}"
    if comparison is None:
        comparison = bench.compare(
            [contestant.entry], "curves", seeds=run.SEEDS, tune=run.POINTS,
            tune_seeds=run.TUNING_SEEDS, threads=1, device="cpu", store=store, mlflow=False,
        ).id  # fmt: skip
    one = part(comparison, [contestant], "python -m …")
    (results / "results" / "contestants.json").write_text(json.dumps({"curves": {"parts": [one]}}))


def test_what_is_left_out_must_exist_and_leave_a_pair(results: Path) -> None:
    folder = ["--folder", str(results / "store")]
    unknown = CliRunner().invoke(run.main, [*folder, "--without", "adam"])
    assert unknown.exit_code == 2 and "There are sgd, nag." in unknown.output
    alone = CliRunner().invoke(run.main, [*folder, "--without", "nag"])
    assert alone.exit_code == 2 and "fewer than two contestants" in alone.output


def test_kron_wants_opt_einsum(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.backends.opt_einsum, "is_available", lambda: False)
    done = CliRunner().invoke(run.main, ["--folder", str(tmp_path / "store")])
    assert done.exit_code == 2 and "Install opt_einsum" in done.output
    assert not (tmp_path / "store").exists()


def row(name: str, mean: float | None, **changed: Any) -> dict[str, Any]:
    return {
        "name": name,
        "n": 12,
        "mean": mean,
        "low": mean and 0.9 * mean,
        "high": mean and 1.1 * mean,
        "scale": mean and "log",
        "diverged": 0,
        "values": [mean] * 12,
        "test": mean,
        "updates": 3000,
        "chosen": {"lr": 0.1, "betas": [0.9, 0.99]},
        "edges": [],
        "points": [{"tried": {"lr": 0.1}, "values": [1.0]}, {"tried": {"lr": 1}, "values": [None]}],
        **changed,
    }


def pair(a: str, b: str, verdict: str, better: str | None) -> dict[str, Any]:
    return {"a": a, "b": b, "verdict": verdict, "better": better}


PART = {
    "comparison": "1234",
    "entries": {name: name for name in ("bad", "good", "fair")},
    "command": "python -m …",
    "machine": dict.fromkeys(("processor", "cores", "python", "torch", "commit", "date"), "x"),
    "load": 1.0,
    "peers": {},
}

CONTENT = {
    "curves": {
        "parts": [PART],
        "protocol": {
            "problem": "curves", "preset": "quick", "data": "curves (generated)",
            "direction": "lower", "budget": {"amount": 6e5, "currency": "gradients"},
        },
        "words": "training squared error",
        "alpha": 0.05,
        "missing": ["Kron"],
        "methods": [
            row("bad", None, diverged=3),
            row("good", 0.2, edges=[{"name": "betas[1]", "value": 0.99, "side": "largest"}]),
            row("fair", 0.1, values=[0.1, 0.3], test=0.5),
        ],
        "pairs": [
            pair("bad", "good", "b better", "good"),
            pair("bad", "fair", "b better", "fair"),
            pair("good", "fair", "cannot tell", None),
        ],
    }
}  # fmt: skip


def test_the_section_says_who_is_best_what_is_undecided_and_what_is_missing() -> None:
    text = section(CONTENT)
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows == ["| fair", "| good", "| bad"]
    assert (
        "fair has the best mean, 0.100. It is better than 1 of the 2 others; it cannot be" in text
    )
    assert "On test cases good has the best mean, 0.200." in text
    assert "2 of 3 pairs are decided." in text and "Cannot be told apart: good and fair." in text
    assert "Reported trials that diverged: bad 3 of 12." in text
    assert "Tuning points that diverged: fair 1 of 2, good 1 of 2, bad 1 of 2." in text
    assert "good (betas[1] = 0.99, largest)" in text and "betas=(0.9,0.99) *edge*" in text
    assert "**Not run**: Kron. `python -m benchmarks.contestants.run --problem curves" in text
    assert "--problem curves --only 'Kron'` trains what is missing" in text
    assert "The seeds of fair lie farthest apart: from 0.100 to 0.300." in text
    assert "**Not finished**: not run to the end on mnist, add and faces." in text


def test_the_picture_has_a_panel_for_each_problem_and_tells_what_diverged() -> None:
    [axes] = picture.figure(CONTENT).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fair", "good", "bad"]
    assert [text.get_text() for text in axes.texts] == ["diverged: 3 of 12"]
