"""Style of all pictures: a colour for each method, a marker for each variant, and the file."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from bench.harness.core.records import TrialRecord
from bench.harness.core.text import shortened, visible

DPI = 110
MAX_LABEL_LENGTH = 60
"""Characters of a label."""

GRAPHICS = 3.0
"""The least contrast of lines and areas with what is behind them (WCAG 2.2, 1.4.11)."""

# Okabe & Ito's palette, which colour-blind people can tell apart.
_COLORS = {"sgd": "#e69f00", "cm": "#56b4e9", "nag": "#0072b2", "hf": "#d55e00", "hfm": "#009e73"}
_OTHERS = ("#009e73", "#cc79a7", "#000000", "#7f7f7f", "#8c6d31", "#6a3d9a")
_TICKS = 6
"""Numbers along an axis, at most."""
MARKERS = ("", "o", "s", "^", "D", "v", "P")


def color(method_name: str) -> str:
    """Return the fixed colour of a method as #rrggbb; the same on every machine."""
    if method_name in _COLORS:
        return _COLORS[method_name]
    digest = hashlib.sha256(method_name.encode()).digest()
    return _OTHERS[digest[0] % len(_OTHERS)]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, #rrggbb: (L₁ + 0.05) / (L₂ + 0.05), L₁ ≥ L₂.

    L is the relative luminance. Reference: WCAG 2.2, success criteria 1.4.3 (texts: at least 4.5)
    and 1.4.11 (graphics: at least 3).

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    low, high = sorted((luminance(to_rgb(one)), luminance(to_rgb(other))))
    return (high + 0.05) / (low + 0.05)


def luminance(rgb: tuple[float, float, float]) -> float:
    """Return the relative luminance (WCAG 2.2) of a colour r, g, b from 0 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return sum(part * c for part, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def readable(shade: str, background: str) -> str:
    """Return the colour, or the nearest mixture with black or white that graphics can have there.

    Black on a dark background becomes white.
    """
    end = "#ffffff" if luminance(to_rgb(background)) < 0.18 else "#000000"
    if shade == "#000000":
        return end
    for share in np.linspace(0, 1, 101):
        mixed = [
            (1 - share) * a + share * b for a, b in zip(to_rgb(shade), to_rgb(end), strict=True)
        ]
        found = to_hex((mixed[0], mixed[1], mixed[2]))
        if contrast(found, background) >= GRAPHICS:
            return found
    return end


def legible(text: str) -> str:
    """Return a text that matplotlib shows literally, on one line, and not too long.

    A backslash keeps $ from starting a formula. An invisible first character keeps a label that
    begins with _ in the legend.
    """
    shown = shortened(visible(text), MAX_LABEL_LENGTH).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def colors() -> tuple[str, ...]:
    """Return every colour that a method can have."""
    return tuple(dict.fromkeys((*_COLORS.values(), *_OTHERS)))


def markers(trials: Iterable[TrialRecord]) -> dict[str, str]:
    """Return a marker for each method, to distinguish methods with the same name and colour."""
    names = {trial.method: trial.method_name for trial in trials}
    count: Counter[str] = Counter()
    chosen = {}
    for method, name in names.items():
        chosen[method] = MARKERS[count[name] % len(MARKERS)]
        count[name] += 1
    return chosen


def faint_grid(axes: Axes) -> None:
    """Draw a faint grid behind everything else."""
    axes.grid(True, which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Write an SVG if the path ends in .svg, else a PNG; equal figures give equal files."""
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "bench"}):
        # A name may have characters that the font lacks; boxes replace them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        if path.suffix == ".svg":
            FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})
        else:
            FigureCanvasAgg(figure).print_png(str(path))


def spread_ticks(axis: Axis) -> None:
    """Write so few numbers at the marks of an axis that they do not overlap.

    A logarithmic axis has numbers at powers of ten. Where fewer than two of them are in sight, it
    has plain numbers at even steps.
    """
    low, high = axis.get_view_interval()
    if axis.get_scale() != "log" or not 0 < low < high:
        return
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last > first:
        axis.set_major_locator(LogLocator(numticks=_TICKS + 1))
        axis.set_minor_formatter(NullFormatter())
        return
    axis.set_major_locator(MaxNLocator(_TICKS - 1, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}" if x < 1e7 else f"{x:g}"))
    axis.set_minor_locator(NullLocator())
