import json
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from bench.harness.report.page import figures
from bench.harness.report.style import color


def lines(view, **wanted):
    """The traces of a view that have these properties."""
    return [t for t in view["data"] if all(t.get(k) == v for k, v in wanted.items())]


def check(figure):
    """Plotly takes every view, there is one for every choice, and JSON holds them."""
    choices = [""]
    for switch in figure["switches"]:
        choices = [f"{a} {b}".strip() for a in choices for b in switch["options"]]
    assert list(figure["views"]) == choices
    for view in figure["views"].values():
        go.Figure(view)
    json.dumps(figure, allow_nan=False)


def test_learning_curves(compared):
    gone = {("hf", 0), ("hf", 1), ("hf", 2), ("hf", 3)}
    summary, trials, measurements = compared("nag", "nag[lr=0.02]", "hf", diverged=gone)
    figure = figures.learning_curves(summary, trials, measurements)
    check(figure)
    view = figure["views"]["updates test"]
    first, second, third = (t for t in view["data"] if "name" in t)
    assert [t["name"] for t in (first, second, third)] == ["nag", "nag[lr=0.02]", "hf"]
    assert first["line"]["color"] == second["line"]["color"] == color("nag")
    # One colour, told apart by the kind of line.
    assert first["line"]["dash"] != second["line"]["dash"]
    last = [measurements[t.id][-1].test_metric for t in trials if t.method == "nag"]
    assert first["y"][-1] == pytest.approx(np.median(last), rel=0.02)
    assert first["text"][-1] == f"{min(last):.3g} to {max(last):.3g}"
    # More than half have diverged: the median ends, and each is marked where it ended.
    assert third["y"][-1] is None and third["y"][0] is not None
    assert len(lines(view, mode="markers")) == 4
    assert [shape["y0"] for shape in view["layout"]["shapes"]] == [1.0, 0.2]
    # A method goes from the picture with all that is drawn of it.
    assert {t["legendgroup"] for t in view["data"]} == {"nag", "nag[lr=0.02]", "hf"}


def test_currencies_are_those_of_the_ledger(compared):
    summary, trials, measurements = compared("nag", seeds=1)
    figure = figures.learning_curves(summary, trials, measurements)
    against = figure["switches"][0]["options"]
    assert list(against) == ["gradients", "updates", "examples", "seconds"]
    assert against["seconds"] == "seconds (shared: not ranked)"
    end = measurements[0][-1].ledger
    for name in against:
        (median,) = (t for t in figure["views"][f"{name} train"]["data"] if "name" in t)
        assert median["x"][-1] == pytest.approx(getattr(end, name), rel=0.1)


def test_nothing_measured_is_an_empty_figure(compared):
    summary, trials, _ = compared("nag")
    check(figures.learning_curves(summary, trials, {}))


@pytest.mark.parametrize(
    ("values", "marks"), [([1, 60], "D2"), ([1, 1e6], 1), ([0, 5, 9], None), ([], None)]
)
def test_short_axes_have_marks_between_powers_of_ten(values, marks):
    assert figures._ticks(values).get("dtick") == marks


def test_profiles(compared):
    summary, trials, _ = compared("nag", "hf")
    figure = figures.profiles(summary, trials)
    check(figure)
    steps = summary["profiles"]["methods"]["hf"]["gradients"]
    hf = lines(figure["views"]["gradients"], name="hf")[0]
    assert hf["line"]["shape"] == "hv"
    assert hf["y"][-1] == pytest.approx(steps[-1][1], rel=1e-4)
    assert min(hf["x"]) > 0


def test_expected_best(compared):
    summary, trials, _ = compared("nag", "hf")
    summary["methods"][0]["tuning"] = {"trials": 4, "expected_best": [None, 3.0, 2.0, 1.5]}
    figure = figures.expected_best(summary, trials)
    check(figure)
    (nag,) = figure["views"][""]["data"]
    assert (nag["x"], nag["y"]) == ([1, 2, 3, 4], [None, 3.0, 2.0, 1.5])


