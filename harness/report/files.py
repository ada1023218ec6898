"""The files of a comparison: JSON, text and pictures, beside the store and in MLflow."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from harness.records import Measurement, TrialRecord
from harness.report.hf_plots import diagnostics, reports_damping
from harness.report.plots import learning_curves, reconstructions
from harness.report.table import render
from harness.texts import visible

WIDTH = 110
RECONSTRUCTIONS = "reconstructions.npy"
"""A trial's reconstructions of some training and test cases, in its folder."""
BEFORE_TRAINING = "reconstructions_before.npy"
"""The same by the initial parameters, which are those of every method under the seed."""


def write_files(
    folder: Path,
    summary: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    originals: np.ndarray | None,
    heads: Sequence[tuple[str, int]],
    trial_files: Path,
) -> None:
    """Write comparison.json, report.txt, learning_curves.png, and what else there is to show.

    `originals` are the images whose reconstructions are in a folder a trial, `trial-<uuid>`, in
    `trial_files`; `heads` are what groups of them are called.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(to_json(summary), "utf-8")
    (folder / "report.txt").write_text(to_text(summary), "utf-8")
    learning_curves(summary, trials, measurements, folder / "learning_curves.png")
    rows: list[tuple[str, np.ndarray]] = []
    for trial in {t.method: t for t in sorted(trials, key=lambda t: -t.seed)}.values():
        made = trial_files / f"trial-{trial.uuid}"
        if not rows and (before := _images(made / BEFORE_TRAINING)) is not None:
            rows.append(("before\ntraining", before))
        if (after := _images(made / RECONSTRUCTIONS)) is not None:
            rows.append((f"{visible(trial.method)}\n{both_errors(trial)}", after))
    if originals is not None and rows:
        reconstructions(originals, rows, folder / "reconstructions.png", heads)
    telling = [t for t in trials if reports_damping(measurements.get(t.id, ()))]
    if telling:
        diagnostics(telling, measurements, folder / "diagnostics.png")


def _images(path: Path) -> np.ndarray | None:
    """Return what a file has; None, and a sentence, where it has no images or is something else."""
    if not path.is_file():
        return None
    try:
        # Never an array of objects, which would be unpickled.
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray) and found.ndim == 3 and found.dtype.kind == "f":
            return found
    except (ValueError, EOFError):
        pass
    print(f"{path} does not hold images, and is left out.", file=sys.stderr, flush=True)
    return None


def both_errors(of: TrialRecord | Measurement) -> str:
    """Write the metric on training and on test data."""
    return " / ".join("–" if v is None else f"{v:.3g}" for v in (of.train_metric, of.test_metric))


def to_json(summary: Mapping[str, Any]) -> str:
    """Return the summary as JSON; a value that JSON does not have is an error, not a NaN."""
    return json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def to_text(summary: Mapping[str, Any]) -> str:
    """Return the table as plain text."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    console.print(render(summary))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
