"""The files of a comparison: JSON, text, pictures and report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.core.text import visible
from bench.harness.report.curves import profiled
from bench.harness.report.files import (
    BEFORE_TRAINING,
    RECONSTRUCTIONS,
    RECONSTRUCTIONS_PICTURE,
    REPORT,
    both_errors,
    read_pictures,
    to_json,
    to_text,
)
from bench.harness.report.heat_maps import heat_maps
from bench.harness.report.hf_plots import diagnostics, reports_damping
from bench.harness.report.page.page import ReportData, page
from bench.harness.report.page.tuning import grids
from bench.harness.report.plots import learning_curves, profiles, reconstructions


def write_files(
    folder: Path,
    summary: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    originals: np.ndarray | None,
    heads: Sequence[tuple[str, int]],
    trial_files: Path,
    contexts: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write comparison.json, report.txt, the pictures, and report.html, which contains them all.

    `originals` are the images whose reconstructions each trial has in its folder `trial-<uuid>` in
    `trial_files`. `heads` are the names and sizes of groups of images. `contexts` are by digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(to_json(summary), "utf-8")
    (folder / "report.txt").write_text(to_text(summary), "utf-8")
    recorded = ReportData(summary, trials, measurements, contexts)
    draw(recorded, folder, (".png",))
    rows: list[tuple[str, np.ndarray]] = []
    for trial in {t.method: t for t in sorted(trials, key=lambda t: -t.seed)}.values():
        made = trial_files / f"trial-{trial.uuid}"
        if not rows and (before := _images(made / BEFORE_TRAINING)) is not None:
            rows.append(("before\ntraining", before))
        if (after := _images(made / RECONSTRUCTIONS)) is not None:
            rows.append((f"{visible(trial.method)}\n{both_errors(trial)}", after))
    if originals is not None and rows:
        # Now, because the original images are not stored and cannot be drawn later.
        for ending in (".png", ".svg"):
            reconstructions(originals, rows, folder / f"{RECONSTRUCTIONS_PICTURE}{ending}", heads)
    report = page(replace(recorded, pictures=read_pictures(folder)))
    (folder / REPORT).write_text(report, "utf-8")


def draw(
    recorded: ReportData, folder: Path, endings: Sequence[str], everything: bool = False
) -> list[Path]:
    """Draw pictures into a folder, one file for each ending, and return the files.

    By default these are the pictures that a report shows without JavaScript. With `everything`,
    draw also those whose figures the report has in tables.
    """
    summary, trials, measurements = recorded.summary, recorded.trials, recorded.measurements
    damped = [t for t in trials if reports_damping(measurements.get(t.id, ()))]
    drawn: dict[str, Callable[[Path], None]] = {
        "learning_curves": lambda path: learning_curves(summary, trials, measurements, path)
    }
    if damped:
        drawn["diagnostics"] = lambda path: diagnostics(damped, measurements, path)
    if everything and profiled(summary):
        drawn["profiles"] = lambda path: profiles(summary, trials, path)
    if everything and (maps := grids(summary)):
        protocol, log = summary["protocol"], summary["scale"] == "log"
        drawn["sensitivity"] = lambda path: heat_maps(maps, protocol["direction"], log, path)
    files = []
    for name, picture in drawn.items():
        for ending in endings:
            files.append(folder / f"{name}{ending}")
            picture(files[-1])
    return files


def _images(path: Path) -> np.ndarray | None:
    """Return the images of a file; print a sentence and return None if it has none."""
    if not path.is_file():
        return None
    try:
        # Without pickle, because loading an array of objects could run code.
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray) and found.ndim == 3 and found.dtype.kind == "f":
            return found
    except (ValueError, EOFError):
        pass
    print(f"{path} does not contain images, so it is skipped.", file=sys.stderr, flush=True)
    return None
