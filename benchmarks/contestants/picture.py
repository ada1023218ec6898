"""The picture of the contestants: final training error by method, a panel for each problem.

python -m benchmarks.contestants.picture
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.harness.report.style import DPI, color, faint_grid, save
from benchmarks import render
from benchmarks.contestants.entries import PROBLEMS
from benchmarks.contestants.section import ranked

PICTURE = Path(__file__).parents[2] / "docs" / "contestants.png"
OF_2013 = ("sgd", "cm", "nag", "hf")
TODAY = "#555555"


@click.command()
@click.option("--json", "path", default=render.RESULTS / "contestants.json", type=Path)
@click.option("--to", default=PICTURE, type=Path)
def main(path: Path, to: Path) -> None:
    """Draw the results of all problems that have one."""
    if not path.exists():
        raise click.UsageError(
            f"There is no {path}. Run `python -m benchmarks.contestants.run` first, or name "
            "another file with --json."
        )
    save(figure(json.loads(path.read_text())), to)


def figure(content: Mapping[str, Any]) -> Figure:
    """Draw mean and 95 % interval of every method, and its seeds, relative to the best mean.

    Ratios to it on a logarithmic axis where the means are geometric, else differences from it.
    """
    done = [content[problem] for problem in PROBLEMS if problem in content]
    wide = min(2, len(done))
    high = -(-len(done) // wide)
    methods = max(len(of["methods"]) for of in done)
    size = (6.2 * wide, (1.6 + 0.32 * methods) * high)
    drawn = Figure(figsize=size, dpi=DPI, layout="constrained")
    for place, of in enumerate(done, 1):
        _panel(drawn.add_subplot(high, wide, place), of)
    return drawn


def _panel(axes: Axes, of: Mapping[str, Any]) -> None:
    methods, protocol = ranked(of), of["protocol"]
    best = methods[0]["mean"]
    log = methods[0]["scale"] == "log"
    for place, row in enumerate(methods):
        shade = color(row["name"]) if row["name"] in OF_2013 else TODAY
        if row["mean"] is None:
            axes.text(
                0.02, place, f"diverged: {row['diverged']} of {row['n']}",
                va="center", color=shade, transform=axes.get_yaxis_transform(),
            )  # fmt: skip
            continue
        low, mean, high, *seeds = (
            value / best if log else value - best
            for value in (row["low"], row["mean"], row["high"], *row["values"])
        )
        axes.plot(seeds, [place] * len(seeds), "o", color=shade, alpha=0.25, markersize=4)
        axes.plot([low, high], [place, place], "-", color=shade, linewidth=2.2)
        axes.plot([mean], [place], "D", color=shade, markersize=6)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1.0 if log else 0.0, color="#555555", linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(methods)), [row["name"] for row in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    how = "ratio to the best mean" if log else "difference from the best mean"
    axes.set_xlabel(f"{of['words']}: {how}")
    axes.set_title(f"{protocol['problem']} / {protocol['preset']}")
    faint_grid(axes)


if __name__ == "__main__":
    main()
