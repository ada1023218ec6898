"""RESULTS.md, rendered from benchmarks/results/*.json and nothing else.

python -m benchmarks.render
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.harness.report.table import number
from benchmarks.contestants import section as contestants
from benchmarks.hessian_free import adding
from benchmarks.machine import ran_on
from benchmarks.paper import claims, projection, table_section
from benchmarks.paper.grids import TABLES
from benchmarks.paper.long_sections import martens, nag

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "RESULTS.md"
HEAD = """\
# Measured

Rendered from `benchmarks/results/*.json` by `python -m benchmarks.render`; do not edit.

A ratio is the median over n rounds of *measured* ÷ *against*. Both are timed in turns in one
process, so that whatever else the machine does hits both; the seconds beside it are medians of
the same rounds, hold for that machine at that hour, and are there for orientation only. Where
rates stand in their place the ratio is one of rates, and more is better.
"""


def page(folder: Path) -> str:
    """Return the page of a folder of results; a file that is not there has no section."""
    sections = [
        make(json.loads(path.read_text()))
        for name, make in SECTIONS.items()
        if (path := folder / f"{name}.json").exists()
    ]
    return "\n".join([HEAD, *sections])


def section(content: Mapping[str, Any]) -> str:
    """Return one benchmark's section: where and how it ran, its table, its notes."""
    table = [
        "| case | threads | measured | against | **ratio** | quartiles | min – max | n "
        "| measured | against | goal |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(figure) for figure in content["figures"]),
    ]
    return "\n".join(
        [
            f"## {content['title']}",
            "",
            *ran_on(content),
            "",
            *table,
            "",
            *(f"* {note}" for note in content["notes"]),
            "",
        ]
    )


def _row(figure: Mapping[str, Any]) -> str:
    ratio = figure["ratio"]
    cells = [
        figure["case"],
        figure["threads"],
        figure["measured"],
        figure["against"],
        f"**{ratio['median']:.3g}**",
        f"{ratio['low_quartile']:.3g} – {ratio['high_quartile']:.3g}",
        f"{ratio['min']:.3g} – {ratio['max']:.3g}",
        ratio["n"],
        *_each(figure),
        _goal(figure),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _seconds(seconds: float) -> str:
    """Return a time in a fitting unit, to three digits.

    >>> _seconds(0.0123), _seconds(4.56)
    ('12.3 ms', '4.56 s')
    """
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _each(figure: Mapping[str, Any]) -> list[str]:
    """Return what was measured of either: rates, or seconds."""
    if unit := figure.get("unit"):
        return [f"{number(figure[name])} {unit}" for name in ("rate", "against_rate")]
    return [_seconds(figure[name]) for name in ("seconds", "against_seconds")]


def _goal(figure: Mapping[str, Any]) -> str:
    goal, ratio, goals = figure["goal"], figure["ratio"]["median"], []
    if goal is not None and figure.get("unit"):
        goals.append(f"≥ {goal:.3g}: {'yes' if ratio >= goal else 'no'}")
    elif goal is not None:
        goals.append(f"≤ {goal:.3g}: {'yes' if ratio <= goal else 'no'}")
    if figure["goal_seconds"] is not None:
        met = figure["seconds"] < figure["goal_seconds"]
        goals.append(f"< {_seconds(figure['goal_seconds'])}: {'yes' if met else 'no'}")
    return "; ".join(goals)


SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "update": section,
    "torch_update": section,
    "hf": section,
    "rnn": section,
    "whole": section,
    "rows": section,
    "hf_rows": section,
    "recording": section,
    "start": section,
    "probes": section,
    "store": section,
    "ranks": section,
    "momentum_cuda": section,
    "mnist_cuda": section,
    "add_cuda": section,
    "projection_cuda": projection.section,
    "update_cuda": section,
    "hf_cuda": section,
    "rnn_cuda": section,
    "rows_cuda": section,
    "hf_rows_cuda": section,
    **{
        f"table{table.number}_{task}": table_section.section
        for table in TABLES.values()
        for task in table.published
    },
    "claims": claims.section,
    "martens_log": martens,
    "adding": adding.section,
    "nag_curves_paper": nag,
    "contestants": contestants.section,
    "contestants_seconds": contestants.section,
}
"""File → how its section is made, in the order of the page."""


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(RESULTS))


if __name__ == "__main__":
    write()
