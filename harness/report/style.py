"""Style of all pictures: a colour for each method, a marker for each variant, and the file."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.harness.core.records import TrialRecord
from bench.harness.core.text import shortened, visible

DPI = 110
MAX_LABEL_LENGTH = 60
"""Characters of a label."""

# Okabe & Ito's palette, which colour-blind people can tell apart.
_COLORS = {"sgd": "#e69f00", "cm": "#56b4e9", "nag": "#0072b2", "hf": "#d55e00", "hfm": "#009e73"}
_OTHERS = ("#009e73", "#cc79a7", "#000000", "#7f7f7f", "#8c6d31", "#6a3d9a")
_MARKERS = ("", "o", "s", "^", "D", "v", "P")


def color(method_name: str) -> str:
    """Return the fixed colour of a method as #rrggbb; the same on every machine."""
    if method_name in _COLORS:
        return _COLORS[method_name]
    digest = hashlib.sha256(method_name.encode()).digest()
    return _OTHERS[digest[0] % len(_OTHERS)]


def legible(text: str) -> str:
    """Return a text that matplotlib shows literally, on one line, and not too long.

    A backslash keeps $ from starting a formula. An invisible first character keeps a label that
    begins with _ in the legend.
    """
    shown = shortened(visible(text), MAX_LABEL_LENGTH).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def markers(trials: Iterable[TrialRecord]) -> dict[str, str]:
    """Return a marker for each method, to distinguish methods with the same name and colour."""
    names = {trial.method: trial.method_name for trial in trials}
    count: Counter[str] = Counter()
    chosen = {}
    for method, name in names.items():
        chosen[method] = _MARKERS[count[name] % len(_MARKERS)]
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
