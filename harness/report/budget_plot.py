"""The picture of results at the ends of several budgets: a line for each method."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.harness.report.curves import CURRENCIES
from bench.harness.report.style import (
    DPI,
    MARKERS,
    color,
    faint_grid,
    legible,
    save,
    spread_ticks,
)
from bench.harness.report.table import judged, number, title

Plain = Mapping[str, Any]

FILLED = "o"
MOST_MARKS = 6
"""Up to so many budgets are marked on the axis, each where it is."""


def budget_plot(curve: Plain, path: Path) -> None:
    """Write the picture of the curves (`budget_figure`)."""
    save(budget_figure(curve), path)


def budget_figure(curve: Plain, kind: type[Figure] = Figure) -> Figure:
    """Draw the mean of the judged metric against the budget, with the band of its 95 % interval.

    Each point is the result of runs that ended at that budget. A budget at which a trial of a
    method diverged has no point. The axis of the metric is logarithmic where all of it is positive.
    """
    figure = kind(figsize=(8, 5.4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    count: Counter[str] = Counter()
    handles = []
    for row in curve["methods"]:
        marker = MARKERS[count[row["name"]] % len(MARKERS)] or FILLED
        count[row["name"]] += 1
        shade, points = color(row["name"]), row["points"]
        x = [point["amount"] for point in points]
        axes.plot(x, _values(points, "mean"), color=shade, marker=marker, linewidth=2.2)
        low, high = _values(points, "low"), _values(points, "high")
        axes.fill_between(x, low, high, color=shade, alpha=0.18, linewidth=0)
        handles.append(
            Line2D([], [], color=shade, marker=marker, linewidth=2.2, label=legible(row["method"]))
        )
    axes.set_xscale("log")
    axes.set_yscale("log" if is_log(curve) else "linear")
    axes.set_xlabel(f"budget, {CURRENCIES[curve['currency']]}: each run to its own end")
    axes.set_ylabel(legible(judged(curve)["words"]))
    faint_grid(axes)
    spread_ticks(axes.yaxis)
    budgets = [each["amount"] for each in curve["budgets"]]
    if len(budgets) <= MOST_MARKS:
        axes.set_xticks(budgets, [number(amount) for amount in budgets])
        axes.set_xticks([], minor=True)
    else:
        spread_ticks(axes.xaxis)
    figure.suptitle(f"{legible(title(curve['protocol']))}: {legible(curve['protocol']['data'])}")
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def is_log(curve: Plain) -> bool:
    """Say whether the axis of the metric is logarithmic: where all means and ends are positive."""
    shown = [
        point[name]
        for row in curve["methods"]
        for point in row["points"]
        for name in ("mean", "low", "high")
        if point[name] is not None
    ]
    is_share = bool(curve["is_share"])
    return curve["scale"] == "log" and not is_share and bool(shown) and min(shown) > 0


def _values(points: list[Plain], name: str) -> list[float]:
    return [math.nan if point[name] is None else point[name] for point in points]
