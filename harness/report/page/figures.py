"""Interactive figures in plotly's format: plain dictionaries, so that plotly is not imported.

A figure has switches, for example for the currency, and a view for every choice: {"switches":
[{"name": …, "options": {value: label}}], "views": {"updates train": {"data": […], "layout":
{…}}}}. The page adapts colours and sizes to the reader's screen.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.core.text import shortened, visible
from bench.harness.report.budget_plot import MOST_MARKS, is_log
from bench.harness.report.curves import (
    CURRENCIES,
    Curve,
    Data,
    Floats,
    Scale,
    band,
    metric_in_words,
    profile_steps,
)
from bench.harness.report.style import MAX_LABEL_LENGTH, color, markers

Plain = dict[str, Any]
DATA: dict[Data, str] = {"train": "training data", "test": "test data"}
BOTH = "both"
"""The view with a panel for training data and one for test data."""
DIAGNOSTICS = {
    "lambda": "damping λ",
    "rho": "reduction ratio ρ",
    "cg_steps": "CG steps",
    "decrease": "decrease of h",
    "rate": "rate of the step",
    "evaluations": "evaluations of h",
}
"""Key in the Hessian-free report → label."""

_POINTS = 70
"""Points of a median and its band."""
_TICKS = 6
"""So many marks of an axis, about; their labels do not overlap on a narrow screen either."""
_SHORT = 200.0
"""The largest ratio of an axis's ends for which there are marks between powers of ten."""
_LOGARITHMIC = ("lambda", "decrease")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""Line styles that distinguish methods with the same name and colour."""


def learning_curves(
    summary: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
) -> Plain:
    """Return the metric against every currency: median and band per method, a line per trial.

    The first view has training and test data side by side, on axes of the same range.
    """
    protocol = summary["protocol"]
    taken = [m for t in trials for m in measurements.get(t.id, ())]
    scale = Scale.of_summary(summary, taken)
    metric = metric_in_words(protocol["metric"])
    shared = any(row["ledger"]["seconds_are"] == "shared" for row in summary["methods"])
    currencies = _currencies(summary)
    if shared:
        currencies["seconds"] = "seconds (shared: not ranked)"
    options = {BOTH: "training and test", "train": DATA["train"], "test": DATA["test"]}
    views = {}
    for currency, label in currencies.items():
        panels: dict[str, list[Plain]] = {}
        for data in DATA:
            traces: list[Plain] = []
            for method, dash in _dashes(trials).items():
                mine = [t for t in trials if t.method == method]
                curves = [Curve.of(t, measurements.get(t.id, ()), currency, data) for t in mine]
                traces += _method(mine[0], curves, scale, dash)
            panels[data] = traces
        both = [*panels["train"], *(_beside(trace) for trace in panels["test"])]
        for view, shown in {BOTH: both, **panels}.items():
            of = "" if view == BOTH else f", {options[view]}"
            targets = summary["targets"]
            layout = _layout(shown, label, f"{metric}{of}", log=scale.log, include=targets)
            if view == BOTH:
                _add_panel(layout, targets)
            else:
                layout["shapes"] = [_line(target) for target in targets]
            views[f"{currency} {view}"] = {"data": shown, "layout": layout}
    return {
        "switches": [
            {"name": "Against", "options": currencies},
            {"name": "On", "options": options},
        ],
        "views": views,
    }


def _beside(trace: Plain) -> Plain:
    """Return a trace in the second panel; the first one's entry in the legend stands for both."""
    return trace | {"xaxis": "x2", "yaxis": "y2", "showlegend": False}


