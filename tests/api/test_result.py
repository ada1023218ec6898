"""Results: tables, pictures and pages of what is in the store."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import bench
from bench import frames
from bench.harness.report.files import to_text
from bench.harness.store.results import Store
from bench.optim.momentum.methods import NAG
from tests.harness.small import QUICK_HF


@pytest.fixture
def result(compare) -> bench.Result:
    found: bench.Result = compare(f"nag[batch=20],{QUICK_HF}", seeds=3)
    return found


def types(table: pd.DataFrame) -> dict[str, str]:
    return {name: str(kind) for name, kind in table.dtypes.items()}


def test_tables_have_their_columns_and_types(result) -> None:
    for name in ("verdicts", "table", "trials"):
        assert types(getattr(result, name)) == getattr(frames, name.upper())
    found = types(result.measurements)
    assert {
        n: k for n, k in found.items() if not n.startswith("diagnostic_")
    } == frames.MEASUREMENTS
    assert found["diagnostic_lambda"] == "float64"
    assert types(bench.comparisons()) == frames.COMPARISONS


def test_a_row_for_each_pair_method_trial_and_measurement(result, store) -> None:
    assert len(result.verdicts) == 1 and len(result.table) == 2 and len(result.trials) == 6
    with Store.open(store) as opened:
        records = {each.id: each for each in opened.trials(result.id)}
        taken = opened.measurements(list(records))
    for row in result.trials.to_dict("records"):
        record = records[row["trial"]]
        assert (row["method"], row["seed"], row["status"]) == (
            record.method, record.seed, record.status,
        )  # fmt: skip
        assert (row["train"], row["test"]) == (record.train_metric, record.test_metric)
        assert row["gradients"] == record.ledger.gradients and row["started"] == record.started
    assert len(result.measurements) == sum(map(len, taken.values()))
    for row in result.measurements.to_dict("records"):
        one = taken[row["trial"]][row["index"]]
        assert row["train"] == one.train_metric and row["test_loss"] == one.test_loss
        assert row["updates"] == one.ledger.updates
        for name, value in one.diagnostics.items():
            assert row[f"diagnostic_{name}"] == pytest.approx(value, nan_ok=True)


def test_tables_say_what_the_summary_says(result) -> None:
    (pair,), (verdict,) = result.summary["pairs"], result.verdicts.to_dict("records")
    assert (verdict["a"], verdict["b"], verdict["verdict"]) == (
        pair["a"], pair["b"], pair["verdict"],
    )  # fmt: skip
    assert verdict["difference"] == pair["difference"] and verdict["p"] == pair["p"]
    assert verdict["ratio"] == pytest.approx(math.exp(pair["difference"]))
    for row, method in zip(result.summary["methods"], result.table.to_dict("records"), strict=True):
        assert method["train"] == row["final"]["mean"] and method["n"] == row["n"] == 3
        assert method["hyperparameters"] == row["hyperparameters"]


def test_a_loaded_result_is_the_same(result) -> None:
    loaded = bench.load(result.id[:6])
    assert loaded.summary == result.summary and loaded.status == "done"
    for name in ("verdicts", "table", "trials", "measurements"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(result, name))


def test_as_text_it_is_what_the_command_prints(result) -> None:
    assert str(result) == repr(result) == to_text(result.summary).rstrip("\n")
    assert "too few seeds" in str(result)


def test_the_figure_has_the_learning_curves(result) -> None:
    figure = result.figure()
    assert isinstance(figure, Figure)
    assert [axes.get_xlabel() for axes in figure.axes][:2] == ["updates", "gradient-equivalents"]


def test_the_page_is_the_command_s(result, store, tmp_path: Path) -> None:
    result.save_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert result.id in page and "<script" in page
    with pytest.raises(
        bench.Infrastructure, match="save_html .*none/report.html cannot be written"
    ):
        result.save_html(tmp_path / "none" / "report.html")


def test_a_notebook_shows_it_and_nobody_s_name_is_markup(compare) -> None:
    class Evil(NAG):
        name = "<script>alert(1)</script>\x1b[31m"

    result = compare([bench.optimizer(Evil, batch=20), "sgd[batch=20]"])
    shown = result._repr_html_()
    assert "<script" not in shown and "&lt;script&gt;" in shown and "\x1b" not in shown
    assert "<img alt='learning curves' src='data:image/png;base64," in shown
    assert "too few seeds for a verdict" in shown and "Repeat with" in shown
    assert len(shown) < 300_000


def test_comparisons_are_the_newest_first(compare) -> None:
    first, second = compare("nag[batch=20]"), compare("sgd[batch=20]")
    found = bench.comparisons()
    assert found.id.tolist() == [second.id, first.id]
    assert found.methods.tolist() == [["sgd"], ["nag"]] and found.seeds.tolist() == [2, 2]


def test_missing_figures_are_missing(compare) -> None:
    class Wild(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            self.param_groups[0]["params"][0].data.fill_(math.nan)

    result = compare([Wild, "nag[batch=20]"])
    assert math.isnan(result.table.train[0]) and result.trials.status[0] == "diverged"
    assert result.verdicts.ratio.isna().all()
    assert "diverged" in result._repr_html_()


def test_what_was_never_begun_can_be_shown(store) -> None:
    from bench.harness.core.spec import Budget, Protocol

    protocol = Protocol(
        "curves", {}, "quick", "curves", "d" * 64, "sparse", "cross-entropy",
        "train_squared_error", "lower", Budget("gradients", 600_000), "fp32", 24,
    )  # fmt: skip
    with Store.open(store) as opened:
        id = opened.new_comparison(protocol, "comparison", "bench compare", status="planned")
    result = bench.load(id)
    assert result.status == "planned" and result.trials.empty and result.measurements.empty
    assert "is planned" in result._repr_html_()
    assert types(result.trials) == frames.TRIALS
