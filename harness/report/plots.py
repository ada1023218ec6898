"""Pictures of a comparison, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from harness.records import Ledger, Measurement, TrialRecord
from harness.report.style import DPI, color, faint_grid, legible, markers, save
from harness.spec import with_parameters

Floats = NDArray[np.floating[Any]]

_CURRENCIES: tuple[tuple[str, Callable[[Ledger], float]], ...] = (
    ("updates", lambda ledger: ledger.updates),
    ("gradient-equivalents", lambda ledger: ledger.gradients),
    ("seconds", lambda ledger: ledger.seconds),
)


def learning_curves(
    summary: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    path: Path,
) -> None:
    """Draw the metric against updates, gradient-equivalents and seconds.

    A thin line a trial, on training data; per method the median over seeds (thick: training,
    dashed: test data) and the band from least to greatest. A diverged trial is drawn to
    where it ended, marked x, and counts as infinitely bad in median and band from there on.
    """
    protocol = summary["protocol"]
    problem = with_parameters(protocol["problem"], protocol["parameters"])
    figure = Figure(figsize=(15, 5.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    worst = math.inf if protocol["direction"] == "lower" else -math.inf
    marker_of = markers(trials)
    taken = [m for t in trials for m in measurements.get(t.id, ())]
    shown = [y for m in taken for y in (m.train_metric, m.test_metric) if math.isfinite(y)]
    log = summary["scale"] == "log" and all(y > 0 for y in shown)
    for axes, (currency, spent) in zip(panels, _CURRENCIES, strict=True):
        for method, marker in marker_of.items():
            mine = [t for t in trials if t.method == method]
            _draw(axes, mine, measurements, spent, worst, log, marker)
        axes.set_xscale("log")
        axes.set_yscale("log" if log else "linear")
        axes.set_xlabel(currency)
        faint_grid(axes)
        for target in summary["targets"]:
            axes.axhline(target, color="#555555", linestyle=":", linewidth=1.2)
    panels[0].set_ylabel(legible(protocol["metric"].removeprefix("train_").replace("_", " ")))
    shared = any(row["ledger"]["seconds_are"] == "shared" for row in summary["methods"])
    panels[2].set_xlabel("seconds (some shared: not to be ranked)" if shared else "seconds")
    figure.suptitle(f"{legible(problem)} / {protocol['preset']}: {legible(protocol['data'])}")
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
    save(figure, path)


def reconstructions(
    originals: Floats,
    rows: Sequence[tuple[str, Floats]],
    path: Path,
    heads: Sequence[tuple[str, int]] = (),
) -> None:
    """Draw images (n, h, w) and beneath them every row's reconstructions, (n, h, w) each.

    `heads` are what groups of images are called, from the left, and of how many each is.
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


def _draw(
    axes: Axes,
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    spent: Callable[[Ledger], float],
    worst: float,
    log: bool,
    marker: str,
) -> None:
    """Draw one method: its trials, median and band."""
    train, test = [], []
    for trial in trials:
        taken = measurements.get(trial.id, ())
        # A logarithmic axis has no place for the initial point.
        x = np.array([spent(m.ledger) for m in taken if spent(m.ledger) > 0], dtype=float)
        used = [m for m in taken if spent(m.ledger) > 0]
        diverged = trial.status == "diverged"
        train.append((x, np.array([m.train_metric for m in used], dtype=float), diverged))
        test.append((x, np.array([m.test_metric for m in used], dtype=float), diverged))
    shade = color(trials[0].method_name)
    for x, y, diverged in train:
        seen = np.isfinite(y)
        axes.plot(x[seen], y[seen], color=shade, linewidth=0.7, alpha=0.45)
        if diverged and seen.any():
            axes.plot(x[seen][-1], y[seen][-1], "x", color=shade, markersize=8, zorder=4)
    grid, values = _on_grid(train, worst, log)
    if not len(grid):
        return
    low, middle, high = (_shown(f(values, axis=0), log) for f in (np.min, np.median, np.max))
    axes.fill_between(grid, low, high, color=shade, alpha=0.15, linewidth=0)
    every = max(1, len(grid) // 8)
    axes.plot(
        grid, middle, color=shade, linewidth=2.2, marker=marker, markevery=every, markersize=5
    )
    grid, values = _on_grid(test, worst, log)
    if len(grid):
        middle = _shown(np.median(values, axis=0), log)
        axes.plot(grid, middle, color=shade, linewidth=1.3, linestyle="--")


def _on_grid(
    curves: Sequence[tuple[Floats, Floats, bool]], worst: float, log: bool
) -> tuple[Floats, Floats]:
    """Return a common grid of x and all curves on it, (T, X), as the axes interpolate them.

    The grid reaches as far as every trial that did not diverge; one that did is `worst`
    beyond its last finite value. Where `log`, the curves are logarithms.
    """
    curves = [(x[np.isfinite(y)], y[np.isfinite(y)], diverged) for x, y, diverged in curves]
    going = [x for x, _, diverged in curves if not diverged] or [x for x, _, _ in curves]
    if not all(len(x) for x in going):
        return np.empty(0), np.empty((0, 0))
    start = max(x[0] for x, _, _ in curves if len(x))
    grid = np.geomspace(start, max(start, min(x[-1] for x in going)), 200)
    values = [
        np.interp(
            np.log(grid), np.log(x), np.log(y) if log else y, right=worst if diverged else None
        )
        if len(x)
        else np.full(len(grid), worst)
        for x, y, diverged in curves
    ]
    return grid, np.array(values)


def _shown(values: Floats, log: bool) -> Floats:
    finite = np.where(np.isfinite(values), values, np.nan)
    return np.exp(finite) if log else finite
