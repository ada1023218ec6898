"""The names of a comparison's files, and the contents of the text files."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.report.table import render

WIDTH = 110
RECONSTRUCTIONS = "reconstructions.npy"
"""A trial's reconstructions of some training and test cases, in its folder."""
BEFORE_TRAINING = "reconstructions_before.npy"
"""The same with the initial parameters, which all methods share for a seed."""
RECONSTRUCTIONS_PICTURE = "reconstructions"
"""The name, without ending, of their picture in a comparison's folder."""
REPORT = "report.html"
"""The report in a comparison's folder."""
BUDGETS = "budgets"
"""The name, without ending, of the files of curves over budgets, in the folder of the last one."""


def read_pictures(folder: Path, names: Sequence[str] | None = None) -> dict[str, bytes]:
    """Return the PNG files of a folder by name without ending, all or those with these names."""
    found = {path.stem: path for path in sorted(folder.glob("*.png"))}
    return {
        name: path.read_bytes() for name, path in found.items() if names is None or name in names
    }


def page_of_curves(folder: Path) -> Path | None:
    """Return the newest page of curves over budgets that have the comparison of this folder.

    None: it was not run as one of several budgets, or the files are elsewhere.
    """
    written = {path: path.stat().st_mtime for path in folder.parent.glob(f"*/{BUDGETS}.json")}
    for path in sorted(written, key=written.__getitem__, reverse=True):
        page = path.with_suffix(".html")
        with suppress(OSError, ValueError, KeyError, TypeError):
            budgets = json.loads(path.read_text("utf-8"))["budgets"]
            if page.is_file() and folder.name in [each["comparison"] for each in budgets]:
                return page
    return None


def both_errors(of: TrialRecord | Measurement) -> str:
    """Write the metric on training and on test data."""
    return " / ".join("–" if v is None else f"{v:.3g}" for v in (of.train_metric, of.test_metric))


def to_json(summary: Mapping[str, Any]) -> str:
    """Return the summary as JSON; raise ValueError for NaN and infinity."""
    return json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def to_text(summary: Mapping[str, Any]) -> str:
    """Return the table as plain text."""
    # Without force_jupyter=False, rich would display the text in a notebook and return nothing.
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_jupyter=False)
    console.print(render(summary))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