def _add_panel(layout: Plain, targets: Sequence[float]) -> None:
    """Add a second panel on the right; a narrow screen puts it below (report.js)."""
    layout["xaxis2"] = {**layout["xaxis"], "anchor": "y2", "matches": "x", "domain": [0.52, 1]}
    layout["yaxis2"] = {**layout["yaxis"], "anchor": "x2", "matches": "y", "showticklabels": False}
    del layout["yaxis2"]["title"]
    layout["xaxis"] |= {"domain": [0, 0.48]}
    layout["shapes"] = [
        _line(target) | {"xref": f"{x} domain", "yref": x.replace("x", "y")}
        for x in ("x", "x2")
        for target in targets
    ]
    layout["annotations"] = [
        {
            "text": label, "xref": f"{axis} domain", "yref": f"{axis.replace('x', 'y')} domain",
            "x": 0.5, "y": 1, "xanchor": "center", "yanchor": "bottom", "showarrow": False,
        }
        for axis, label in zip(("x", "x2"), DATA.values(), strict=True)
    ]  # fmt: skip


def profiles(summary: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Plain:
    """Return the share of targets reached against every currency."""
    names, dashes = {t.method: t.method_name for t in trials}, _dashes(trials)
    views = {}
    for currency, label in _currencies(summary).items():
        traces = [
            {
                "type": "scatter",
                "mode": "lines",
                "name": _label(method),
                "x": _rounded(x),
                "y": _rounded(share),
                "line": {"shape": "hv", "color": color(names[method]), "dash": dashes[method]},
                "hovertemplate": "%{y:.0%} of targets at %{x:,.4~g}<extra>%{fullData.name}</extra>",
            }
            for method, (x, share) in profile_steps(summary, currency).items()
        ]
        layout = _layout(traces, label, "share of targets reached", log=False)
        layout["yaxis"] |= {"range": [-0.02, 1.02], "tickformat": ".0%"}
        views[currency] = {"data": traces, "layout": layout}
    return {"switches": [{"name": "Against", "options": _currencies(summary)}], "views": views}


def _currencies(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return names and labels of currencies; the budget's currency comes first."""
    first = summary["protocol"]["budget"]["currency"]
    return {first: CURRENCIES[first], **CURRENCIES}


def expected_best(summary: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Plain:
    """Return the expected best of k tuning points, one line for each method."""
    dashes = _dashes(trials)
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": _label(row["method"]),
            "x": list(range(1, len(row["tuning"]["expected_best"]) + 1)),
            "y": _rounded(row["tuning"]["expected_best"]),
            "line": {"color": color(row["name"]), "dash": dashes[row["method"]]},
            "hovertemplate": "%{y:.4~g} with %{x} points<extra>%{fullData.name}</extra>",
        }
        for row in summary["methods"]
        if row["tuning"].get("expected_best")
    ]
    shown = _drawn(traces)
    metric = metric_in_words(summary["protocol"]["metric"])
    log = Scale.of_summary(summary, ()).log and all(y > 0 for y in shown)
    layout = _layout(traces, "tuning points", f"expected best {metric}", log=log)
    layout["xaxis"] = {
        "automargin": True, "title": {"text": "tuning points"}, "tickformat": "d", "nticks": _TICKS,
        "tickangle": 0,
    }  # fmt: skip
    return {"switches": [], "views": {"": {"data": traces, "layout": layout}}}


def budgets(curve: Mapping[str, Any]) -> Plain:
    """Return the judged metric against the budget: mean and band of the interval per method."""
    traces: list[Plain] = []
    count: Counter[str] = Counter()
    for row in curve["methods"]:
        shade = color(row["name"])
        dash = _DASHES[count[shade] % len(_DASHES)]
        count[shade] += 1
        common: Plain = {"legendgroup": row["method"], "type": "scatter"}
        quiet = common | {"showlegend": False, "hoverinfo": "skip", "mode": "lines"}
        known = [point for point in row["points"] if point["mean"] is not None]
        banded = [point for point in known if point["low"] is not None]
        x = _rounded(point["amount"] for point in banded)
        edge = quiet | {"x": x, "line": {"width": 0, "color": shade}}
        # The page fills it with a translucent shade of the line's colour (report.js).
        traces += [
            edge | {"y": _rounded(point["low"] for point in banded)},
            edge | {"y": _rounded(point["high"] for point in banded), "fill": "tonexty"},
            common
            | {
                "mode": "lines+markers",
                "name": _label(row["method"]),
                "x": _rounded(point["amount"] for point in known),
                "y": _rounded(point["mean"] for point in known),
                "line": {"width": 2.4, "color": shade, "dash": dash},
                "text": [
                    "–" if point["low"] is None else f"{point['low']:.3g} to {point['high']:.3g}"
                    for point in known
                ],
                "hovertemplate": "%{y:.4~g} (%{text}) at %{x:,.4~g}<extra>%{fullData.name}</extra>",
            },
        ]
    label = f"budget, {CURRENCIES[curve['currency']]}"
    layout = _layout(traces, label, curve["metric"]["words"], log=is_log(curve))
    amounts = [each["amount"] for each in curve["budgets"]]
    across = _ticks(amounts)
    if len(amounts) <= MOST_MARKS:
        across = {"type": "log", "tickvals": amounts, "ticktext": [_short(x) for x in amounts]}
    layout["xaxis"] = {"automargin": True, "title": {"text": label}, "tickangle": 0, **across}
    return {"switches": [], "views": {"": {"data": traces, "layout": layout}}}


def diagnostics(
    trials: Sequence[TrialRecord], measurements: Mapping[int, Sequence[Measurement]]
) -> Plain:
    """Return the diagnostics of Hessian-free against gradient-equivalents, a line for each trial.

    The decrease that the model predicts is dashed; a rejected step is marked x.
    """
    views = {}
    for name, label in DIAGNOSTICS.items():
        traces: list[Plain] = []
        for trial in trials:
            taken = [m for m in measurements.get(trial.id, ()) if m.ledger.gradients > 0]
            traces.append(_reported(trial, taken, name))
            if name == "decrease":
                traces.append(_reported(trial, taken, "model_decrease", dash="dash"))
        for first in {trace["legendgroup"]: trace for trace in reversed(traces)}.values():
            first["showlegend"] = True
        log = name in _LOGARITHMIC and any(y > 0 for y in _drawn(traces))
        views[name] = {
            "data": traces,
            "layout": _layout(traces, "gradient-equivalents", label, log=log),
        }
    return {"switches": [{"name": "Show", "options": DIAGNOSTICS}], "views": views}


def _method(first: TrialRecord, curves: Sequence[Curve], scale: Scale, dash: str) -> list[Plain]:
    """Return one method's band, the thin line of each trial, and the median over them."""
    shade = color(first.method_name)
    common: Plain = {"legendgroup": first.method, "type": "scatter"}
    quiet = common | {"showlegend": False, "hoverinfo": "skip"}
    traces: list[Plain] = []
    found = band(curves, scale)
    if found is not None:
        some = np.linspace(0, len(found.x) - 1, _POINTS).round().astype(int)
        x = _rounded(found.x[some])
        edge = quiet | {"mode": "lines", "x": x, "line": {"width": 0, "color": shade}}
        # The page fills it with a translucent shade of the line's colour (report.js).
        filled = {"fill": "tonexty"}
        traces += [
            edge | {"y": _rounded(found.low[some])},
            edge | {"y": _rounded(found.high[some])} | filled,
        ]
    for curve in curves:
        seen = curve.finite
        line = {"mode": "lines", "line": {"width": 0.8, "color": shade}, "opacity": 0.45}
        traces.append(quiet | line | {"x": _rounded(seen.x), "y": _rounded(seen.y)})
        if curve.diverged and len(seen.x):
            end = {"x": _rounded(seen.x[-1:]), "y": _rounded(seen.y[-1:]), "mode": "markers"}
            traces.append(quiet | end | {"marker": {"symbol": "x", "size": 9, "color": shade}})
    median = common | {"mode": "lines", "name": _label(first.method), "x": [], "y": []}
    median |= {"line": {"width": 2.4, "color": shade, "dash": dash}}
    if found is not None:
        spread = zip(found.low[some], found.high[some], strict=True)
        median |= {
            "x": x,
            "y": _rounded(found.median[some]),
            "text": [f"{low:.3g} to {high:.3g}" for low, high in spread],
            "hovertemplate": "%{y:.4~g} (%{text}) at %{x:,.4~g}<extra>%{fullData.name}</extra>",
        }
    return [*traces, median]


def _reported(
    trial: TrialRecord, taken: Iterable[Measurement], name: str, dash: str = "solid"
) -> Plain:
    found = [m for m in taken if math.isfinite(m.diagnostics.get(name, math.nan))]
    rejected = ["x" if m.diagnostics.get("rate") == 0 else "circle" for m in found]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": _label(trial.method),
        "text": f"seed {trial.seed}",
        "legendgroup": trial.method,
        "showlegend": False,
        "x": _rounded(m.ledger.gradients for m in found),
        "y": _rounded(m.diagnostics[name] for m in found),
        "line": {"width": 1.2, "color": color(trial.method_name), "dash": dash},
        "marker": {"size": [8 if each == "x" else 4 for each in rejected], "symbol": rejected},
        "hovertemplate": "%{y:.4~g} at %{x:,.4~g}, %{text}<extra>%{fullData.name}</extra>",
    }


