"""A table's columns are run through comparisons, and both ways to choose ε are kept apart."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from rich.console import Console

from bench.harness.core.errors import Usage
from bench.harness.paper import table_runs
from bench.harness.paper.table_runs import effort, parts, reproduce_table
from bench.harness.paper.tables import TABLES, PaperTable
from bench.harness.paper.tables_report import render_table
from bench.harness.report.files import to_json
from bench.harness.store.results import Store
from tests.harness.small import PROBLEM, request

pytestmark = pytest.mark.usefixtures("no_pictures")

RATES = (0.01, 0.1, 0.5)
SMALL = PaperTable(1, {PROBLEM: {"0": 0.5, "0.9N": None, "SGD_C": 0.3}}, RATES, 20)
SECOND = PaperTable(2, {PROBLEM: {"0.99N": 0.25}}, RATES, 20)
BUDGET = "updates=60"


def shown(result: Mapping[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render_table(result))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return " ".join(text.split())


def made(table: PaperTable, store_url: str, budget: str = BUDGET) -> dict[str, Any]:
    asked = request(store_url, "", budget=budget, tune_seeds=1)
    return reproduce_table(table, [PROBLEM], asked)


def test_both_selections_are_what_is_on_record(store_url: str) -> None:
    result = made(SMALL, store_url)
    (task,) = result["tasks"]
    assert [column["column"] for column in task["columns"]] == ["0", "0.9N", "SGD_C"]
    *run, not_run = task["columns"]
    with Store.open(store_url) as store:
        trials = store.trials()
    for column, name in zip(run, ("sgd", "nag"), strict=True):
        mine = [t for t in trials if t.method_name == name]
        # Every rate on every seed once, and nothing twice.
        assert sorted((t.hyperparameters["lr"], t.seed) for t in mine) == [
            (lr, seed) for lr in RATES for seed in (0, 1, 1_000_000)
        ]
        values = {
            lr: [t.train_metric for t in mine if t.hyperparameters["lr"] == lr and t.seed < 2]
            for lr in RATES
        }
        tuned = {t.hyperparameters["lr"]: t.train_metric for t in mine if t.seed > 2}
        by_tuning, by_reported = column["by_tuning_seeds"], column["by_reported_seeds"]
        assert by_tuning["lr"] == min(tuned, key=lambda lr: tuned[lr] or 0)
        assert by_reported["lr"] == min(values, key=lambda lr: fmean(v or 0.0 for v in values[lr]))
        for found in (by_tuning, by_reported):
            assert found["values"] == values[found["lr"]]
            assert found["mean"] == pytest.approx(fmean(found["values"]))
            edges = {RATES[0]: "smallest", RATES[-1]: "largest"}
            assert found["edge"] == edges.get(found["lr"])
        assert len(column["comparisons"]) == 2
    assert not_run == {
        "column": "SGD_C", "published": 0.3, "published_before": None,
        "not_run": "it is a result of Chapelle & Erhan 2011",
    }  # fmt: skip
    to_json(result)
    text = shown(result)
    assert "data: planes (generated)" in text and f"Table 1: {PROBLEM} / quick" in text
    assert "SGD_C is not run: it is a result of Chapelle & Erhan 2011." in text
    assert "2 reported, 1 for tuning" in text and "those of preset paper" in text
    # The same again trains nothing.
    again = made(SMALL, store_url)
    with Store.open(store_url) as store:
        assert len(store.trials()) == len(trials)
    assert [c.get("by_tuning_seeds") for c in again["tasks"][0]["columns"]] == [
        c.get("by_tuning_seeds") for c in task["columns"]
    ]


def test_before_the_final_phase_the_trials_are_the_same(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(table_runs.TABLE_2, PROBLEM, (0.4, 0.25))
    result = made(SECOND, store_url)
    (column,) = result["tasks"][0]["columns"]
    assert (column["published"], column["published_before"]) == (0.25, 0.4)
    found = column["by_tuning_seeds"]
    with Store.open(store_url) as store:
        before = store.trials(column["comparisons"][2])
        after = [
            trial
            for trial in store.trials(column["comparisons"][0])
            if trial.hyperparameters["lr"] == found["lr"]
        ]
        protocol = store.comparison(column["comparisons"][2]).protocol
        first, second = (
            store.measurements([trial.id])[trial.id] for trial in (before[0], after[0])
        )
    # √(60 / 750,000) of 1,000 updates are the final phase.
    assert protocol.budget.text == "updates=51"
    assert {t.hyperparameters["final"] for t in after} == {9}
    assert [replaced(t.hyperparameters) for t in before] == [
        replaced(t.hyperparameters) for t in after
    ]
    assert [t.seed for t in before] == [t.seed for t in after] == [0, 1]
    assert found["before"] == pytest.approx(fmean(float(t.train_metric or 0) for t in before))
    assert found["before"] != found["mean"]
    # Where both were measured after as many updates, both have the same error.
    met = {m.ledger.updates: m.train_metric for m in first}
    common = [m for m in second if m.ledger.updates in met]
    assert len(common) > 1
    assert [met[m.ledger.updates] for m in common] == [m.train_metric for m in common]
    assert f"{found['mean']:#.3g} 0.4 0.25 " in shown(result)


def replaced(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    return {**hyperparameters, "final": None}


def test_the_first_of_equals_and_where_all_diverge(store_url: str) -> None:
    # Beyond the largest float32, so that no processor gets a finite θ.
    wild = replace(SMALL, published={PROBLEM: {"0": 0.5}}, lrs=(1e39, 1e40))
    (column,) = made(wild, store_url)["tasks"][0]["columns"]
    for found in (column["by_tuning_seeds"], column["by_reported_seeds"]):
        assert (found["mean"], found["values"], found["lr"]) == (None, [None, None], 1e39)


def test_hessian_free_trains_by_its_defaults(store_url: str, monkeypatch: Any) -> None:
    monkeypatch.setitem(table_runs.HESSIAN_FREE, "HF*", "hf[lam=1,chunks=2,cg_max=20]")
    table = replace(SMALL, published={PROBLEM: {"0": 0.5, "HF*": 0.1}})
    result = made(table, store_url, "updates=5")
    _, column = result["tasks"][0]["columns"]
    assert column["untuned"]["mean"] == pytest.approx(fmean(column["untuned"]["values"]))
    assert "HF*: run with the defaults of bench compare" in shown(result)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("seconds=1", r"--budget seconds=1: table 2 needs a budget in gradients"),
        ("updates=1", r"--budget updates=1: the trial has 1 updates and its final phase 1,"),
    ],
)
def test_table_2_needs_something_before_its_final_phase(
    store_url: str, budget: str, message: str
) -> None:
    with pytest.raises(Usage, match=message):
        reproduce_table(SECOND, [PROBLEM], request(store_url, "", budget=budget))


def test_starts_are_comparisons_of_their_own() -> None:
    assert [(part.problem, list(part.columns)) for part in parts(TABLES[3], ["curves"])] == [
        (f"curves[scale={scale}]", [scale]) for scale in ("0.25", "0.5", "1", "2", "4")
    ]
    (curves, mnist) = parts(TABLES[1], ["curves", "mnist"])
    assert (curves.problem, mnist.problem, len(mnist.columns)) == ("curves", "mnist", 9)


@pytest.mark.parametrize(
    ("number", "tasks", "trials"),
    [
        (1, ["curves"], 9 * 6 * 3 + 2 * 2),
        (1, ["curves", "mnist"], 2 * (9 * 6 * 3 + 2 * 2)),
        (2, ["faces"], 6 * 3 + 2 * 2),
        (3, ["curves"], 5 * 6 * 3),
        (5, ["add"], 7 * 4 * 3),
    ],
)
def test_how_many_trials_it_takes(number: int, tasks: list[str], trials: int) -> None:
    assert effort(TABLES[number], tasks, seeds=2, tune_seeds=1) == trials
