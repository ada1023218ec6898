"""RESULTS.md, rendered from benchmarks/results/*.json and nothing else.

python -m benchmarks.render
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import adding, claims
from benchmarks.long_sections import martens, nag

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "RESULTS.md"
HEAD = """\
# Measured

Rendered from `benchmarks/results/*.json` by `python -m benchmarks.render`; do not edit.

A ratio is the median over n rounds of *measured* ÷ *against*. Both are timed in turns in one
process, so that whatever else the machine does hits both; the seconds beside it are medians of
the same rounds, hold for that machine at that hour, and are there for orientation only.
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
    machine = content["machine"]
    peers = "".join(f", {name} {version}" for name, version in content["peers"].items())
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
            f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
            f"torch {machine['torch']}{peers}; commit {machine['commit']}, {machine['date']}; "
            f"load average before the run {content['load']}.",
            f"Again: `{content['command']}`",
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
        _seconds(figure["seconds"]),
        _seconds(figure["against_seconds"]),
        _goal(figure),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _seconds(seconds: float) -> str:
    """Return a time in a fitting unit, to three digits.

    >>> _seconds(0.0123), _seconds(4.56)
    ('12.3 ms', '4.56 s')
    """
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _goal(figure: Mapping[str, Any]) -> str:
    if figure["goal"] is not None:
        met = figure["ratio"]["median"] <= figure["goal"]
        return f"≤ {figure['goal']:.3g}: {'yes' if met else 'no'}"
    if figure["goal_seconds"] is not None:
        met = figure["seconds"] < figure["goal_seconds"]
        return f"< {_seconds(figure['goal_seconds'])}: {'yes' if met else 'no'}"
    return ""


SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "update": section,
    "hf": section,
    "rnn": section,
    "whole": section,
    "rows": section,
    "hf_rows": section,
    "recording": section,
    "start": section,
    "update_cuda": section,
    "hf_cuda": section,
    "rnn_cuda": section,
    "rows_cuda": section,
    "hf_rows_cuda": section,
    "claims": claims.section,
    "martens_log": martens,
    "adding": adding.section,
    "nag_curves_paper": nag,
}
"""File → how its section is made, in the order of the page."""


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(RESULTS))


if __name__ == "__main__":
    write()