def _drawn(traces: Iterable[Plain], axis: str = "y") -> list[float]:
    return [value for trace in traces for value in trace[axis] if value is not None]


def _ticks(values: Sequence[float]) -> Plain:
    """Return a logarithmic axis with marks at powers of ten, or at 1, 2, 5 if it is short.

    Below one power of ten there are a few marks at even steps, with whole numbers beside them.
    """
    shown = [value for value in values if value > 0] or [1.0]
    low, high = min(shown), max(shown)
    reach = high / low
    if reach < 10:
        marks = MaxNLocator(_TICKS - 2, steps=[1, 2, 5, 10]).tick_values(low, high)
        marks = [float(f"{mark:.12g}") for mark in marks if mark > 0]
        return {"type": "log", "tickvals": marks, "ticktext": [_short(mark) for mark in marks]}
    step = math.ceil(math.log10(reach) / _TICKS)
    return {"type": "log", "exponentformat": "power", "dtick": "D2" if reach < _SHORT else step}


def _across(values: Sequence[float]) -> Plain:
    """Return the axis of what was spent: logarithmic if it spans a power of ten."""
    found = _ticks(values)
    if "tickvals" not in found:
        return found | {"tickangle": 0}
    return {"type": "linear", "exponentformat": "SI", "nticks": _TICKS, "tickangle": 0}


