"""Pictures of a comparison, as PNG or SVG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.report.curves import (
    CURRENCIES,
    Curve,
    Floats,
    Scale,
    band,
    metric_in_words,
    profile_steps,
)
from bench.harness.report.style import (
    DPI,
    color,
    faint_grid,
    legible,
    markers,
    save,
    spread_ticks,
)
from bench.harness.report.table import title

_SHOWN = ("updates", "gradients", "seconds")
"""Not examples, which are proportional to updates for each method; the page shows them too."""


def learning_curves(
    summary: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    path: Path,
) -> None:
    """Write the picture of the learning curves (`learning_curves_figure`)."""
    save(learning_curves_figure(summary, trials, measurements), path)


def learning_curves_figure(
    summary: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    kind: type[Figure] = Figure,
) -> Figure:
    """Draw the metric against updates, gradient-equivalents and seconds.

    Each trial is a thin line on training data. Each method has the median over seeds (thick:
    training, dashed: test data) and the band from least to greatest. A diverged trial is drawn up
    to its end, marked x, and counts as infinitely bad in median and band after it.
    """
    protocol = summary["protocol"]
    figure = kind(figsize=(15, 5.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    marker_of = markers(trials)
    taken = [m for t in trials for m in measurements.get(t.id, ())]
    scale = Scale.of_summary(summary, taken)
    for axes, currency in zip(panels, _SHOWN, strict=True):
        for method, marker in marker_of.items():
            mine = [t for t in trials if t.method == method]
            _draw(axes, mine, measurements, currency, scale, marker)
        axes.set_xscale("log")
        axes.set_yscale("log" if scale.log else "linear")
        axes.set_xlabel(CURRENCIES[currency])
        faint_grid(axes)
        for target in summary["targets"]:
            axes.axhline(target, color="#555555", linestyle=":", linewidth=1.2)
    for axes in panels:
        spread_ticks(axes.xaxis)
        spread_ticks(axes.yaxis)
    panels[0].set_ylabel(legible(metric_in_words(protocol["metric"])))
    shared = any(row["ledger"]["seconds_are"] == "shared" for row in summary["methods"])
    panels[2].set_xlabel("seconds (some shared: not ranked)" if shared else "seconds")
    figure.suptitle(f"{legible(title(protocol))}: {legible(protocol['data'])}")
    colors = {t.method: color(t.method_name) for t in trials}
    handles = [
        Line2D([], [], color=colors[m], linewidth=2.2, marker=marker, label=legible(m))
        for m, marker in marker_of.items()
    ]
    handles += [
        Line2D([], [], color="#333333", linewidth=2.2, label="training, median of seeds"),
        Line2D([], [], color="#333333", linestyle="--", label="test, median of seeds"),
    ]
    if summary["targets"]:
        handles.append(Line2D([], [], color="#555555", linestyle=":", label="target"))
    if any(t.status == "diverged" for t in trials):
        handles.append(Line2D([], [], color="#333333", linestyle="", marker="x", label="diverged"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 9), frameon=False
    )
    return figure


def reconstructions(
    originals: Floats,
    rows: Sequence[tuple[str, Floats]],
    path: Path,
    heads: Sequence[tuple[str, int]] = (),
) -> None:
    """Draw images (n, h, w) and beneath them every row's reconstructions, (n, h, w) each.

    `heads` are the names of groups of images, from the left, and the size of each group.
    """
    n, h, w = originals.shape
    low, high = float(originals.min()), float(originals.max())
    lines = [("originals", originals)]
    lines += [("\n".join(map(legible, label.split("\n"))), images) for label, images in rows]
    longest = max(len(part) for label, _ in lines for part in label.split("\n"))
    margin = 0.25 + 0.1 * longest
    tile = 0.8
    top = 0.4 if heads else 0.15
    size = (margin + n * tile + 0.15, len(lines) * tile * h / w + top + 0.15)
    figure = Figure(figsize=size, dpi=DPI)
    gap = max(1, w // 14)
    height = (size[1] - top - 0.15) / len(lines) / size[1]
    start = 0
    for head, count in heads:
        middle = margin + (start + count / 2) * tile
        figure.text(middle / size[0], 1 - 0.2 / size[1], head, ha="center", va="center")
        start += count
    for i, (label, images) in enumerate(lines):
        bottom = 1 - top / size[1] - (i + 1) * height
        axes = figure.add_axes(
            (margin / size[0], bottom, n * tile / size[0], height * (1 - gap / (h + gap)))
        )
        strip = np.full((h, n * (w + gap) - gap), np.nan)
        for j, image in enumerate(images):
            strip[:, j * (w + gap) : j * (w + gap) + w] = image
        axes.imshow(strip, cmap="gray", vmin=low, vmax=high, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.text(-0.1 / (n * tile), 0.5, label, ha="right", va="center", transform=axes.transAxes)
    save(figure, path)


def profiles(summary: Mapping[str, Any], trials: Sequence[TrialRecord], path: Path) -> None:
    """Draw the share of (trial, target) pairs reached against updates, gradients and seconds."""
    figure = Figure(figsize=(15, 4.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    marker_of = markers(trials)
    names = {row["method"]: row["name"] for row in summary["methods"]}
    for axes, currency in zip(panels, _SHOWN, strict=True):
        for method, (x, share) in profile_steps(summary, currency).items():
            shade, marker = color(names[method]), marker_of[method]
            axes.step(
                x, share, where="post", color=shade, marker=marker, label=legible(method),
                markevery=max(1, len(x) // 8), markersize=5,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel(CURRENCIES[currency])
        axes.set_ylim(-0.02, 1.02)
        faint_grid(axes)
        spread_ticks(axes.xaxis)
    panels[0].set_ylabel("share of targets reached")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(names), 7),
        frameon=False,
    )
    save(figure, path)


def _draw(
    axes: Axes,
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    currency: str,
    scale: Scale,
    marker: str,
) -> None:
    """Draw one method: its trials, median and band."""
    taken = [(trial, measurements.get(trial.id, ())) for trial in trials]
    train = [Curve.of(trial, mine, currency, "train") for trial, mine in taken]
    test = [Curve.of(trial, mine, currency, "test") for trial, mine in taken]
    shade = color(trials[0].method_name)
    for curve in train:
        seen = curve.finite
        axes.plot(seen.x, seen.y, color=shade, linewidth=0.7, alpha=0.45)
        if curve.diverged and len(seen.x):
            axes.plot(seen.x[-1], seen.y[-1], "x", color=shade, markersize=8, zorder=4)
    if (of_train := band(train, scale)) is None:
        return
    axes.fill_between(of_train.x, of_train.low, of_train.high, color=shade, alpha=0.15, linewidth=0)
    every = max(1, len(of_train.x) // 8)
    axes.plot(
        of_train.x, of_train.median,
        color=shade, linewidth=2.2, marker=marker, markevery=every, markersize=5,
    )  # fmt: skip
    if (of_test := band(test, scale)) is not None:
        axes.plot(of_test.x, of_test.median, color=shade, linewidth=1.3, linestyle="--")
