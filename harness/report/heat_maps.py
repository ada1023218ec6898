"""Results over ε and μ_max as heat maps: their colours, and the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from bench.harness.analysis.sensitivity import Grid, Point
from bench.harness.report.style import DPI, legible, luminance, save
from bench.harness.report.table import number

_MAP = "viridis"
"""Perceptually uniform and legible for colour-blind people; lighter is better."""
_DIVERGED = ("#8a8a8a", "#000000")
"""Colours of a point at which a trial diverged."""


@dataclass(frozen=True)
class Colors:
    """Maps values to a background colour and a legible text colour."""

    best: float
    worst: float
    log: bool

    @classmethod
    def of(cls, points: Sequence[Point], direction: str, log: bool) -> Colors:
        """Return colours from the worst to the best value among points."""
        values = [p.value for p in points if p.value is not None] or [1.0]
        low, high = min(values), max(values)
        best, worst = (low, high) if direction == "lower" else (high, low)
        return cls(best, worst, log and low > 0)

    def __call__(self, value: float | None) -> tuple[str, str]:
        """Return #rrggbb of background and text, with a contrast of at least 4.5."""
        if value is None:
            return _DIVERGED
        scaled = math.log if self.log else float
        worst, best = scaled(self.worst), scaled(self.best)
        share = 1.0 if worst == best else (scaled(value) - worst) / (best - worst)
        red, green, blue, _ = colormaps[_MAP](share)
        return to_hex((red, green, blue)), ink((red, green, blue))


def ink(background: tuple[float, float, float]) -> str:
    """Return black or white, whichever has more contrast with a colour, r, g, b from 0 to 1.

    Contrast is (L₁ + 0.05) / (L₂ + 0.05) with L the relative luminance (WCAG 2.2): one of the two
    always has 4.58 or more.
    """
    return "#000000" if (luminance(background) + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def heat_maps(grids: Sequence[tuple[str, Grid]], direction: str, log: bool, path: Path) -> None:
    """Draw every grid under its name: a row for each μ_max, a column for each ε."""
    widest = max(len(grid.step_sizes) for _, grid in grids)
    rows = sum(len(grid.momenta) + 1.6 for _, grid in grids)
    figure = Figure(figsize=(2 + 1.05 * widest, 0.5 * rows), dpi=DPI, layout="constrained")
    heights = [len(grid.momenta) for _, grid in grids]
    panels = figure.subplots(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, grid) in zip(panels, grids, strict=True):
        colors = Colors.of(list(grid.points.values()), direction, log)
        for (momentum, size), point in grid.points.items():
            row, column = grid.momenta.index(momentum), grid.step_sizes.index(size)
            background, letters = colors(point.value)
            axes.fill([column, column + 1, column + 1, column], [row, row, row + 1, row + 1],
                      color=background, linewidth=0)  # fmt: skip
            axes.text(
                column + 0.5, row + 0.5, value_in_words(point),
                color=letters, ha="center", va="center",
            )  # fmt: skip
        axes.set_xlim(0, len(grid.step_sizes))
        axes.set_ylim(len(grid.momenta), 0)
        axes.set_xticks(np.arange(len(grid.step_sizes)) + 0.5, [f"{x:g}" for x in grid.step_sizes])
        axes.set_yticks(
            np.arange(len(grid.momenta)) + 0.5,
            ["–" if mu is None else f"{mu:g}" for mu in grid.momenta],
        )
        axes.tick_params(length=0)
        axes.set_ylabel("μ_max")
        axes.set_title(legible(name))
    panels[-1].set_xlabel("ε")
    save(figure, path)


def value_in_words(point: Point) -> str:
    """Write a point's value, or "diverged"."""
    return "diverged" if point.value is None else number(point.value)
