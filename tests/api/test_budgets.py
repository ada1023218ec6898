"""Curves over budgets by the API are those of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

import bench
from bench import frames
from bench.harness.cli.main import main
from bench.harness.store.results import Store
from tests.harness.small import PROBLEM

TEXT = "nag[batch=20],sgd[batch=20,lr=0.05]"
USUAL: dict[str, Any] = {
    **{"seeds": 2, "device": "cpu", "threads": 1, "mlflow": False, "progress": False}
}


@pytest.fixture
def curves(store: str) -> bench.BudgetResult:
    return bench.compare_budgets(TEXT, "updates=5|10", PROBLEM, **USUAL)


def test_it_is_what_the_command_gives(curves, store) -> None:
    with pytest.raises(SystemExit):
        main([
            *("compare", "--optimizers", TEXT, "--budgets", "updates=5|10", "--problem", PROBLEM),
            *("--seeds", "2", "--device", "cpu", "--threads", "1", "--no-mlflow", "--json", "c"),
        ])  # fmt: skip
    by_command = json.loads(Path("c").read_text())
    assert by_command["reproduce"] == curves.summary["reproduce"]
    for one, other in zip(by_command["methods"], curves.summary["methods"], strict=True):
        for a, b in zip(one["points"], other["points"], strict=True):
            assert {**a, "comparison": ""} == {**b, "comparison": ""}
    with Store.open(store) as opened:
        assert opened.count("trials") == 8


def test_tables_have_a_row_for_each_method_and_pair_at_each_budget(curves) -> None:
    table, verdicts = curves.table, curves.verdicts
    assert {n: str(k) for n, k in table.dtypes.items()} == frames.POINTS
    assert list(zip(table["method"], table["budget"], strict=True)) == [
        *(("nag", 5.0), ("nag", 10.0), ("sgd", 5.0), ("sgd", 10.0))
    ]
    for row in table.to_dict("records"):
        (own,) = (one for one in curves.results if one.id == row["comparison"])
        known = own.table.set_index("method").loc[row["method"]]
        assert (row["mean"], row["low"], row["high"]) == (
            known["train"], known["train_low"], known["train_high"],
        )  # fmt: skip
        assert row["updates"] == row["budget"] == known["updates"]
    assert list(verdicts["budget"]) == [5.0, 10.0]
    assert set(verdicts["verdict"]) == {"too few seeds"}


def test_it_shows_itself(curves, tmp_path) -> None:
    assert "At 10 updates:" in str(curves)
    assert isinstance(curves.figure(), Figure)
    shown = curves._repr_html_()
    assert "data:image/png;base64," in shown and "At 5 updates:" in shown
    curves.save_html(tmp_path / "c.html")
    assert "At 5 updates: nag and sgd" in (tmp_path / "c.html").read_text()
    with pytest.raises(bench.Infrastructure, match="save_html .* cannot be written"):
        curves.save_html(tmp_path / "none" / "c.html")


def test_objects_of_a_program_are_compared_too(store) -> None:
    own = bench.optimizer(torch.optim.SGD, lr=0.05, batch=20)
    found = bench.compare_budgets(["nag[batch=20]", own], "updates=5|10", PROBLEM, **USUAL)
    assert len(found.table) == 4


@pytest.mark.parametrize(
    ("budgets", "given", "said"),
    [
        ("updates=5", {}, "budgets=updates=5: give two budgets or more"),
        ("updates=5|5", {}, "Give each budget once"),
        (["updates=5", "updates=10"], {}, "is of type list; give a text"),
        ("updates=5|10", {"budget": "updates=5"}, "exclude each other"),
        ("updates=5|10", {"seeds": 2.5}, "seeds=2.5 is not a whole number"),
    ],
)
def test_what_is_not_allowed(budgets, given, said) -> None:
    with pytest.raises(bench.Usage, match=said):
        bench.compare_budgets(TEXT, budgets, PROBLEM, **{**USUAL, **given})


def test_an_argument_that_there_is_not_is_told_by_the_name_that_was_called() -> None:
    with pytest.raises(TypeError, match=r"compare_budgets has no argument 'sedes'; did you mean"):
        bench.compare_budgets(TEXT, "updates=5|10", PROBLEM, sedes=2)