def _short(value: float) -> str:
    """Write a number beside a mark.

    >>> _short(15000), _short(2.5e6), _short(0.05)
    ('15k', '2.5M', '0.05')
    """
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e9:
            return f"{value / (size if letter == 'M' else 1e3):.6g}{letter}"
    return f"{value:.6g}"


def _layout(
    traces: Sequence[Plain], x: str, y: str, *, log: bool, include: Sequence[float] = ()
) -> Plain:
    """Return axes and legend; the vertical axis includes these values."""
    ticks = (
        _ticks([*_drawn(traces, "y"), *include])
        if log
        else {"type": "linear", "nticks": _TICKS + 2}
    )
    return {
        "xaxis": {"automargin": True, "title": {"text": x}, **_across(_drawn(traces, "x"))},
        "yaxis": {"automargin": True, "title": {"text": html.escape(y)}, **ticks},
        "hovermode": "closest",
        "legend": {
            "orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0,
            "groupclick": "togglegroup",
        },
    }  # fmt: skip


def _line(target: float) -> Plain:
    return {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": target, "y1": target,
        "line": {"dash": "dot", "width": 1},
        "label": {"text": f"target {target:g}", "textposition": "end", "font": {"size": 11}},
    }  # fmt: skip


def _dashes(trials: Iterable[TrialRecord]) -> dict[str, str]:
    """Return a line style for each method, to distinguish methods with the same name."""
    order = list(dict.fromkeys(markers(trials).values()))
    return {m: _DASHES[order.index(mark) % len(_DASHES)] for m, mark in markers(trials).items()}


def _label(method: str) -> str:
    """Return a label without markup that plotly would interpret."""
    return html.escape(shortened(visible(method), MAX_LABEL_LENGTH))


def _rounded(values: Iterable[float | None] | Floats) -> list[float | None]:
    """Return numbers with five digits, which suffice for a screen; None if not finite."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.5g}") for v in values]
