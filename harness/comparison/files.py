"""The files of a comparison: JSON, text, pictures, report; beside the store and in MLflow."""

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
from bench.harness.report.page.page import Recorded, page
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
    """Write comparison.json, report.txt, pictures, and report.html with all of it.

    `originals` are the images whose reconstructions are in a folder a trial, `trial-<uuid>`, in
    `trial_files`; `heads` are what groups of them are called. `contexts` are by digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(to_json(summary), "utf-8")
    (folder / "report.txt").write_text(to_text(summary), "utf-8")
    recorded = Recorded(summary, trials, measurements, contexts)
    draw(recorded, folder, (".png",))
    rows: list[tuple[str, np.ndarray]] = []
    for trial in {t.method: t for t in sorted(trials, key=lambda t: -t.seed)}.values():
        made = trial_files / f"trial-{trial.uuid}"
        if not rows and (before := _images(made / BEFORE_TRAINING)) is not None:
            rows.append(("before\ntraining", before))
        if (after := _images(made / RECONSTRUCTIONS)) is not None:
            rows.append((f"{visible(trial.method)}\n{both_errors(trial)}", after))
    if originals is not None and rows:
        # What was given to the network is not kept: later there is no other picture of it.
        for ending in (".png", ".svg"):
            reconstructions(originals, rows, folder / f"{RECONSTRUCTIONS_PICTURE}{ending}", heads)
    report = page(replace(recorded, pictures=read_pictures(folder)))
    (folder / REPORT).write_text(report, "utf-8")


def draw(
    recorded: Recorded, folder: Path, endings: Sequence[str], everything: bool = False
) -> list[Path]:
    """Draw pictures into a folder, a file an ending, and return the files.

    They are those that a report shows where no script runs; with `everything` also those whose
    figures it has in tables.
    """
    summary, trials, measurements = recorded.summary, recorded.trials, recorded.measurements
    telling = [t for t in trials if reports_damping(measurements.get(t.id, ()))]
    drawn: dict[str, Callable[[Path], None]] = {
        "learning_curves": lambda path: learning_curves(summary, trials, measurements, path)
    }
    if telling:
        drawn["diagnostics"] = lambda path: diagnostics(telling, measurements, path)
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
