"""Curves over budgets as a table, a picture and a page."""

import math

import pytest
from PIL import Image

from bench.harness.report.budget_plot import budget_figure, budget_plot, is_log
from bench.harness.report.budget_table import facts, to_text, with_sentences
from bench.harness.report.page.budget_page import budget_page
from bench.harness.report.page.figures import budgets
from bench.harness.report.table import number
from tests.harness.analysis.test_budget_curve import AMOUNTS, at, curve
from tests.harness.report.page.test_page import HOSTILE, Read


@pytest.fixture
def found():
    return curve(*(at(amount) for amount in AMOUNTS))


def hostile(found):
    found["methods"][1]["method"] = HOSTILE
    for each in found["budgets"]:
        for pair in each["pairs"]:
            pair["b"] = HOSTILE
    return found


def test_the_table_has_a_row_a_method_and_a_column_a_budget(found):
    text = to_text(found)
    for row in found["methods"]:
        for point in row["points"]:
            assert number(point["mean"]) in text
            assert f"{number(point['low'])}–{number(point['high'])}" in text
    line = next(line for line in text.splitlines() if line.startswith("nag "))
    means = [number(point["mean"]) for point in found["methods"][0]["points"]]
    assert line.split() == ["nag", "7", *means]
    at_budget = [line for line in text.splitlines() if line.startswith("At ")]
    assert at_budget == [f"At {n} gradient-equivalents:" for n in ("100", "300", "1,000")]
    assert text.count("nag is better than hf") == 3
    assert facts(found)[1] == "budgets of 100, 300 and 1,000 gradient-equivalents per trial"
    assert facts(found)[-1] == "anytime"


def test_many_budgets_become_blocks_where_the_table_does_not_fit():
    many = curve(*(at(100.0 * 2**i) for i in range(16)))
    text = to_text(many)
    assert max(map(len, text.splitlines())) <= 110
    assert (
        text.count("gradient-") >= 16 and number(many["methods"][0]["points"][-1]["mean"]) in text
    )


def test_sentences_are_those_of_the_pairs(found):
    for each in with_sentences(found)["budgets"]:
        (pair,) = each["pairs"]
        assert pair["claim"] == "nag is better than hf in training squared error"
        assert f"p={pair['p']:.2g} (Holm)" in pair["evidence"]


def test_the_picture_has_the_points_and_the_bands(found, tmp_path):
    (axes,) = budget_figure(found).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for line, row in zip(axes.lines, found["methods"], strict=True):
        assert list(line.get_xdata()) == list(AMOUNTS)
        assert list(line.get_ydata()) == [point["mean"] for point in row["points"]]
    for band, row in zip(axes.collections, found["methods"], strict=True):
        ends = {y for _, y in band.get_paths()[0].vertices}
        assert ends == {point[name] for point in row["points"] for name in ("low", "high")}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100", "300", "1,000"]
    for ending in ("png", "svg"):
        budget_plot(found, tmp_path / f"b.{ending}")
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.size == (880, 594)


def test_a_budget_at_which_a_trial_diverged_has_no_point(found):
    point = found["methods"][0]["points"][1]
    point |= {"mean": None, "low": None, "high": None, "diverged": 1, "scale": None}
    (axes,) = budget_figure(found).axes
    assert math.isnan(axes.lines[0].get_ydata()[1])
    (view,) = budgets(found)["views"].values()
    line = next(trace for trace in view["data"] if trace.get("name") == "nag")
    assert line["x"] == [100.0, 1000.0]
    assert "diverged" in to_text(found)


def test_an_axis_is_plain_where_a_value_is_not_positive(found):
    assert is_log(found)
    found["methods"][0]["points"][0]["low"] = -0.1
    assert not is_log(found)
    assert budget_figure(found).axes[0].get_yscale() == "linear"


def test_the_page_has_table_figure_verdicts_and_commands(found):
    text = budget_page(found, b"png")
    read = Read(text)
    for each in found["budgets"]:
        assert f"At {number(each['amount'])} gradient-equivalents: nag is better" in read.words
        assert f"({each['comparison']})" in read.words and each["reproduce"] in read.words
    for row in found["methods"]:
        for point in row["points"]:
            assert number(point["mean"]) in read.words
    assert found["notes"][0] in read.words
    assert ("figure", {"data-figure": "budgets", "aria-labelledby": "title-budgets"}) in read.tags


def test_many_methods_have_a_matrix_at_each_budget():
    more = (("cm", 2.0), ("sgd", 4.0))
    written = ("nag", "hf", "cm", "sgd")
    found = curve(*(at(amount, n=10, more=more) for amount in AMOUNTS), written=written)
    text = to_text(found)
    assert text.count("1 2 3 4\n") == text.count("nag is better than each of the 3 others in") == 3
    read = Read(budget_page(found, b"png"))
    tables = [attrs for tag, attrs in read.tags if attrs.get("class") == "matrix"]
    assert len(tables) == 3 and read.words.count("The evidence of 6 pairs") == 3
    # The page begins with a sentence for each budget, and each cell leads to its own evidence.
    assert read.after("h1", 1) == [
        "At 100 gradient-equivalents: nag is better than each of the 3 others in training squared "
        "error"
    ]
    ids = [attrs["id"] for _, attrs in read.tags if "-pair-" in attrs.get("id", "")]
    links = [a["href"][1:] for _, a in read.tags if "-pair-" in a.get("href", "")]
    assert len(ids) == len(set(ids)) == 18 and sorted(links) == sorted(ids * 2)


def test_hostile_names_are_texts(found):
    read = Read(budget_page(hostile(found), b"png"))
    assert not any("alert(1)" in source for _, source in read.scripts if "<script>" in source)
    assert "49" not in read.words.split()
    assert "\u202e" not in read.words
    assert "\u202e" not in to_text(hostile(found))
