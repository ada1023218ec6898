"""Diagnostics of Hessian-free, drawn over the run.

A step reports λ, ρ = (change of h) / (change of the model), the CG steps and the iterate
that backtracking chose, the step's rate (0: rejected), both decreases, and how
often h was evaluated (`bench.optim.hessian_free.HessianFree.step`). Every measurement has the
report of the last update before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.report.style import (
    DPI,
    color,
    faint_grid,
    legible,
    markers,
    save,
    spread_ticks,
)

RHO_SHOWN = (-0.25, 1.75)
"""The axis of ρ; values outside are marked at the edge."""
LOW_RHO, HIGH_RHO = 1 / 4, 3 / 4
"""For ρ between these, λ does not change (Martens 2010, sec. 4.1)."""

_PALEST = 0.55
"""Share of white in the last seed's colour, so that seeds can be distinguished."""
_BESIDE = 5
"""The number of measurements with a marker in each line, at most."""


def reports_damping(measurements: Sequence[Measurement]) -> bool:
    """Return whether a trial reports λ, and so all quantities of this picture."""
    return any("lambda" in m.diagnostics for m in measurements)


def diagnostics(
    trials: Sequence[TrialRecord], measurements: Mapping[int, Sequence[Measurement]], path: Path
) -> None:
    """Draw λ, ρ, CG steps, rate, decreases and evaluations against gradient-equivalents.

    Each trial is a line in its method's colour, paler from seed to seed. A rejected step is marked
    x; a value outside its axis, such as ρ = −∞, is marked at the edge.
    """
    runs = list(_runs(trials, measurements))
    figure = Figure(figsize=(14, 7.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    for axes, draw in zip(panels.flat, _PANELS, strict=True):
        draw(axes, runs)
        axes.set_xscale("log")
        faint_grid(axes)
    for axes in panels.flat:
        # All panels have the limits of the x-axis that the last of them has.
        spread_ticks(axes.xaxis)
        spread_ticks(axes.yaxis)
    for axes in panels[-1]:
        axes.set_xlabel("gradient-equivalents")
    colors = {t.method: color(t.method_name) for t in trials}
    handles = [
        Line2D([], [], color=colors[m], marker=marker, markersize=5, label=legible(m))
        for m, marker in markers(trials).items()
    ]
    if any(run.rejected for run in runs):
        handles.append(_mark("x", "step rejected (rate 0)"))
    if any(run.hopeless or run.risen for run in runs):
        handles.append(_mark("v", "below the axis: ρ = −∞, or no decrease"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 7), frameon=False
    )
    save(figure, path)


@dataclass(frozen=True)
class _Run:
    """One trial's measurements after the first update, with its colour and marker."""

    taken: Sequence[Measurement]
    shade: str
    marker: str

    def points(self, name: str) -> tuple[list[float], list[float]]:
        """Return x and y of the points at which a quantity is reported."""
        found = [m for m in self.taken if name in m.diagnostics]
        return [m.ledger.gradients for m in found], [m.diagnostics[name] for m in found]

    @property
    def rejected(self) -> list[float]:
        """Where a step was rejected."""
        return [m.ledger.gradients for m in self.taken if m.diagnostics.get("rate") == 0]

    @property
    def hopeless(self) -> list[float]:
        """Where ρ was below its axis; ρ = −∞ is not recorded."""
        return [
            m.ledger.gradients
            for m in self.taken
            if m.diagnostics.get("rho", -math.inf) < RHO_SHOWN[0]
        ]

    @property
    def risen(self) -> list[float]:
        """Where a step was accepted although h did not decrease."""
        return [
            m.ledger.gradients
            for m in self.taken
            if m.diagnostics.get("decrease", 1) <= 0 and m.diagnostics.get("rate") != 0
        ]

    def plot(self, axes: Axes, name: str, linestyle: str = "-") -> None:
        """Draw a quantity as a thin line."""
        x, y = self.points(name)
        # A single measurement would give no visible line.
        marker = self.marker or ("o" if len(x) == 1 else "")
        axes.plot(
            x, y, color=self.shade, linestyle=linestyle, linewidth=1.1,
            marker=marker, markersize=4, markevery=max(1, len(x) // _BESIDE),
        )  # fmt: skip

    def at_edge(self, axes: Axes, x: Sequence[float], marker: str, *, top: bool = False) -> None:
        """Mark values beyond the lower edge of the axes, or beyond the upper edge."""
        axes.plot(
            x, [0.97 if top else 0.03] * len(x), linestyle="", marker=marker, markersize=6,
            color=self.shade, transform=axes.get_xaxis_transform(), zorder=4,
        )  # fmt: skip


def _runs(
    trials: Sequence[TrialRecord], measurements: Mapping[int, Sequence[Measurement]]
) -> Iterator[_Run]:
    marker_of = markers(trials)
    for trial in trials:
        seeds = sorted(t.seed for t in trials if t.method == trial.method)
        paleness = _PALEST * seeds.index(trial.seed) / max(1, len(seeds) - 1)
        red, green, blue = (c + paleness * (1 - c) for c in to_rgb(color(trial.method_name)))
        shade = to_hex((red, green, blue))
        taken = [m for m in measurements.get(trial.id, ()) if "lambda" in m.diagnostics]
        # A cost of 0 does not fit on a logarithmic axis.
        taken = [m for m in taken if m.ledger.gradients > 0]
        yield _Run(taken, shade, marker_of[trial.method])


def _damping(axes: Axes, runs: Sequence[_Run]) -> None:
    axes.set_title("damping λ")
    for run in runs:
        run.plot(axes, "lambda")
        axes.plot(
            run.rejected,
            [m.diagnostics["lambda"] for m in run.taken if m.diagnostics.get("rate") == 0],
            linestyle="", marker="x", markersize=6, color=run.shade, zorder=4,
        )  # fmt: skip
    # λ may always be 0, which means no damping.
    _logarithmic(axes, [y for run in runs for y in run.points("lambda")[1]])


def _ratio(axes: Axes, runs: Sequence[_Run]) -> None:
    axes.set_title("reduction ratio ρ (λ rises below ¼, falls above ¾)")
    low, high = RHO_SHOWN
    axes.set_ylim(low, high)
    axes.axhspan(LOW_RHO, HIGH_RHO, color="#f0f0f0", zorder=0)
    for line in (LOW_RHO, HIGH_RHO):
        axes.axhline(line, color="#555555", linestyle=":", linewidth=1.2)
    for run in runs:
        run.plot(axes, "rho")
        x, y = run.points("rho")
        run.at_edge(axes, run.hopeless, "v")
        run.at_edge(axes, [a for a, rho in zip(x, y, strict=True) if rho > high], "^", top=True)


def _cg_steps(axes: Axes, runs: Sequence[_Run]) -> None:
    axes.set_title("CG steps (line) and chosen iterate (dots)")
    for run in runs:
        run.plot(axes, "cg_steps")
        axes.plot(
            *run.points("iterate"), linestyle="", marker="o", markersize=3.5,
            markerfacecolor="white", color=run.shade, zorder=3,
        )  # fmt: skip
    _counted(axes)


def _rate(axes: Axes, runs: Sequence[_Run]) -> None:
    axes.set_title("rate of the step")
    axes.set_ylim(-0.06, 1.06)
    for run in runs:
        run.plot(axes, "rate")
        axes.plot(
            run.rejected, [0.0] * len(run.rejected),
            linestyle="", marker="x", markersize=6, color=run.shade, zorder=4,
        )  # fmt: skip


def _decreases(axes: Axes, runs: Sequence[_Run]) -> None:
    axes.set_title("decrease of h: real (solid), by the model (dashed)")
    for run in runs:
        run.plot(axes, "model_decrease", linestyle="--")
        run.plot(axes, "decrease")
        run.at_edge(axes, run.risen, "v")
        run.at_edge(axes, run.rejected, "x")
    both = ("decrease", "model_decrease")
    _logarithmic(axes, [y for run in runs for name in both for y in run.points(name)[1]])


def _evaluations(axes: Axes, runs: Sequence[_Run]) -> None:
    axes.set_title("evaluations of h in an update")
    for run in runs:
        run.plot(axes, "evaluations")
    _counted(axes)


_PANELS: tuple[Callable[[Axes, Sequence[_Run]], None], ...] = (
    _damping,
    _ratio,
    _cg_steps,
    _decreases,
    _rate,
    _evaluations,
)


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Make the vertical axis logarithmic if there is a positive value."""
    if any(value > 0 and math.isfinite(value) for value in values):
        axes.set_yscale("log", nonpositive="mask")


def _counted(axes: Axes) -> None:
    """Begin the vertical axis at 0, with whole numbers on it."""
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _mark(marker: str, label: str) -> Line2D:
    return Line2D([], [], color="#333333", linestyle="", marker=marker, label=label)