def test_diagnostics(compared):
    _, trials, measurements = compared("hf", seeds=2)
    taken = measurements[1]
    taken[3].diagnostics["rate"] = 0.0
    taken[4].diagnostics["lambda"] = float("inf")
    figure = figures.diagnostics(trials, measurements)
    check(figure)
    first, second = figure["views"]["lambda"]["data"]
    told = measurements[0][1:]
    assert first["y"] == pytest.approx([m.diagnostics["lambda"] for m in told], rel=1e-4)
    assert first["x"] == pytest.approx([m.ledger.gradients for m in told], rel=1e-4)
    assert len(second["x"]) == len(taken) - 2 and second["text"] == "seed 1"
    assert second["marker"]["symbol"].index("x") == 2
    # One entry a method in the legend.
    assert [first["showlegend"], second["showlegend"]] == [True, False]
    assert len(lines(figure["views"]["decrease"], mode="lines+markers")) == 4
    assert figure["views"]["rho"]["layout"]["yaxis"]["type"] == "linear"


def test_names_are_no_markup(compared):
    summary, trials, measurements = compared("nag", seeds=1)
    trials = [replace(trial, method="<b>x</b>\u202e") for trial in trials]
    figure = figures.learning_curves(summary, trials, measurements)
    named = [t["name"] for t in figure["views"]["updates train"]["data"] if "name" in t]
    assert named == ["&lt;b&gt;x&lt;/b&gt;\\u202e"]


def test_the_currency_of_the_budget_is_shown_first(compared):
    summary, trials, measurements = compared("nag", "hf")
    summary["protocol"]["budget"]["currency"] = "examples"
    curves = figures.learning_curves(summary, trials, measurements)
    for figure in (curves, figures.profiles(summary, trials)):
        options = list(figure["switches"][0]["options"])
        assert options[0] == "examples" and len(options) == 4
        assert next(iter(figure["views"])).startswith("examples")


def test_training_and_test_data_are_side_by_side_first(compared):
    summary, trials, measurements = compared("nag", "hf")
    figure = figures.learning_curves(summary, trials, measurements)
    assert list(figure["switches"][1]["options"]) == ["both", "train", "test"]
    view = figure["views"]["updates both"]
    left, right = lines(view, name="nag")
    assert (left.get("xaxis"), right["xaxis"], right["yaxis"]) == (None, "x2", "y2")
    assert right["y"] == lines(figure["views"]["updates test"], name="nag")[0]["y"] != left["y"]
    # One entry for both, which hides both; axes of one range; targets in both.
    assert right["showlegend"] is False and right["legendgroup"] == left["legendgroup"]
    assert view["layout"]["yaxis2"]["matches"] == "y" and view["layout"]["xaxis2"]["matches"] == "x"
    assert [s["yref"] for s in view["layout"]["shapes"]] == ["y", "y", "y2", "y2"]


def test_a_share_has_a_linear_axis_whatever_is_compared(compared):
    summary, trials, measurements = compared("nag", "hf")
    summary["methods"][0]["tuning"] = {"trials": 4, "expected_best": [3.0, 2.0]}
    for metric, kind in (("train_accuracy", "linear"), ("train_squared_error", "log")):
        summary["protocol"]["metric"] = metric
        made = [figures.learning_curves(summary, trials, measurements)]
        made.append(figures.expected_best(summary, trials))
        for figure in made:
            kinds = {view["layout"]["yaxis"]["type"] for view in figure["views"].values()}
            assert kinds == {kind}


def test_what_was_spent_is_on_a_linear_axis_within_a_power_of_ten():
    assert figures._across([12e3, 6e4])["type"] == "linear"
    assert figures._across([1, 60])["type"] == "log"


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (0.04, 0.1, ["0.04", "0.06", "0.08", "0.1"]),
        (12e3, 3e4, ["10k", "15k", "20k", "25k", "30k"]),
    ],
)
def test_marks_of_a_short_axis_are_few_and_plain(low, high, written):
    found = figures._ticks([low, high])
    assert found["ticktext"] == written and len(found["tickvals"]) == len(written) <= 6
